//! Q5_1: 32 quants of 5 bits with a scale and a minimum.

use super::Format;
use super::block::{self, SPAN, fifth_bits, finite, inverse, nibbles, range, with_fifth_bits, with_nibbles};
use bytemuck::{Pod, Zeroable};
use half::f16;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Scale.
    pub d: f16,
    /// Minimum.
    pub m: f16,
    /// The fifth bits, depth by depth from the lowest bit on.
    pub high: [u8; SPAN / 8],
    /// The lower four bits, depths 0…15 in the lower halves, 16…31 in the upper ones.
    pub quants: [u8; SPAN / 2],
}

const _: () = assert!(size_of::<Block>() == 24);

impl block::Block for Block {
    const FORMAT: Format = Format::Q5_1;
    const ROWS: Format = Format::Q5_1Rows;
    const DEPTH: usize = SPAN;
    const BITS: usize = 5;
    const OFFSET: i32 = 0;
    const MINIMUM: bool = true;

    fn scale(&self) -> f16 {
        self.d
    }
    fn minimum(&self) -> f16 {
        self.m
    }
    #[inline]
    fn quants(&self, _: usize) -> [u8; SPAN] {
        fifth_bits(nibbles(&self.quants), self.high)
    }

    fn quantise(x: &[f32]) -> Block {
        let (least, most) = range(x);
        let d = (most - least) / 31.0;
        let inverse = inverse(d);
        let quants = core::array::from_fn(|i| (((x[i] - least) * inverse + 0.5) as u8).min(31));
        Block { d: finite(d), m: finite(least), high: with_fifth_bits(&quants), quants: with_nibbles(&quants) }
    }
}
