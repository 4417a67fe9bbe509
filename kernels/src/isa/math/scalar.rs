//! One lane, in plain Rust.

use super::Math;
use crate::format::bf16;
use crate::isa::Scalar;

impl Math for Scalar {
    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }
    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }
    #[inline(always)]
    fn store_bf16(self, v: f32, dst: &mut [u16]) {
        dst[0] = bf16::from_f32(v);
    }
    #[inline(always)]
    fn any_above(self, v: f32, t: f32) -> bool {
        v > t || v.is_nan()
    }
    #[inline(always)]
    fn largest(self, v: f32) -> f32 {
        v
    }
}
