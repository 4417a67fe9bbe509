//! Instruction sets: one file each, one list of them.
//!
//! A token such as `Avx2` is a zero-sized proof: it can only be made by [`Isa::detect`], so code
//! that holds one may use the instructions without being `unsafe` to call. This module never
//! chooses between instruction sets; that is what profiles are for.

use crate::format::Format;
use core::fmt;
use core::str::FromStr;

mod scalar;
pub use scalar::Scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub use avx2::{Avx2, AvxVnni};
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, Avx512Bf16, Avx512Vnni};
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
#[cfg(target_arch = "aarch64")]
mod neon_dot;
#[cfg(target_arch = "aarch64")]
pub use neon_dot::{NeonBf16, NeonDotprod, NeonFhm, NeonI8mm};
#[cfg(target_arch = "aarch64")]
mod sve;
#[cfg(target_arch = "aarch64")]
pub use sve::{Sve, Sve2, SveBf16, SveI8mm};
#[cfg(target_arch = "aarch64")]
pub(crate) use sve::{sve_asm, vector_asm};

mod hidden;
pub mod math;
pub use hidden::{Needed, hide};
pub mod peak;
mod square;
pub mod stream;
pub(crate) use square::{ask, turn};

/// The list of instruction sets: `Token "name" "architecture" "source"`; "any" runs everywhere.
macro_rules! with_isas {
    ($m:ident) => {
        $m! {
            Scalar "scalar" "any" "scalar.rs";
            Avx2 "avx2" "x86_64" "avx2.rs";
            AvxVnni "avxvnni" "x86_64" "avx2.rs";
            Avx512 "avx512" "x86_64" "avx512.rs";
            Avx512Vnni "avx512vnni" "x86_64" "avx512.rs";
            Avx512Bf16 "avx512bf16" "x86_64" "avx512.rs";
            Neon "neon" "aarch64" "neon.rs";
            NeonDotprod "neondotprod" "aarch64" "neon_dot.rs";
            NeonFhm "neonfhm" "aarch64" "neon_dot.rs";
            NeonI8mm "neoni8mm" "aarch64" "neon_dot.rs";
            NeonBf16 "neonbf16" "aarch64" "neon_dot.rs";
            Sve "sve" "aarch64" "sve.rs";
            SveI8mm "svei8mm" "aarch64" "sve.rs";
            SveBf16 "svebf16" "aarch64" "sve.rs";
            Sve2 "sve2" "aarch64" "sve.rs";
        }
    };
}
pub(crate) use with_isas;

/// `if_arch!("x86_64" => { expression } else { other })`: the expression where that is the target
/// architecture ("any" always is), else the other one; the branch not taken is not compiled.
macro_rules! if_arch {
    ("any" => {$($yes:tt)*} else {$($no:tt)*}) => { $($yes)* };
    ("x86_64" => {$($yes:tt)*} else {$($no:tt)*}) => {{
        #[cfg(target_arch = "x86_64")]
        { $($yes)* }
        #[cfg(not(target_arch = "x86_64"))]
        { $($no)* }
    }};
    ("aarch64" => {$($yes:tt)*} else {$($no:tt)*}) => {{
        #[cfg(target_arch = "aarch64")]
        { $($yes)* }
        #[cfg(not(target_arch = "aarch64"))]
        { $($no)* }
    }};
}
pub(crate) use if_arch;

/// `only_on!("x86_64" items)`: items that exist on that architecture alone ("any" is all).
macro_rules! only_on {
    ("any" $($item:item)*) => { $($item)* };
    ("x86_64" $($item:item)*) => { $(#[cfg(target_arch = "x86_64")] $item)* };
    ("aarch64" $($item:item)*) => { $(#[cfg(target_arch = "aarch64")] $item)* };
}
pub(crate) use only_on;

macro_rules! define_ids {
    ($($isa:ident $name:literal $arch:tt $file:literal;)+) => {
        /// Names an instruction set, also one of another architecture.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum IsaId {
            $(#[doc = concat!("`", $name, "`")] $isa,)+
        }

        impl IsaId {
            /// Every instruction set, in the order of the list.
            pub const ALL: &'static [IsaId] = &[$(IsaId::$isa),+];

            /// Its name as it stands in kernel names and on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(IsaId::$isa => $name),+ }
            }

            /// The architecture that has it: `any`, or a Rust `target_arch`.
            pub const fn arch(self) -> &'static str {
                match self { $(IsaId::$isa => $arch),+ }
            }

            /// Whether this CPU has it and it is not hidden.
            pub fn runs_here(self) -> bool {
                match self { $(IsaId::$isa => if_arch!($arch => { $isa::detect().is_some() } else { false })),+ }
            }

            /// The accumulation-order class of kernels that add products one depth after another:
            /// whether a product is rounded before it is added.
            pub(crate) const fn order(self) -> &'static str {
                match self {
                    IsaId::Scalar => "f32-mul-add",
                    _ => "f32-fma",
                }
            }

            /// Hash of the source that kernels of this ISA are built from, for fingerprints.
            pub(crate) const fn source_hash(self) -> u64 {
                match self {
                    $(IsaId::$isa => const { crate::fingerprint::of_source(include_bytes!(concat!("../isa/", $file))) }),+
                }
            }
        }
    };
}
with_isas!(define_ids);

impl fmt::Display for IsaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for IsaId {
    type Err = UnknownIsa;
    fn from_str(s: &str) -> Result<Self, UnknownIsa> {
        Self::ALL.iter().copied().find(|i| i.name() == s).ok_or(UnknownIsa)
    }
}

/// No instruction set has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownIsa;

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown ISA; known are")?;
        IsaId::ALL.iter().try_for_each(|i| write!(f, " {i}"))
    }
}
impl core::error::Error for UnknownIsa {}

/// Proof that this CPU has an instruction set.
pub trait Isa: Copy + Send + Sync + 'static {
    /// Which one.
    const ID: IsaId;

    /// The loops that show what its arithmetic can do, by format; an extension lists what it adds.
    const PEAKS: &'static [(Format, peak::Loop)] = &[];

    /// The proof, when this CPU (and its operating system) has the instructions. Callers ask [`Isa::detect`].
    fn of_this_cpu() -> Option<Self>;

    /// The proof, when this CPU has the instructions and nobody hid them ([`hide`]).
    fn detect() -> Option<Self> {
        if hidden::is_hidden(Self::ID) { None } else { Self::of_this_cpu() }
    }
}

/// An instruction set with f32 vectors whose width is known at compile time.
///
/// All methods are meant to be inlined into the closure given to [`Simd::vectorize`]; elsewhere
/// they are correct but slow.
pub trait Simd: Isa {
    /// A vector of [`Simd::LANES`] f32.
    type F32: Copy;
    /// The same elements in memory: `[f32; LANES]`.
    type Lanes: AsRef<[f32]>;
    /// f32 elements in a vector.
    const LANES: usize;
    /// Independent accumulators that the register file holds beside a few operands.
    const ACCUMULATORS: usize;

    /// Runs `f` compiled with this instruction set.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F32;
    /// The first [`Simd::LANES`] elements. Panics if there are fewer.
    fn load(self, src: &[f32]) -> Self::F32;
    /// Writes the first [`Simd::LANES`] elements. Panics if there are fewer.
    fn store(self, v: Self::F32, dst: &mut [f32]);
    /// Lane-wise a + b.
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Lane-wise a − b.
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Lane-wise a · b.
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Lane-wise a · b + c, fused where the ISA fuses.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// Lane-wise exclusive-or of the bits.
    fn xor(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The first [`Simd::LANES`] halves (IEEE binary16 bits), widened. Panics if there are fewer.
    fn load_f16(self, src: &[u16]) -> Self::F32;
    /// Rounds to nearest-even halves and writes the first [`Simd::LANES`]. Panics if there are fewer.
    fn store_f16(self, v: Self::F32, dst: &mut [u16]);
    /// Four halves, widened.
    #[inline(always)]
    fn four_f16(self, src: [u16; 4]) -> [f32; 4] {
        src.map(crate::format::f16::to_f32)
    }

    /// Fewer than [`Simd::LANES`] elements, the rest zero.
    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> Self::F32 {
        let mut buf = [0.0; MAX_LANES];
        buf[..src.len()].copy_from_slice(src);
        self.load(&buf)
    }

    /// At most [`Simd::LANES`] halves of any kind and, where they are fewer, zeros.
    #[inline(always)]
    fn halves_partial(self, src: &[u16]) -> [u16; MAX_LANES] {
        let mut all = [0; MAX_LANES];
        all[..src.len()].copy_from_slice(src);
        all
    }

    /// Writes only as many lanes as `dst` has elements.
    #[inline(always)]
    fn store_partial(self, v: Self::F32, dst: &mut [f32]) {
        let mut buf = [0.0; MAX_LANES];
        self.store(v, &mut buf);
        dst.copy_from_slice(&buf[..dst.len()]);
    }

    /// Asks for the cache lines of `row`, which will soon be written. A hint: it may do nothing.
    #[inline(always)]
    fn prefetch(self, row: &[f32]) {
        let _ = row;
    }

    /// Sum of all lanes, always in the same order.
    #[inline(always)]
    fn sum(self, v: Self::F32) -> f32 {
        let mut buf = [0.0; MAX_LANES];
        self.store(v, &mut buf);
        buf[..Self::LANES].iter().sum()
    }

    /// `src` as whole vectors in memory; what does not fill the last one is left out.
    fn vectors(src: &[f32]) -> &[Self::Lanes];

    /// One step of a matrix product: `acc[i][j] += a[i] · b[j]`, with `MR` scalars in `a` and `NV`
    /// vectors in `b`. Fixed sizes leave no bounds check, so that the loops unroll into registers.
    #[inline(always)]
    fn rank1<const MR: usize, const NV: usize>(self, acc: &mut [[Self::F32; NV]; MR], a: &[f32; MR], b: [Self::F32; NV]) {
        for i in 0..MR {
            let x = self.splat(a[i]);
            for j in 0..NV {
                acc[i][j] = self.fma(x, b[j], acc[i][j]);
            }
        }
    }

    /// A vector of [`Simd::LANES`] 32-bit integers.
    type I32: Copy;
    /// A vector's worth of words in memory: `[u32; LANES]`.
    type Words: AsRef<[u32]> + 'static;
    /// As many 16-bit elements: `[u16; LANES]`.
    type Halves: AsRef<[u16]> + 'static;

    /// `src` as whole vectors of words; what does not fill the last one is left out.
    fn words(src: &[u32]) -> &[Self::Words];
    /// `src` as whole vectors of 16-bit elements; what does not fill the last one is left out.
    fn halves(src: &[u16]) -> &[Self::Halves];
    /// The first [`Simd::LANES`] bfloat16 (their bits), widened. Panics if there are fewer.
    fn load_bf16(self, src: &[u16]) -> Self::F32;
    /// All lanes `x`.
    fn splat_i32(self, x: i32) -> Self::I32;
    /// The first [`Simd::LANES`] elements. Panics if there are fewer.
    fn load_i32(self, src: &[i32]) -> Self::I32;
    /// Writes the first [`Simd::LANES`] elements. Panics if there are fewer.
    fn store_i32(self, v: Self::I32, dst: &mut [i32]);
    /// Lane-wise a + b, wrapping.
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Lane-wise nearest f32.
    fn to_f32(self, v: Self::I32) -> Self::F32;
    /// The first [`Simd::LANES`] words. Panics if there are fewer.
    #[inline(always)]
    fn load_u32(self, src: &[u32]) -> Self::I32 {
        self.load_i32(bytemuck::cast_slice(src))
    }
    /// The first [`Simd::LANES`] bytes, as f32. Panics if there are fewer.
    fn load_i8(self, src: &[i8]) -> Self::F32;
    /// Bits that both have.
    fn and_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Bits that one of them has.
    fn or_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Lane-wise shift to the left by fewer than 32 bits.
    fn shl_i32(self, v: Self::I32, bits: u32) -> Self::I32;
    /// Lane-wise shift to the right by fewer than 32 bits, zeros coming in.
    fn shr_i32(self, v: Self::I32, bits: u32) -> Self::I32;

    /// The bits of f32 lanes.
    fn to_bits(self, v: Self::F32) -> Self::I32;
    /// f32 lanes of these bits.
    fn of_bits(self, v: Self::I32) -> Self::F32;
    /// Lane-wise whole part; unspecified where 32 bits do not hold it.
    fn truncate(self, v: Self::F32) -> Self::I32;
    /// Lane-wise larger one.
    fn max_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Writes the lowest byte of each lane to the first [`Simd::LANES`] elements. Panics if there are fewer.
    fn store_i8(self, v: Self::I32, dst: &mut [i8]);
    /// The largest lane.
    #[inline(always)]
    fn largest_i32(self, v: Self::I32) -> i32 {
        let mut buf = [0; MAX_LANES];
        self.store_i32(v, &mut buf);
        buf[..Self::LANES].iter().fold(i32::MIN, |m, x| m.max(*x))
    }
    /// Sum of all lanes, wrapping.
    #[inline(always)]
    fn sum_i32(self, v: Self::I32) -> i32 {
        let mut buf = [0; MAX_LANES];
        self.store_i32(v, &mut buf);
        buf[..Self::LANES].iter().fold(0, |sum: i32, x| sum.wrapping_add(*x))
    }

    /// [`Simd::largest_i32`] of each vector.
    #[inline(always)]
    fn largest_each<const N: usize>(self, v: [Self::I32; N]) -> [i32; N] {
        let mut out = [0; N];
        for i in 0..N {
            out[i] = self.largest_i32(v[i]);
        }
        out
    }
    /// [`Simd::sum_i32`] of each vector.
    #[inline(always)]
    fn sum_each<const N: usize>(self, v: [Self::I32; N]) -> [i32; N] {
        let mut out = [0; N];
        for i in 0..N {
            out[i] = self.sum_i32(v[i]);
        }
        out
    }
    /// Rows of 32 elements that are bytes, as lines of four bytes of each row. A row is in the first
    /// 32 / [`Simd::LANES`] of its vectors.
    #[inline(always)]
    fn interleave<const MR: usize>(self, rows: &[[Self::I32; 32]; MR], lines: &mut [[u32; MR]; 8]) {
        for (i, row) in rows.iter().enumerate() {
            let mut bytes = [0i8; 32];
            for (v, out) in row.iter().zip(bytes.chunks_exact_mut(Self::LANES)) {
                self.store_i8(*v, out);
            }
            let words: &[u32; 8] = bytemuck::cast_ref(&bytes);
            for (line, word) in lines.iter_mut().zip(words) {
                line[i] = *word;
            }
        }
    }

    /// Asks for the cache lines of `len` words, `from` words behind the beginning of `src`; they may lie
    /// beyond its end. A hint.
    #[inline(always)]
    fn prefetch_ahead(self, src: &[u32], from: usize, len: usize) {
        (from..from + len).step_by(LINE).for_each(|line| ask(src.as_ptr().wrapping_add(line).cast()));
    }
}

/// An instruction set that multiplies small integers and sums neighbouring products in 32-bit lanes,
/// exactly.
pub trait IntDot: Simd {
    /// A vector of B in memory: [`Simd::LANES`] times [`IntDot::DEPTH`] bytes.
    type Bytes: 'static;
    /// Products that are summed in a lane: 2 or 4.
    const DEPTH: usize;
    /// B is unsigned: each of its elements is offset by 128.
    const OFFSET: bool;

    /// `src` as whole vectors.
    fn bytes(src: &[u32]) -> &[Self::Bytes];
    /// Two elements of A as [`IntDot::rank1_s8`] wants them, where DEPTH is 2.
    fn pair(low: i8, high: i8) -> u32 {
        u32::from(low.cast_unsigned()) | u32::from(high.cast_unsigned()) << 8
    }
    /// `acc[i][j] += a[i] · b[j]`: each lane of `b[j]` holds DEPTH elements, as `a[i]` does.
    fn rank1_s8<const MR: usize, const NV: usize>(self, acc: &mut [[Self::I32; NV]; MR], a: &[u32; MR], b: &[Self::Bytes; NV]);

    /// Weights of eight bits are unsigned for [`IntDot::quad`]: each of them is offset by 128.
    const UNSIGNED: bool;
    /// Words that four elements of A fill for [`IntDot::quad`] with weights of eight bits: 2 where
    /// they are multiplied as 16-bit elements.
    const WIDE: usize = 1;
    /// Four elements of A, the bytes of `quad`, in [`IntDot::WIDE`] words.
    fn wide(quad: u32) -> [u32; 2] {
        [quad, 0]
    }
    /// Rows of a tile from which on weights in blocks are unpacked once for a whole panel, before they are
    /// multiplied; in tiles of fewer, in registers.
    const PANEL_ROWS: usize = usize::MAX;
    /// What a sum of a row starts from, beside what all do, is taken from it at its end, by all of its vectors at
    /// once, because copies and products share pipes.
    const LATE: bool = false;
    /// The upper four bits of each byte, moved down.
    #[inline(always)]
    fn upper_halves(self, v: Self::I32) -> Self::I32 {
        self.and_i32(self.shr_i32(v, 4), self.splat_i32(0x0f0f_0f0f))
    }
    /// As [`Simd::load_f16`], of finite numbers.
    #[inline(always)]
    fn load_scales(self, src: &[u16]) -> Self::F32 {
        self.load_f16(src)
    }
    /// All lanes the one number in `x`, to begin a sum with: loaded where copies and products share pipes.
    #[inline(always)]
    fn begin(self, x: &[i32; 4]) -> Self::I32 {
        self.splat_i32(x[0])
    }
    /// `acc[i][j] += a[i] · b[j]`: each lane of `b[j]` holds four weights, as `a[..][i]` does elements.
    /// `small` weights are below 64; then `a` is one line of words, and [`IntDot::WIDE`] lines else.
    fn quad<const MR: usize, const NV: usize>(self, acc: &mut [[Self::I32; NV]; MR], a: &[[u32; MR]], b: &[Self::I32; NV], small: bool);
}

/// An instruction set that multiplies pairs of bfloat16 and adds their products to f32 lanes.
pub trait Bf16Dot: Simd {
    /// `acc[i][j] += a[i] · b[j]`: each lane of `b[j]` holds two bfloat16, as `a[i]` does.
    fn rank1_bf16<const MR: usize, const NV: usize>(self, acc: &mut [[Self::F32; NV]; MR], a: &[u32; MR], b: &[Self::Words; NV]);
}

/// An instruction set that multiplies halves and adds their products, unrounded, to f32 lanes.
pub trait F16Fma: Simd {
    /// `acc[i][j] += a[i] · b[j]`: each word of `a` holds one half, in its low bits.
    fn rank1_f16<const MR: usize, const NV: usize>(self, acc: &mut [[Self::F32; NV]; MR], a: &[u32; MR], b: &[Self::Halves; NV]);
}

/// An instruction set that multiplies blocks: a vector of four results is two rows by two columns, each
/// the scalar product of eight bytes (elements of type `E`) of its row of A and of its column of B.
pub trait BlockDot<E>: Simd {
    /// A block of results, or four results of one row.
    type Block: Copy;
    /// Element of a result.
    type Result;

    /// Zeros.
    fn zero(self) -> Self::Block;
    /// `acc` + two rows of A · two columns of B.
    fn multiply(self, acc: Self::Block, a: Self::I32, b: Self::I32) -> Self::Block;
    /// The first and the second row of two neighbouring blocks.
    fn rows(self, left: Self::Block, right: Self::Block) -> [Self::Block; 2];
    /// Writes or adds four results of one row.
    fn put(self, row: Self::Block, out: &mut [Self::Result], accumulate: bool);
}

/// Implements [`Simd`] for a token that is another one with further instructions.
macro_rules! extends {
    ($isa:ident $base:ident $features:literal) => {
        impl Simd for $isa {
            type F32 = <$base as Simd>::F32;
            type Lanes = <$base as Simd>::Lanes;
            type I32 = <$base as Simd>::I32;
            type Words = <$base as Simd>::Words;
            type Halves = <$base as Simd>::Halves;
            const LANES: usize = <$base as Simd>::LANES;
            const ACCUMULATORS: usize = <$base as Simd>::ACCUMULATORS;

            #[inline(always)]
            fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
                #[target_feature(enable = $features)]
                fn enabled<R>(f: impl FnOnce() -> R) -> R {
                    f()
                }
                // SAFETY: `self` proves that the CPU has these features.
                unsafe { enabled(f) }
            }
            $crate::isa::delegate! { $isa
                splat(x: f32) -> Self::F32;
                load(src: &[f32]) -> Self::F32;
                store(v: Self::F32, dst: &mut [f32]) -> ();
                add(a: Self::F32, b: Self::F32) -> Self::F32;
                sub(a: Self::F32, b: Self::F32) -> Self::F32;
                mul(a: Self::F32, b: Self::F32) -> Self::F32;
                fma(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
                xor(a: Self::F32, b: Self::F32) -> Self::F32;
                load_f16(src: &[u16]) -> Self::F32;
                store_f16(v: Self::F32, dst: &mut [u16]) -> ();
                four_f16(src: [u16; 4]) -> [f32; 4];
                load_bf16(src: &[u16]) -> Self::F32;
                load_partial(src: &[f32]) -> Self::F32;
                halves_partial(src: &[u16]) -> [u16; $crate::isa::MAX_LANES];
                store_partial(v: Self::F32, dst: &mut [f32]) -> ();
                prefetch(row: &[f32]) -> ();
                sum(v: Self::F32) -> f32;
                splat_i32(x: i32) -> Self::I32;
                load_i32(src: &[i32]) -> Self::I32;
                store_i32(v: Self::I32, dst: &mut [i32]) -> ();
                add_i32(a: Self::I32, b: Self::I32) -> Self::I32;
                to_f32(v: Self::I32) -> Self::F32;
                load_i8(src: &[i8]) -> Self::F32;
                and_i32(a: Self::I32, b: Self::I32) -> Self::I32;
                or_i32(a: Self::I32, b: Self::I32) -> Self::I32;
                shl_i32(v: Self::I32, bits: u32) -> Self::I32;
                shr_i32(v: Self::I32, bits: u32) -> Self::I32;
                to_bits(v: Self::F32) -> Self::I32;
                of_bits(v: Self::I32) -> Self::F32;
                truncate(v: Self::F32) -> Self::I32;
                max_i32(a: Self::I32, b: Self::I32) -> Self::I32;
                store_i8(v: Self::I32, dst: &mut [i8]) -> ();
                largest_i32(v: Self::I32) -> i32;
                sum_i32(v: Self::I32) -> i32;
            }
            #[inline(always)]
            fn largest_each<const N: usize>(self, v: [Self::I32; N]) -> [i32; N] {
                self.0.largest_each(v)
            }
            #[inline(always)]
            fn sum_each<const N: usize>(self, v: [Self::I32; N]) -> [i32; N] {
                self.0.sum_each(v)
            }
            #[inline(always)]
            fn interleave<const MR: usize>(self, rows: &[[Self::I32; 32]; MR], lines: &mut [[u32; MR]; 8]) {
                self.0.interleave(rows, lines);
            }
            #[inline(always)]
            fn vectors(src: &[f32]) -> &[Self::Lanes] {
                <$base as Simd>::vectors(src)
            }
            #[inline(always)]
            fn words(src: &[u32]) -> &[Self::Words] {
                <$base as Simd>::words(src)
            }
            #[inline(always)]
            fn halves(src: &[u16]) -> &[Self::Halves] {
                <$base as Simd>::halves(src)
            }
            #[inline(always)]
            fn rank1<const MR: usize, const NV: usize>(self, acc: &mut [[Self::F32; NV]; MR], a: &[f32; MR], b: [Self::F32; NV]) {
                self.0.rank1(acc, a, b);
            }
        }
    };
}
pub(crate) use extends;

/// Methods that do what the token inside does.
macro_rules! delegate {
    ($isa:ident $($method:ident($($arg:ident: $type:ty),*) -> $result:ty;)+) => {
        $(#[inline(always)]
        fn $method(self, $($arg: $type),*) -> $result {
            self.0.$method($($arg),*)
        })+
    };
}
pub(crate) use delegate;

/// f32 elements of a cache line.
pub(crate) const LINE: usize = 16;

/// No [`Simd`] vector has more f32 lanes than this.
pub const MAX_LANES: usize = 16;
