//! AVX2.

use super::Math;
use crate::isa::{Avx2, Simd};
use core::arch::x86_64::*;

/// Whether a store of a whole vector of `bytes` bytes to `dst` is aligned to it.
#[inline(always)]
pub(super) fn is_aligned<T>(dst: &[T], bytes: usize) -> bool {
    (dst.as_ptr() as usize).is_multiple_of(bytes)
}

impl Math for Avx2 {
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn stream(self, v: __m256, dst: &mut [f32]) {
        let dst = &mut dst[..Self::LANES];
        if is_aligned(dst, 32) {
            // SAFETY: `self` proves AVX; the slice above holds eight elements and is aligned to a vector.
            unsafe { _mm256_stream_ps(dst.as_mut_ptr(), v) }
        } else {
            self.store(v, dst);
        }
    }
    #[inline(always)]
    fn stream_f16(self, [low, high]: [__m256; 2], dst: &mut [u16]) {
        // SAFETY: `self` proves F16C.
        let halves = unsafe { [_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(low), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(high)] };
        stream_halves(halves, dst);
    }
    #[inline(always)]
    fn stream_bf16(self, [low, high]: [__m256; 2], dst: &mut [u16]) {
        // SAFETY: `self` proves AVX2.
        let halves = unsafe { [to_bf16(low), to_bf16(high)] };
        stream_halves(halves, dst);
    }
    #[inline(always)]
    fn fence(self) {
        // SAFETY: every CPU with AVX has it; it touches no memory.
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    fn store_bf16(self, v: __m256, dst: &mut [u16]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX2; the slice above holds eight elements, and the store is unaligned.
        unsafe { _mm_storeu_si128(dst.as_mut_ptr().cast(), to_bf16(v)) }
    }
    #[inline(always)]
    fn any_above(self, v: __m256, t: __m256) -> bool {
        // SAFETY: `self` proves AVX. Not less or equal: above, or not ordered.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLE_UQ>(v, t)) != 0 }
    }
    #[inline(always)]
    fn largest(self, v: __m256) -> f32 {
        // SAFETY: `self` proves AVX. A NaN is not ordered, so that it is found before the others are compared.
        unsafe {
            if _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v)) != 0 {
                return f32::NAN;
            }
            let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

/// Half a line of 16-bit elements past the caches, where `dst` begins one.
#[inline(always)]
fn stream_halves([low, high]: [__m128i; 2], dst: &mut [u16]) {
    let dst = &mut dst[..2 * Avx2::LANES];
    // SAFETY: who has such vectors has AVX2; the slice above holds a vector of elements, aligned to it where it is streamed.
    unsafe {
        let both = _mm256_set_m128i(high, low);
        if is_aligned(dst, 32) {
            _mm256_stream_si256(dst.as_mut_ptr().cast(), both);
        } else {
            _mm256_storeu_si256(dst.as_mut_ptr().cast(), both);
        }
    }
}

/// The upper halves of what [`Math::store_bf16`] says.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn to_bf16(v: __m256) -> __m128i {
    // SAFETY: the caller promises AVX2.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        let upper = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
        let packed = _mm256_permute4x64_epi64::<0x08>(_mm256_packus_epi32(upper, upper));
        _mm256_castsi256_si128(packed)
    }
}
