//! Pieces of one writable view, given out one after another to whoever asks: threads that are done with one take the
//! next, so that all have work until none is left.

use super::MatMut;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A writable view in rectangles of one shape, of which those at the lower and right edge may be smaller.
#[derive(Debug)]
pub struct Queue<'a, T> {
    view: MatMut<'a, T>,
    /// Rows and columns of a piece.
    shape: (usize, usize),
    /// Pieces below and beside one another.
    count: (usize, usize),
    next: AtomicUsize,
}

// SAFETY: sharing a queue lets threads do nothing but take pieces, which are disjoint and given out once.
unsafe impl<T: Send> Sync for Queue<'_, T> {}

impl<'a, T: Copy> Queue<'a, T> {
    /// `view` in pieces of `rows` × `cols`.
    ///
    /// # Panics
    /// If pieces have no rows or no columns.
    pub fn new(view: MatMut<'a, T>, (rows, cols): (usize, usize)) -> Self {
        assert!(rows > 0 && cols > 0, "pieces of {rows}x{cols}");
        let count = (view.rows.div_ceil(rows), view.cols.div_ceil(cols));
        Queue { view, shape: (rows, cols), count, next: AtomicUsize::new(0) }
    }

    /// Number of pieces, those given out counted too.
    pub fn count(&self) -> usize {
        self.count.0 * self.count.1
    }

    /// The next piece and its place among those below and beside one another; the lowest come first. `None` when all
    /// have been given out.
    pub fn next(&self) -> Option<((usize, usize), MatMut<'_, T>)> {
        let number = self.next.fetch_add(1, Relaxed);
        if number >= self.count() {
            // Not counting on keeps the number from ever coming round.
            self.next.store(self.count(), Relaxed);
            return None;
        }
        let (row, col) = (self.count.0 - 1 - number / self.count.1, number % self.count.1);
        let (top, left) = (row * self.shape.0, col * self.shape.1);
        let (rows, cols) = (self.shape.0.min(self.view.rows - top), self.shape.1.min(self.view.cols - left));
        // SAFETY: (top, left) is inside the view, whose data `MatMut::new` checked.
        let ptr = unsafe { self.view.ptr.add(top * self.view.ld + left) };
        // Pieces do not overlap and each number is given out once, so the new view is the only one of its elements.
        Some(((row, col), MatMut { ptr, rows, cols, ld: self.view.ld, life: PhantomData }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_given_out_once_and_the_lowest_first() {
        let mut data = vec![0; 5 * 8];
        let queue = Queue::new(MatMut::new(&mut data, 5, 7, 8), (2, 3));
        assert_eq!(queue.count(), 9);
        let mut number = 0;
        while let Some(((row, col), mut piece)) = queue.next() {
            number += 1;
            assert_eq!((row, col), (2 - (number - 1) / 3, (number - 1) % 3));
            piece.fill(number);
        }
        assert!(number == 9 && queue.next().is_none());
        assert_eq!(data[32..], [1, 1, 1, 2, 2, 2, 3, 0]);
        assert_eq!(data[..8], [7, 7, 7, 8, 8, 8, 9, 0]);
        assert!(Queue::new(MatMut::new(&mut [0; 0], 0, 4, 4), (1, 1)).next().is_none());
    }
}
