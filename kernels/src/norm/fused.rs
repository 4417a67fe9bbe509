//! RMS norm fused with what stands beside it: the sum of residual and delta before, and the quantisation behind. Each
//! spares a pass over the row that would be in no register.

use super::body::{nothing, rms_scale, row, sum_of_squares, total, write};
use super::{AddNorm, AddRmsNormOp, NormQuantise, RmsNormQuantiseOp};
use crate::isa::math::Math;
use crate::quantise::Spans;
use crate::row::{Body, row_kernel};

row_kernel! {
    /// RMS norm of a sum, which is `U` vectors at a time.
    AddRms<U>: AddRmsNormOp
}
row_kernel! {
    /// RMS norm whose results are quantised, `U` spans of 32 at a time.
    RmsQuantise<U>: RmsNormQuantiseOp
}

impl<I: Math, const U: usize> Body<AddRmsNormOp> for AddRms<I, U> {
    /// While a row is normed, the next one is added to.
    fn run(&self, AddNorm { mut x, delta, weight, eps, mut y }: AddNorm<'_>) {
        let (isa, rows, cols) = (self.0, x.rows(), x.cols());
        if rows == 0 || cols == 0 {
            return;
        }
        isa.vectorize(
            #[inline(always)]
            || {
                let first = add::<I, U>(isa, x.row_mut(0), row(delta, 0));
                let mut by = (0.0, rms_scale(first, cols, eps));
                for r in 0..rows - 1 {
                    let [x, next] = x.rows_mut::<2>(r);
                    let (next, delta) = (&mut next[..cols], &row(delta, r + 1)[..cols]);
                    let mut sums = [isa.splat(0.0); U];
                    write::<I, U, 1, false>(
                        isa,
                        ([x], [y.row_mut(r)]),
                        (weight, None),
                        [by],
                        #[inline(always)]
                        |u, at| sums[u] = add_piece(isa, (&mut next[at.clone()], &delta[at]), sums[u]),
                    );
                    by = (0.0, rms_scale(total(isa, sums), cols, eps));
                }
                let last = rows - 1;
                write::<I, U, 1, false>(isa, ([x.row_mut(last)], [y.row_mut(last)]), (weight, None), [by], nothing);
            },
        );
    }
}

/// x ← x + delta; the sum of squares of that.
#[inline(always)]
fn add<I: Math, const U: usize>(isa: I, x: &mut [f32], delta: &[f32]) -> f32 {
    let delta = &delta[..x.len()];
    let mut acc = [isa.splat(0.0); U];
    let (mut xs, mut deltas) = (x.chunks_exact_mut(U * I::LANES), delta.chunks_exact(U * I::LANES));
    for (x, delta) in xs.by_ref().zip(deltas.by_ref()) {
        for u in 0..U {
            acc[u] = add_piece(isa, (&mut x[u * I::LANES..][..I::LANES], &delta[u * I::LANES..][..I::LANES]), acc[u]);
        }
    }
    for (x, delta) in xs.into_remainder().chunks_mut(I::LANES).zip(deltas.remainder().chunks(I::LANES)) {
        acc[0] = add_piece(isa, (x, delta), acc[0]);
    }
    total(isa, acc)
}

/// As [`add`] of a vector or less, with the sum so far.
#[inline(always)]
fn add_piece<I: Math>(isa: I, (x, delta): (&mut [f32], &[f32]), sum: I::F32) -> I::F32 {
    let v = if x.len() == I::LANES {
        let v = isa.add(isa.load(x), isa.load(delta));
        isa.store(v, x);
        v
    } else {
        let v = isa.add(isa.load_partial(x), isa.load_partial(delta));
        isa.store_partial(v, x);
        v
    };
    isa.fma(v, v, sum)
}

impl<I: Math, const U: usize> Body<RmsNormQuantiseOp> for RmsQuantise<I, U> {
    fn run(&self, NormQuantise { x, weight, eps, mut y }: NormQuantise<'_>) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                for r in 0..x.rows() {
                    let x = row(x, r);
                    let scale = rms_scale(sum_of_squares::<I, 4>(isa, x), x.len(), eps);
                    let by = isa.splat(scale);
                    Spans::<I, U>::of(isa, x.len(), y.row_mut(r)).put(
                        #[inline(always)]
                        |at| isa.mul(isa.mul(isa.load(&x[at..]), by), isa.load(&weight[at..])),
                        #[inline(always)]
                        |at| x[at] * scale * weight[at],
                    );
                }
            },
        );
    }
}
