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
use crate::isa::{IntDot, Simd};
use crate::mat::Mat;
use core::marker::PhantomData;

/// What exact sums start from: as bits of an f32 it is 1.5 · 2^23, and while a sum stays below 2^22 the bits
/// of both together are 1.5 · 2^23 more than the sum, so that a subtraction makes an f32 of it.
pub(super) const ZERO: i32 = 0x4b40_0000;

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
    pub(super) const START: i32 = if Self::SMALL || I::UNSIGNED { -B::OFFSET } else { 128 - B::OFFSET };

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
    pub(super) fn pack_a<const MR: usize>(isa: I, a: Mat<'_, f32>, out: &mut [u32]) {
        let (rows, k) = (a.rows(), a.cols());
        let strip = Self::geometry(MR, 2).strip(k);
        if strip == 0 {
            return;
        }
        for (s, out) in out.chunks_exact_mut(strip).enumerate().take(rows.div_ceil(MR)) {
            let first = s * MR;
            let adjacent: [_; MR] = core::array::from_fn(|i| if first + i < rows { a.row(first + i) } else { Some(&[][..]) });
            let whole: [_; MR] = core::array::from_fn(|i| adjacent[i].unwrap_or_default().as_chunks::<SPAN>().0);
            // Where a row does not fill the span, or is not adjacent.
            let mut rest = [[0.0; SPAN]; MR];
            for (n, span) in out.chunks_exact_mut(Self::LINES * MR).enumerate() {
                for i in 0..MR {
                    if n < whole[i].len() {
                        continue;
                    }
                    for (p, x) in (n * SPAN..).zip(&mut rest[i]) {
                        let there = |row: &[f32]| row.get(p).copied().unwrap_or(0.0);
                        *x = if p < k { adjacent[i].map_or_else(|| a.get(first + i, p), there) } else { 0.0 };
                    }
                }
                let x: [_; MR] = core::array::from_fn(|i| whole[i].get(n).unwrap_or(&rest[i]));
                Self::put_a(isa, x, span.as_chunks_mut().0);
            }
        }
    }

    /// One span of the rows of a strip.
    #[inline(always)]
    fn put_a<const MR: usize>(isa: I, x: [&[f32; SPAN]; MR], lines: &mut [[u32; MR]]) {
        let Quantised { d, quants, sums } = quantise(isa, B::PARTS, x);
        let (head, quads) = lines.split_at_mut(Self::HEAD);
        head[0] = d.map(f32::to_bits);
        for part in 0..B::PARTS {
            for i in 0..MR {
                // Of a row that is NaN the sums may be anything.
                let start = ZERO.wrapping_add(sums[i][part].wrapping_mul(Self::START));
                head[1 + part][i] = if B::MINIMUM { (d[i] * sums[i][part] as f32).to_bits() } else { start.cast_unsigned() };
            }
        }
        for (g, lines) in quads.chunks_exact_mut(Self::QUAD).enumerate() {
            for i in 0..MR {
                let quads: &[u32; GROUPS] = bytemuck::cast_ref(&quants[i]);
                let words = if Self::QUAD == 1 { [quads[g], 0] } else { I::wide(quads[g]) };
                for (line, word) in lines.iter_mut().zip(words) {
                    line[i] = word;
                }
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

/// A span of some rows as bytes.
pub(super) struct Quantised<const MR: usize> {
    /// Scales.
    pub d: [f32; MR],
    /// Values over the scale.
    pub quants: [[i8; SPAN]; MR],
    /// Sums of each part.
    sums: [[i32; 2]; MR],
}

/// Quantises a span of some rows, whose sums are wanted in `parts`; see [`super::product::Blocks`] for what
/// becomes of values that are tiny or not finite. Step by step for all rows, so that rows do not wait for
/// one another.
#[inline(always)]
pub(super) fn quantise<I: Simd, const MR: usize>(isa: I, parts: usize, x: [&[f32; SPAN]; MR]) -> Quantised<MR> {
    let magnitude = isa.splat_i32(i32::MAX);
    let mut largest = [0; MR];
    for (x, out) in x.iter().zip(&mut largest) {
        // As whole numbers magnitudes have the same order, with infinity and then NaN at its end.
        let mut most = isa.splat_i32(0);
        for x in x.chunks_exact(I::LANES) {
            most = isa.max_i32(most, isa.and_i32(isa.to_bits(isa.load(x)), magnitude));
        }
        *out = isa.largest_i32(most).cast_unsigned();
    }
    let (mut d, mut inverse) = ([0.0; MR], [0.0; MR]);
    for i in 0..MR {
        let largest = f32::from_bits(largest[i]);
        d[i] = if largest < f32::INFINITY { largest / 127.0 } else { f32::NAN };
        inverse[i] = if d[i] >= f32::MIN_POSITIVE { 1.0 / d[i] } else { 0.0 };
    }
    // The number below a half, added, rounds halves away from zero and nothing else up.
    let (half, sign) = (isa.to_bits(isa.splat(0.5f32.next_down())), isa.splat_i32(i32::MIN));
    let (mut quants, mut sums) = ([[0i8; SPAN]; MR], [[0; 2]; MR]);
    for i in 0..MR {
        let inverse = isa.splat(inverse[i]);
        let mut sum = [isa.splat_i32(0); 2];
        for (n, (x, out)) in x[i].chunks_exact(I::LANES).zip(quants[i].chunks_exact_mut(I::LANES)).enumerate() {
            let x = isa.mul(isa.load(x), inverse);
            let half = isa.of_bits(isa.or_i32(isa.and_i32(isa.to_bits(x), sign), half));
            let quant = isa.truncate(isa.add(x, half));
            let part = n * I::LANES * parts / SPAN;
            sum[part] = isa.add_i32(sum[part], quant);
            isa.store_i8(quant, out);
        }
        for part in 0..parts {
            sums[i][part] = isa.sum_i32(sum[part]);
        }
    }
    Quantised { d, quants, sums }
}
