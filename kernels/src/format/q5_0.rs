//! Q5_0: 32 quants of 5 bits, less 16, with a scale.

use super::Format;
use super::block::{self, SPAN, extreme, fifth_bits, finite, inverse, nibbles, with_fifth_bits, with_nibbles};
use bytemuck::{Pod, Zeroable};
use half::f16;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Scale.
    pub d: f16,
    /// The fifth bits, depth by depth from the lowest bit on.
    pub high: [u8; SPAN / 8],
    /// The lower four bits, depths 0…15 in the lower halves, 16…31 in the upper ones.
    pub quants: [u8; SPAN / 2],
}

const _: () = assert!(size_of::<Block>() == 22);

impl block::Block for Block {
    const FORMAT: Format = Format::Q5_0;
    const ROWS: Format = Format::Q5_0Rows;
    const DEPTH: usize = SPAN;
    const BITS: usize = 5;
    const OFFSET: i32 = 16;

    fn scale(&self) -> f16 {
        self.d
    }
    #[inline]
    fn quants(&self, _: usize) -> [u8; SPAN] {
        fifth_bits(nibbles(&self.quants), self.high)
    }

    fn quantise(x: &[f32]) -> Block {
        let d = extreme(x) / -16.0;
        let inverse = inverse(d);
        let quants = core::array::from_fn(|i| ((x[i] * inverse + 16.5) as i8).min(31).cast_unsigned());
        Block { d: finite(d), high: with_fifth_bits(&quants), quants: with_nibbles(&quants) }
    }
}
