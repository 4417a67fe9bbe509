//! Q6_K: 256 quants of 6 bits, less 32; each 16 have a signed scale of 8 bits.

use super::Format;
use super::block::{self, LONG, SPAN, finite, nearest, symmetric};
use bytemuck::{Pod, Zeroable};
use half::f16;

/// Depths that share a scale.
const PART: usize = 16;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Lower four bits: of each 128 depths the first 64 in the lower halves, the other 64 in the upper ones.
    pub low: [u8; LONG / 2],
    /// Upper two bits: byte `i` of each 32 has those of depths `i`, `i` + 32, `i` + 64 and `i` + 96 of 128.
    pub high: [u8; LONG / 4],
    /// Scale of each 16 depths.
    pub factors: [i8; LONG / PART],
    /// What scales are multiples of.
    pub d: f16,
}

const _: () = assert!(size_of::<Block>() == 210);

impl block::Block for Block {
    const FORMAT: Format = Format::Q6K;
    const ROWS: Format = Format::Q6KRows;
    const DEPTH: usize = LONG;
    const BITS: usize = 6;
    const OFFSET: i32 = 32;
    const PARTS: usize = SPAN / PART;

    fn scale(&self) -> f16 {
        self.d
    }
    fn factor(&self, part: usize) -> i8 {
        self.factors[part]
    }
    #[inline]
    fn quants(&self, span: usize) -> [u8; SPAN] {
        // Spans come in fours.
        let (four, within) = (span / 4, span % 4);
        core::array::from_fn(|i| {
            let low = self.low[four * 64 + within % 2 * SPAN + i] >> (within / 2 * 4) & 0x0f;
            low | (self.high[four * SPAN + i] >> (2 * within) & 3) << 4
        })
    }

    fn quantise(x: &[f32]) -> Block {
        let mut quants = [0u8; LONG];
        let mut scales = [0.0f32; LONG / PART];
        for ((x, quants), scale) in x.chunks_exact(PART).zip(quants.chunks_exact_mut(PART)).zip(&mut scales) {
            *scale = symmetric(x, quants);
        }
        let largest = scales.iter().fold(0.0f32, |most, s| if s.abs() > most.abs() { *s } else { most });
        let mut block = Block::zeroed();
        if largest.abs() < 1e-15 {
            return block;
        }
        let inverse = -128.0 / largest;
        block.d = finite(1.0 / inverse);
        for (part, scale) in scales.iter().enumerate() {
            block.factors[part] = nearest(inverse * scale).min(127) as i8;
            let d = f32::from(block.d) * f32::from(block.factors[part]);
            if d != 0.0 {
                for i in part * PART..(part + 1) * PART {
                    quants[i] = (nearest(x[i] / d).clamp(-32, 31) + 32) as u8;
                }
            }
        }
        for (i, quant) in quants.into_iter().enumerate() {
            let (four, span, at) = (i / 128, i / SPAN % 4, i % SPAN);
            block.low[four * 64 + span % 2 * SPAN + at] |= (quant & 0x0f) << (span / 2 * 4);
            block.high[four * SPAN + at] |= (quant >> 4) << (2 * span);
        }
        block
    }
}
