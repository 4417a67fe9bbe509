//! The generic bodies of norms over an ISA token. A row is read twice (by layer norm three times), the first time
//! folded in `U` vectors at a time; the last time `R` rows go side by side, so that weights are loaded once for all of
//! them. Calls of `S` MiB of results or more store past the caches (0: none does).

use super::{LayerNormOp, Norm, RmsNormOp};
use crate::isa::LINE;
use crate::isa::math::Math;
use crate::mat::{Mat, MatMut};
use crate::row::{Body, row_kernel, streams};
use core::ops::Range;

row_kernel! {
    /// RMS norm.
    Rms<U, R, S>: RmsNormOp
}
row_kernel! {
    /// Layer norm.
    Layer<U, R, S>: LayerNormOp
}

/// What a row is shifted and multiplied by.
type Affine = (f32, f32);

impl<I: Math, const U: usize, const R: usize, const S: usize> Body<RmsNormOp> for Rms<I, U, R, S> {
    fn run(&self, Norm { x, weight, eps, y }: Norm<'_>) {
        let isa = self.0;
        norm::<I, R, S>(
            isa,
            (x, y),
            (weight, None),
            #[inline(always)]
            |row| (0.0, rms_scale(sum_of_squares::<I, U>(isa, row, 0.0), row.len(), eps)),
        );
    }
}

impl<I: Math, const U: usize, const R: usize, const S: usize> Body<LayerNormOp> for Layer<I, U, R, S> {
    /// The variance is taken about the mean in a second pass: one pass over x² would cancel.
    fn run(&self, (Norm { x, weight, eps, y }, bias): (Norm<'_>, &[f32])) {
        let isa = self.0;
        norm::<I, R, S>(
            isa,
            (x, y),
            (weight, Some(bias)),
            #[inline(always)]
            |row| {
                let mean = sum::<I, U>(isa, row) / row.len() as f32;
                (mean, rms_scale(sum_of_squares::<I, U>(isa, row, mean), row.len(), eps))
            },
        );
    }
}

/// 1 / √(mean + ε), of a sum of `n` squares.
#[inline(always)]
pub(super) fn rms_scale(sum: f32, n: usize, eps: f32) -> f32 {
    1.0 / (sum / n as f32 + eps).sqrt()
}

#[inline(always)]
fn norm<I: Math, const R: usize, const S: usize>(
    isa: I,
    (x, mut y): (Mat<'_, f32>, MatMut<'_, f32>),
    (weight, bias): (&[f32], Option<&[f32]>),
    affine: impl Fn(&[f32]) -> Affine + Copy,
) {
    let (rows, cols) = (x.rows(), x.cols());
    if cols == 0 {
        return;
    }
    isa.vectorize(
        #[inline(always)]
        || {
            let past = streams::<S>(4 * rows * cols);
            // What the next rows are multiplied by is found before these are written: their reading hides its latency.
            let mut by = affine_of::<R>(x, 0, affine);
            for first in (0..rows).step_by(R) {
                let next = affine_of::<R>(x, first + R, affine);
                if rows - first >= R {
                    let x: [&[f32]; R] = core::array::from_fn(|r| row(x, first + r));
                    let y = y.rows_mut::<R>(first);
                    if past {
                        write::<I, R, true>(isa, (x, y), (weight, bias), by)
                    } else {
                        write::<I, R, false>(isa, (x, y), (weight, bias), by)
                    }
                } else {
                    for r in first..rows {
                        write::<I, 1, false>(isa, ([row(x, r)], [y.row_mut(r)]), (weight, bias), [by[r - first]]);
                    }
                }
                by = next;
            }
            if past {
                isa.fence();
            }
        },
    );
}

/// What `R` rows from `first` on are shifted and multiplied by, of as many as there are.
#[inline(always)]
fn affine_of<const R: usize>(x: Mat<'_, f32>, first: usize, affine: impl Fn(&[f32]) -> Affine) -> [Affine; R] {
    let mut by = [(0.0, 1.0); R];
    for (r, by) in by.iter_mut().enumerate() {
        if first + r < x.rows() {
            *by = affine(row(x, first + r));
        }
    }
    by
}

/// Row `r`, whose elements are adjacent.
#[inline(always)]
pub(super) fn row(x: Mat<'_, f32>, r: usize) -> &[f32] {
    x.row(r).expect("rows of adjacent elements")
}

/// Σ (x − centre)².
#[inline(always)]
pub(super) fn sum_of_squares<I: Math, const U: usize>(isa: I, x: &[f32], centre: f32) -> f32 {
    let c = isa.splat(centre);
    fold::<I, U>(
        isa,
        x,
        centre,
        #[inline(always)]
        |acc, v| {
            let d = isa.sub(v, c);
            isa.fma(d, d, acc)
        },
    )
}

/// Σ x.
#[inline(always)]
fn sum<I: Math, const U: usize>(isa: I, x: &[f32]) -> f32 {
    fold::<I, U>(
        isa,
        x,
        0.0,
        #[inline(always)]
        |acc, v| isa.add(acc, v),
    )
}

/// Folds `x` into one sum: `step` over vectors in `U` accumulators. What does not fill a vector is filled up with
/// `neutral`, of which `step` makes nothing.
#[inline(always)]
fn fold<I: Math, const U: usize>(isa: I, x: &[f32], neutral: f32, step: impl Fn(I::F32, I::F32) -> I::F32) -> f32 {
    let mut acc = [isa.splat(0.0); U];
    let blocks = x.chunks_exact(U * I::LANES);
    let vectors = blocks.remainder().chunks_exact(I::LANES);
    let tail = vectors.remainder();
    for block in blocks {
        for u in 0..U {
            acc[u] = step(acc[u], isa.load(&block[u * I::LANES..]));
        }
    }
    for v in vectors {
        acc[0] = step(acc[0], isa.load(v));
    }
    if !tail.is_empty() {
        acc[U - 1] = step(acc[U - 1], isa.load_or(tail, neutral));
    }
    let mut total = acc[0];
    for a in &acc[1..] {
        total = isa.add(total, *a);
    }
    isa.sum(total)
}

/// y = (x − shift) · scale · weight (+ bias), of `R` rows side by side.
#[inline(always)]
pub(super) fn write<I: Math, const R: usize, const PAST: bool>(
    isa: I,
    (x, y): ([&[f32]; R], [&mut [f32]; R]),
    (weight, bias): (&[f32], Option<&[f32]>),
    by: [Affine; R],
) {
    let n = weight.len();
    let (x, mut y) = (x.map(|x| &x[..n]), y.map(|y| &mut y[..n]));
    let bias = bias.map(|bias| &bias[..n]);
    // Stores past the caches are of whole lines; rows that do not begin with one have a head of their own.
    let head = if PAST { y[0].as_ptr().align_offset(4 * LINE).min(n) } else { 0 };
    let mut at = 0;
    while at < head {
        let end = head.min(at + I::LANES);
        write_part(isa, (&x, &mut y), (weight, bias), &by, at..end);
        at = end;
    }
    while at + LINE <= n {
        for at in (at..at + LINE).step_by(I::LANES) {
            let w = isa.load(&weight[at..]);
            let b = bias.map(
                #[inline(always)]
                |b| isa.load(&b[at..]),
            );
            for r in 0..R {
                let v = affine(isa, by[r], isa.load(&x[r][at..]), w, b);
                if PAST { isa.stream(v, &mut y[r][at..]) } else { isa.store(v, &mut y[r][at..]) }
            }
        }
        at += LINE;
    }
    while at < n {
        let end = n.min(at + I::LANES);
        write_part(isa, (&x, &mut y), (weight, bias), &by, at..end);
        at = end;
    }
}

/// At most a vector of each row.
#[inline(always)]
fn write_part<I: Math, const R: usize>(
    isa: I,
    (x, y): (&[&[f32]; R], &mut [&mut [f32]; R]),
    (weight, bias): (&[f32], Option<&[f32]>),
    by: &[Affine; R],
    at: Range<usize>,
) {
    let w = isa.load_partial(&weight[at.clone()]);
    let b = bias.map(
        #[inline(always)]
        |b| isa.load_partial(&b[at.clone()]),
    );
    for r in 0..R {
        let v = affine(isa, by[r], isa.load_partial(&x[r][at.clone()]), w, b);
        isa.store_partial(v, &mut y[r][at.clone()]);
    }
}

#[inline(always)]
fn affine<I: Math>(isa: I, (shift, scale): Affine, x: I::F32, w: I::F32, bias: Option<I::F32>) -> I::F32 {
    let scaled = isa.mul(isa.sub(x, isa.splat(shift)), isa.splat(scale));
    match bias {
        Some(b) => isa.fma(scaled, w, b),
        None => isa.mul(scaled, w),
    }
}
