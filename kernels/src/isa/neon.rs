//! NEON (Advanced SIMD): 128-bit vectors, 32 registers, multiply-add by element.

use super::{IntDot, Isa, IsaId, LINE, Simd, peak};
use crate::format::Format;
use core::arch::aarch64::*;

/// Proof that this CPU has Advanced SIMD.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Isa for Neon {
    const ID: IsaId = IsaId::Neon;
    const PEAKS: &'static [(Format, peak::Loop)] = &[(Format::F32, peak::f32::<Self>), (Format::S8, peak::s8::<Self>)];
    fn of_this_cpu() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

impl Simd for Neon {
    type F32 = float32x4_t;
    type Lanes = [f32; Self::LANES];
    type I32 = int32x4_t;
    type Words = [u32; Self::LANES];
    type Halves = [u16; Self::LANES];
    const LANES: usize = 4;
    const ACCUMULATORS: usize = 24;

    /// The target itself has NEON, so every function is compiled with it.
    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    fn vectors(src: &[f32]) -> &[Self::Lanes] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> float32x4_t {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves NEON; the slice above holds four elements, and the load needs no more
        // than the alignment of one.
        unsafe { vld1q_f32(src.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: float32x4_t, dst: &mut [f32]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves NEON; the slice above holds four elements, and the store needs no more
        // than the alignment of one.
        unsafe { vst1q_f32(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    fn xor(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` proves NEON; reinterpreting changes no bits.
        unsafe { vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))) }
    }
    #[inline(always)]
    fn load_f16(self, src: &[u16]) -> float32x4_t {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves NEON; the slice above holds four halves, and the load needs no more
        // than the alignment of one.
        unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(src.as_ptr()))) }
    }
    #[inline(always)]
    fn store_f16(self, v: float32x4_t, dst: &mut [u16]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves NEON; the slice above holds four halves, and the store needs no more
        // than the alignment of one.
        unsafe { vst1_u16(dst.as_mut_ptr(), vreinterpret_u16_f16(vcvt_f16_f32(v))) }
    }
    #[inline(always)]
    fn four_f16(self, src: [u16; 4]) -> [f32; 4] {
        let mut out = [0.0; 4];
        self.store(self.load_f16(&src), &mut out);
        out
    }
    #[inline(always)]
    fn prefetch(self, row: &[f32]) {
        for line in row.chunks(LINE) {
            // SAFETY: a prefetch reads nothing, faults on nothing, and every AArch64 CPU has it.
            unsafe {
                core::arch::asm!("prfm pstl1keep, [{}]", in(reg) line.as_ptr(), options(nostack, preserves_flags, nomem));
            }
        }
    }
    #[inline(always)]
    fn sum(self, v: float32x4_t) -> f32 {
        // SAFETY: `self` proves NEON.
        unsafe { vaddvq_f32(v) }
    }

    /// Four rows of A come with one load and are multiplied by element; the rows that four do not
    /// divide are broadcast.
    #[inline(always)]
    fn rank1<const MR: usize, const NV: usize>(self, acc: &mut [[float32x4_t; NV]; MR], a: &[f32; MR], b: [float32x4_t; NV]) {
        for i in (0..MR / 4 * 4).step_by(4) {
            let av = self.load(&a[i..]);
            for j in 0..NV {
                // SAFETY: `self` proves NEON.
                unsafe {
                    acc[i][j] = vfmaq_laneq_f32::<0>(acc[i][j], b[j], av);
                    acc[i + 1][j] = vfmaq_laneq_f32::<1>(acc[i + 1][j], b[j], av);
                    acc[i + 2][j] = vfmaq_laneq_f32::<2>(acc[i + 2][j], b[j], av);
                    acc[i + 3][j] = vfmaq_laneq_f32::<3>(acc[i + 3][j], b[j], av);
                }
            }
        }
        for i in MR / 4 * 4..MR {
            let x = self.splat(a[i]);
            for j in 0..NV {
                acc[i][j] = self.fma(x, b[j], acc[i][j]);
            }
        }
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
    fn load_bf16(self, src: &[u16]) -> float32x4_t {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves NEON; the slice above holds four elements.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(src.as_ptr()))) }
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vdupq_n_s32(x) }
    }
    #[inline(always)]
    fn load_i32(self, src: &[i32]) -> int32x4_t {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves NEON; the slice above holds four elements.
        unsafe { vld1q_s32(src.as_ptr()) }
    }
    #[inline(always)]
    fn store_i32(self, v: int32x4_t, dst: &mut [i32]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves NEON; the slice above holds four elements.
        unsafe { vst1q_s32(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn add_i32(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vaddq_s32(a, b) }
    }
    #[inline(always)]
    fn to_f32(self, v: int32x4_t) -> float32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vcvtq_f32_s32(v) }
    }
    #[inline(always)]
    fn load_i8(self, src: &[i8]) -> float32x4_t {
        let src: [i8; 4] = [src[0], src[1], src[2], src[3]];
        // SAFETY: `self` proves NEON.
        unsafe { vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(u32::from_le_bytes(src.map(i8::cast_unsigned)).into()))))) }
    }
    #[inline(always)]
    fn and_i32(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vandq_s32(a, b) }
    }
    #[inline(always)]
    fn or_i32(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vorrq_s32(a, b) }
    }
    #[inline(always)]
    fn shl_i32(self, v: int32x4_t, bits: u32) -> int32x4_t {
        // SAFETY: `self` proves NEON. With a constant the compiler makes it a shift by an immediate.
        unsafe { vshlq_s32(v, vdupq_n_s32(bits.cast_signed())) }
    }
    #[inline(always)]
    fn shr_i32(self, v: int32x4_t, bits: u32) -> int32x4_t {
        // SAFETY: `self` proves NEON; reinterpreting changes no bits. A shift by less than nothing is one to
        // the right; with a constant the compiler makes it one by an immediate.
        unsafe { vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(v), vdupq_n_s32(-bits.cast_signed()))) }
    }
    #[inline(always)]
    fn to_bits(self, v: float32x4_t) -> int32x4_t {
        // SAFETY: `self` proves NEON; reinterpreting changes no bits.
        unsafe { vreinterpretq_s32_f32(v) }
    }
    #[inline(always)]
    fn of_bits(self, v: int32x4_t) -> float32x4_t {
        // SAFETY: `self` proves NEON; reinterpreting changes no bits.
        unsafe { vreinterpretq_f32_s32(v) }
    }
    #[inline(always)]
    fn truncate(self, v: float32x4_t) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vcvtq_s32_f32(v) }
    }
    #[inline(always)]
    fn max_i32(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vmaxq_s32(a, b) }
    }
    #[inline(always)]
    fn store_i8(self, v: int32x4_t, dst: &mut [i8]) {
        // SAFETY: `self` proves NEON.
        let low = unsafe {
            let halves = vmovn_s32(v);
            vget_lane_u32::<0>(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(halves, halves))))
        };
        dst[..Self::LANES].copy_from_slice(bytemuck::cast_slice(&[low]));
    }
    #[inline(always)]
    fn largest_i32(self, v: int32x4_t) -> i32 {
        // SAFETY: `self` proves NEON.
        unsafe { vmaxvq_s32(v) }
    }
    #[inline(always)]
    fn sum_i32(self, v: int32x4_t) -> i32 {
        // SAFETY: `self` proves NEON.
        unsafe { vaddvq_s32(v) }
    }
}

impl IntDot for Neon {
    type Bytes = [u16; 4];
    const DEPTH: usize = 2;
    const OFFSET: bool = false;

    #[inline(always)]
    fn bytes(src: &[u32]) -> &[[u16; 4]] {
        bytemuck::cast_slice(src).as_chunks().0
    }
    /// Eight products of bytes at a time, which 16 bits hold, added to the lanes in pairs.
    #[inline(always)]
    fn rank1_s8<const MR: usize, const NV: usize>(self, acc: &mut [[int32x4_t; NV]; MR], a: &[u32; MR], b: &[[u16; 4]; NV]) {
        for i in 0..MR {
            for j in 0..NV {
                // SAFETY: `self` proves NEON; the load covers the four elements of one array.
                unsafe {
                    let x = vreinterpret_s8_u16(vdup_n_u16(a[i] as u16));
                    let products = vmull_s8(x, vreinterpret_s8_u16(vld1_u16(b[j].as_ptr())));
                    acc[i][j] = vpadalq_s16(acc[i][j], products);
                }
            }
        }
    }

    const UNSIGNED: bool = false;

    /// Products of bytes as 16-bit elements; two of them are at most 2 · 128 · 127, which 16 bits hold.
    #[inline(always)]
    fn quad<const MR: usize, const NV: usize>(self, acc: &mut [[int32x4_t; NV]; MR], a: &[[u32; MR]], b: &[int32x4_t; NV], _: bool) {
        for i in 0..MR {
            // SAFETY: `self` proves NEON; reinterpreting changes no bits.
            let x = unsafe { vreinterpretq_s8_u32(vdupq_n_u32(a[0][i])) };
            for j in 0..NV {
                // SAFETY: as above.
                unsafe {
                    let w = vreinterpretq_s8_s32(b[j]);
                    let pairs = vpaddq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(w)), vmull_high_s8(x, w));
                    acc[i][j] = vpadalq_s16(acc[i][j], pairs);
                }
            }
        }
    }
}
