//! Products of few rows or few columns from operands as they lie: dot products of adjacent rows of A and
//! of Bᵀ. Packing an operand that is read once would take longer than multiplying by it. So are the few columns
//! that a wide product has beyond whole panels.
//!
//! It is for operands of floats that were not packed before. The order in which an element is summed
//! depends on the number of the few alone, so results do not depend on the number of threads.

use super::parallel::part;
use super::product::Product;
use super::{Gemm, Operands, Right, Split};
use crate::isa::{MAX_LANES, Simd};
use crate::mat::{Mat, MatMut};
use crate::team::Workers;
use bytemuck::Pod;

/// Rows, or columns, that are few.
const FEW: usize = 4;

/// Rows of the other operand that are not shared out among threads.
const UNIT: usize = 4;

/// What there are few of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Few {
    /// Rows of A.
    Rows,
    /// Columns of B.
    Columns,
}

/// Rows from this depth on are read one by one, in the order in which they lie; shorter ones two at a time, since
/// summing up the lanes at their end takes its time.
const LONG: usize = 512;

/// A and Bᵀ of a product.
pub(super) type Sides<'a, P> = (Mat<'a, <P as Product>::A>, Mat<'a, <P as Product>::B>);

/// The operands of a product.
type All<'a, P> = Operands<'a, <P as Product>::A, <P as Product>::B, <P as Product>::C>;

impl<P: Product> Gemm<P> {
    /// Whether a product (of operands that fit one another) takes them as they lie, and what it has few of.
    pub(super) fn few(&self, a: Mat<'_, P::A>, b: &Right<'_, P::B>) -> Option<Few> {
        let (m, n) = (a.rows(), b.cols());
        let fits = (1..=FEW).contains(&m.min(n)) && self.lie_well(a, b);
        fits.then_some(if m > n { Few::Columns } else { Few::Rows })
    }

    /// Whether dot products can be made of what is there.
    fn lie_well(&self, a: Mat<'_, P::A>, b: &Right<'_, P::B>) -> bool {
        let Right::Plain(b) = b else { return false };
        // Rows of both sides are read in the same way.
        let alike = size_of::<P::A>() == size_of::<P::B>();
        alike && self.micro.has_dots() && a.rows() > 0 && a.cols() > 0 && a.row(0).is_some() && b.transposed().row(0).is_some()
    }

    /// A product without the few columns at its right edge that would leave a panel almost empty, which `direct` is
    /// given: the tiles of that panel would take several times as long as dot products do.
    pub(super) fn cut_edge<'a>(&self, operands: All<'a, P>, direct: impl FnOnce(All<'a, P>)) -> All<'a, P> {
        let Operands { a, b, c, accumulate } = operands;
        let (n, edge) = (b.cols(), b.cols() % self.nr());
        if n < self.nr() || !(1..=FEW).contains(&edge) || !self.lie_well(a, &b) {
            return Operands { a, b, c, accumulate };
        }
        let (left, right) = c.split_cols(n - edge);
        direct(Operands { a, b: b.columns(n - edge..n), c: right, accumulate });
        Operands { a, b: b.columns(0..n - edge), c: left, accumulate }
    }

    /// Such a product, or a part of it that has all of the few, on the calling thread.
    pub(super) fn direct(&self, operands: Operands<'_, P::A, P::B, P::C>, few: Few) {
        if let Operands { a, b: Right::Plain(b), c, accumulate } = operands {
            self.micro.dots((a, b.transposed()), few, c, accumulate);
        }
    }

    /// Such a product, shared out by rows of the larger operand among the threads of the split.
    pub(super) fn direct_parallel(&self, operands: Operands<'_, P::A, P::B, P::C>, few: Few, split: Split, workers: &dyn Workers) {
        let threads = split.threads();
        assert!(threads > 0, "a product is shared out among no thread");
        if threads == 1 {
            return self.direct(operands, few);
        }
        let Operands { a, b, c, accumulate } = operands;
        let (m, n, k) = (a.rows(), b.cols(), a.cols());
        let split = few.split(threads);
        let rows = |i| part(m, UNIT, split.rows, i);
        let columns = |j| part(n, UNIT, split.cols, j);
        let c = c.grid([&rows, &columns], (split.rows, split.cols));
        workers.share(threads, &|worker| {
            let (row, col) = (worker % split.rows, worker / split.rows);
            let Some(c) = c.take(row, col) else { return };
            let a = a.block(rows(row).start, 0, rows(row).len(), k);
            self.direct(Operands { a, b: b.columns(columns(col)), c, accumulate }, few);
        });
    }
}

impl Few {
    /// So many parts that have all of the few.
    pub(super) fn split(self, parts: usize) -> Split {
        match self {
            Few::Rows => Split { rows: 1, cols: parts },
            Few::Columns => Split { rows: parts, cols: 1 },
        }
    }
}

/// C (M × N) ← or += A (M × K) · Bᵀ, of which N × K is given, where of one there are at most [`FEW`] rows and
/// all rows are adjacent; `load` gives at most [`Simd::LANES`] elements as f32, followed by zeros.
///
/// It enables the instructions itself: so it is compiled once for an arithmetic, not for each of its tiles.
pub(super) fn dots<I: Simd, A: Pod, B: Pod, T: Pod>(
    isa: I,
    load: impl Fn(&[T]) -> I::F32 + Copy,
    (a, bt): (Mat<'_, A>, Mat<'_, B>),
    of: Few,
    mut c: MatMut<'_, f32>,
    accumulate: bool,
) {
    isa.vectorize(
        #[inline(always)]
        || match of {
            Few::Rows => few(
                isa,
                load,
                (a, bt),
                #[inline(always)]
                |i, j, sum| put(&mut c, (i, j), sum, accumulate),
            ),
            Few::Columns => few(
                isa,
                load,
                (bt, a),
                #[inline(always)]
                |j, i, sum| put(&mut c, (i, j), sum, accumulate),
            ),
        },
    );
}

#[inline(always)]
fn put(c: &mut MatMut<'_, f32>, (i, j): (usize, usize), sum: f32, accumulate: bool) {
    let c = &mut c.row_mut(i)[j];
    *c = if accumulate { *c + sum } else { sum };
}

/// A row, in elements of the same size.
#[inline(always)]
fn row<'a, S: Pod, T: Pod>(of: &Mat<'a, S>, index: usize) -> &'a [T] {
    bytemuck::cast_slice(of.row(index).unwrap_or_default())
}

/// Each of a few rows by each of many.
#[inline(always)]
fn few<I: Simd, X: Pod, W: Pod, T: Pod>(
    isa: I,
    load: impl Fn(&[T]) -> I::F32 + Copy,
    (x, w): (Mat<'_, X>, Mat<'_, W>),
    put: impl FnMut(usize, usize, f32),
) {
    match x.rows() {
        1 if x.cols() < LONG => rows::<I, W, T, 1, 2, 4>(isa, load, [row(&x, 0)], w, put),
        1 => rows::<I, W, T, 1, 1, 8>(isa, load, [row(&x, 0)], w, put),
        2 => rows::<I, W, T, 2, 4, 2>(isa, load, [row(&x, 0), row(&x, 1)], w, put),
        3 => rows::<I, W, T, 3, 4, 1>(isa, load, [row(&x, 0), row(&x, 1), row(&x, 2)], w, put),
        _ => rows::<I, W, T, 4, 4, 1>(isa, load, [row(&x, 0), row(&x, 1), row(&x, 2), row(&x, 3)], w, put),
    }
}

#[inline(always)]
fn rows<I: Simd, W: Pod, T: Pod, const X: usize, const R: usize, const U: usize>(
    isa: I,
    load: impl Fn(&[T]) -> I::F32 + Copy,
    x: [&[T]; X],
    w: Mat<'_, W>,
    mut put: impl FnMut(usize, usize, f32),
) {
    let whole = w.rows() - w.rows() % R;
    for first in (0..whole).step_by(R) {
        let mut some: [&[T]; R] = [&[]; R];
        for (r, some) in some.iter_mut().enumerate() {
            *some = row(&w, first + r);
        }
        let sums = group::<I, T, X, R, U>(isa, load, x, some);
        for (i, sums) in sums.iter().enumerate() {
            for (r, sum) in sums.iter().enumerate() {
                put(i, first + r, *sum);
            }
        }
    }
    for at in whole..w.rows() {
        for (i, [sum]) in group::<I, T, X, 1, U>(isa, load, x, [row(&w, at)]).into_iter().enumerate() {
            put(i, at, sum);
        }
    }
}

/// Dot products of `X` rows with `R` others, `U` vectors of each in turn.
#[inline(always)]
fn group<I: Simd, T: Pod, const X: usize, const R: usize, const U: usize>(
    isa: I,
    load: impl Fn(&[T]) -> I::F32 + Copy,
    x: [&[T]; X],
    w: [&[T]; R],
) -> [[f32; R]; X] {
    let (k, lanes) = (x[0].len(), I::LANES);
    let (x, w) = (x.map(|row| &row[..k]), w.map(|row| &row[..k]));
    let mut acc = [[[isa.splat(0.0); U]; R]; X];
    let turns = k / (U * lanes) * U * lanes;
    for at in (0..turns).step_by(U * lanes) {
        // Vectors in turn go to sums of their own, which do not wait for one another.
        for (u, at) in (at..at + U * lanes).step_by(lanes).enumerate() {
            let mut columns = [isa.splat(0.0); R];
            for r in 0..R {
                columns[r] = load(&w[r][at..at + lanes]);
            }
            for i in 0..X {
                let v = load(&x[i][at..at + lanes]);
                for r in 0..R {
                    acc[i][r][u] = isa.fma(v, columns[r], acc[i][r][u]);
                }
            }
        }
    }
    // What is left is less than `U` vectors, the last of which need not be whole.
    let whole = k - k % lanes;
    for (u, at) in (turns..turns + (U - 1) * lanes).step_by(lanes).enumerate() {
        if at + lanes <= k {
            for i in 0..X {
                let v = load(&x[i][at..at + lanes]);
                for r in 0..R {
                    acc[i][r][u] = isa.fma(v, load(&w[r][at..at + lanes]), acc[i][r][u]);
                }
            }
        }
    }
    if whole < k {
        let mut columns = [isa.splat(0.0); R];
        for r in 0..R {
            columns[r] = load(&w[r][whole..]);
        }
        for i in 0..X {
            let v = load(&x[i][whole..]);
            for r in 0..R {
                acc[i][r][U - 1] = isa.fma(v, columns[r], acc[i][r][U - 1]);
            }
        }
    }
    let mut out = [[0.0; R]; X];
    for i in 0..X {
        for r in 0..R {
            let (first, rest) = acc[i][r].split_at(1);
            let all = rest.iter().fold(
                first[0],
                #[inline(always)]
                |all, v| isa.add(all, *v),
            );
            out[i][r] = halves(isa, all);
        }
    }
    out
}

/// `load` of a whole vector of halves, or of fewer and zeros.
#[inline(always)]
pub(super) fn halves_at_most<I: Simd>(isa: I, at: &[u16], load: impl Fn(&[u16]) -> I::F32) -> I::F32 {
    if at.len() >= I::LANES { load(at) } else { load(&isa.halves_partial(at)) }
}

/// The sum of all lanes, half by half.
#[inline(always)]
fn halves<I: Simd>(isa: I, v: I::F32) -> f32 {
    let mut lanes = [0.0; MAX_LANES];
    isa.store(v, &mut lanes);
    let mut half = MAX_LANES / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
        half /= 2;
    }
    lanes[0]
}
