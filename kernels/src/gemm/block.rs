//! The micro-kernel of the block formats: quantised rows of A against blocks of weights.
//!
//! The products of a span of depths are summed exactly in 32-bit lanes; the sums, times the scales of both
//! sides, are added to f32 accumulators that stay in registers over the whole depth. One body serves
//! every format, which [`Block`] describes, and every ISA that has [`IntDot`]. Weights are unpacked in
//! registers: in memory they keep their own width. No edges and no blocking here.

use super::block_pack::{GROUPS, Layout, ZERO};
use super::micro::{Geometry, MicroKernel, handle};
use super::product::Blocks;
use super::{AnyGemm, Gemm};
use crate::format::Block;
use crate::isa::{IntDot, Simd};
use crate::mat::{Mat, MatMut};
use crate::registry::{Kernel, Registered};
use core::marker::PhantomData;

/// The micro-kernel of `MR` rows by `NV` vectors for weights in blocks `B`, which asks for the blocks that
/// come `AHEAD` after the one at work (0: it does not ask).
#[derive(Clone, Copy, Debug)]
pub struct BlockTile<I, B, const MR: usize, const NV: usize, const AHEAD: usize>(I, PhantomData<B>);

impl<I: IntDot, B: Block, const MR: usize, const NV: usize, const AHEAD: usize> BlockTile<I, B, MR, NV, AHEAD>
where
    Self: Registered,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<Gemm<Blocks<B>>> {
        I::detect().map(|isa| handle(Self(isa, PhantomData)))
    }
}

#[cfg_attr(not(feature = "sweep"), allow(dead_code))]
impl<I: IntDot, B: Block, const MR: usize, const NV: usize, const AHEAD: usize> BlockTile<I, B, MR, NV, AHEAD>
where
    Self: Registered,
    AnyGemm: From<Gemm<Blocks<B>>>,
{
    /// [`Self::handle`] for the registry.
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(|gemm| Kernel::Gemm(gemm.into()))
    }
}

impl<I: IntDot, B: Block, const MR: usize, const NV: usize, const AHEAD: usize> MicroKernel<Blocks<B>> for BlockTile<I, B, MR, NV, AHEAD> {
    fn geometry(&self) -> Geometry {
        Layout::<I, B>::geometry(MR, NV * I::LANES)
    }

    fn tile(&self, a: &[u32], b: &[u32], mut c: MatMut<'_, f32>, accumulate: bool) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || tile::<I, B, MR, NV, AHEAD>(isa, a, b, &mut c, accumulate),
        );
    }

    fn pack_a(&self, a: Mat<'_, f32>, out: &mut [u32]) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || Layout::<I, B>::pack_a::<MR>(isa, a, out),
        );
    }

    fn pack_b(&self, bt: Mat<'_, B>, out: &mut [u32]) {
        self.0.vectorize(
            #[inline(always)]
            || Layout::<I, B>::pack_b(NV * I::LANES, bt, out),
        );
    }
}

#[inline(always)]
fn tile<I: IntDot, B: Block, const MR: usize, const NV: usize, const AHEAD: usize>(
    isa: I,
    a: &[u32],
    b: &[u32],
    c: &mut MatMut<'_, f32>,
    accumulate: bool,
) {
    let nr = NV * I::LANES;
    let geometry = Layout::<I, B>::geometry(MR, nr);
    let mut acc = [[isa.splat(0.0); NV]; MR];
    for i in 0..MR {
        isa.prefetch(&c.row_mut(i)[..nr]);
    }
    for (a, block) in a.chunks_exact(geometry.a_words).zip(b.chunks_exact(geometry.b_words)) {
        if AHEAD > 0 {
            isa.prefetch_ahead(block, AHEAD * geometry.b_words, geometry.b_words);
        }
        let (head, quants) = block.split_at(Layout::<I, B>::head(nr));
        let head = Head::<I, B, NV>::new(isa, head);
        let spans = a.chunks_exact(Layout::<I, B>::LINES * MR).zip(quants.chunks_exact(B::BITS * nr));
        for (n, (a, quants)) in spans.enumerate() {
            span::<I, B, MR, NV>(isa, &mut acc, a.as_chunks().0, &head, n, quants);
        }
    }
    for (i, acc) in acc.iter().enumerate() {
        let row = c.row_mut(i);
        for (j, v) in acc.iter().enumerate() {
            let out = &mut row[j * I::LANES..][..I::LANES];
            let v = if accumulate { isa.add(isa.load(out), *v) } else { *v };
            isa.store(v, out);
        }
    }
}

/// What stands before the quants of NV vectors of blocks.
struct Head<'a, I: Simd, B, const NV: usize> {
    isa: I,
    scales: [I::F32; NV],
    minimums: [I::F32; NV],
    factors: &'a [i8],
    block: PhantomData<B>,
}

impl<'a, I: IntDot, B: Block, const NV: usize> Head<'a, I, B, NV> {
    #[inline(always)]
    fn new(isa: I, words: &'a [u32]) -> Self {
        let nr = NV * I::LANES;
        let halves: &[u16] = bytemuck::cast_slice(words);
        let (mut scales, mut minimums) = ([isa.splat(0.0); NV], [isa.splat(0.0); NV]);
        for j in 0..NV {
            scales[j] = isa.load_f16(&halves[j * I::LANES..]);
            if B::MINIMUM {
                minimums[j] = isa.load_f16(&halves[nr + j * I::LANES..]);
            }
        }
        let factors = if Layout::<I, B>::FACTORS { &bytemuck::cast_slice(words)[2 * nr * (1 + usize::from(B::MINIMUM))..] } else { &[] };
        Head { isa, scales, minimums, factors, block: PhantomData }
    }

    /// The scales of a part of the block.
    #[inline(always)]
    fn scales(&self, part: usize) -> [I::F32; NV] {
        self.times(self.scales, part)
    }

    /// The minimums of a span of the block.
    #[inline(always)]
    fn minimums(&self, span: usize) -> [I::F32; NV] {
        self.times(self.minimums, Layout::<I, B>::PARTS + span)
    }

    #[inline(always)]
    fn times(&self, mut v: [I::F32; NV], line: usize) -> [I::F32; NV] {
        if Layout::<I, B>::FACTORS {
            for (j, v) in v.iter_mut().enumerate() {
                *v = self.isa.mul(*v, self.isa.load_i8(&self.factors[(line * NV + j) * I::LANES..]));
            }
        }
        v
    }
}

/// Adds the products of one span of depths.
#[inline(always)]
fn span<I: IntDot, B: Block, const MR: usize, const NV: usize>(
    isa: I,
    acc: &mut [[I::F32; NV]; MR],
    a: &[[u32; MR]],
    head: &Head<'_, I, B, NV>,
    n: usize,
    quants: &[u32],
) {
    let (lines, quads) = a.split_at(Layout::<I, B>::HEAD);
    for part in 0..B::PARTS {
        let mut sums = [[isa.splat_i32(ZERO); NV]; MR];
        for sum in sums.as_flattened_mut() {
            *sum = isa.begin(&[ZERO; 4]);
        }
        // Where the offset is gone from the weights, sums start from nothing else.
        if !B::MINIMUM && Layout::<I, B>::START != 0 {
            for i in 0..MR {
                sums[i] = [isa.splat_i32(lines[1 + part][i].cast_signed()); NV];
            }
        }
        // Written out, because the compiler's own unroller gives up on bodies this large.
        macro_rules! groups {
            ($($g:literal)*) => {
                $(if $g / (GROUPS / B::PARTS) == part {
                    let b = group::<I, B, NV>(isa, quants, $g);
                    isa.quad(&mut sums, &quads[$g * Layout::<I, B>::QUAD..][..Layout::<I, B>::QUAD], &b, Layout::<I, B>::SMALL);
                })*
            };
        }
        const { assert!(GROUPS == 8) };
        groups!(0 1 2 3 4 5 6 7);
        // Weights first: the product of both scales alone could be too small for a normal number.
        let scales = head.scales(n * B::PARTS + part);
        let zero = isa.of_bits(isa.splat_i32(ZERO));
        for i in 0..MR {
            let d = isa.splat(f32::from_bits(lines[0][i]));
            for j in 0..NV {
                acc[i][j] = isa.fma(isa.mul(isa.sub(isa.of_bits(sums[i][j]), zero), scales[j]), d, acc[i][j]);
            }
        }
    }
    if B::MINIMUM {
        let minimums = head.minimums(n);
        for i in 0..MR {
            let sum = isa.splat(f32::from_bits(lines[1][i]));
            for j in 0..NV {
                acc[i][j] = isa.fma(minimums[j], sum, acc[i][j]);
            }
        }
    }
}

/// The weights of group `g` of four depths, as bytes.
#[inline(always)]
fn group<I: IntDot, B: Block, const NV: usize>(isa: I, quants: &[u32], g: usize) -> [I::I32; NV] {
    let mut out = [isa.splat_i32(0); NV];
    let line = |w: usize, j: usize| isa.load_u32(&quants[(w * NV + j) * I::LANES..]);
    let mask = |byte: u8| isa.splat_i32(i32::from_ne_bytes([byte; 4]));
    for (j, out) in out.iter_mut().enumerate() {
        if B::BITS == 8 {
            *out = line(g, j);
            continue;
        }
        let high = B::BITS - 4;
        let pair = line(high + g / 2, j);
        *out = isa.and_i32(if g.is_multiple_of(2) { pair } else { isa.shr_i32(pair, 4) }, mask(0x0f));
        // What exceeds four bits, moved to the place above them.
        let (plane, place, bits) = match high {
            0 => continue,
            1 => (0, g, 0x10),
            _ => (g / 4, 2 * (g % 4), 0x30),
        };
        let plane = line(plane, j);
        let moved = match place {
            0..4 => isa.shl_i32(plane, 4 - place as u32),
            4 => plane,
            _ => isa.shr_i32(plane, place as u32 - 4),
        };
        *out = isa.or_i32(*out, isa.and_i32(moved, mask(bits)));
    }
    out
}
