//! Instruction sets: one file each, one list of them.
//!
//! A token such as `Avx2` is a zero-sized proof: it can only be made by [`Isa::detect`], so code
//! that holds one may use the instructions without being `unsafe` to call. This module never
//! chooses between instruction sets; that is what profiles are for.

use core::fmt;
use core::str::FromStr;

mod scalar;
pub use scalar::Scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
#[cfg(target_arch = "aarch64")]
mod sve;
#[cfg(target_arch = "aarch64")]
pub use sve::Sve;
#[cfg(target_arch = "aarch64")]
pub(crate) use sve::sve_asm;

pub mod peak;
mod square;
pub mod stream;
pub(crate) use square::turn;

/// The list of instruction sets: `Token "name" "architecture" "source"`; "any" runs everywhere.
macro_rules! with_isas {
    ($m:ident) => {
        $m! {
            Scalar "scalar" "any" "scalar.rs";
            Avx2 "avx2" "x86_64" "avx2.rs";
            Avx512 "avx512" "x86_64" "avx512.rs";
            Neon "neon" "aarch64" "neon.rs";
            Sve "sve" "aarch64" "sve.rs";
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

            /// Whether this CPU has it.
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

    /// The proof, when this CPU (and its operating system) has the instructions.
    fn detect() -> Option<Self>;
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

    /// Fewer than [`Simd::LANES`] elements, the rest zero.
    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> Self::F32 {
        let mut buf = [0.0; MAX_LANES];
        buf[..src.len()].copy_from_slice(src);
        self.load(&buf)
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
    fn rank1<const MR: usize, const NV: usize>(self, acc: &mut [[Self::F32; NV]; MR], a: &[f32; MR], b: &[Self::Lanes; NV]) {
        let mut bv = [self.splat(0.0); NV];
        for j in 0..NV {
            bv[j] = self.load(b[j].as_ref());
        }
        for i in 0..MR {
            let x = self.splat(a[i]);
            for j in 0..NV {
                acc[i][j] = self.fma(x, bv[j], acc[i][j]);
            }
        }
    }
}

/// f32 elements of a cache line.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const LINE: usize = 16;

/// No [`Simd`] vector has more f32 lanes than this.
pub const MAX_LANES: usize = 16;
