//! What can be multiplied: one type for each combination of operand formats, with its elements, its
//! result and the meaning of each element. Nothing here is fast; kernels are.

use crate::format::Format;
use bytemuck::Pod;
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

    /// The value of an element of A.
    fn a_value(a: Self::A) -> f64;
    /// The value of depth `at` (below [`Product::B_DEPTH`]) of an element of B.
    fn b_value(b: &Self::B, at: usize) -> f64;
    /// Bytes of `k` elements of B along the depth.
    fn b_bytes(k: usize) -> usize {
        k.div_ceil(Self::B_DEPTH) * size_of::<Self::B>()
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
}

impl Output for f32 {
    const ZERO: f32 = 0.0;
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

/// bf16 × bf16 → f32.
#[derive(Clone, Copy, Debug)]
pub struct BFloat;

/// s8 × s8 → s32, exact as long as K is below 2^17.
#[derive(Clone, Copy, Debug)]
pub struct Byte;

macro_rules! plain {
    ($product:ident $format:ident $element:ty => $result:ty, $value:expr, $of:expr) => {
        impl Product for $product {
            const FORMAT: Format = Format::$format;
            const B_DEPTH: usize = 1;
            type A = $element;
            type B = $element;
            type C = $result;

            fn a_value(a: $element) -> f64 {
                $value(a)
            }
            fn b_value(b: &$element, _: usize) -> f64 {
                $value(*b)
            }
            fn a_of(x: f32) -> $element {
                $of(x)
            }
            fn b_of(x: &[f32]) -> $element {
                $of(x[0])
            }
        }
    };
}

plain!(Single F32 f32 => f32, f64::from, |x| x);
plain!(Half F16 f16 => f32, f64::from, f16::from_f32);
plain!(BFloat Bf16 bf16 => f32, f64::from, bf16::from_f32);
plain!(Byte S8 i8 => i32, f64::from, |x: f32| (x * 127.0).round() as i8);

/// `with_product!(format, P => expression)`: the expression with `P` as the product that a format names.
#[macro_export]
macro_rules! with_product {
    ($format:expr, $product:ident => $body:expr) => {
        match $format {
            $crate::format::Format::F32 => {
                type $product = $crate::gemm::product::Single;
                $body
            }
            $crate::format::Format::F16 => {
                type $product = $crate::gemm::product::Half;
                $body
            }
            $crate::format::Format::Bf16 => {
                type $product = $crate::gemm::product::BFloat;
                $body
            }
            $crate::format::Format::S8 => {
                type $product = $crate::gemm::product::Byte;
                $body
            }
        }
    };
}
