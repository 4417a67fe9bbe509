//! Q4_1: 32 quants of 4 bits with a scale and a minimum.

use super::Format;
use super::block::{self, SPAN, finite, inverse, nibbles, range, with_nibbles};
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
    /// Depths 0…15 in the lower halves, 16…31 in the upper ones.
    pub quants: [u8; SPAN / 2],
}

const _: () = assert!(size_of::<Block>() == 20);

impl block::Block for Block {
    const FORMAT: Format = Format::Q4_1;
    const ROWS: Format = Format::Q4_1Rows;
    const DEPTH: usize = SPAN;
    const BITS: usize = 4;
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
        nibbles(&self.quants)
    }

    fn quantise(x: &[f32]) -> Block {
        let (least, most) = range(x);
        let d = (most - least) / 15.0;
        let inverse = inverse(d);
        let quants = core::array::from_fn(|i| (((x[i] - least) * inverse + 0.5) as i8).min(15).cast_unsigned());
        Block { d: finite(d), m: finite(least), quants: with_nibbles(&quants) }
    }
}
