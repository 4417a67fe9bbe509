//! AVX-512, and what extends it.

use super::Math;
use super::avx2::is_aligned;
use crate::isa::{Avx512, Simd};
use core::arch::x86_64::*;

impl Math for Avx512 {
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn stream(self, v: __m512, dst: &mut [f32]) {
        let dst = &mut dst[..Self::LANES];
        if is_aligned(dst, 64) {
            // SAFETY: `self` proves AVX-512F; the slice above holds 16 elements and is aligned to a vector.
            unsafe { _mm512_stream_ps(dst.as_mut_ptr(), v) }
        } else {
            self.store(v, dst);
        }
    }
    #[inline(always)]
    fn store_f16_pair(self, v: [__m512; 2], dst: &mut [u16]) {
        let dst = &mut dst[..2 * Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 32 halves, and the store is unaligned.
        unsafe { _mm512_storeu_si512(dst.as_mut_ptr().cast(), pair_to_f16(v)) }
    }
    #[inline(always)]
    fn stream_f16(self, v: [__m512; 2], dst: &mut [u16]) {
        // SAFETY: `self` proves AVX-512F.
        stream_halves(unsafe { pair_to_f16(v) }, dst);
    }
    #[inline(always)]
    fn store_bf16_pair(self, v: [__m512; 2], dst: &mut [u16]) {
        let dst = &mut dst[..2 * Self::LANES];
        // SAFETY: `self` proves AVX-512BW; the slice above holds 32 elements, and the store is unaligned.
        unsafe { _mm512_storeu_si512(dst.as_mut_ptr().cast(), pair_to_bf16(v)) }
    }
    #[inline(always)]
    fn stream_bf16(self, v: [__m512; 2], dst: &mut [u16]) {
        // SAFETY: `self` proves AVX-512BW.
        stream_halves(unsafe { pair_to_bf16(v) }, dst);
    }
    #[inline(always)]
    fn fence(self) {
        // SAFETY: every CPU with AVX-512 has it; it touches no memory.
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    fn store_bf16(self, v: __m512, dst: &mut [u16]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 elements, and the store is unaligned.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), to_bf16(v)) }
    }
    #[inline(always)]
    fn any_above(self, v: __m512, t: __m512) -> bool {
        // SAFETY: `self` proves AVX-512F. Not less or equal: above, or not ordered.
        unsafe { _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(v, t) != 0 }
    }
    /// The reduction is that of [`Math::exp2`], by log2 e in two parts.
    #[inline(always)]
    fn exp(self, x: __m512) -> __m512 {
        const LOG2_E_LOW: f32 = 1.925_963e-8;
        let x = self.max(self.splat(-110.0), self.min(self.splat(super::EXP_MOST), x));
        let high = self.splat(core::f32::consts::LOG2_E);
        // SAFETY: `self` proves AVX-512F.
        unsafe {
            let n = _mm512_roundscale_ps::<NEAREST>(_mm512_mul_ps(x, high));
            let f = _mm512_fmadd_ps(x, self.splat(LOG2_E_LOW), _mm512_fmsub_ps(x, high, n));
            _mm512_scalef_ps(self.exp2_fraction(f), n)
        }
    }
    #[inline(always)]
    fn exp2(self, t: __m512) -> __m512 {
        let t = self.max(self.splat(-160.0), t);
        // SAFETY: `self` proves AVX-512F.
        unsafe {
            let n = _mm512_roundscale_ps::<NEAREST>(t);
            _mm512_scalef_ps(self.exp2_fraction(_mm512_sub_ps(t, n)), n)
        }
    }
    /// 14 bits, and a step of Newton's method.
    #[inline(always)]
    fn inverse(self, x: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe {
            let r = _mm512_rcp14_ps(x);
            _mm512_fmadd_ps(_mm512_fnmadd_ps(x, r, self.splat(1.0)), r, r)
        }
    }
    #[inline(always)]
    fn largest(self, v: __m512) -> f32 {
        // SAFETY: `self` proves AVX-512F. A NaN is not ordered, so that it is found before the others are compared.
        unsafe { if _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v) != 0 { f32::NAN } else { _mm512_reduce_max_ps(v) } }
    }
    #[inline(always)]
    fn load_or(self, src: &[f32], fill: f32) -> __m512 {
        let mask = ((1u32 << src.len().min(16)) - 1) as __mmask16;
        // SAFETY: `self` proves AVX-512F; lanes at or beyond `src.len()` are masked off and not touched.
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, src.as_ptr()) }
    }
}

/// A line of 16-bit elements past the caches, where `dst` begins one.
#[inline(always)]
fn stream_halves(both: __m512i, dst: &mut [u16]) {
    let dst = &mut dst[..2 * Avx512::LANES];
    // SAFETY: who has such a vector has AVX-512F; the slice above holds as many elements, aligned to them where it is streamed.
    unsafe {
        if is_aligned(dst, 64) {
            _mm512_stream_si512(dst.as_mut_ptr().cast(), both);
        } else {
            _mm512_storeu_si512(dst.as_mut_ptr().cast(), both);
        }
    }
}

/// To the nearest whole number, without an exception.
const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// The upper halves of what [`Math::store_bf16`] says.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn to_bf16(v: __m512) -> __m256i {
    // SAFETY: the caller promises AVX-512F.
    unsafe {
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        let all = _mm512_mask_or_epi32(rounded(v), nan, _mm512_castps_si512(v), _mm512_set1_epi32(0x0040_0000));
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(all))
    }
}

/// What [`Math::store_f16_pair`] says.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn pair_to_f16([low, high]: [__m512; 2]) -> __m512i {
    // SAFETY: the caller promises AVX-512F.
    unsafe {
        let (low, high) = (_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(low), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(high));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
}

/// What [`Math::store_bf16_pair`] says. NaNs, which are rare, are looked for in both at once.
///
/// # Safety
/// The CPU has AVX-512BW.
#[inline(always)]
unsafe fn pair_to_bf16([low, high]: [__m512; 2]) -> __m512i {
    // SAFETY: the caller promises AVX-512BW.
    unsafe {
        if _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(low, high) != 0 {
            return _mm512_inserti64x4::<1>(_mm512_castsi256_si512(to_bf16(low)), to_bf16(high));
        }
        let (low, high) = (rounded(low), rounded(high));
        // Lane by lane of 128 bits four of the one and four of the other: their order is restored afterwards.
        let mixed = _mm512_packus_epi32(_mm512_srli_epi32::<16>(low), _mm512_srli_epi32::<16>(high));
        _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), mixed)
    }
}

/// Bits whose upper half is the nearest bfloat16 of what is no NaN.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn rounded(v: __m512) -> __m512i {
    // SAFETY: the caller promises AVX-512F.
    unsafe {
        let bits = _mm512_castps_si512(v);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)))
    }
}
