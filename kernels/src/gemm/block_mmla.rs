//! The micro-kernel of blocks of signed bytes (Q8_0) for instructions that multiply two rows by two columns.
//!
//! Sums of a span and f32 accumulators are blocks of 2 × 2 results, un-permuted once, when the tile is
//! stored. The pipes that multiply also do everything else with vectors, so that little else is done: sums
//! start as the bits of 1.5 · 2^23 ([`ZERO`]), which makes them f32 without a conversion; one multiply-add
//! takes that away again and scales by the columns (exactly as a multiplication of the sum would round);
//! another scales by the rows and adds. What both begin with is loaded, not copied. Columns are few, so
//! that a span of B stays in registers while the rows of A pass.
//!
//! Strip of A, for each span and pair of rows: the scales, each twice, then four units of eight bytes of
//! each row. Panel of B, for each span: the scales as halves, then four units of each column.

use super::block_pack::{Quantised, ZERO, quantise};
use super::micro::{Geometry, MicroKernel, handle};
use super::product::Blocks;
use super::{AnyGemm, Gemm};
use crate::format::{Block, SPAN};
use crate::isa::{ScaledBlockDot, Simd};
use crate::mat::{Mat, MatMut};
use crate::registry::{Kernel, Registered};
use core::marker::PhantomData;

/// Units of eight depths in a span.
pub(super) const UNITS: usize = SPAN / 8;

/// Words of A for a row and a span: its scale twice, and its units.
pub(super) const A_WORDS: usize = 2 + 2 * UNITS;

/// The micro-kernel of `MR` rows by `NV` vectors; `KU` spans are written out in its loop.
#[derive(Clone, Copy, Debug)]
pub struct BlockMmla<I, B, const MR: usize, const NV: usize, const KU: usize>(I, PhantomData<B>);

impl<I: ScaledBlockDot, B: Block, const MR: usize, const NV: usize, const KU: usize> BlockMmla<I, B, MR, NV, KU>
where
    Self: Registered,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<Gemm<Blocks<B>>> {
        I::detect().map(|isa| handle(Self(isa, PhantomData)))
    }
}

#[cfg_attr(not(all(feature = "sweep", target_arch = "aarch64")), allow(dead_code))]
impl<I: ScaledBlockDot, B: Block, const MR: usize, const NV: usize, const KU: usize> BlockMmla<I, B, MR, NV, KU>
where
    Self: Registered,
    AnyGemm: From<Gemm<Blocks<B>>>,
{
    /// [`Self::handle`] for the registry.
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(|gemm| Kernel::Gemm(gemm.into()))
    }
}

impl<I: ScaledBlockDot, B: Block, const MR: usize, const NV: usize, const KU: usize> MicroKernel<Blocks<B>>
    for BlockMmla<I, B, MR, NV, KU>
{
    fn geometry(&self) -> Geometry {
        const { assert!(B::BITS == 8 && B::OFFSET == 128 && B::DEPTH == SPAN && B::PARTS == 1 && !B::MINIMUM, "signed bytes with one scale") };
        let nr = NV * I::LANES;
        Geometry { mr: MR, nr, step: SPAN, a_head: 0, a_words: A_WORDS * MR, b_words: nr / 2 + 2 * UNITS * nr }
    }

    fn tile(&self, a: &[u32], b: &[u32], mut c: MatMut<'_, f32>, accumulate: bool) {
        let (isa, geometry) = (self.0, self.geometry());
        isa.vectorize(
            #[inline(always)]
            || tile::<I, MR, NV, KU>(isa, geometry, a, b, &mut c, accumulate),
        );
    }

    fn pack_a(&self, a: Mat<'_, f32>, out: &mut [u32]) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || pack_a::<I, MR>(isa, a, self.geometry().strip(a.cols()), out),
        );
    }

    fn pack_b(&self, bt: Mat<'_, B>, out: &mut [u32]) {
        let Geometry { nr, b_words, .. } = self.geometry();
        if bt.cols() == 0 {
            return;
        }
        for (p, panel) in out.chunks_exact_mut(bt.cols() * b_words).enumerate().take(bt.rows().div_ceil(nr)) {
            panel.fill(0);
            for j in 0..nr.min(bt.rows() - p * nr) {
                for (s, words) in panel.chunks_exact_mut(b_words).enumerate() {
                    let block = bt.get(p * nr + j, s);
                    let (scales, quants) = words.split_at_mut(nr / 2);
                    bytemuck::cast_slice_mut::<_, u16>(scales)[j] = block.scale().to_bits();
                    let signed = block.quants(0).map(|q| q ^ 0x80);
                    let units: &[[u32; 2]; UNITS] = &bytemuck::cast(signed);
                    for (u, unit) in units.iter().enumerate() {
                        quants[2 * (u * nr + j)..][..2].copy_from_slice(unit);
                    }
                }
            }
        }
    }
}

/// Quantises rows of `a` into strips of so many words, in pairs of rows.
#[inline(always)]
pub(super) fn pack_a<I: Simd, const MR: usize>(isa: I, a: Mat<'_, f32>, strip: usize, out: &mut [u32]) {
    if strip == 0 {
        return;
    }
    for (s, out) in out.chunks_exact_mut(strip).enumerate().take(a.rows().div_ceil(MR)) {
        for (n, span) in out.chunks_exact_mut(A_WORDS * MR).enumerate() {
            let mut x = [[0.0; SPAN]; MR];
            let here = a.cols().min(n * SPAN)..a.cols().min((n + 1) * SPAN);
            for (x, row) in x.iter_mut().zip(s * MR..a.rows()) {
                match a.row(row) {
                    Some(row) => x[..here.len()].copy_from_slice(&row[here.clone()]),
                    None => x.iter_mut().zip(here.clone()).for_each(|(x, p)| *x = a.get(row, p)),
                }
            }
            put_a(quantise(isa, x.each_ref()), span);
        }
    }
}

/// One span of the rows of a strip.
#[inline(always)]
fn put_a<const MR: usize>(Quantised { d, quants }: Quantised<MR>, span: &mut [u32]) {
    for i in 0..MR {
        let first = i / 2 * 2;
        let rows = 2.min(MR - first);
        let pair = &mut span[first * A_WORDS..];
        pair[i % 2 * 2..][..2].fill(d[i].to_bits());
        let units: &[[u32; 2]; UNITS] = bytemuck::cast_ref(&quants[i]);
        for (u, unit) in units.iter().enumerate() {
            pair[2 * (rows + u * rows + i % 2)..][..2].copy_from_slice(unit);
        }
    }
}

#[inline(always)]
fn tile<I: ScaledBlockDot, const MR: usize, const NV: usize, const KU: usize>(
    isa: I,
    geometry: Geometry,
    a: &[u32],
    b: &[u32],
    c: &mut MatMut<'_, f32>,
    accumulate: bool,
) {
    const { assert!(I::LANES == 4, "a vector is one block") };
    let lanes = I::LANES;
    // As in mmla.rs, the blocks of rows 2p and 2p + 1 with the left and the right half of a vector of columns
    // lie where these two rows of the vector belong; the right ones of a last single row apart.
    let (mut rows, mut single) = ([[isa.splat(0.0); NV]; MR], [isa.splat(0.0); NV]);
    for i in 0..MR {
        isa.prefetch(&c.row_mut(i)[..NV * lanes]);
    }
    let spans = a.as_chunks::<A_WORDS>().0.as_chunks::<MR>().0.iter().zip(b.chunks_exact(geometry.b_words));
    for (a, b) in spans {
        span::<I, MR, NV>(isa, &mut rows, &mut single, a.as_flattened(), b);
    }
    for i in (0..MR).step_by(2) {
        for j in 0..NV {
            let right = if i + 1 < MR { rows[i + 1][j] } else { single[j] };
            let results = isa.float_rows(rows[i][j], right);
            for (row, v) in results.into_iter().enumerate().take(MR - i) {
                let out = &mut c.row_mut(i + row)[j * lanes..][..lanes];
                let v = if accumulate { isa.add(isa.load(out), v) } else { v };
                isa.store(v, out);
            }
        }
    }
}

/// Adds the products of one span.
#[inline(always)]
fn span<I: ScaledBlockDot, const MR: usize, const NV: usize>(
    isa: I,
    rows: &mut [[I::F32; NV]; MR],
    single: &mut [I::F32; NV],
    a: &[u32],
    b: &[u32],
) {
    let (scales, quants) = b.split_at(NV * I::LANES / 2);
    let scales: &[u16] = bytemuck::cast_slice(scales);
    let zero = isa.splat(-f32::from_bits(ZERO.cast_unsigned()));
    let mut columns = [[isa.splat(0.0); 2]; NV];
    let mut minus = [[[0.0f32; 4]; 2]; NV];
    for j in 0..NV {
        let v = isa.load_f16(&scales[j * I::LANES..]);
        columns[j] = isa.float_rows(v, v);
        for half in 0..2 {
            // Exact: a half times three.
            isa.store(isa.mul(columns[j][half], zero), &mut minus[j][half]);
        }
    }
    let b = Columns { units: quants.as_chunks().0, scales: columns, minus: &minus };
    // Written out, because the compiler's own unroller gives up on bodies this large.
    macro_rules! pairs {
        ($($i:literal)*) => {
            $(if $i < MR {
                pair::<I, MR, NV>(isa, rows, single, $i, &a[$i * A_WORDS..], &b);
            })*
        };
    }
    const { assert!(MR <= 16) };
    pairs!(0 2 4 6 8 10 12 14);
}

/// A span of NV vectors of columns.
struct Columns<'a, I: Simd, const NV: usize> {
    units: &'a [[u32; 4]],
    /// Scales, of the left and of the right half of a vector.
    scales: [[I::F32; 2]; NV],
    /// What takes the start of a sum away from it, scaled.
    minus: &'a [[[f32; 4]; 2]; NV],
}

/// Adds the products of rows `i` and `i + 1`.
#[inline(always)]
fn pair<I: ScaledBlockDot, const MR: usize, const NV: usize>(
    isa: I,
    rows: &mut [[I::F32; NV]; MR],
    single: &mut [I::F32; NV],
    i: usize,
    pair: &[u32],
    b: &Columns<'_, I, NV>,
) {
    let words = |at: usize| {
        if i + 1 < MR {
            isa.load_u32(&pair[4 * at..])
        } else {
            isa.load_u32(bytemuck::cast_slice([[pair[2 * at], pair[2 * at + 1]]; 2].as_flattened()))
        }
    };
    let mut sums = [[isa.splat_i32(0); 2]; NV];
    for sum in sums.as_flattened_mut() {
        *sum = isa.fresh(&[ZERO; 4]);
    }
    for u in 0..UNITS {
        let av = words(1 + u);
        for (sum, unit) in sums.as_flattened_mut().iter_mut().zip(&b.units[u * 2 * NV..]) {
            *sum = isa.multiply(*sum, av, isa.load_u32(unit));
        }
    }
    let d = isa.of_bits(words(0));
    for j in 0..NV {
        let [left, right] = [0, 1].map(|half| {
            let minus = isa.of_bits(isa.fresh(bytemuck::cast_ref(&b.minus[j][half])));
            isa.fma(isa.of_bits(sums[j][half]), b.scales[j][half], minus)
        });
        rows[i][j] = isa.fma(left, d, rows[i][j]);
        let block = if i + 1 < MR { &mut rows[i + 1][j] } else { &mut single[j] };
        *block = isa.fma(right, d, *block);
    }
}
