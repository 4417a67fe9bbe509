//! NEON.

use super::Math;
use crate::isa::{Neon, Simd};
use core::arch::aarch64::*;

impl Math for Neon {
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves NEON. NaN where either is.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vminq_f32(a, b) }
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn store_bf16(self, v: float32x4_t, dst: &mut [u16]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves NEON; the slice above holds four elements.
        unsafe {
            let bits = vreinterpretq_u32_f32(v);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
            let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
            // A number equals itself.
            let all = vbslq_u32(vceqq_f32(v, v), rounded, quiet);
            vst1_u16(dst.as_mut_ptr(), vshrn_n_u32::<16>(all));
        }
    }
    #[inline(always)]
    fn any_above(self, v: float32x4_t, t: float32x4_t) -> bool {
        // SAFETY: `self` proves NEON. A comparison with NaN does not hold, so that not less or equal is either.
        unsafe { vminvq_u32(vcleq_f32(v, t)) == 0 }
    }
    #[inline(always)]
    fn largest(self, v: float32x4_t) -> f32 {
        // SAFETY: `self` proves NEON; NaN, if a lane is.
        unsafe { vmaxvq_f32(v) }
    }
}
