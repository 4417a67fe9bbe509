//! NEON with the multiply-adds that later cores have: dotprod, fhm, i8mm and bf16.
//!
//! Their intrinsics are not stable in Rust, so each instruction is an `asm!` of its own, which names its
//! extension to the assembler. The compiler still chooses the registers and schedules around it.

use super::{Bf16Dot, BlockDot, F16Fma, IntDot, Isa, IsaId, Neon, Simd, extends, peak};
use crate::format::Format;
use core::arch::aarch64::*;
use half::bf16;

macro_rules! tokens {
    ($($(#[$doc:meta])+ $isa:ident($base:ident) $($feature:tt)&+, $features:literal $([$format:ident $peak:ident])?;)+) => {
        $($(#[$doc])+
        #[derive(Clone, Copy, Debug)]
        pub struct $isa($base);

        impl Isa for $isa {
            const ID: IsaId = IsaId::$isa;
            const PEAKS: &'static [(Format, peak::Loop)] = &[$((Format::$format, peak::$peak::<Self>))?];
            fn of_this_cpu() -> Option<Self> {
                if $(std::arch::is_aarch64_feature_detected!($feature))&&+ { $base::detect().map(Self) } else { None }
            }
        }

        extends! { $isa $base $features })+
    };
}

tokens! {
    /// Proof that this CPU has NEON with dotprod.
    NeonDotprod(Neon) "dotprod", "neon,dotprod" [S8 s8];
    /// Proof that this CPU has NEON with fhm, the multiply-adds of halves to f32.
    NeonFhm(Neon) "fhm", "neon,fp16,fhm";
    /// Proof that this CPU has NEON with i8mm, and with dotprod and fhm, as all cores with i8mm have.
    NeonI8mm(NeonDotprod) "i8mm" & "fhm", "neon,dotprod,fp16,fhm,i8mm";
    /// Proof that this CPU has NEON with bf16.
    NeonBf16(Neon) "bf16", "neon,bf16" [Bf16 bf16];
}

/// `multiply!("extension", "instruction", acc, b, a in class)`: the accumulator after one instruction
/// that adds a product of `b` and `a` to it.
macro_rules! multiply {
    ($extension:literal, $instruction:expr, $acc:expr, $b:expr, $a:expr, $class:ident) => {{
        let mut acc = $acc;
        // SAFETY: the token that the caller holds proves the extension; the instruction touches these
        // registers alone.
        unsafe {
            core::arch::asm!(
                concat!(".arch_extension ", $extension),
                $instruction,
                acc = inout(vreg) acc,
                b = in(vreg) $b,
                a = in($class) $a,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        acc
    }};
}

/// The words of one step of A, four rows with one load, each multiplied with every vector of B by
/// element; the rows that four do not divide come one by one.
macro_rules! by_element {
    ($isa:expr, $acc:expr, $a:expr, $b:expr, $extension:literal, $start:literal, $element:literal) => {{
        let (isa, acc, a) = ($isa, $acc, $a);
        let bv: [int32x4_t; NV] = $b;
        for i in (0..MR / 4 * 4).step_by(4) {
            let av = isa.load_i32(bytemuck::cast_slice(&a[i..i + 4]));
            for j in 0..NV {
                acc[i][j] = multiply!($extension, concat!($start, $element, "[0]"), acc[i][j], bv[j], av, vreg);
                acc[i + 1][j] = multiply!($extension, concat!($start, $element, "[1]"), acc[i + 1][j], bv[j], av, vreg);
                acc[i + 2][j] = multiply!($extension, concat!($start, $element, "[2]"), acc[i + 2][j], bv[j], av, vreg);
                acc[i + 3][j] = multiply!($extension, concat!($start, $element, "[3]"), acc[i + 3][j], bv[j], av, vreg);
            }
        }
        for i in MR / 4 * 4..MR {
            let av = word(isa.0, a[i]);
            for j in 0..NV {
                acc[i][j] = multiply!($extension, concat!($start, $element, "[0]"), acc[i][j], bv[j], av, vreg);
            }
        }
    }};
}

/// Four numbers, loaded as often as they are asked for.
#[inline(always)]
fn fresh(_: Neon, src: &[i32; 4]) -> int32x4_t {
    let v: int32x4_t;
    // SAFETY: the token proves NEON; the load covers the four elements of the array. It is not `pure`, so
    // that the compiler does not make copies of one load.
    unsafe {
        core::arch::asm!("ldr {v:q}, [{src}]", v = out(vreg) v, src = in(reg) src, options(readonly, nostack, preserves_flags));
    }
    v
}

/// NV vectors of words.
#[inline(always)]
fn words<const NV: usize>(isa: Neon, b: &[[u32; 4]; NV]) -> [int32x4_t; NV] {
    let mut out = [isa.splat_i32(0); NV];
    for j in 0..NV {
        out[j] = isa.load_i32(bytemuck::cast_slice(&b[j]));
    }
    out
}

/// A word in the first lane.
#[inline(always)]
fn word(_: Neon, x: u32) -> int32x4_t {
    // SAFETY: the token proves NEON.
    unsafe { vsetq_lane_s32::<0>(x.cast_signed(), vdupq_n_s32(0)) }
}

impl IntDot for NeonDotprod {
    type Bytes = [u32; 4];
    const DEPTH: usize = 4;
    const OFFSET: bool = false;

    #[inline(always)]
    fn bytes(src: &[u32]) -> &[[u32; 4]] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn rank1_s8<const MR: usize, const NV: usize>(self, acc: &mut [[int32x4_t; NV]; MR], a: &[u32; MR], b: &[[u32; 4]; NV]) {
        by_element!(self, acc, a, words(self.0, b), "dotprod", "sdot {acc:v}.4s, {b:v}.16b, {a:v}.", "4b");
    }

    const UNSIGNED: bool = false;

    #[inline(always)]
    fn begin(self, x: &[i32; 4]) -> int32x4_t {
        fresh(self.0, x)
    }
    const LATE: bool = true;
    const PANEL_ROWS: usize = 4;

    #[inline(always)]
    fn upper_halves(self, v: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves NEON; reinterpreting changes no bits.
        unsafe { vreinterpretq_s32_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s32(v))) }
    }
    #[inline(always)]
    fn quad<const MR: usize, const NV: usize>(self, acc: &mut [[int32x4_t; NV]; MR], a: &[[u32; MR]], b: &[int32x4_t; NV], _: bool) {
        by_element!(self, acc, &a[0], *b, "dotprod", "sdot {acc:v}.4s, {b:v}.16b, {a:v}.", "4b");
    }
}

/// Implements [`IntDot`] for a token that has a token with dotprod inside.
macro_rules! dots {
    ($isa:ident $base:ident) => {
        impl IntDot for $isa {
            type Bytes = <$base as IntDot>::Bytes;
            const DEPTH: usize = <$base as IntDot>::DEPTH;
            const OFFSET: bool = <$base as IntDot>::OFFSET;
            const UNSIGNED: bool = <$base as IntDot>::UNSIGNED;
            const LATE: bool = <$base as IntDot>::LATE;
            const PANEL_ROWS: usize = <$base as IntDot>::PANEL_ROWS;

            #[inline(always)]
            fn bytes(src: &[u32]) -> &[Self::Bytes] {
                <$base as IntDot>::bytes(src)
            }
            #[inline(always)]
            fn rank1_s8<const MR: usize, const NV: usize>(self, acc: &mut [[Self::I32; NV]; MR], a: &[u32; MR], b: &[Self::Bytes; NV]) {
                self.0.rank1_s8(acc, a, b);
            }
            #[inline(always)]
            fn begin(self, x: &[i32; 4]) -> Self::I32 {
                self.0.begin(x)
            }
            #[inline(always)]
            fn quad<const MR: usize, const NV: usize>(
                self,
                acc: &mut [[Self::I32; NV]; MR],
                a: &[[u32; MR]],
                b: &[Self::I32; NV],
                small: bool,
            ) {
                self.0.quad(acc, a, b, small);
            }
            #[inline(always)]
            fn upper_halves(self, v: Self::I32) -> Self::I32 {
                self.0.upper_halves(v)
            }
            #[inline(always)]
            fn load_scales(self, src: &[u16]) -> Self::F32 {
                $crate::isa::neon_dot::lengthened(self.into(), src)
            }
        }
    };
}
pub(super) use dots;

dots! { NeonI8mm NeonDotprod }

impl From<NeonI8mm> for Neon {
    fn from(isa: NeonI8mm) -> Neon {
        isa.0.0
    }
}

impl From<NeonI8mm> for NeonFhm {
    fn from(isa: NeonI8mm) -> NeonFhm {
        NeonFhm(isa.0.0)
    }
}

/// Four halves as f32: times one, which takes one instruction of any pipe where `fcvtl` takes two of one.
#[inline(always)]
pub(super) fn lengthened(isa: NeonFhm, src: &[u16]) -> float32x4_t {
    let src = &src[..4];
    // SAFETY: the token proves NEON; the slice above holds four halves.
    let halves = unsafe { vld1_u16(src.as_ptr()) };
    let one = word(isa.0, u32::from(half::f16::ONE.to_bits()));
    multiply!("fp16fml", "fmlal {acc:v}.4s, {b:v}.4h, {a:v}.h[0]", isa.splat(0.0), halves, one, vreg_low16)
}

impl Bf16Dot for NeonBf16 {
    #[inline(always)]
    fn rank1_bf16<const MR: usize, const NV: usize>(self, acc: &mut [[float32x4_t; NV]; MR], a: &[u32; MR], b: &[[u32; 4]; NV]) {
        by_element!(self, acc, a, words(self.0, b), "bf16", "bfdot {acc:v}.4s, {b:v}.8h, {a:v}.", "2h");
    }
}

impl F16Fma for NeonFhm {
    /// A load brings eight columns of B, which two instructions multiply: one the lower half, one the upper.
    #[inline(always)]
    fn rank1_f16<const MR: usize, const NV: usize>(self, acc: &mut [[float32x4_t; NV]; MR], a: &[u32; MR], b: &[[u16; 4]; NV]) {
        /// Four rows, or the last few, against one load of B.
        macro_rules! rows {
            ($av:expr, $i:expr, $($row:literal $lane:literal)+) => {
                for j in (0..NV / 2 * 2).step_by(2) {
                    let bv = self.load_i32(bytemuck::cast_slice(b[j..j + 2].as_flattened()));
                    $(
                        let (i, av) = ($i + $row, $av);
                        acc[i][j] = multiply!("fp16fml", concat!("fmlal {acc:v}.4s, {b:v}.4h, {a:v}.h[", $lane, "]"), acc[i][j], bv, av, vreg_low16);
                        acc[i][j + 1] = multiply!("fp16fml", concat!("fmlal2 {acc:v}.4s, {b:v}.4h, {a:v}.h[", $lane, "]"), acc[i][j + 1], bv, av, vreg_low16);
                    )+
                }
                if NV % 2 == 1 {
                    // SAFETY: `self` proves NEON; the load covers the four elements of one array.
                    let bv = unsafe { vld1_u16(b[NV - 1].as_ptr()) };
                    $(
                        let (i, av) = ($i + $row, $av);
                        acc[i][NV - 1] = multiply!("fp16fml", concat!("fmlal {acc:v}.4s, {b:v}.4h, {a:v}.h[", $lane, "]"), acc[i][NV - 1], bv, av, vreg_low16);
                    )+
                }
            };
        }
        for i in (0..MR / 4 * 4).step_by(4) {
            let av = self.load_i32(bytemuck::cast_slice(&a[i..i + 4]));
            rows!(av, i, 0 0 1 2 2 4 3 6);
        }
        for i in MR / 4 * 4..MR {
            let av = word(self.0, a[i]);
            rows!(av, i, 0 0);
        }
    }
}

impl BlockDot<i8> for NeonI8mm {
    type Block = int32x4_t;
    type Result = i32;

    #[inline(always)]
    fn zero(self) -> int32x4_t {
        self.splat_i32(0)
    }
    #[inline(always)]
    fn multiply(self, acc: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        multiply!("i8mm", "smmla {acc:v}.4s, {a:v}.16b, {b:v}.16b", acc, b, a, vreg)
    }
    #[inline(always)]
    fn rows(self, left: int32x4_t, right: int32x4_t) -> [int32x4_t; 2] {
        rows(self.into(), left, right)
    }
    #[inline(always)]
    fn put(self, row: int32x4_t, out: &mut [i32], accumulate: bool) {
        let row = if accumulate { self.add_i32(self.load_i32(out), row) } else { row };
        self.store_i32(row, out);
    }
}

impl NeonI8mm {
    /// The lower half of a vector twice, and the upper one.
    #[inline(always)]
    pub(crate) fn twice(self, v: float32x4_t) -> [int32x4_t; 2] {
        let v = self.to_bits(v);
        rows(self.into(), v, v)
    }

    /// The words of both by turns, those of their lower halves first.
    #[inline(always)]
    pub(crate) fn zip(self, left: int32x4_t, right: int32x4_t) -> [int32x4_t; 2] {
        // SAFETY: `self` proves NEON.
        unsafe { [vzip1q_s32(left, right), vzip2q_s32(left, right)] }
    }
}

impl BlockDot<bf16> for NeonBf16 {
    type Block = float32x4_t;
    type Result = f32;

    #[inline(always)]
    fn zero(self) -> float32x4_t {
        self.splat(0.0)
    }
    #[inline(always)]
    fn multiply(self, acc: float32x4_t, a: int32x4_t, b: int32x4_t) -> float32x4_t {
        multiply!("bf16", "bfmmla {acc:v}.4s, {a:v}.8h, {b:v}.8h", acc, b, a, vreg)
    }
    #[inline(always)]
    fn rows(self, left: float32x4_t, right: float32x4_t) -> [float32x4_t; 2] {
        float_rows(self.0, left, right)
    }
    #[inline(always)]
    fn put(self, row: float32x4_t, out: &mut [f32], accumulate: bool) {
        let row = if accumulate { self.add(self.load(out), row) } else { row };
        self.store(row, out);
    }
}

/// The lower halves of both, then the upper ones.
#[inline(always)]
fn rows(_: Neon, left: int32x4_t, right: int32x4_t) -> [int32x4_t; 2] {
    // SAFETY: the token proves NEON; reinterpreting changes no bits.
    unsafe {
        let (left, right) = (vreinterpretq_s64_s32(left), vreinterpretq_s64_s32(right));
        [vreinterpretq_s32_s64(vuzp1q_s64(left, right)), vreinterpretq_s32_s64(vuzp2q_s64(left, right))]
    }
}

/// As [`rows`], of f32.
#[inline(always)]
fn float_rows(isa: Neon, left: float32x4_t, right: float32x4_t) -> [float32x4_t; 2] {
    // SAFETY: the token proves NEON; reinterpreting changes no bits.
    unsafe { rows(isa, vreinterpretq_s32_f32(left), vreinterpretq_s32_f32(right)).map(|row| vreinterpretq_f32_s32(row)) }
}
