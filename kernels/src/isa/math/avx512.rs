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
    fn stream_f16(self, v: __m512, dst: &mut [u16]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 halves, aligned to them where it is streamed.
        unsafe {
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v);
            if is_aligned(dst, 32) {
                _mm256_stream_si256(dst.as_mut_ptr().cast(), halves);
            } else {
                _mm256_storeu_si256(dst.as_mut_ptr().cast(), halves);
            }
        }
    }
    #[inline(always)]
    fn stream_bf16(self, v: __m512, dst: &mut [u16]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 elements, aligned to them where it is streamed.
        unsafe {
            let halves = to_bf16(v);
            if is_aligned(dst, 32) {
                _mm256_stream_si256(dst.as_mut_ptr().cast(), halves);
            } else {
                _mm256_storeu_si256(dst.as_mut_ptr().cast(), halves);
            }
        }
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
        let bits = _mm512_castps_si512(v);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        let all = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(all))
    }
}
