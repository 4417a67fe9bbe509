//! Packed operands of the block formats: rows of A quantised span by span, weights at their own width.
//!
//! Strip of A, for each span of [`SPAN`] depths: a line of MR scales, then a line of what each row's sums
//! start from for each part of a span (or, where weights have minimums, one line of what multiplies those:
//! scale · Σa), then a line or two of four elements a row for each four depths.
//!
//! Panel of B, for each block: NR scales, NR minimums where there are any, both as halves; where a block
//! has factors, NR bytes of them for each part, and NR for the minimum of each span; then for each span
//! the quants, a word a column. Quants of 8 bits: word g has those of depths 4g…4g+3. Of fewer bits: first
//! planes with what exceeds the lower four bits, 1 bit or 2 bits at a time, those of depth 4g + d in byte
//! d at the place that g says; then four words with two lower halves to a byte: word w has depths
//! 8w…8w+3 in the lower halves of its bytes and 8w+4…8w+7 in the upper ones.

use super::micro::Geometry;
use crate::format::{Block, SPAN};
use crate::isa::IntDot;
use crate::mat::Mat;
use core::marker::PhantomData;

/// Groups of four depths in a span.
pub(super) const GROUPS: usize = SPAN / 4;

/// Sizes of the parts of packed operands.
pub(super) struct Layout<I, B>(PhantomData<(I, B)>);

impl<I: IntDot, B: Block> Layout<I, B> {
    /// Quants are below 64, so that every ISA multiplies them as bytes.
    pub(super) const SMALL: bool = B::BITS < 8;
    /// Spans of a block.
    pub(super) const SPANS: usize = B::DEPTH / SPAN;
    /// Parts of a block that have a factor.
    pub(super) const PARTS: usize = Self::SPANS * B::PARTS;
    /// Blocks have factors.
    pub(super) const FACTORS: bool = B::DEPTH > SPAN;
    /// Lines of A for four depths.
    pub(super) const QUAD: usize = if Self::SMALL { 1 } else { I::WIDE };
    /// Lines of A before those.
    pub(super) const HEAD: usize = 1 + B::PARTS;
    /// Lines of A for a span.
    pub(super) const LINES: usize = Self::HEAD + GROUPS * Self::QUAD;
    /// Bits for each column before the quants of a block.
    const HEAD_BITS: usize = {
        let halves = 16 * (1 + B::MINIMUM as usize);
        let factors = 8 * (Self::PARTS + B::MINIMUM as usize * Self::SPANS);
        halves + if Self::FACTORS { factors } else { 0 }
    };
    /// What the sums of a row start from for each unit of Σa: weights are short of their offset.
    const START: i32 = if Self::SMALL || I::UNSIGNED { -B::OFFSET } else { 128 - B::OFFSET };

    /// Words of B before the quants of a block.
    pub(super) const fn head(nr: usize) -> usize {
        Self::HEAD_BITS * nr / 32
    }

    /// The layout of a tile of `mr` × `nr`.
    pub(super) const fn geometry(mr: usize, nr: usize) -> Geometry {
        assert!((Self::HEAD_BITS * nr).is_multiple_of(32), "columns whose scales fill words");
        let b_words = Self::head(nr) + Self::SPANS * B::BITS * nr;
        Geometry { mr, nr, step: B::DEPTH, a_head: 0, a_words: Self::SPANS * Self::LINES * mr, b_words }
    }

    /// Quantises rows of `a` into strips.
    #[inline(always)]
    pub(super) fn pack_a(mr: usize, a: Mat<'_, f32>, out: &mut [u32]) {
        let (rows, k) = (a.rows(), a.cols());
        let strip = Self::geometry(mr, 2).strip(k);
        if strip == 0 {
            return;
        }
        for (s, out) in out.chunks_exact_mut(strip).enumerate().take(rows.div_ceil(mr)) {
            for (n, span) in out.chunks_exact_mut(Self::LINES * mr).enumerate() {
                let depths = n * SPAN..k.min((n + 1) * SPAN);
                for i in 0..mr {
                    let row = s * mr + i;
                    let mut x = [0.0; SPAN];
                    if row < rows && !depths.is_empty() {
                        match a.row(row) {
                            Some(row) => x[..depths.len()].copy_from_slice(&row[depths.clone()]),
                            None => depths.clone().zip(&mut x).for_each(|(p, x)| *x = a.get(row, p)),
                        }
                    }
                    Self::put_a(mr, i, &x, span);
                }
            }
        }
    }

    /// One span of row `i` of a strip.
    #[inline(always)]
    fn put_a(mr: usize, i: usize, x: &[f32; SPAN], span: &mut [u32]) {
        let (d, quants) = quantise(x);
        span[i] = d.to_bits();
        for (part, quants) in quants.chunks_exact(SPAN / B::PARTS).enumerate() {
            let sum: i32 = quants.iter().map(|q| i32::from(*q)).sum();
            span[(1 + part) * mr + i] = if B::MINIMUM { (d * sum as f32).to_bits() } else { (sum * Self::START).cast_unsigned() };
        }
        let quads: &[[i8; 4]; GROUPS] = bytemuck::cast_ref(&quants);
        for (g, quad) in quads.iter().enumerate() {
            let words = if Self::QUAD == 1 { [bytemuck::cast(*quad), 0] } else { I::wide(bytemuck::cast(*quad)) };
            for (w, word) in words.iter().enumerate().take(Self::QUAD) {
                span[(Self::HEAD + g * Self::QUAD + w) * mr + i] = *word;
            }
        }
    }

    /// Columns (rows of `bt`) into panels.
    #[inline(always)]
    pub(super) fn pack_b(nr: usize, bt: Mat<'_, B>, out: &mut [u32]) {
        let (n, blocks) = (bt.rows(), bt.cols());
        let step = Self::geometry(1, nr).b_words;
        if blocks == 0 {
            return;
        }
        for (p, panel) in out.chunks_exact_mut(blocks * step).enumerate().take(n.div_ceil(nr)) {
            panel.fill(0);
            for j in 0..nr.min(n - p * nr) {
                for (s, words) in panel.chunks_exact_mut(step).enumerate() {
                    Self::put_b(nr, j, &bt.get(p * nr + j, s), words);
                }
            }
        }
    }

    /// One block of column `j` of a panel.
    #[inline(always)]
    fn put_b(nr: usize, j: usize, block: &B, words: &mut [u32]) {
        let (head, spans) = words.split_at_mut(Self::head(nr));
        let halves: &mut [u16] = bytemuck::cast_slice_mut(head);
        halves[j] = block.scale().to_bits();
        if B::MINIMUM {
            halves[nr + j] = block.minimum().to_bits();
        }
        if Self::FACTORS {
            let factors: &mut [i8] = &mut bytemuck::cast_slice_mut(head)[2 * nr * (1 + usize::from(B::MINIMUM))..];
            for part in 0..Self::PARTS {
                factors[part * nr + j] = block.factor(part);
            }
            if B::MINIMUM {
                for span in 0..Self::SPANS {
                    factors[(Self::PARTS + span) * nr + j] = block.minimum_factor(span);
                }
            }
        }
        for (n, words) in spans.chunks_exact_mut(B::BITS * nr).enumerate() {
            for (w, word) in planes::<B>(block.quants(n)).into_iter().enumerate().take(B::BITS) {
                let flip = if Self::SMALL || I::UNSIGNED { 0 } else { 0x8080_8080 };
                words[w * nr + j] = word ^ flip;
            }
        }
    }
}

/// The quants of a span as words; the first [`Block::BITS`] of them count.
#[inline(always)]
fn planes<B: Block>(quants: [u8; SPAN]) -> [u32; GROUPS] {
    let quads: [[u8; 4]; GROUPS] = bytemuck::cast(quants);
    if B::BITS == 8 {
        return quads.map(u32::from_le_bytes);
    }
    let high = B::BITS - 4;
    let mut words = [0; GROUPS];
    for (g, quad) in quads.into_iter().enumerate() {
        let quad = u32::from_le_bytes(quad);
        words[high + g / 2] |= (quad & 0x0f0f_0f0f) << (4 * (g % 2));
        match high {
            0 => {}
            1 => words[0] |= (quad >> 4 & 0x0101_0101) << g,
            _ => words[g / 4] |= (quad >> 4 & 0x0303_0303) << (2 * (g % 4)),
        }
    }
    words
}

/// A span of a row as bytes and their scale; see [`super::product::Blocks`] for what becomes of values
/// that are tiny or not finite.
#[inline(always)]
pub(super) fn quantise(x: &[f32; SPAN]) -> (f32, [i8; SPAN]) {
    // As whole numbers the magnitudes have the same order, with infinity and then NaN at its end.
    let largest = f32::from_bits(x.iter().fold(0, |m, x| m.max(x.to_bits() & 0x7fff_ffff)));
    if !largest.is_finite() {
        return (f32::NAN, [0; SPAN]);
    }
    let d = largest / 127.0;
    if d < f32::MIN_POSITIVE {
        return (d, [0; SPAN]);
    }
    let inverse = 1.0 / d;
    // The number below a half, added, rounds halves away from zero and nothing else up.
    let half = 0.5f32.next_down();
    (
        d,
        x.map(|x| {
            let x = x * inverse;
            (x + half.copysign(x)) as i8
        }),
    )
}
