//! 16-bit weights that stay narrow in memory and are widened where they meet rows of f32, which need no widening.

use super::dot::Narrow;
use super::product::{BFloatWeights, HalfWeights};
use crate::isa::Simd;

impl Narrow for HalfWeights {
    #[inline(always)]
    fn widen(a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn load<I: Simd>(isa: I, b: &[u16]) -> I::F32 {
        isa.load_f16(b)
    }
}

impl Narrow for BFloatWeights {
    #[inline(always)]
    fn widen(a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn load<I: Simd>(isa: I, b: &[u16]) -> I::F32 {
        isa.load_bf16(b)
    }
}
