//! Views of many matrices of one shape at regular distances in one piece of memory.

use super::{Cuts, MOST_PARTS, Mat, MatMut, cuts, extent};
use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Read-only matrices of one shape, each `stride` elements behind the one before; with a stride of 0 all
/// are the same.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, T> {
    data: &'a [T],
    count: usize,
    stride: usize,
    /// Neighbours that share one matrix.
    sharing: usize,
    rows: usize,
    cols: usize,
    ld: usize,
    transposed: bool,
}

impl<'a, T: Copy> Batch<'a, T> {
    /// `count` row-major matrices of `rows` × `cols` elements with leading dimension `ld` (≥ `cols`).
    ///
    /// # Panics
    /// If `ld < cols` or `data` is too short for the last row of the last one.
    pub fn new(data: &'a [T], count: usize, stride: usize, (rows, cols): (usize, usize), ld: usize) -> Self {
        Batch { data, count, stride, sharing: 1, rows, cols, ld, transposed: false }.checked()
    }

    /// `count` matrices, of which each run of `sharing` is one in memory: heads of attention that have keys
    /// in common.
    ///
    /// # Panics
    /// As [`Batch::new`], or if `sharing` is 0.
    pub fn shared(data: &'a [T], (count, sharing): (usize, usize), stride: usize, shape: (usize, usize), ld: usize) -> Self {
        assert!(sharing > 0, "a matrix is shared by none");
        Batch { count, sharing, ..Batch::new(data, count.div_ceil(sharing), stride, shape, ld) }
    }

    fn checked(self) -> Self {
        let Batch { data, count, stride, rows, cols, ld, .. } = self;
        assert!(ld >= cols, "leading dimension {ld} is below the {cols} columns");
        let needed = whole(count, stride, (rows, cols), ld);
        assert!(needed <= data.len(), "{count} matrices of {rows}x{cols} with ld {ld}, {stride} apart, exceed {} elements", data.len());
        self
    }

    /// The same elements with rows and columns of each matrix exchanged; nothing is moved.
    pub fn transposed(self) -> Self {
        Batch { transposed: !self.transposed, ..self }
    }

    /// Number of matrices.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows and columns of each.
    pub fn shape(&self) -> (usize, usize) {
        if self.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) }
    }

    /// Matrix `index`.
    ///
    /// # Panics
    /// If there is no such matrix.
    pub fn get(&self, index: usize) -> Mat<'a, T> {
        assert!(index < self.count, "matrix {index} of {}", self.count);
        let start = (index / self.sharing * self.stride).min(self.data.len());
        let stored = Mat::new(&self.data[start..], self.rows, self.cols, self.ld);
        if self.transposed { stored.transposed() } else { stored }
    }
}

/// Writable row-major matrices of one shape, no two of which have an element in common. They may lie
/// within one another, as the columns of several heads do.
#[derive(Debug)]
pub struct BatchMut<'a, T> {
    /// The first matrix.
    first: MatMut<'a, T>,
    count: usize,
    stride: usize,
    shape: (usize, usize),
}

impl<'a, T: Copy> BatchMut<'a, T> {
    /// `count` matrices of `rows` × `cols` elements with leading dimension `ld` (≥ `cols`), each `stride`
    /// elements behind the one before.
    ///
    /// # Panics
    /// If two of them overlap, `ld < cols`, or `data` is too short for the last row of the last one.
    pub fn new(data: &'a mut [T], count: usize, stride: usize, (rows, cols): (usize, usize), ld: usize) -> Self {
        Batch::new(data, count, stride, (rows, cols), ld);
        assert!(disjoint(count, stride, (rows, cols), ld), "matrices of {rows}x{cols} with ld {ld} overlap when they are {stride} apart");
        // Without matrices there is no first one to check, and none is ever handed out.
        let (first_rows, first_cols) = if count == 0 { (0, 0) } else { (rows, cols) };
        let first = MatMut::new(data, first_rows, first_cols, ld);
        BatchMut { first, count, stride, shape: (rows, cols) }
    }

    /// Number of matrices.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows and columns of each.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// All matrices, each cut into parts as [`MatMut::grid`] cuts one, shared out over `workers`: each may
    /// take its run of parts once.
    ///
    /// # Panics
    /// If parts overlap or reach beyond a matrix, or parts or workers are more than 64.
    pub fn shares(self, cut: [&dyn Fn(usize) -> Range<usize>; 2], parts: (usize, usize), workers: usize) -> Shares<'a, T> {
        assert!((1..=MOST_PARTS).contains(&workers), "{workers} workers");
        let cuts = cuts(cut, parts, self.shape());
        Shares { batch: self, cuts, workers, taken: AtomicU64::new(0) }
    }
}

/// Matrices in parts that do not overlap, a run of parts for each worker.
#[derive(Debug)]
pub struct Shares<'a, T> {
    batch: BatchMut<'a, T>,
    cuts: Cuts,
    workers: usize,
    /// A bit for each worker that has taken its own.
    taken: AtomicU64,
}

// SAFETY: sharing it lets threads do nothing but take parts, which are disjoint and given out once.
unsafe impl<T: Send> Sync for Shares<'_, T> {}

/// A part of one matrix of many.
#[derive(Debug)]
pub struct Part<'a, T> {
    /// The matrix.
    pub index: usize,
    /// Its rows that the part has.
    pub rows: Range<usize>,
    /// Its columns that the part has.
    pub cols: Range<usize>,
    /// The elements.
    pub view: MatMut<'a, T>,
}

impl<T: Copy> Shares<'_, T> {
    /// The parts of a worker, those of one matrix after another; none if they were taken before.
    pub fn take(&self, worker: usize) -> impl Iterator<Item = Part<'_, T>> {
        let parts = self.cuts.parts.0 * self.cuts.parts.1;
        let all = self.batch.count * parts;
        let mine = worker < self.workers && self.taken.fetch_or(1 << (worker % MOST_PARTS), Relaxed) & 1 << (worker % MOST_PARTS) == 0;
        let run = if mine { all * worker / self.workers..all * (worker + 1) / self.workers } else { 0..0 };
        run.map(move |unit| {
            let (index, part) = (unit / parts, unit % parts);
            let (rows, cols) = self.cuts.part(part / self.cuts.parts.1, part % self.cuts.parts.1);
            let first = &self.batch.first;
            let ptr = if rows.is_empty() || cols.is_empty() {
                first.ptr
            } else {
                // SAFETY: the part is not empty and, as `cuts` checked, inside its matrix, which is inside
                // the data, as `new` checked.
                unsafe { first.ptr.add(index * self.batch.stride + rows.start * first.ld + cols.start) }
            };
            // Matrices do not overlap, nor do their parts, and the runs of workers have no part in common and
            // are given out once: the new view is the only one of its elements.
            let view = MatMut { ptr, rows: rows.len(), cols: cols.len(), ld: first.ld, life: PhantomData };
            Part { index, rows, cols, view }
        })
    }
}

/// Elements from the first of the first matrix to the last of the last.
fn whole(count: usize, stride: usize, (rows, cols): (usize, usize), ld: usize) -> usize {
    let one = extent(rows, cols, ld);
    if count == 0 || one == 0 {
        return 0;
    }
    (count - 1).checked_mul(stride).and_then(|e| e.checked_add(one)).expect("the batch fits the address space")
}

/// Whether no element belongs to two matrices.
fn disjoint(count: usize, stride: usize, (rows, cols): (usize, usize), ld: usize) -> bool {
    let one = extent(rows, cols, ld);
    // Two matrices are `apart` elements from each other. They share one if going `down` or one more row in the
    // one comes to within `cols` elements of a row of the other.
    !(1..count).map(|distance| distance * stride).take_while(|apart| *apart < one).any(|apart| {
        let (down, across) = (apart / ld, apart % ld);
        (down < rows && across < cols) || (down + 1 < rows && ld - across < cols)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn overlap_is_what_counting_elements_finds(count in 0usize..6, stride in 0usize..40, rows in 0usize..5, cols in 0usize..7, gap in 0usize..9) {
            let ld = cols + gap;
            let elements = (0..count).flat_map(|i| (0..rows).flat_map(move |r| (0..cols).map(move |c| i * stride + r * ld + c)));
            let seen: BTreeSet<usize> = elements.collect();
            prop_assert_eq!(disjoint(count, stride, (rows, cols), ld), seen.len() == count * rows * cols);
            prop_assert_eq!(whole(count, stride, (rows, cols), ld), seen.last().map_or(0, |last| last + 1));
        }

        #[test]
        fn parts_cover_every_matrix_once(count in 0usize..6, cols in 1usize..7, rows in 1usize..5, workers in 1usize..5, interleaved: bool) {
            let (stride, ld) = if interleaved { (cols, cols * count.max(1)) } else { (rows * cols, cols) };
            let mut data = vec![0; count * rows * cols];
            let shares = BatchMut::new(&mut data, count, stride, (rows, cols), ld)
                .shares([&|i| [0..1, 1..rows][i].clone(), &|_| 0..cols], (2, 1), workers);
            for worker in (0..workers).rev() {
                for mut part in shares.take(worker) {
                    for i in 0..part.view.rows() {
                        part.view.row_mut(i).iter_mut().for_each(|x| *x += 1 + part.index);
                    }
                }
                prop_assert!(shares.take(worker).next().is_none());
            }
            prop_assert!(shares.take(workers).next().is_none());
            for index in 0..count {
                for i in 0..rows {
                    let row = &data[index * stride + i * ld..][..cols];
                    prop_assert!(row.iter().all(|x| *x == 1 + index));
                }
            }
        }
    }

    #[test]
    fn neighbours_share_a_matrix() {
        let data: Vec<i32> = (0..12).collect();
        let batch = Batch::shared(&data, (5, 2), 4, (2, 2), 2);
        assert_eq!((0..5).map(|i| batch.get(i).get(0, 0)).collect::<Vec<_>>(), [0, 0, 4, 4, 8]);
        assert_eq!((batch.transposed().get(4).get(1, 0), batch.shape()), (9, (2, 2)));
        assert_eq!((0..3).map(|i| Batch::new(&data, 3, 0, (3, 4), 4).get(i).get(2, 3)).sum::<i32>(), 33);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn overlapping_outputs_are_refused() {
        BatchMut::new(&mut [0.0f32; 100], 3, 5, (2, 3), 6);
    }

    #[test]
    #[should_panic(expected = "exceed")]
    fn outputs_that_are_too_short_are_refused() {
        BatchMut::new(&mut [0.0f32; 17], 3, 6, (2, 3), 3);
    }
}
