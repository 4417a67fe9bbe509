//! How systems are compared in a format: what operands lie in memory as, which values they have, and how
//! far results may be off.

use crate::measure::spot;
use kiln_kernels::format::{Format, f16};
use kiln_kernels::reference::Dot;

/// What operands lie in memory as. Those of plain formats are f32 values that the format has exactly, so
/// that every system can take them; blocks of weights are themselves, and only ours takes them.
pub fn stored(format: Format) -> Format {
    if format.is_blocks() { format } else { Format::F32 }
}

/// A value that the format has exactly, near `x` in −1..1. Bytes use their whole range; of blocks any
/// value will do. What weights are stored as holds for both sides, whatever rows may lie in memory as.
pub fn nearest(format: Format, x: f32) -> f32 {
    match format.stored() {
        Format::F16 => f16::to_f32(f16::from_f32(x)),
        // Cut off rather than rounded: any value of the format will do.
        Format::Bf16 => f32::from_bits(x.to_bits() & 0xffff_0000),
        Format::S8 => (x * 127.0).round(),
        _ => x,
    }
}

/// A value of the format in −1..1, in proportion.
pub fn unit(format: Format, x: f32) -> f32 {
    if format == Format::S8 { x / 127.0 } else { x }
}

/// How far an element of depth `k` may be from `want`.
pub fn tolerance(format: Format, k: usize, want: Dot) -> f64 {
    match format {
        // Products of two bf16 are exact in f32; the result may be rounded to bf16, by 2⁻⁹ of it.
        Format::Bf16 => spot::rounding(k, want) + want.value.abs() / 256.0,
        Format::S8 => 0.0,
        _ => spot::rounding(k, want),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_format() {
        for x in [-1.0f32, -0.3, 0.0, 1e-30, 0.77, 0.999] {
            assert_eq!(nearest(Format::F32, x), x);
            assert_eq!(nearest(Format::Bf16, x).to_bits() & 0xffff, 0);
            assert!((nearest(Format::Bf16, x) - x).abs() <= x.abs() / 128.0);
            assert!((nearest(Format::F16, x) - x).abs() <= x.abs() / 1024.0 + 1e-7);
            assert_eq!(nearest(Format::Bf16Rounded, x), nearest(Format::Bf16, x));
            assert_eq!(nearest(Format::F16Weights, x), nearest(Format::F16, x));
            let byte = nearest(Format::S8, x);
            assert_eq!(f32::from(byte as i8), byte);
        }
    }
}
