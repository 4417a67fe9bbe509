//! RMS norm fused with what stands beside it: the sum of residual and delta before, and the quantisation behind. Each
//! spares a pass over the row that would be in no register.

use super::body::{nothing, rms_scale, row, sum_of_squares, total, write};
use super::{AddNorm, AddRmsNormOp, NormQuantise, RmsNormQuantiseOp};
use crate::isa::math::Math;
use crate::mat::{Mat, MatMut};
use crate::quantise::Spans;
use crate::row::{Body, row_kernel, streams};

row_kernel! {
    /// RMS norm of a sum, which is `U` vectors at a time; calls of `S` MiB of results or more store those past the caches.
    AddRms<U, S>: AddRmsNormOp
}
row_kernel! {
    /// RMS norm whose results are quantised, `U` spans of 32 at a time.
    RmsQuantise<U>: RmsNormQuantiseOp
}

impl<I: Math, const U: usize, const S: usize> Body<AddRmsNormOp> for AddRms<I, U, S> {
    /// While a row is normed, the next one is added to.
    fn run(&self, AddNorm { x, delta, weight, eps, y }: AddNorm<'_>) {
        let (isa, rows, cols) = (self.0, x.rows(), x.cols());
        if rows == 0 || cols == 0 {
            return;
        }
        isa.vectorize(
            #[inline(always)]
            || {
                if streams::<S>(4 * rows * cols) {
                    add_rms::<I, U, true>(isa, (x, delta), weight, eps, y);
                    isa.fence();
                } else {
                    add_rms::<I, U, false>(isa, (x, delta), weight, eps, y);
                }
            },
        );
    }
}

#[inline(always)]
fn add_rms<I: Math, const U: usize, const PAST: bool>(
    isa: I,
    (mut x, delta): (MatMut<'_, f32>, Mat<'_, f32>),
    weight: &[f32],
    eps: f32,
    mut y: MatMut<'_, f32>,
) {
    let cols = x.cols();
    let first = add::<I, U>(isa, x.row_mut(0), row(delta, 0));
    let mut by = (0.0, rms_scale(first, cols, eps));
    let last = x.rows() - 1;
    for r in 0..last {
        let [x, next] = x.rows_mut::<2>(r);
        let (next, delta) = (&mut next[..cols], &row(delta, r + 1)[..cols]);
        let mut sums = [isa.splat(0.0); U];
        write::<I, U, 1, PAST>(
            isa,
            ([x], [y.row_mut(r)]),
            (weight, None),
            [by],
            #[inline(always)]
            |u, at| sums[u] = add_piece(isa, (&mut next[at.clone()], &delta[at]), sums[u]),
        );
        by = (0.0, rms_scale(total(isa, sums), cols, eps));
    }
    write::<I, U, 1, PAST>(isa, ([x.row_mut(last)], [y.row_mut(last)]), (weight, None), [by], nothing);
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
    /// What the next row is scaled by is found before this one is quantised: nothing waits for a root and a division.
    fn run(&self, NormQuantise { x, weight, eps, mut y }: NormQuantise<'_>) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                let mut next = scale_of(isa, x, 0, eps);
                for r in 0..x.rows() {
                    let scale = next;
                    next = scale_of(isa, x, r + 1, eps);
                    let x = row(x, r);
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

/// What a row is multiplied by; of no row, nothing.
#[inline(always)]
fn scale_of<I: Math>(isa: I, x: Mat<'_, f32>, r: usize, eps: f32) -> f32 {
    if r >= x.rows() {
        return 0.0;
    }
    let x = row(x, r);
    rms_scale(sum_of_squares::<I, 4>(isa, x), x.len(), eps)
}
