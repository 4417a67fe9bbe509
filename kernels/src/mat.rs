//! Checked matrix views: the only way that operands reach a kernel.
//!
//! Extents are validated once, when a view is made; after that rows and tiles can be handed out
//! without further arithmetic on raw lengths. Views never own memory.

mod batch;
mod queue;

pub use batch::{Batch, BatchMut, Part, Shares};
pub use queue::Queue;

use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A read-only matrix view with arbitrary strides, in elements.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Copy> Mat<'a, T> {
    /// A row-major view of `rows` × `cols` elements with leading dimension `ld` (≥ `cols`).
    ///
    /// # Panics
    /// If `ld < cols` or `data` is too short for the last row.
    pub fn new(data: &'a [T], rows: usize, cols: usize, ld: usize) -> Self {
        assert!(ld >= cols, "leading dimension {ld} is below the {cols} columns");
        assert!(extent(rows, cols, ld) <= data.len(), "{rows}x{cols} with ld {ld} exceeds {} elements", data.len());
        Mat { data, rows, cols, row_stride: ld, col_stride: 1 }
    }

    /// The same elements with rows and columns exchanged; nothing is moved.
    pub fn transposed(self) -> Self {
        Mat { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// Elements from a row to the next.
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The view of `rows` × `cols` elements whose first is (`row`, `col`).
    ///
    /// # Panics
    /// If it reaches beyond this view.
    pub fn block(&self, row: usize, col: usize, rows: usize, cols: usize) -> Self {
        assert!(inside(row, rows, self.rows) && inside(col, cols, self.cols), "block outside of the matrix");
        let start = (row * self.row_stride + col * self.col_stride).min(self.data.len());
        Mat { data: &self.data[start..], rows, cols, ..*self }
    }

    /// Element (`row`, `col`).
    pub fn get(&self, row: usize, col: usize) -> T {
        self.data[row * self.row_stride + col * self.col_stride]
    }

    /// Row `row` as a slice, when its elements are adjacent.
    #[inline]
    pub fn row(&self, row: usize) -> Option<&'a [T]> {
        (self.col_stride == 1 || self.cols <= 1).then(|| {
            // Rows of nothing may lie beyond the data.
            let start = if self.cols == 0 { 0 } else { row * self.row_stride };
            &self.data[start..start + self.cols]
        })
    }
}

/// A writable row-major matrix view whose columns are adjacent; it can be split by columns, so
/// that several threads write one output.
#[derive(Debug)]
pub struct MatMut<'a, T> {
    ptr: *mut T,
    rows: usize,
    cols: usize,
    ld: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: a view is the only owner of its elements for 'a (`split_cols` gives disjoint ones), as a
// `&mut [T]` is, so it may move to another thread when T may.
unsafe impl<T: Send> Send for MatMut<'_, T> {}

impl<'a, T: Copy> MatMut<'a, T> {
    /// A view of `rows` × `cols` elements with leading dimension `ld` (≥ `cols`).
    ///
    /// # Panics
    /// If `ld < cols` or `data` is too short for the last row.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize, ld: usize) -> Self {
        assert!(ld >= cols, "leading dimension {ld} is below the {cols} columns");
        assert!(extent(rows, cols, ld) <= data.len(), "{rows}x{cols} with ld {ld} exceeds {} elements", data.len());
        MatMut { ptr: data.as_mut_ptr(), rows, cols, ld, life: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The columns before `at`, and those from `at` on.
    ///
    /// # Panics
    /// If `at` is beyond the last column.
    pub fn split_cols(self, at: usize) -> (MatMut<'a, T>, MatMut<'a, T>) {
        assert!(at <= self.cols, "split at column {at} of {}", self.cols);
        let right = MatMut {
            // An empty right half keeps the base pointer: `at` may lie past a last, short row.
            ptr: if at < self.cols && self.rows > 0 {
                // SAFETY: at < cols and rows > 0, so element (0, at) is inside the data that `new` checked.
                unsafe { self.ptr.add(at) }
            } else {
                self.ptr
            },
            cols: self.cols - at,
            ..self
        };
        (MatMut { cols: at, ..self }, right)
    }

    /// A second handle on the same view, for as long as this one is not used.
    pub fn reborrow(&mut self) -> MatMut<'_, T> {
        MatMut { life: PhantomData, ..*self }
    }

    /// Row `row` as a slice of all columns.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        if self.cols == 0 {
            return &mut [];
        }
        // SAFETY: row < rows and cols > 0, so these `cols` elements lie inside the data that `new` checked, and
        // `&mut self` makes this the only live slice of them.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.add(row * self.ld), self.cols) }
    }

    /// `R` rows from `first` on, each as a slice of all columns.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    pub fn rows_mut<const R: usize>(&mut self, first: usize) -> [&mut [T]; R] {
        assert!(inside(first, R, self.rows), "rows {first} to {} of {}", first.saturating_add(R), self.rows);
        core::array::from_fn(|r| {
            if self.cols == 0 {
                return &mut [][..];
            }
            // SAFETY: the assert and cols > 0 put these `cols` elements inside the data that `new` checked; rows do
            // not overlap, since the leading dimension is not below the columns, and `&mut self` makes these the only
            // live slices of them.
            unsafe { core::slice::from_raw_parts_mut(self.ptr.add((first + r) * self.ld), self.cols) }
        })
    }

    /// The view of `rows` × `cols` elements whose first is (`row`, `col`).
    ///
    /// # Panics
    /// If it is empty or reaches beyond this view.
    #[inline]
    pub fn block(&mut self, row: usize, col: usize, rows: usize, cols: usize) -> MatMut<'_, T> {
        let fits = rows > 0 && cols > 0 && inside(row, rows, self.rows) && inside(col, cols, self.cols);
        assert!(fits, "block outside of the matrix");
        // SAFETY: the asserts put element (row, col) inside the data that `new` checked.
        let ptr = unsafe { self.ptr.add(row * self.ld + col) };
        MatMut { ptr, rows, cols, ld: self.ld, life: PhantomData }
    }

    /// The view cut into a grid of parts, each of which one thread may take. `cuts` gives the range of rows of
    /// part `i`, and the range of columns of part `j`, of as many as `parts` says.
    ///
    /// # Panics
    /// If parts overlap, reach beyond the view, or are more than 64.
    pub fn grid(self, cuts: [&dyn Fn(usize) -> Range<usize>; 2], parts: (usize, usize)) -> Grid<'a, T> {
        let cuts = self::cuts(cuts, parts, (self.rows, self.cols));
        Grid { view: self, cuts, taken: AtomicU64::new(0) }
    }

    /// Pointer to the first element and the leading dimension, for `asm!` families.
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn as_raw(&mut self) -> (*mut T, usize) {
        (self.ptr, self.ld)
    }

    /// Sets every element.
    pub fn fill(&mut self, value: T) {
        for row in 0..self.rows {
            self.row_mut(row).fill(value);
        }
    }
}

/// Parts of a [`Grid`] at most.
const MOST_PARTS: usize = 64;

/// A writable view in parts that do not overlap; each can be taken once, by any thread.
#[derive(Debug)]
pub struct Grid<'a, T> {
    view: MatMut<'a, T>,
    cuts: Cuts,
    /// A bit for each part that was taken.
    taken: AtomicU64,
}

// SAFETY: sharing a grid lets threads do nothing but take parts, which are disjoint and given out once.
unsafe impl<T: Send> Sync for Grid<'_, T> {}

impl<T: Copy> Grid<'_, T> {
    /// Part (`row`, `col`), unless it was taken before or there is none.
    pub fn take(&self, row: usize, col: usize) -> Option<MatMut<'_, T>> {
        if row >= self.cuts.parts.0 || col >= self.cuts.parts.1 {
            return None;
        }
        let bit = 1u64 << (row * self.cuts.parts.1 + col);
        if self.taken.fetch_or(bit, Relaxed) & bit != 0 {
            return None;
        }
        let (rows, cols) = self.cuts.part(row, col);
        let ptr = if rows.is_empty() || cols.is_empty() {
            self.view.ptr
        } else {
            // SAFETY: the part is not empty and, as `grid` checked, inside the view.
            unsafe { self.view.ptr.add(rows.start * self.view.ld + cols.start) }
        };
        // Parts do not overlap and this one is given out once, so the new view is the only one of its elements.
        Some(MatMut { ptr, rows: rows.len(), cols: cols.len(), ld: self.view.ld, life: PhantomData })
    }
}

/// Where a view is cut: parts that are inside of it and do not overlap.
#[derive(Debug)]
struct Cuts {
    rows: [Range<usize>; MOST_PARTS],
    cols: [Range<usize>; MOST_PARTS],
    parts: (usize, usize),
}

impl Cuts {
    /// The rows and the columns of a part.
    fn part(&self, row: usize, col: usize) -> (Range<usize>, Range<usize>) {
        (self.rows[row].clone(), self.cols[col].clone())
    }
}

/// The ranges that `cut` gives for the rows and columns of a view of `shape`, checked.
fn cuts(cut: [&dyn Fn(usize) -> Range<usize>; 2], parts: (usize, usize), shape: (usize, usize)) -> Cuts {
    assert!(parts.0 * parts.1 <= MOST_PARTS, "a grid of {parts:?} parts");
    let ranges = |cut: &dyn Fn(usize) -> Range<usize>, count: usize, extent: usize| {
        let mut end = 0;
        core::array::from_fn(|i| {
            let range = if i < count { cut(i) } else { 0..0 };
            let fits = i >= count || (range.start >= end && range.start <= range.end && range.end <= extent);
            assert!(fits, "part {i} is {range:?}, overlapping or outside");
            end = range.end;
            range
        })
    };
    Cuts { rows: ranges(cut[0], parts.0, shape.0), cols: ranges(cut[1], parts.1, shape.1), parts }
}

/// Whether `count` from `first` on are among `of`. Nothing overflows, whatever the numbers.
#[inline]
fn inside(first: usize, count: usize, of: usize) -> bool {
    first <= of && count <= of - first
}

fn extent(rows: usize, cols: usize, ld: usize) -> usize {
    if rows == 0 || cols == 0 {
        return 0;
    }
    (rows - 1).checked_mul(ld).and_then(|e| e.checked_add(cols)).expect("matrix extent fits the address space")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_gives_disjoint_columns() {
        let mut data = vec![0; 3 * 5];
        let (mut left, mut right) = MatMut::new(&mut data, 3, 4, 5).split_cols(1);
        left.fill(1);
        right.fill(2);
        assert_eq!(data, [1, 2, 2, 2, 0, 1, 2, 2, 2, 0, 1, 2, 2, 2, 0]);
    }

    #[test]
    fn parts_of_a_grid_are_disjoint_and_given_out_once() {
        let mut data = vec![0; 5 * 7];
        let grid = MatMut::new(&mut data, 5, 6, 7).grid([&|i| [0..2, 2..5][i].clone(), &|j| [0..1, 1..6][j].clone()], (2, 2));
        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            grid.take(i, j).expect("a part").fill(10 * i + j + 1);
            assert!(grid.take(i, j).is_none());
        }
        assert!(grid.take(2, 0).is_none());
        assert_eq!(data[..8], [1, 2, 2, 2, 2, 2, 0, 1]);
        assert_eq!(data[28..], [11, 12, 12, 12, 12, 12, 0]);
    }

    #[test]
    #[should_panic(expected = "overlapping")]
    fn overlapping_parts_are_refused() {
        let mut data = vec![0; 4];
        MatMut::new(&mut data, 2, 2, 2).grid([&|_| 0..2, &|_| 0..2], (2, 1));
    }

    #[test]
    fn transposed_views_exchange_indices() {
        let data: Vec<i32> = (0..6).collect();
        let m = Mat::new(&data, 2, 3, 3);
        assert_eq!(m.get(1, 2), m.transposed().get(2, 1));
        assert_eq!(m.row(1), Some(&data[3..6]));
        assert_eq!(m.transposed().row(1), None);
    }

    #[test]
    #[should_panic(expected = "exceeds")]
    fn short_data_is_refused() {
        Mat::new(&[0.0f32; 5], 2, 3, 3);
    }
}
