//! Q5_K: 256 quants of 5 bits; each span of 32 has a scale and a minimum of 6 bits.

use super::Format;
use super::block::{self, LONG, SPAN, SixBits, affine, nibble_span, with_nibble_spans};
use bytemuck::{Pod, Zeroable};
use half::f16;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// What scales are multiples of.
    pub d: f16,
    /// What minimums, which are subtracted, are multiples of.
    pub dmin: f16,
    /// Factors of scale and minimum of each span, of 6 bits.
    pub factors: SixBits,
    /// The fifth bits: byte `i` has those of depth `i` of each span, from the lowest bit on.
    pub high: [u8; SPAN],
    /// Lower four bits: spans 0, 2, 4, 6 in the lower halves, 1, 3, 5, 7 in the upper ones.
    pub quants: [u8; LONG / 2],
}

const _: () = assert!(size_of::<Block>() == 176);

impl block::Block for Block {
    const FORMAT: Format = Format::Q5K;
    const ROWS: Format = Format::Q5KRows;
    const DEPTH: usize = LONG;
    const BITS: usize = 5;
    const OFFSET: i32 = 0;
    const MINIMUM: bool = true;

    fn scale(&self) -> f16 {
        self.d
    }
    fn minimum(&self) -> f16 {
        -self.dmin
    }
    fn factor(&self, part: usize) -> i8 {
        self.factors.scale(part)
    }
    fn minimum_factor(&self, span: usize) -> i8 {
        self.factors.minimum(span)
    }
    #[inline]
    fn quants(&self, span: usize) -> [u8; SPAN] {
        let low = nibble_span(&self.quants, span);
        core::array::from_fn(|i| low[i] | (self.high[i] >> span & 1) << 4)
    }

    fn quantise(x: &[f32]) -> Block {
        let affine = affine::<31>(x, -0.5, 15);
        let bit = |i: usize, span: usize| (affine.quants[span * SPAN + i] >> 4) << span;
        let high = core::array::from_fn(|i| (0..LONG / SPAN).fold(0, |bits, span| bits | bit(i, span)));
        Block { d: affine.d, dmin: affine.dmin, factors: affine.factors, high, quants: with_nibble_spans(&affine.quants) }
    }
}
