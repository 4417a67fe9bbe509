//! What can be multiplied: one type for each combination of operand formats, with its elements, its
//! result and the meaning of each element. Nothing here is fast; kernels are.

use super::{Gemm, LinearKernel};
use crate::format::{Block, Format, SPAN};
use crate::isa::Simd;
use bytemuck::Pod;
use core::marker::PhantomData;
use half::{bf16, f16};

/// A matrix product C = A·B by the formats of its operands.
pub trait Product: Copy + Send + Sync + 'static {
    /// The format of B, which names the product.
    const FORMAT: Format;
    /// Depths that one element of B stands for: more than 1 for block formats.
    const B_DEPTH: usize;
    /// Element of A.
    type A: Pod + Send + Sync;
    /// Element of B.
    type B: Pod + Send + Sync;
    /// Element of C.
    type C: Output;

    /// The values of a row of A, as the product takes them.
    fn a_values(row: &[Self::A]) -> Vec<f64>;
    /// The value of depth `at` (below [`Product::B_DEPTH`]) of an element of B.
    fn b_value(b: &Self::B, at: usize) -> f64;
    /// The sum of the magnitudes of what that value is made of: more than its own where a kernel adds
    /// parts of it apart.
    fn b_magnitude(b: &Self::B, at: usize) -> f64 {
        Self::b_value(b, at).abs()
    }
    /// Whether all that an element of B stands for is finite.
    fn is_finite(b: &Self::B) -> bool;
    /// Bytes of `k` elements of B along the depth.
    fn b_bytes(k: usize) -> usize {
        k.div_ceil(Self::B_DEPTH) * size_of::<Self::B>()
    }
    /// The kernel as one of linear layers, if A and C are of f32.
    fn linear(gemm: &Gemm<Self>) -> Option<&dyn LinearKernel> {
        let _ = gemm;
        None
    }
    /// The element of A nearest to `x`, which is in −1..1.
    fn a_of(x: f32) -> Self::A;
    /// The element of B nearest to as many values as it stands for, each in −1..1.
    fn b_of(x: &[f32]) -> Self::B;
}

/// Element of a result.
pub trait Output: Pod + PartialEq + core::fmt::Debug + Send + Sync {
    /// Nothing.
    const ZERO: Self;
    /// The sum, as kernels form it: rounded, or wrapping.
    fn plus(self, other: Self) -> Self;
    /// Its value.
    fn value(self) -> f64;
    /// The nearest element to a small whole number.
    fn of(x: i32) -> Self;
    /// How far a sum of `k` products whose magnitudes add up to `magnitude` may be off.
    fn tolerance(k: usize, magnitude: f64) -> f64;

    /// A vector of sums.
    type Vector<I: Simd>: Copy;
    /// What sums begin with: the word at the head of a strip of A, of 0 where it has none.
    fn start<I: Simd>(isa: I, head: u32) -> Self::Vector<I>;
    /// Writes or adds a vector of sums to the first [`Simd::LANES`] elements. Panics if there are fewer.
    fn put<I: Simd>(isa: I, v: Self::Vector<I>, out: &mut [Self], accumulate: bool);
}

impl Output for f32 {
    const ZERO: f32 = 0.0;
    type Vector<I: Simd> = I::F32;
    #[inline(always)]
    fn start<I: Simd>(isa: I, head: u32) -> I::F32 {
        isa.splat(f32::from_bits(head))
    }
    #[inline(always)]
    fn put<I: Simd>(isa: I, v: I::F32, out: &mut [f32], accumulate: bool) {
        let v = if accumulate { isa.add(isa.load(out), v) } else { v };
        isa.store(v, out);
    }
    #[inline]
    fn plus(self, other: f32) -> f32 {
        self + other
    }
    fn value(self) -> f64 {
        self.into()
    }
    fn of(x: i32) -> f32 {
        x as f32
    }
    /// γ(k+2) of the sum of magnitudes (Higham 2002, section 3.1).
    fn tolerance(k: usize, magnitude: f64) -> f64 {
        (k + 2) as f64 * f64::from(f32::EPSILON) * magnitude
    }
}

impl Output for i32 {
    const ZERO: i32 = 0;
    type Vector<I: Simd> = I::I32;
    #[inline(always)]
    fn start<I: Simd>(isa: I, head: u32) -> I::I32 {
        isa.splat_i32(head.cast_signed())
    }
    #[inline(always)]
    fn put<I: Simd>(isa: I, v: I::I32, out: &mut [i32], accumulate: bool) {
        let v = if accumulate { isa.add_i32(isa.load_i32(out), v) } else { v };
        isa.store_i32(v, out);
    }
    #[inline]
    fn plus(self, other: i32) -> i32 {
        self.wrapping_add(other)
    }
    fn value(self) -> f64 {
        self.into()
    }
    fn of(x: i32) -> i32 {
        x
    }
    /// Integers are exact.
    fn tolerance(_: usize, _: f64) -> f64 {
        0.0
    }
}

/// f32 × f32 → f32.
#[derive(Clone, Copy, Debug)]
pub struct Single;

/// f16 × f16 → f32.
#[derive(Clone, Copy, Debug)]
pub struct Half;

/// f32 × f16 → f32: weights in halves, multiplied without rounding what they meet.
#[derive(Clone, Copy, Debug)]
pub struct HalfWeights;

/// f32 × bf16 → f32, likewise.
#[derive(Clone, Copy, Debug)]
pub struct BFloatWeights;

/// bf16 × bf16 → f32. Elements below the smallest normal bf16 (2^-126) may count as 0, which AVX512-BF16's instruction
/// makes of them.
#[derive(Clone, Copy, Debug)]
pub struct BFloat;

/// f32 × bf16 → f32, where f32 is rounded to bf16 before it is multiplied; otherwise as [`BFloat`].
#[derive(Clone, Copy, Debug)]
pub struct BFloatRounded;

/// s8 × s8 → s32, exact as long as K is below 2^17.
#[derive(Clone, Copy, Debug)]
pub struct Byte;

/// Product, format; element of A, how it is made of f32; the same of B; element of C; `linear` if A and C are of f32.
macro_rules! plain {
    ($($product:ident $format:ident: $a:ty, $a_of:expr; $b:ty, $b_of:expr; $c:ty $(, $linear:ident)?;)+) => {$(
        impl Product for $product {
            const FORMAT: Format = Format::$format;
            const B_DEPTH: usize = 1;
            type A = $a;
            type B = $b;
            type C = $c;

            fn a_values(row: &[$a]) -> Vec<f64> {
                row.iter().map(|a| f64::from(*a)).collect()
            }
            fn b_value(b: &$b, _: usize) -> f64 {
                f64::from(*b)
            }
            #[inline(always)]
            fn is_finite(b: &$b) -> bool {
                f32::from(*b).is_finite()
            }
            $(fn $linear(gemm: &Gemm<Self>) -> Option<&dyn LinearKernel> {
                Some(gemm)
            })?
            fn a_of(x: f32) -> $a {
                $a_of(x)
            }
            fn b_of(x: &[f32]) -> $b {
                $b_of(x[0])
            }
        }
    )+};
}

plain! {
    Single F32: f32, core::convert::identity; f32, core::convert::identity; f32, linear;
    Half F16: f16, f16::from_f32; f16, f16::from_f32; f32;
    BFloat Bf16: bf16, bf16::from_f32; bf16, bf16::from_f32; f32;
    HalfWeights F16Weights: f32, core::convert::identity; f16, f16::from_f32; f32, linear;
    BFloatWeights Bf16Weights: f32, core::convert::identity; bf16, bf16::from_f32; f32, linear;
    Byte S8: i8, byte; i8, byte; i32;
}

fn byte(x: f32) -> i8 {
    (x * 127.0).round() as i8
}

impl Product for BFloatRounded {
    const FORMAT: Format = Format::Bf16Rounded;
    const B_DEPTH: usize = 1;
    type A = f32;
    type B = bf16;
    type C = f32;

    /// The values after rounding, ties to even.
    fn a_values(row: &[f32]) -> Vec<f64> {
        row.iter().map(|a| f64::from(bf16::from_f32(*a))).collect()
    }
    fn b_value(b: &bf16, _: usize) -> f64 {
        f64::from(*b)
    }
    #[inline(always)]
    fn is_finite(b: &bf16) -> bool {
        BFloat::is_finite(b)
    }
    fn linear(gemm: &Gemm<Self>) -> Option<&dyn LinearKernel> {
        Some(gemm)
    }
    fn a_of(x: f32) -> f32 {
        x
    }
    fn b_of(x: &[f32]) -> bf16 {
        BFloat::b_of(x)
    }
}

/// f32 × blocks of weights → f32: each row of A is quantised to s8 with a scale for each [`SPAN`] depths, or
/// (`ROWS`) with one for the whole row, and the products of a span are summed exactly.
///
/// With one scale a row there is less to multiply, but what is small beside the largest element of its row
/// loses digits, and an outlier costs all others theirs: this is an accuracy class of its own, and its
/// formats have names of their own.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<B, const ROWS: bool = false>(PhantomData<B>);

impl<B: Block, const ROWS: bool> Product for Blocks<B, ROWS> {
    const FORMAT: Format = if ROWS { B::ROWS } else { B::FORMAT };
    const B_DEPTH: usize = B::DEPTH;
    type A = f32;
    type B = B;
    type C = f32;

    /// The values after quantising: multiples of amax / 127, rounded half away from zero. A span (or row)
    /// whose scale would be below the normal numbers is taken for zeros; one that has an element that is not
    /// finite is all NaN, and so is all of the row's result.
    fn a_values(row: &[f32]) -> Vec<f64> {
        let quantised = row.chunks(if ROWS { row.len().max(1) } else { SPAN }).flat_map(|part| {
            let finite = part.iter().all(|x| x.is_finite());
            let d = part.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 127.0;
            let scale = if finite { f64::from(d) } else { f64::NAN };
            let inverse = if finite && d >= f32::MIN_POSITIVE { 1.0 / d } else { 0.0 };
            part.iter().map(move |x| scale * f64::from(if finite { (x * inverse).round() } else { 0.0 }))
        });
        quantised.collect()
    }
    fn b_value(b: &B, at: usize) -> f64 {
        b.value(at)
    }
    fn b_magnitude(b: &B, at: usize) -> f64 {
        b.terms(at).iter().map(|term| term.abs()).sum()
    }
    fn linear(gemm: &Gemm<Self>) -> Option<&dyn LinearKernel> {
        Some(gemm)
    }
    #[inline(always)]
    fn is_finite(b: &B) -> bool {
        b.scale().is_finite() & b.minimum().is_finite()
    }
    fn a_of(x: f32) -> f32 {
        x
    }
    fn b_of(x: &[f32]) -> B {
        B::quantise(x)
    }
}

/// The product of a line in the list of formats.
#[doc(hidden)]
#[macro_export]
macro_rules! product_of {
    (plain $product:ident) => { $crate::gemm::product::$product };
    (block $module:ident) => { $crate::gemm::product::Blocks<$crate::format::$module::Block> };
    (rows $module:ident) => { $crate::gemm::product::Blocks<$crate::format::$module::Block, true> };
}

/// `with_product!(format, P => expression)`: the expression with `P` as the product that a format names.
#[macro_export]
macro_rules! with_product {
    ($format:expr, $product:ident => $body:expr) => {
        $crate::with_formats!([$crate::with_product] @match ($format) $product ($body))
    };
    (@match ($given:expr) $product:ident ($body:expr) $($format:ident $name:literal $kind:ident $type:ident $doc:literal;)+) => {
        match $given {
            $($crate::format::Format::$format => {
                type $product = $crate::product_of!($kind $type);
                $body
            })+
        }
    };
}
