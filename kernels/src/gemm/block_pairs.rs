//! The SVE micro-kernel of the block formats: the loop over the spans of one tile in `asm!`, with `smmla`.
//!
//! A panel of weights, packed as for `block.rs`, is unpacked once for all strips that it meets: into signed
//! bytes, eight depths of one column beside those of the next, with what scales sums of them. A span of as
//! many columns as two vectors have blocks of 2 × 2 is held in registers while all pairs of rows pass. The
//! pipes that multiply also do everything else with vectors, so that four products are followed by two
//! more instructions alone: sums are loaded as the bits of 1.5 · 2^23 ([`ZERO`]), which makes them f32 without a
//! conversion; a multiply-add takes that away again and scales by the columns (exactly as a multiplication of
//! the sum would round); another scales by the rows and adds. No edges and no blocking here.
//!
//! Strip of A: see `block_mmla.rs`. Unpacked panel: for each part of the columns that is held at a time, for each
//! span, for each of the two vectors: the scales, each column's twice, as often as a block has rows; what
//! takes the start of sums away; four vectors of weights.

use super::block_mmla::{self, A_WORDS, UNITS};
use super::block_pack::{Layout, ZERO};
use super::block_weights::{LINE, Packed, Weights, aligned, signed, signed_scales};
use super::micro::{Geometry, MicroKernel, handle};
use super::product::Blocks;
use super::{AnyGemm, Gemm};
use crate::format::{Block, SPAN};
use crate::isa::{Isa, NeonI8mm, ScaledBlockDot, Simd, Sve, SveI8mm, sve_asm};
use crate::mat::{Mat, MatMut};
use crate::registry::{Kernel, Registered};
use core::marker::PhantomData;

/// Vectors of an unpacked span for a vector of blocks: scales, what takes the start away, weights.
const LINES: usize = 2 + UNITS;

/// Vectors of blocks that are held: a row of them is a vector of results.
const HELD: usize = 2;

/// Words of a block of 2 × 2 results, and of what is multiplied for it.
const BLOCK: usize = 4;

/// Columns of a block.
const COLS: usize = 2;

/// The micro-kernel of `MR` rows by `NV` times four columns; `KU` spans are written out in its loop.
#[derive(Clone, Copy, Debug)]
pub struct BlockPairs<I, B, const MR: usize, const NV: usize, const KU: usize>(I, PhantomData<B>);

impl<I: Isa, B: Block, const MR: usize, const NV: usize, const KU: usize> BlockPairs<I, B, MR, NV, KU>
where
    Self: Registered + MicroKernel<Blocks<B>>,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<Gemm<Blocks<B>>> {
        I::detect().map(|isa| handle(Self(isa, PhantomData)))
    }
}

#[cfg_attr(not(feature = "sweep"), allow(dead_code))]
impl<I: Isa, B: Block, const MR: usize, const NV: usize, const KU: usize> BlockPairs<I, B, MR, NV, KU>
where
    Self: Registered + MicroKernel<Blocks<B>>,
    AnyGemm: From<Gemm<Blocks<B>>>,
{
    /// [`Self::handle`] for the registry.
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(|gemm| Kernel::Gemm(gemm.into()))
    }
}

impl<B: Block, const MR: usize, const NV: usize, const KU: usize> BlockPairs<SveI8mm, B, MR, NV, KU> {
    /// Columns of a tile, whatever the length of vectors.
    const NR: usize = NV * NeonI8mm::LANES;

    /// Blocks of a vector.
    fn blocks(&self) -> usize {
        Sve::from(self.0).lanes() / BLOCK
    }

    /// Columns that are held at a time: a vector of results.
    fn held(&self) -> usize {
        HELD * COLS * self.blocks()
    }

    /// Words of an unpacked span of the columns that are held.
    fn span(&self) -> usize {
        HELD * LINES * BLOCK * self.blocks()
    }

    /// Writes a span of unpacked weights of four columns as lines of two blocks, where `at` says.
    #[inline(always)]
    fn put(
        isa: NeonI8mm,
        [scales, minus]: [<NeonI8mm as Simd>::F32; 2],
        quads: [<NeonI8mm as Simd>::I32; 2 * UNITS],
        mut at: impl FnMut(usize, usize, <NeonI8mm as Simd>::I32),
    ) {
        for (line, v) in [scales, minus].into_iter().enumerate() {
            for (block, v) in isa.float_rows(v, v).into_iter().enumerate() {
                at(block, line, isa.to_bits(v));
            }
        }
        for u in 0..UNITS {
            for (block, v) in isa.zip(quads[2 * u], quads[2 * u + 1]).into_iter().enumerate() {
                at(block, 2 + u, v);
            }
        }
    }
}

impl<B: Block, const MR: usize, const NV: usize, const KU: usize> MicroKernel<Blocks<B>> for BlockPairs<SveI8mm, B, MR, NV, KU> {
    fn geometry(&self) -> Geometry {
        const { assert!(B::PARTS == 1 && !B::MINIMUM && B::OFFSET == 1 << (B::BITS - 1), "signed, with one scale a span") };
        let spans = Layout::<NeonI8mm, B, false>::SPANS;
        Geometry { a_words: spans * A_WORDS * MR, ..Layout::<NeonI8mm, B, false>::geometry(MR, Self::NR) }
    }

    fn tile(&self, a: &[u32], b: &[u32], mut c: MatMut<'_, f32>, accumulate: bool) {
        const { assert!(MR % 2 == 0 && MR + HELD * (LINES + 1) < 32, "pairs of rows that fit the registers") };
        let (spans, words, held) = (a.len() / (A_WORDS * MR), self.span(), self.held());
        let parts = Self::NR.div_ceil(held);
        assert!(a.len() == spans * A_WORDS * MR && b.len() == parts * spans * words, "panels of different depths");
        assert!(c.rows() == MR && c.cols() == Self::NR, "C is not one tile");
        let (c, ldc) = c.as_raw();
        for part in 0..parts {
            let columns = held.min(Self::NR - part * held);
            // SAFETY: the token proves SVE and i8mm. A span reads the words of A that one of a strip has and
            // those of B that one of a part has; there are `spans` of each in the strip, and in each of the
            // `parts` of the panel. C is read and written as MR rows of `columns` elements (where the predicate of
            // a row ends), `ldc` elements apart, from a column of which as many follow. That is what was
            // checked above. The text leaves no assembler macro behind, so it may be instantiated repeatedly.
            unsafe {
                sve_asm!(
                    [".arch_extension i8mm", pairs_text!()],
                    a = inout(reg) a.as_ptr().wrapping_byte_add(128) => _,
                    b = inout(reg) b.as_ptr().add(part * spans * words) => _,
                    rounds = inout(reg) spans / KU => _,
                    rest = inout(reg) spans % KU => _,
                    b_bytes = in(reg) words * size_of::<u32>(),
                    start = in(reg) &ZERO,
                    columns = in(reg) columns,
                    c = in(reg) c.add(part * held),
                    row = out(reg) _,
                    ldc_bytes = in(reg) ldc * size_of::<f32>(),
                    accumulate = in(reg) accumulate as u32,
                    mr = const MR,
                    ku = const KU,
                    lines = const LINES,
                    units = const UNITS,
                    pair_bytes = const 2 * A_WORDS * size_of::<u32>(),
                    reach = const 256 / (2 * A_WORDS * size_of::<u32>()),
                );
            }
        }
    }

    fn pack_a(&self, a: Mat<'_, f32>, out: &mut [u32]) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || block_mmla::pack_a::<_, MR>(isa, a, self.geometry().strip(a.cols()), out),
        );
    }

    fn pack_b(&self, bt: Mat<'_, B>, out: &mut [u32]) {
        self.0.vectorize(
            #[inline(always)]
            || Layout::<NeonI8mm, B, false>::pack_b(Self::NR, bt, out),
        );
    }

    fn unpacked_len(&self, depth: usize) -> usize {
        let spans = depth.div_ceil(B::DEPTH) * (B::DEPTH / SPAN);
        Self::NR.div_ceil(self.held()) * spans * self.span() + LINE - 1
    }

    fn unpack<'a>(&self, panel: &[u32], out: &'a mut [u32]) -> &'a [u32] {
        let isa = NeonI8mm::from(self.0);
        isa.vectorize(
            #[inline(always)]
            || {
                let (block_words, per_block) = (self.geometry().b_words, B::DEPTH / SPAN);
                let (blocks, words) = (self.blocks(), self.span());
                let spans = panel.len() / block_words * per_block;
                let out = aligned(out, Self::NR.div_ceil(self.held()) * spans * words);
                let vectors: &mut [i32] = bytemuck::cast_slice_mut(out);
                let minus = isa.splat(-f32::from_bits(ZERO.cast_unsigned()));
                for (n, block) in panel.chunks_exact(block_words).enumerate() {
                    for (m, weights) in Packed::<NeonI8mm, B, NV>::spans::<0>(isa, block).enumerate() {
                        let scales = signed_scales::<_, B, NV>(isa, weights.scales(0));
                        let groups: [_; 2 * UNITS] = core::array::from_fn(
                            #[inline(always)]
                            |g| signed::<_, B, NV>(isa, weights.group(g)),
                        );
                        for j in 0..NV {
                            // A scale is a half, maybe times a factor, so that the product is exact.
                            let heads = [scales[j], isa.mul(scales[j], minus)];
                            Self::put(isa, heads, groups.map(|group| group[j]), |block, line, v| {
                                let block = 2 * j + block;
                                let (vector, block) = (block / blocks, block % blocks);
                                let (part, vector) = (vector / HELD, vector % HELD);
                                let at = (part * spans + n * per_block + m) * words + ((vector * LINES + line) * blocks + block) * BLOCK;
                                isa.store_i32(v, &mut vectors[at..]);
                            });
                        }
                    }
                }
                &*out
            },
        )
    }
}

/// Registers: accumulators from z0, pair of rows by pair of rows, for both vectors of blocks; behind them a span of B,
/// its lines of the first vector, then of the second; sums in z29 and z30, A in z31. {a} points 128 bytes
/// ahead, so that the most pairs of rows are in reach of it.
macro_rules! pairs_text {
    () => {
        r"
            .altmacro
            .macro kiln_zero acc
                mov z\acc\().s, #0
            .endm
            .macro kiln_load_b vec, index
                ldr z\vec, [{b}, #\index, mul vl]
            .endm
            .macro kiln_load_a at
                ld1rqw {{z31.s}}, p0/z, [{a}, #\at]
            .endm
            .macro kiln_multiply piece
                smmla z29.s, z31.b, z\piece\().b
            .endm
            .macro kiln_multiply_next piece
                smmla z30.s, z31.b, z\piece\().b
            .endm
            .macro kiln_scale sum, columns, minus
                fmad z\sum\().s, p0/m, z\columns\().s, z\minus\().s
            .endm
            .macro kiln_add acc, sum
                fmla z\acc\().s, p0/m, z\sum\().s, z31.s
            .endm
            .macro kiln_pair index
                .set .Lkiln_at, (\index % {reach}) * {pair_bytes} - 128
                ld1rw {{z29.s}}, p0/z, [{start}]
                ld1rw {{z30.s}}, p0/z, [{start}]
                .set .Lkiln_u, 0
                .rept {units}
                    kiln_load_a %(.Lkiln_at + 16 + 16 * .Lkiln_u)
                    kiln_multiply %({mr} + 2 + .Lkiln_u)
                    kiln_multiply_next %({mr} + {lines} + 2 + .Lkiln_u)
                    .set .Lkiln_u, .Lkiln_u + 1
                .endr
                kiln_load_a %(.Lkiln_at)
                kiln_scale 29, %({mr}), %({mr} + 1)
                kiln_scale 30, %({mr} + {lines}), %({mr} + {lines} + 1)
                kiln_add %(2 * \index), 29
                kiln_add %(2 * \index + 1), 30
            .endm
            .macro kiln_span first
                .set .Lkiln_l, 0
                .rept 2 * {lines}
                    kiln_load_b %({mr} + .Lkiln_l), %(\first + .Lkiln_l)
                    .set .Lkiln_l, .Lkiln_l + 1
                .endr
                .set .Lkiln_i, 0
                .rept {mr} / 2
                    kiln_pair %(.Lkiln_i)
                    .set .Lkiln_i, .Lkiln_i + 1
                    .if .Lkiln_i % {reach} == 0 || .Lkiln_i == {mr} / 2
                        add {a}, {a}, #((.Lkiln_i - 1) % {reach} + 1) * {pair_bytes}
                    .endif
                .endr
            .endm
            .macro kiln_spans count
                .set .Lkiln_s, 0
                .rept \count
                    kiln_span %(.Lkiln_s * 2 * {lines})
                    .set .Lkiln_s, .Lkiln_s + 1
                .endr
                .rept \count
                    add {b}, {b}, {b_bytes}
                .endr
            .endm
            .macro kiln_put_row
                cbz {accumulate:w}, 6f
                ld1w {{z30.s}}, p1/z, [{row}]
                fadd z29.s, z29.s, z30.s
            6:
                st1w {{z29.s}}, p1, [{row}]
                add {row}, {row}, {ldc_bytes}
            .endm
            .macro kiln_put left, right
                uzp1 z29.d, z\left\().d, z\right\().d
                kiln_put_row
                uzp2 z29.d, z\left\().d, z\right\().d
                kiln_put_row
            .endm

                ptrue p0.s
                whilelo p1.s, xzr, {columns}
                mov {row}, {c}
                .rept {mr}
                    prfm pstl1keep, [{row}]
                    add {row}, {row}, {ldc_bytes}
                .endr
                .set .Lkiln_i, 0
                .rept {mr}
                    kiln_zero %(.Lkiln_i)
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr
                cbz {rounds}, 3f
            2:
                kiln_spans {ku}
                subs {rounds}, {rounds}, #1
                b.ne 2b
            3:
                cbz {rest}, 5f
            4:
                kiln_spans 1
                subs {rest}, {rest}, #1
                b.ne 4b
            5:
                mov {row}, {c}
                .set .Lkiln_i, 0
                .rept {mr} / 2
                    kiln_put %(2 * .Lkiln_i), %(2 * .Lkiln_i + 1)
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr

            .purgem kiln_zero
            .purgem kiln_load_b
            .purgem kiln_load_a
            .purgem kiln_multiply
            .purgem kiln_multiply_next
            .purgem kiln_scale
            .purgem kiln_add
            .purgem kiln_pair
            .purgem kiln_span
            .purgem kiln_spans
            .purgem kiln_put_row
            .purgem kiln_put
            .noaltmacro
        "
    };
}
use pairs_text;
