//! Micro-kernels of the block formats for instructions that multiply two rows by two columns: operands and tiles.
//!
//! A panel of weights, packed as for `block.rs`, is unpacked once for all strips that it meets: into signed
//! bytes, eight depths of one column beside those of the next, with what scales sums of them. A span of as
//! many columns as two vectors have blocks of 2 × 2 is held in registers while all pairs of rows pass: the
//! loop over the spans is a text of an assembler, in `block_pairs_asm.rs`. No edges and no blocking here.
//!
//! Strip of A, for each span and pair of rows: vectors of two numbers for each row, its scale and, where there
//! are minimums, what multiplies those; then four units of eight bytes of each row.
//!
//! Unpacked panel, for each part of the columns that is held at a time, for each span, for each of the two
//! vectors: for each part of the span the scales, each column's twice, as often as a block has rows, and what
//! takes the start of sums away; the minimums likewise, where there are any; four vectors of weights.

use super::block_pack::{Layout, Quantised, ZERO, quantise};
use super::block_pairs_asm::{Operands, Pairs};
use super::block_weights::{LINE, Packed, Weights, aligned, signed, signed_scales};
use super::micro::{Geometry, MicroKernel, handle};
use super::product::Blocks;
use super::{AnyGemm, Gemm};
use crate::format::{Block, SPAN};
use crate::isa::{NeonI8mm, Simd};
use crate::mat::{Mat, MatMut};
use crate::registry::{Kernel, Registered};
use core::marker::PhantomData;
use core::ops::Range;

/// Units of eight depths in a span.
pub(super) const UNITS: usize = SPAN / 8;

/// Vectors of blocks that are held: a row of them is a vector of results.
const HELD: usize = 2;

/// Words of a block of 2 × 2 results, and of what is multiplied for it.
const BLOCK: usize = 4;

/// Columns of a block, and rows.
const PAIR: usize = 2;

/// What a span of a format is made of.
pub(super) struct Lines<B>(PhantomData<B>);

impl<B: Block> Lines<B> {
    /// Vectors of B before its weights, for a vector of blocks.
    pub(super) const HEAD: usize = 2 * B::PARTS + B::MINIMUM as usize;
    /// Vectors of B.
    pub(super) const ALL: usize = Self::HEAD + UNITS;
    /// Vectors of A before its elements, for a pair of rows.
    pub(super) const A_HEAD: usize = 1 + B::MINIMUM as usize;
    /// Words of A for a row.
    const A_ROW: usize = (Self::A_HEAD + UNITS) * BLOCK / PAIR;
    /// Bytes of A for a pair of rows.
    pub(super) const A_PAIR: usize = Self::A_ROW * PAIR * size_of::<u32>();
}

/// The micro-kernel of `MR` rows by `NV` times four columns; `KU` spans are written out in its loop.
#[derive(Clone, Copy, Debug)]
pub struct BlockPairs<I, B, const MR: usize, const NV: usize, const KU: usize>(I, PhantomData<B>);

impl<I: Pairs, B: Block, const MR: usize, const NV: usize, const KU: usize> BlockPairs<I, B, MR, NV, KU>
where
    Self: Registered,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<Gemm<Blocks<B>>> {
        I::detect().map(|isa| handle(Self(isa, PhantomData)))
    }
}

#[cfg_attr(not(feature = "sweep"), allow(dead_code))]
impl<I: Pairs, B: Block, const MR: usize, const NV: usize, const KU: usize> BlockPairs<I, B, MR, NV, KU>
where
    Self: Registered,
    AnyGemm: From<Gemm<Blocks<B>>>,
{
    /// [`Self::handle`] for the registry.
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(|gemm| Kernel::Gemm(gemm.into()))
    }
}

impl<I: Pairs, B: Block, const MR: usize, const NV: usize, const KU: usize> BlockPairs<I, B, MR, NV, KU> {
    /// Columns of a tile, whatever the length of vectors.
    const NR: usize = NV * NeonI8mm::LANES;
    /// Spans of a block of weights.
    const SPANS: usize = B::DEPTH / SPAN;

    /// How a panel is unpacked: its spans, and blocks of a vector.
    fn unpacked(&self, spans: usize) -> Panel {
        let blocks = self.0.lanes() / BLOCK;
        let held = HELD * PAIR * blocks;
        Panel { blocks, spans, held, parts: Self::NR.div_ceil(held), words: HELD * Lines::<B>::ALL * BLOCK * blocks }
    }

    /// Unpacks a block of weights, which begins at span `first`, into `panel` of `out`.
    #[inline(always)]
    fn put(isa: NeonI8mm, block: &[u32], first: usize, panel: &Panel, out: &mut [i32]) {
        let minus = isa.splat(-f32::from_bits(ZERO.cast_unsigned()));
        let mut put = |j: usize, line: usize, span: usize, vectors: [_; 2]| {
            for (block, v) in vectors.into_iter().enumerate() {
                isa.store_i32(v, &mut out[panel.at::<B>(2 * j + block, line, span)..]);
            }
        };
        for (n, weights) in Packed::<NeonI8mm, B, NV>::spans::<0>(isa, block).enumerate() {
            for part in 0..B::PARTS {
                let scales = signed_scales::<_, B, NV>(isa, weights.scales(part));
                for (j, v) in scales.into_iter().enumerate() {
                    put(j, 2 * part, first + n, isa.twice(v));
                    // A scale is a half, maybe times a factor, so that the product is exact.
                    put(j, 2 * part + 1, first + n, isa.twice(isa.mul(v, minus)));
                }
            }
            if B::MINIMUM {
                for (j, v) in weights.minimums().into_iter().enumerate() {
                    put(j, 2 * B::PARTS, first + n, isa.twice(v));
                }
            }
            for u in 0..UNITS {
                let [left, right] = [2 * u, 2 * u + 1].map(|g| signed::<_, B, NV>(isa, weights.group(g)));
                for j in 0..NV {
                    put(j, Lines::<B>::HEAD + u, first + n, isa.zip(left[j], right[j]));
                }
            }
        }
    }
}

/// An unpacked panel.
struct Panel {
    /// Blocks of 2 × 2 of a vector.
    blocks: usize,
    spans: usize,
    /// Columns that are held at a time: a vector of results.
    held: usize,
    /// Parts of that many columns.
    parts: usize,
    /// Words of a span of a part.
    words: usize,
}

impl Panel {
    fn len(&self) -> usize {
        self.parts * self.spans * self.words
    }

    /// Where the words of a line for a block of columns are.
    #[inline(always)]
    fn at<B: Block>(&self, block: usize, line: usize, span: usize) -> usize {
        let (vector, block) = (block / self.blocks, block % self.blocks);
        let (part, vector) = (vector / HELD, vector % HELD);
        (part * self.spans + span) * self.words + ((vector * Lines::<B>::ALL + line) * self.blocks + block) * BLOCK
    }
}

impl<I: Pairs, B: Block, const MR: usize, const NV: usize, const KU: usize> MicroKernel<Blocks<B>> for BlockPairs<I, B, MR, NV, KU> {
    fn geometry(&self) -> Geometry {
        const { assert!(B::OFFSET == 0 || B::OFFSET == 1 << (B::BITS - 1), "weights that fit signed bytes") };
        Geometry { a_words: Self::SPANS * Lines::<B>::A_ROW * MR, ..Layout::<NeonI8mm, B, false>::geometry(MR, Self::NR) }
    }

    fn tile(&self, a: &[u32], b: &[u32], mut c: MatMut<'_, f32>, accumulate: bool) {
        const { assert!(MR.is_multiple_of(PAIR) && MR + HELD * Lines::<B>::ALL + 3 <= 32, "pairs of rows that fit the registers") };
        let row = Lines::<B>::A_ROW;
        let panel = self.unpacked(a.len() / (row * MR));
        assert!(a.len() == panel.spans * row * MR && b.len() == panel.len(), "panels of different depths");
        assert!(c.rows() == MR && c.cols() == Self::NR, "C is not one tile");
        let (c, ldc) = c.as_raw();
        for part in 0..panel.parts {
            let column = part * panel.held;
            // SAFETY: A has a strip's words for so many spans, B a part's, and C has MR rows with so many columns
            // from there, which is what was checked above.
            unsafe {
                let b = b.as_ptr().add(part * panel.spans * panel.words);
                let (c, columns) = (c.add(column), panel.held.min(Self::NR - column));
                self.0.spans::<B, MR, KU>(Operands { a: a.as_ptr(), b, spans: panel.spans, c, ldc, columns, accumulate });
            }
        }
    }

    fn pack_a(&self, a: Mat<'_, f32>, out: &mut [u32]) {
        self.pack_rows(a, 0..a.cols(), out);
    }

    fn pack_rows(&self, a: Mat<'_, f32>, depth: Range<usize>, out: &mut [u32]) {
        let isa: NeonI8mm = self.0.into();
        let strip = self.geometry().strip(depth.len());
        if strip == 0 {
            return;
        }
        isa.vectorize(
            #[inline(always)]
            || {
                for (s, out) in out.chunks_exact_mut(strip).enumerate().take(a.rows().div_ceil(MR)) {
                    for (n, span) in out.chunks_exact_mut(Lines::<B>::A_ROW * MR).enumerate() {
                        let from = depth.start + n * SPAN;
                        let here = from.min(depth.end)..(from + SPAN).min(depth.end);
                        let mut x = [[0.0; SPAN]; MR];
                        for (x, row) in x.iter_mut().zip(s * MR..a.rows()) {
                            match a.row(row) {
                                Some(row) => x[..here.len()].copy_from_slice(&row[here.clone()]),
                                None => x.iter_mut().zip(here.clone()).for_each(|(x, p)| *x = a.get(row, p)),
                            }
                        }
                        put_a::<B, MR>(&quantise(isa, x.each_ref()), span);
                    }
                }
            },
        );
    }

    fn pack_b(&self, bt: Mat<'_, B>, out: &mut [u32]) {
        let isa: NeonI8mm = self.0.into();
        isa.vectorize(
            #[inline(always)]
            || Layout::<NeonI8mm, B, false>::pack_b(Self::NR, bt, out),
        );
    }

    fn unpacked_len(&self, depth: usize) -> usize {
        self.unpacked(depth.div_ceil(B::DEPTH) * Self::SPANS).len() + LINE - 1
    }

    fn unpack<'a>(&self, packed: &[u32], out: &'a mut [u32]) -> &'a [u32] {
        let isa: NeonI8mm = self.0.into();
        let Geometry { b_words, .. } = self.geometry();
        let panel = self.unpacked(packed.len() / b_words * Self::SPANS);
        let out = aligned(out, panel.len());
        isa.vectorize(
            #[inline(always)]
            || {
                for (n, block) in packed.chunks_exact(b_words).enumerate() {
                    Self::put(isa, block, n * Self::SPANS, &panel, bytemuck::cast_slice_mut(out));
                }
            },
        );
        out
    }
}

/// One span of the rows of a strip.
#[inline(always)]
fn put_a<B: Block, const MR: usize>(Quantised { d, quants }: &Quantised<MR>, span: &mut [u32]) {
    for (i, pair) in (0..MR).step_by(PAIR).zip(span.chunks_exact_mut(PAIR * Lines::<B>::A_ROW)) {
        for (row, i) in (i..i + PAIR).enumerate() {
            let mut vectors = pair.chunks_exact_mut(BLOCK).map(|v| &mut v[row * BLOCK / PAIR..][..BLOCK / PAIR]);
            let mut put = |words: [u32; BLOCK / PAIR]| {
                if let Some(v) = vectors.next() {
                    v.copy_from_slice(&words);
                }
            };
            put([d[i].to_bits(); 2]);
            if B::MINIMUM {
                let sum: i32 = quants[i].iter().map(|q| i32::from(*q)).sum();
                put([(d[i] * sum as f32).to_bits(); 2]);
            }
            let units: &[[u32; 2]; UNITS] = bytemuck::cast_ref(&quants[i]);
            units.iter().for_each(|unit| put(*unit));
        }
    }
}
