//! RMS norm fused with what stands beside it: the sum of residual and delta before, and the quantisation behind. Each
//! spares a pass over the row that would be in no register.

use super::body::{rms_scale, row, sum_of_squares, write};
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
    fn run(&self, AddNorm { mut x, delta, weight, eps, mut y }: AddNorm<'_>) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                for r in 0..x.rows() {
                    let x = x.row_mut(r);
                    let squares = add::<I, U>(isa, x, row(delta, r));
                    let by = (0.0, rms_scale(squares, x.len(), eps));
                    write::<I, 1, false>(isa, ([x], [y.row_mut(r)]), (weight, None), [by]);
                }
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
            let x = &mut x[u * I::LANES..][..I::LANES];
            let v = isa.add(isa.load(x), isa.load(&delta[u * I::LANES..]));
            isa.store(v, x);
            acc[u] = isa.fma(v, v, acc[u]);
        }
    }
    for (x, delta) in xs.into_remainder().chunks_mut(I::LANES).zip(deltas.remainder().chunks(I::LANES)) {
        let v = isa.add(isa.load_partial(x), isa.load_partial(delta));
        isa.store_partial(v, x);
        acc[0] = isa.fma(v, v, acc[0]);
    }
    let mut total = acc[0];
    for a in &acc[1..] {
        total = isa.add(total, *a);
    }
    isa.sum(total)
}

impl<I: Math, const U: usize> Body<RmsNormQuantiseOp> for RmsQuantise<I, U> {
    fn run(&self, NormQuantise { x, weight, eps, mut y }: NormQuantise<'_>) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                for r in 0..x.rows() {
                    let x = row(x, r);
                    let scale = rms_scale(sum_of_squares::<I, 4>(isa, x, 0.0), x.len(), eps);
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
