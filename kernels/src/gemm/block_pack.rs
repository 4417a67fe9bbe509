//! Packed operands of the block formats: quantised rows of A, weights at their own width.
//!
//! Strip of A, for each span of [`SPAN`] depths: a line of MR scales, then a line of what each row's sums
//! start from for each part of a span (or what is taken from them at their end: [`IntDot::LATE`]; or, where weights have minimums, one line of what multiplies those:
//! scale · Σa), then a line or two of four elements a row for each four depths. Where a row has one scale
//! (`ROWS`), the MR scales are at the head of the strip, no span has any, and minimums are multiplied by Σa.
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
use core::ops::Range;

/// What exact sums start from: as bits of an f32 it is 1.5 · 2^23, and while a sum stays below 2^22 the bits
/// of both together are 1.5 · 2^23 more than the sum, so that a subtraction makes an f32 of it.
pub(super) const ZERO: i32 = 0x4b40_0000;

/// Groups of four depths in a span.
pub(super) const GROUPS: usize = SPAN / 4;

/// Sizes of the parts of packed operands.
pub(super) struct Layout<I, B, const ROWS: bool>(PhantomData<(I, B)>);

impl<I: IntDot, B: Block, const ROWS: bool> Layout<I, B, ROWS> {
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
    /// Lines of scales of A.
    pub(super) const SCALES: usize = if ROWS { 0 } else { 1 };
    /// Lines of A before those of its elements.
    pub(super) const HEAD: usize = Self::SCALES + B::PARTS;
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
        Geometry { mr, nr, step: B::DEPTH, a_head: if ROWS { mr } else { 0 }, a_words: Self::SPANS * Self::LINES * mr, b_words }
    }

    /// Quantises `depth` of rows of `a` into strips.
    #[inline(always)]
    pub(super) fn pack_a<const MR: usize>(isa: I, a: Mat<'_, f32>, depth: Range<usize>, out: &mut [u32]) {
        let (rows, k) = (a.rows(), depth.len());
        let geometry = Self::geometry(MR, 2);
        let strip = geometry.strip(k);
        if k == 0 || strip == 0 {
            return;
        }
        for (s, out) in out.chunks_exact_mut(strip).enumerate().take(rows.div_ceil(MR)) {
            let first = s * MR;
            let adjacent: [_; MR] = core::array::from_fn(|i| if first + i < rows { a.row(first + i) } else { Some(&[][..]) });
            let (head, out) = out.split_at_mut(geometry.a_head);
            let mut scales = Scales { d: [1.0; MR], inverse: [0.0; MR] };
            if ROWS {
                let mut most = [isa.splat_i32(0); MR];
                for i in 0..MR {
                    most[i] = largest(isa, adjacent[i].unwrap_or_default());
                }
                let mut most = isa.largest_each(most);
                for i in 0..MR {
                    // What does not fill a vector, or is not adjacent.
                    let from = adjacent[i].map_or(0, |row| row.len() / I::LANES * I::LANES);
                    for p in from..if first + i < rows { a.cols() } else { 0 } {
                        most[i] = most[i].max(a.get(first + i, p).abs().to_bits().cast_signed());
                    }
                }
                scales = Scales::of(most);
                head.copy_from_slice(&scales.d.map(f32::to_bits));
            }
            let whole: [_; MR] = core::array::from_fn(|i| match adjacent[i] {
                Some(row) if !row.is_empty() => row[depth.clone()].as_chunks::<SPAN>().0,
                _ => &[],
            });
            // Where a row does not fill the span, or is not adjacent.
            let mut rest = [[0.0; SPAN]; MR];
            for (n, span) in out.chunks_exact_mut(Self::LINES * MR).enumerate() {
                for i in 0..MR {
                    if n < whole[i].len() {
                        continue;
                    }
                    for (p, x) in (depth.start + n * SPAN..).zip(&mut rest[i]) {
                        let there = |row: &[f32]| row.get(p).copied().unwrap_or(0.0);
                        *x = if p < depth.end { adjacent[i].map_or_else(|| a.get(first + i, p), there) } else { 0.0 };
                    }
                }
                let x: [_; MR] = core::array::from_fn(|i| whole[i].get(n).unwrap_or(&rest[i]));
                if !ROWS {
                    scales = Scales::of_span(isa, x);
                }
                Self::put_a(isa, x, &scales, span.as_chunks_mut().0);
            }
        }
    }

    /// One span of the rows of a strip.
    #[inline(always)]
    fn put_a<const MR: usize>(isa: I, x: [&[f32; SPAN]; MR], scales: &Scales<MR>, lines: &mut [[u32; MR]]) {
        let quants = Quants::new(isa, x, scales);
        let (head, quads) = lines.split_at_mut(Self::HEAD);
        if !ROWS {
            head[0] = scales.d.map(f32::to_bits);
        }
        for (part, line) in head[Self::SCALES..].iter_mut().enumerate() {
            let sums = quants.sums(isa, B::PARTS, part);
            for i in 0..MR {
                // Of a row that is NaN the sums may be anything.
                let start = sums[i].wrapping_mul(if I::LATE { -Self::START } else { Self::START });
                let start = ZERO.wrapping_add(start).cast_unsigned();
                let minimums = if ROWS { sums[i] as f32 } else { scales.d[i] * sums[i] as f32 };
                line[i] = if B::MINIMUM { minimums.to_bits() } else { start };
            }
        }
        let mut words = [[0; MR]; GROUPS];
        match quads.first_chunk_mut() {
            Some(quads) if Self::QUAD == 1 => isa.interleave(&quants.0, quads),
            _ => isa.interleave(&quants.0, &mut words),
        }
        if Self::QUAD > 1 {
            for (words, lines) in words.iter().zip(quads.chunks_exact_mut(Self::QUAD)) {
                for i in 0..MR {
                    for (line, word) in lines.iter_mut().zip(I::wide(words[i])) {
                        line[i] = word;
                    }
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

/// The scales of some rows.
pub(super) struct Scales<const MR: usize> {
    /// Scales; NaN where a value is not finite.
    pub d: [f32; MR],
    /// What multiplies values: 0 where they are taken for zeros.
    inverse: [f32; MR],
}

impl<const MR: usize> Scales<MR> {
    /// The scales of rows by the bits of their [`largest`] magnitudes; see [`super::product::Blocks`] for what
    /// becomes of values that are tiny or not finite. For all rows at once, so that they do not wait for one
    /// another.
    #[inline(always)]
    fn of(largest: [i32; MR]) -> Scales<MR> {
        let (mut d, mut inverse) = ([0.0; MR], [0.0; MR]);
        for i in 0..MR {
            let largest = f32::from_bits(largest[i].cast_unsigned());
            d[i] = if largest < f32::INFINITY { largest / 127.0 } else { f32::NAN };
        }
        for i in 0..MR {
            inverse[i] = if d[i] >= f32::MIN_POSITIVE { 1.0 / d[i] } else { 0.0 };
        }
        Scales { d, inverse }
    }

    /// The scales of a span of some rows.
    #[inline(always)]
    fn of_span<I: Simd>(isa: I, x: [&[f32; SPAN]; MR]) -> Scales<MR> {
        let mut most = [isa.splat_i32(0); MR];
        for i in 0..MR {
            most[i] = largest(isa, x[i]);
        }
        Scales::of(isa.largest_each(most))
    }
}

/// The bits of the largest magnitudes, lane by lane: as whole numbers magnitudes have the same order, with
/// infinity and then NaN at its end. What does not fill a vector is left out.
#[inline(always)]
fn largest<I: Simd>(isa: I, x: &[f32]) -> I::I32 {
    let magnitude = isa.splat_i32(i32::MAX);
    let mut most = isa.splat_i32(0);
    for x in x.chunks_exact(I::LANES) {
        most = isa.max_i32(most, isa.and_i32(isa.to_bits(isa.load(x)), magnitude));
    }
    most
}

/// A span of some rows over their scales: vectors of whole numbers, the first SPAN / LANES of each row.
struct Quants<I: Simd, const MR: usize>([[I::I32; SPAN]; MR]);

impl<I: Simd, const MR: usize> Quants<I, MR> {
    #[inline(always)]
    fn new(isa: I, x: [&[f32; SPAN]; MR], scales: &Scales<MR>) -> Self {
        // The number below a half, added, rounds halves away from zero and nothing else up.
        let (half, sign) = (isa.to_bits(isa.splat(0.5f32.next_down())), isa.splat_i32(i32::MIN));
        let mut quants = [[isa.splat_i32(0); SPAN]; MR];
        for i in 0..MR {
            let inverse = isa.splat(scales.inverse[i]);
            for (x, out) in x[i].chunks_exact(I::LANES).zip(&mut quants[i]) {
                let x = isa.mul(isa.load(x), inverse);
                let half = isa.of_bits(isa.or_i32(isa.and_i32(isa.to_bits(x), sign), half));
                *out = isa.truncate(isa.add(x, half));
            }
        }
        Quants(quants)
    }

    /// The sums of part `part` of `parts` of each row.
    #[inline(always)]
    fn sums(&self, isa: I, parts: usize, part: usize) -> [i32; MR] {
        let count = SPAN / I::LANES / parts;
        let mut sums = [isa.splat_i32(0); MR];
        for (sum, quants) in sums.iter_mut().zip(&self.0) {
            for v in &quants[part * count..][..count] {
                *sum = isa.add_i32(*sum, *v);
            }
        }
        isa.sum_each(sums)
    }
}

/// A span of some rows as bytes.
#[cfg(target_arch = "aarch64")]
pub(super) struct Quantised<const MR: usize> {
    /// Scales.
    pub d: [f32; MR],
    /// Values over the scale.
    pub quants: [[i8; SPAN]; MR],
}

/// Quantises a span of some rows.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(super) fn quantise<I: Simd, const MR: usize>(isa: I, x: [&[f32; SPAN]; MR]) -> Quantised<MR> {
    let scales = Scales::of_span(isa, x);
    let mut quants = [[0; SPAN]; MR];
    for (vectors, out) in Quants::new(isa, x, &scales).0.iter().zip(&mut quants) {
        for (v, out) in vectors.iter().zip(out.chunks_exact_mut(I::LANES)) {
            isa.store_i8(*v, out);
        }
    }
    Quantised { d: scales.d, quants }
}
