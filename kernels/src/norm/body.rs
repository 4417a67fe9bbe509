//! The generic bodies of norms over an ISA token. A row is folded before it is written: into its sum of squares, by layer
//! norm into its mean and the squares about that. While `R` rows are written side by side, so that weights are loaded
//! once for all of them, the next `R` are folded in the same loop, `U` vectors at a time: memory is read and written all
//! the time, as by a copy. With `A` above 0 what will be read is asked for that many lines of the cache ahead; calls of
//! `S` MiB of results or more store past the caches (0: none does). What a row becomes does not depend on the others.

use super::spread::{Spread, parts};
use super::{LayerNormOp, Norm, RmsNormOp};
use crate::isa::math::Math;
use crate::isa::{LINE, ask};
use crate::mat::{Mat, MatMut};
use crate::row::{Body, row_kernel, streams};
use core::ops::Range;

row_kernel! {
    /// RMS norm.
    Rms<U, R, S, A>: RmsNormOp
}
row_kernel! {
    /// Layer norm.
    Layer<U, R, S, A>: LayerNormOp
}

/// What a row is shifted and multiplied by.
pub(super) type Affine = (f32, f32);

impl<I: Math, const U: usize, const R: usize, const S: usize, const A: usize> Body<RmsNormOp> for Rms<I, U, R, S, A> {
    fn run(&self, Norm { x, weight, eps, y }: Norm<'_>) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || norm::<I, false, U, R, S, A>(isa, (x, y), (weight, None), eps),
        );
    }
}

impl<I: Math, const U: usize, const R: usize, const S: usize, const A: usize> Body<LayerNormOp> for Layer<I, U, R, S, A> {
    fn run(&self, (Norm { x, weight, eps, y }, bias): (Norm<'_>, &[f32])) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || norm::<I, true, U, R, S, A>(isa, (x, y), (weight, Some(bias)), eps),
        );
    }
}

/// 1 / √(mean + ε), of a sum of `n` squares.
#[inline(always)]
pub(super) fn rms_scale(sum: f32, n: usize, eps: f32) -> f32 {
    1.0 / (sum / n as f32 + eps).sqrt()
}

#[inline(always)]
fn norm<I: Math, const CENTRED: bool, const U: usize, const R: usize, const S: usize, const A: usize>(
    isa: I,
    (x, mut y): (Mat<'_, f32>, MatMut<'_, f32>),
    affine: (&[f32], Option<&[f32]>),
    eps: f32,
) {
    let (rows, cols) = (x.rows(), x.cols());
    if cols == 0 {
        return;
    }
    let past = streams::<S>(4 * rows * cols);
    let whole = if rows < 2 * R { 0 } else { rows - rows % R };
    if whole > 0 {
        // Behind the last rows these are read once more, out of the nearest cache.
        let of = |first: usize| core::array::from_fn::<_, R, _>(|r| &row(x, first.min(whole - R) + r)[..cols]);
        // Rows are folded two steps before they are written: nothing waits for a root and a division then.
        let [mut by, mut by_next] = [of(0), of(R)].map(
            #[inline(always)]
            |rows| {
                rows.map(
                    #[inline(always)]
                    |row| alone::<I, CENTRED, U>(isa, row, eps),
                )
            },
        );
        for first in (0..whole).step_by(R) {
            let next = of(first + 2 * R);
            let mut spread = next.map(
                #[inline(always)]
                |row| Spread::new(isa, row),
            );
            let mut squares = [[isa.splat(0.0); U]; R];
            for part in parts::<I, CENTRED>(cols) {
                let mut sums = [[isa.splat(0.0); U]; R];
                group::<I, U, R>(
                    isa,
                    (of(first), y.rows_mut::<R>(first)),
                    affine,
                    (by, past),
                    part.clone(),
                    #[inline(always)]
                    |u, at| {
                        for r in 0..R {
                            let next = &next[r][part.clone()];
                            if A > 0 {
                                ask(next.as_ptr().wrapping_add(at.start + A * LINE).cast());
                            }
                            let so_far = (sums[r][u], squares[r][u]);
                            (sums[r][u], squares[r][u]) = step::<I, CENTRED>(isa, &next[at.clone()], spread[r].mean, so_far);
                        }
                    },
                );
                if CENTRED {
                    for r in 0..R {
                        spread[r].take(isa, part.len() / I::LANES, lanes(isa, sums[r]), lanes(isa, squares[r]));
                        squares[r] = [isa.splat(0.0); U];
                    }
                }
            }
            by = by_next;
            for r in 0..R {
                by_next[r] =
                    if CENTRED { spread[r].finish(isa, next[r], eps) } else { (0.0, rms_scale(total(isa, squares[r]), cols, eps)) };
            }
        }
    }
    for r in whole..rows {
        let x = row(x, r);
        write::<I, U, 1, false>(isa, ([x], [y.row_mut(r)]), affine, [alone::<I, CENTRED, U>(isa, x, eps)], nothing);
    }
    if past {
        isa.fence();
    }
}

/// A part of `R` rows is written.
#[inline(always)]
fn group<I: Math, const U: usize, const R: usize>(
    isa: I,
    (x, y): ([&[f32]; R], [&mut [f32]; R]),
    (weight, bias): (&[f32], Option<&[f32]>),
    (by, past): ([Affine; R], bool),
    part: Range<usize>,
    beside: impl FnMut(usize, Range<usize>),
) {
    let rows = (x.map(|x| &x[part.clone()]), y.map(|y| &mut y[part.clone()]));
    let affine = (&weight[part.clone()], bias.map(|bias| &bias[part.clone()]));
    if past { write::<I, U, R, true>(isa, rows, affine, by, beside) } else { write::<I, U, R, false>(isa, rows, affine, by, beside) }
}

/// A vector or less of a row, less a number, is taken into a sum and a sum of squares; RMS norm needs neither the number
/// nor the sum, and layer norm takes what is less than a vector elsewhere.
#[inline(always)]
fn step<I: Math, const CENTRED: bool>(isa: I, x: &[f32], less: I::F32, (sum, squares): (I::F32, I::F32)) -> (I::F32, I::F32) {
    let whole = x.len() == I::LANES;
    match CENTRED {
        true if whole => {
            let d = isa.sub(isa.load(x), less);
            (isa.add(sum, d), isa.fma(d, d, squares))
        }
        true => (sum, squares),
        false => {
            let v = if whole { isa.load(x) } else { isa.load_partial(x) };
            (sum, isa.fma(v, v, squares))
        }
    }
}

/// What a row is shifted and multiplied by, beside nothing else.
#[inline(always)]
fn alone<I: Math, const CENTRED: bool, const U: usize>(isa: I, row: &[f32], eps: f32) -> Affine {
    let mut spread = Spread::new(isa, row);
    for part in parts::<I, CENTRED>(row.len()) {
        let vectors = part.len() / I::LANES;
        let (sums, squares) = fold::<I, CENTRED, U>(isa, &row[part], spread.mean);
        if !CENTRED {
            return (0.0, rms_scale(total(isa, squares), row.len(), eps));
        }
        spread.take(isa, vectors, lanes(isa, sums), lanes(isa, squares));
    }
    spread.finish(isa, row, eps)
}

/// What is done beside [`write`] where there is nothing to do.
#[inline(always)]
pub(super) fn nothing(_: usize, _: Range<usize>) {}

/// Row `r`, whose elements are adjacent.
#[inline(always)]
pub(super) fn row(x: Mat<'_, f32>, r: usize) -> &[f32] {
    x.row(r).expect("rows of adjacent elements")
}

/// Σ x².
#[inline(always)]
pub(super) fn sum_of_squares<I: Math, const U: usize>(isa: I, x: &[f32]) -> f32 {
    total(isa, fold::<I, false, U>(isa, x, isa.splat(0.0)).1)
}

/// Folds `x` by [`step`] into `U` sums and sums of squares, in the order in which [`write`] goes.
#[inline(always)]
fn fold<I: Math, const CENTRED: bool, const U: usize>(isa: I, x: &[f32], less: I::F32) -> ([I::F32; U], [I::F32; U]) {
    let (mut sums, mut squares) = ([isa.splat(0.0); U], [isa.splat(0.0); U]);
    let blocks = x.chunks_exact(U * I::LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for u in 0..U {
            (sums[u], squares[u]) = step::<I, CENTRED>(isa, &block[u * I::LANES..][..I::LANES], less, (sums[u], squares[u]));
        }
    }
    for x in rest.chunks(I::LANES) {
        (sums[0], squares[0]) = step::<I, CENTRED>(isa, x, less, (sums[0], squares[0]));
    }
    (sums, squares)
}

/// The sums of each lane.
#[inline(always)]
pub(super) fn lanes<I: Math, const U: usize>(isa: I, sums: [I::F32; U]) -> I::F32 {
    let mut all = sums[0];
    for sum in &sums[1..] {
        all = isa.add(all, *sum);
    }
    all
}

/// The sum of all lanes.
#[inline(always)]
pub(super) fn total<I: Math, const U: usize>(isa: I, sums: [I::F32; U]) -> f32 {
    isa.sum(lanes(isa, sums))
}

/// y = (x − shift) · scale · weight (+ bias), of `R` rows side by side, `U` vectors at a time. With every piece of the
/// columns, which is a vector or less, goes a call of `beside`, with its number among the `U`.
#[inline(always)]
pub(super) fn write<I: Math, const U: usize, const R: usize, const PAST: bool>(
    isa: I,
    (x, y): ([&[f32]; R], [&mut [f32]; R]),
    (weight, bias): (&[f32], Option<&[f32]>),
    by: [Affine; R],
    mut beside: impl FnMut(usize, Range<usize>),
) {
    let n = weight.len();
    let (x, mut y) = (x.map(|x| &x[..n]), y.map(|y| &mut y[..n]));
    let bias = bias.map(|bias| &bias[..n]);
    let mut at = 0;
    while at + U * I::LANES <= n {
        for u in 0..U {
            let at = at + u * I::LANES;
            beside(u, at..at + I::LANES);
            write_vector::<I, R, PAST>(isa, (&x, &mut y), (weight, bias), &by, at);
        }
        at += U * I::LANES;
    }
    while at + I::LANES <= n {
        beside(0, at..at + I::LANES);
        write_vector::<I, R, PAST>(isa, (&x, &mut y), (weight, bias), &by, at);
        at += I::LANES;
    }
    if at < n {
        beside(0, at..n);
        write_part(isa, (&x, &mut y), (weight, bias), &by, at..n);
    }
}

/// A vector of each row.
#[inline(always)]
fn write_vector<I: Math, const R: usize, const PAST: bool>(
    isa: I,
    (x, y): (&[&[f32]; R], &mut [&mut [f32]; R]),
    (weight, bias): (&[f32], Option<&[f32]>),
    by: &[Affine; R],
    at: usize,
) {
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
