//! Plain Rust, one lane: the fallback that every CPU runs, and the readable form of every body.

use super::{Isa, IsaId, Simd};
use crate::format::f16;

/// The proof that needs no proof.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

impl Isa for Scalar {
    const ID: IsaId = IsaId::Scalar;
    fn detect() -> Option<Self> {
        Some(Scalar)
    }
}

impl Simd for Scalar {
    type F32 = f32;
    type Lanes = [f32; Self::LANES];
    const LANES: usize = 1;
    const ACCUMULATORS: usize = 8;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    fn vectors(src: &[f32]) -> &[Self::Lanes] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> f32 {
        src[0]
    }
    #[inline(always)]
    fn store(self, v: f32, dst: &mut [f32]) {
        dst[0] = v;
    }
    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }
    /// Not fused: without an FMA instruction a fused multiply-add is a library call.
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
    #[inline(always)]
    fn xor(self, a: f32, b: f32) -> f32 {
        f32::from_bits(a.to_bits() ^ b.to_bits())
    }
    #[inline(always)]
    fn load_f16(self, src: &[u16]) -> f32 {
        f16::to_f32(src[0])
    }
    #[inline(always)]
    fn store_f16(self, v: f32, dst: &mut [u16]) {
        dst[0] = f16::from_f32(v);
    }
}
