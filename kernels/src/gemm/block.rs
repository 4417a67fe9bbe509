//! The micro-kernel of the block formats: quantised rows of A against blocks of weights.
//!
//! The products of a span of depths are summed exactly in 32-bit lanes; the sums, times the scales of both
//! sides, are added to f32 accumulators that stay in registers over the whole depth. One body serves
//! every format, which [`Block`] describes, and every ISA that has [`IntDot`]. In memory weights keep their
//! own width: a tile of few rows unpacks them in registers; for one of [`IntDot::PANEL_ROWS`] or more a panel
//! is unpacked once, into the first-level cache, for all strips that it meets. No edges and no blocking here.

use super::block_pack::{GROUPS, Layout, ZERO};
use super::block_weights::{Packed, Unpacked, Weights, unpack};
use super::micro::{Geometry, MicroKernel, handle};
use super::product::Blocks;
use super::{AnyGemm, Gemm};
use crate::format::Block;
use crate::isa::{IntDot, Simd};
use crate::mat::{Mat, MatMut};
use crate::registry::{Kernel, Registered};
use core::marker::PhantomData;
use core::ops::Range;

/// The micro-kernel of `MR` rows by `NV` vectors for weights in blocks `B`, which asks for the blocks that
/// come `AHEAD` after the one that it unpacks (0: it does not ask). `ROWS`: see [`Blocks`].
#[derive(Clone, Copy, Debug)]
pub struct BlockTile<I, B, const ROWS: bool, const MR: usize, const NV: usize, const AHEAD: usize>(I, PhantomData<B>);

impl<I: IntDot, B: Block, const ROWS: bool, const MR: usize, const NV: usize, const AHEAD: usize> BlockTile<I, B, ROWS, MR, NV, AHEAD>
where
    Self: Registered,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<Gemm<Blocks<B, ROWS>>> {
        I::detect().map(|isa| handle(Self(isa, PhantomData)))
    }
}

#[cfg_attr(not(feature = "sweep"), allow(dead_code))]
impl<I: IntDot, B: Block, const ROWS: bool, const MR: usize, const NV: usize, const AHEAD: usize> BlockTile<I, B, ROWS, MR, NV, AHEAD>
where
    Self: Registered,
    AnyGemm: From<Gemm<Blocks<B, ROWS>>>,
{
    /// [`Self::handle`] for the registry.
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(|gemm| Kernel::Gemm(gemm.into()))
    }
}

impl<I: IntDot, B: Block, const ROWS: bool, const MR: usize, const NV: usize, const AHEAD: usize> BlockTile<I, B, ROWS, MR, NV, AHEAD> {
    /// Panels are unpacked before they are multiplied; where there is nothing to unpack, a copy costs more
    /// than it saves.
    const UNPACKED: bool = MR >= I::PANEL_ROWS && B::BITS < 8;
}

impl<I: IntDot, B: Block, const ROWS: bool, const MR: usize, const NV: usize, const AHEAD: usize> MicroKernel<Blocks<B, ROWS>>
    for BlockTile<I, B, ROWS, MR, NV, AHEAD>
{
    fn geometry(&self) -> Geometry {
        Layout::<I, B, ROWS>::geometry(MR, NV * I::LANES)
    }

    fn tile(&self, a: &[u32], b: &[u32], mut c: MatMut<'_, f32>, accumulate: bool) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                let geometry = Layout::<I, B, ROWS>::geometry(MR, NV * I::LANES);
                let mut acc = start::<I, MR, NV>(isa, &mut c);
                let (head, a) = a.split_at(geometry.a_head);
                if Self::UNPACKED {
                    let spans = Unpacked::<I, B, NV>::spans(isa, b);
                    for (a, weights) in a.chunks_exact(Layout::<I, B, ROWS>::LINES * MR).zip(spans) {
                        span::<I, B, _, ROWS, MR, NV>(isa, &mut acc, a.as_chunks().0, &weights);
                    }
                } else {
                    for (a, block) in a.chunks_exact(geometry.a_words).zip(b.chunks_exact(geometry.b_words)) {
                        let spans = Packed::<I, B, NV>::spans::<AHEAD>(isa, block);
                        for (a, weights) in a.chunks_exact(Layout::<I, B, ROWS>::LINES * MR).zip(spans) {
                            span::<I, B, _, ROWS, MR, NV>(isa, &mut acc, a.as_chunks().0, &weights);
                        }
                    }
                }
                finish::<I, ROWS, MR, NV>(isa, &acc, head, &mut c, accumulate);
            },
        );
    }

    fn pack_a(&self, a: Mat<'_, f32>, out: &mut [u32]) {
        self.pack_rows(a, 0..a.cols(), out);
    }

    fn pack_rows(&self, a: Mat<'_, f32>, depth: Range<usize>, out: &mut [u32]) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || Layout::<I, B, ROWS>::pack_a::<MR>(isa, a, depth, out),
        );
    }

    fn pack_b(&self, bt: Mat<'_, B>, out: &mut [u32]) {
        self.0.vectorize(
            #[inline(always)]
            || Layout::<I, B, ROWS>::pack_b(NV * I::LANES, bt, out),
        );
    }

    fn unpacked_len(&self, depth: usize) -> usize {
        if Self::UNPACKED { Unpacked::<I, B, NV>::len(depth) } else { 0 }
    }

    fn unpack<'a>(&self, panel: &[u32], out: &'a mut [u32]) -> &'a [u32] {
        let isa = self.0;
        if !Self::UNPACKED {
            return out;
        }
        isa.vectorize(
            #[inline(always)]
            || unpack::<I, B, NV, AHEAD>(isa, panel, out),
        )
    }
}

/// Accumulators, and C on its way.
#[inline(always)]
fn start<I: Simd, const MR: usize, const NV: usize>(isa: I, c: &mut MatMut<'_, f32>) -> [[I::F32; NV]; MR] {
    for i in 0..MR {
        isa.prefetch(&c.row_mut(i)[..NV * I::LANES]);
    }
    [[isa.splat(0.0); NV]; MR]
}

/// Writes or adds the accumulators; `scales` are those of rows, if they have one each.
#[inline(always)]
fn finish<I: Simd, const ROWS: bool, const MR: usize, const NV: usize>(
    isa: I,
    acc: &[[I::F32; NV]; MR],
    scales: &[u32],
    c: &mut MatMut<'_, f32>,
    accumulate: bool,
) {
    for (i, acc) in acc.iter().enumerate() {
        let row = c.row_mut(i);
        for (j, v) in acc.iter().enumerate() {
            let out = &mut row[j * I::LANES..][..I::LANES];
            let v = if ROWS { isa.mul(*v, isa.splat(f32::from_bits(scales[i]))) } else { *v };
            let v = if accumulate { isa.add(isa.load(out), v) } else { v };
            isa.store(v, out);
        }
    }
}

/// Adds the products of one span of depths.
#[inline(always)]
fn span<I: IntDot, B: Block, W: Weights<I, NV>, const ROWS: bool, const MR: usize, const NV: usize>(
    isa: I,
    acc: &mut [[I::F32; NV]; MR],
    a: &[[u32; MR]],
    weights: &W,
) {
    let (lines, quads) = a.split_at(Layout::<I, B, ROWS>::HEAD);
    let (scales, starts) = lines.split_at(Layout::<I, B, ROWS>::SCALES);
    let start = |part: usize, row: usize| starts[part][row];
    for part in 0..B::PARTS {
        let mut sums = [[isa.splat_i32(ZERO); NV]; MR];
        for sum in sums.as_flattened_mut() {
            *sum = isa.begin(&[ZERO; 4]);
        }
        if W::OFFSET && !I::LATE {
            for (i, sums) in sums.iter_mut().enumerate() {
                *sums = [isa.splat_i32(start(part, i).cast_signed()); NV];
            }
        }
        // Written out, because the compiler's own unroller gives up on bodies this large.
        macro_rules! groups {
            ($($g:literal)*) => {
                $(if $g / (GROUPS / B::PARTS) == part {
                    let quads = &quads[$g * Layout::<I, B, ROWS>::QUAD..][..Layout::<I, B, ROWS>::QUAD];
                    isa.quad(&mut sums, quads, &weights.group($g), Layout::<I, B, ROWS>::SMALL);
                })*
            };
        }
        const { assert!(GROUPS == 8) };
        groups!(0 1 2 3 4 5 6 7);
        // Weights first: the product of both scales alone could be too small for a normal number.
        let columns = weights.scales(part);
        let zero = isa.of_bits(isa.splat_i32(ZERO));
        for i in 0..MR {
            let zero = if W::OFFSET && I::LATE { isa.splat(f32::from_bits(start(part, i))) } else { zero };
            for j in 0..NV {
                let sum = isa.sub(isa.of_bits(sums[i][j]), zero);
                acc[i][j] = if ROWS {
                    isa.fma(sum, columns[j], acc[i][j])
                } else {
                    isa.fma(isa.mul(sum, columns[j]), isa.splat(f32::from_bits(scales[0][i])), acc[i][j])
                };
            }
        }
    }
    if B::MINIMUM {
        let minimums = weights.minimums();
        for (i, acc) in acc.iter_mut().enumerate() {
            let sum = isa.splat(f32::from_bits(start(0, i)));
            for (acc, minimum) in acc.iter_mut().zip(minimums) {
                *acc = isa.fma(minimum, sum, *acc);
            }
        }
    }
}
