//! Plain Rust, one lane: the fallback that every CPU runs, and the readable form of every body.

use super::{IntDot, Isa, IsaId, Simd, peak};
use crate::format::{Format, f16};

/// The proof that needs no proof.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

impl Isa for Scalar {
    const ID: IsaId = IsaId::Scalar;
    const PEAKS: &'static [(Format, peak::Loop)] = &[(Format::F32, peak::f32::<Self>), (Format::S8, peak::s8::<Self>)];
    fn of_this_cpu() -> Option<Self> {
        Some(Scalar)
    }
}

impl Simd for Scalar {
    type F32 = f32;
    type Lanes = [f32; Self::LANES];
    type I32 = i32;
    type Words = [u32; Self::LANES];
    type Halves = [u16; Self::LANES];
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
    #[inline(always)]
    fn words(src: &[u32]) -> &[Self::Words] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn halves(src: &[u16]) -> &[Self::Halves] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn load_bf16(self, src: &[u16]) -> f32 {
        f32::from_bits(u32::from(src[0]) << 16)
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> i32 {
        x
    }
    #[inline(always)]
    fn load_i32(self, src: &[i32]) -> i32 {
        src[0]
    }
    #[inline(always)]
    fn store_i32(self, v: i32, dst: &mut [i32]) {
        dst[0] = v;
    }
    #[inline(always)]
    fn add_i32(self, a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn to_f32(self, v: i32) -> f32 {
        v as f32
    }
    #[inline(always)]
    fn load_i8(self, src: &[i8]) -> f32 {
        src[0].into()
    }
    #[inline(always)]
    fn and_i32(self, a: i32, b: i32) -> i32 {
        a & b
    }
    #[inline(always)]
    fn or_i32(self, a: i32, b: i32) -> i32 {
        a | b
    }
    #[inline(always)]
    fn shl_i32(self, v: i32, bits: u32) -> i32 {
        v << bits
    }
    #[inline(always)]
    fn shr_i32(self, v: i32, bits: u32) -> i32 {
        (v.cast_unsigned() >> bits).cast_signed()
    }
    #[inline(always)]
    fn to_bits(self, v: f32) -> i32 {
        v.to_bits().cast_signed()
    }
    #[inline(always)]
    fn of_bits(self, v: i32) -> f32 {
        f32::from_bits(v.cast_unsigned())
    }
    #[inline(always)]
    fn truncate(self, v: f32) -> i32 {
        v as i32
    }
    #[inline(always)]
    fn max_i32(self, a: i32, b: i32) -> i32 {
        a.max(b)
    }
    #[inline(always)]
    fn store_i8(self, v: i32, dst: &mut [i8]) {
        dst[0] = v as i8;
    }
}

impl IntDot for Scalar {
    type Bytes = [u32; 1];
    const DEPTH: usize = 4;
    const OFFSET: bool = false;

    #[inline(always)]
    fn bytes(src: &[u32]) -> &[[u32; 1]] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn rank1_s8<const MR: usize, const NV: usize>(self, acc: &mut [[i32; NV]; MR], a: &[u32; MR], b: &[[u32; 1]; NV]) {
        for i in 0..MR {
            let a = a[i].to_le_bytes();
            for j in 0..NV {
                for (a, b) in a.iter().zip(b[j][0].to_le_bytes()) {
                    acc[i][j] = acc[i][j].wrapping_add(i32::from(a.cast_signed()) * i32::from(b.cast_signed()));
                }
            }
        }
    }

    const UNSIGNED: bool = false;

    #[inline(always)]
    fn quad<const MR: usize, const NV: usize>(self, acc: &mut [[i32; NV]; MR], a: &[[u32; MR]], b: &[i32; NV], _: bool) {
        for i in 0..MR {
            let a = a[0][i].to_le_bytes();
            for j in 0..NV {
                for (a, b) in a.iter().zip(b[j].to_le_bytes()) {
                    acc[i][j] = acc[i][j].wrapping_add(i32::from(a.cast_signed()) * i32::from(b.cast_signed()));
                }
            }
        }
    }
}
