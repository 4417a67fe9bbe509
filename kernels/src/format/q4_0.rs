//! Q4_0: 32 quants of 4 bits, less 8, with a scale.

use super::Format;
use super::block::{self, SPAN, extreme, finite, inverse, nibbles, with_nibbles};
use bytemuck::{Pod, Zeroable};
use half::f16;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Scale.
    pub d: f16,
    /// Depths 0…15 in the lower halves, 16…31 in the upper ones.
    pub quants: [u8; SPAN / 2],
}

const _: () = assert!(size_of::<Block>() == 18);

impl block::Block for Block {
    const FORMAT: Format = Format::Q4_0;
    const ROWS: Format = Format::Q4_0Rows;
    const DEPTH: usize = SPAN;
    const BITS: usize = 4;
    const OFFSET: i32 = 8;

    fn scale(&self) -> f16 {
        self.d
    }
    #[inline]
    fn quants(&self, _: usize) -> [u8; SPAN] {
        nibbles(&self.quants)
    }

    fn quantise(x: &[f32]) -> Block {
        let d = extreme(x) / -8.0;
        let inverse = inverse(d);
        let quants = core::array::from_fn(|i| ((x[i] * inverse + 8.5) as i8).min(15).cast_unsigned());
        Block { d: finite(d), quants: with_nibbles(&quants) }
    }
}
