//! The formats that systems are compared in, whether or not ours has kernels for them yet.

use crate::measure::spot;
use kiln_kernels::reference::Dot;
use std::fmt;

/// How the elements of both operands are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// IEEE 754 binary32.
    F32,
    /// The upper half of a binary32; sums are kept in f32.
    Bf16,
    /// Signed bytes; sums are kept in 32-bit integers.
    S8,
}

impl Format {
    /// Its name, as kernels have it.
    pub fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::Bf16 => "bf16",
            Format::S8 => "s8",
        }
    }

    /// A value that the format has exactly, near `x` in −1..1. Bytes use their whole range.
    pub fn nearest(self, x: f32) -> f32 {
        match self {
            Format::F32 => x,
            // Cut off rather than rounded: any value of the format will do.
            Format::Bf16 => f32::from_bits(x.to_bits() & 0xffff_0000),
            Format::S8 => (x * 127.0).round(),
        }
    }

    /// A value of the format in −1..1, in proportion.
    pub fn unit(self, x: f32) -> f32 {
        match self {
            Format::F32 | Format::Bf16 => x,
            Format::S8 => x / 127.0,
        }
    }

    /// How far an element of depth `k` may be from `want`.
    pub fn tolerance(self, k: usize, want: Dot) -> f64 {
        match self {
            Format::F32 => spot::rounding(k, want),
            // Products of two bf16 are exact in f32; the result may be rounded to bf16, by 2⁻⁹ of it.
            Format::Bf16 => spot::rounding(k, want) + want.value.abs() / 256.0,
            Format::S8 => 0.0,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_format() {
        for x in [-1.0f32, -0.3, 0.0, 1e-30, 0.77, 0.999] {
            assert_eq!(Format::F32.nearest(x), x);
            assert_eq!(Format::Bf16.nearest(x).to_bits() & 0xffff, 0);
            assert!((Format::Bf16.nearest(x) - x).abs() <= x.abs() / 128.0);
            let byte = Format::S8.nearest(x);
            assert_eq!(f32::from(byte as i8), byte);
        }
    }
}
