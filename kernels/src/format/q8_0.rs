//! Q8_0: 32 signed bytes with a scale.

use super::Format;
use super::block::{self, SPAN, finite, inverse};
use bytemuck::{Pod, Zeroable};
use half::f16;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Scale.
    pub d: f16,
    /// Weights over the scale.
    pub quants: [i8; SPAN],
}

const _: () = assert!(size_of::<Block>() == 34);

impl block::Block for Block {
    const FORMAT: Format = Format::Q8_0;
    const ROWS: Format = Format::Q8_0Rows;
    const DEPTH: usize = SPAN;
    const BITS: usize = 8;
    const OFFSET: i32 = 128;

    fn scale(&self) -> f16 {
        self.d
    }
    #[inline]
    fn quants(&self, _: usize) -> [u8; SPAN] {
        self.quants.map(|q| q.cast_unsigned() ^ 0x80)
    }

    fn quantise(x: &[f32]) -> Block {
        let largest = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let d = largest / 127.0;
        let inverse = inverse(d);
        Block { d: finite(d), quants: core::array::from_fn(|i| (x[i] * inverse).round() as i8) }
    }
}
