//! Many products of one shape in one call, as attention has them: a product for each head, from operands
//! that lie at regular distances or are shared.
//!
//! Threads share out the products. Where these are few or do not come out even, each is cut into parts, so
//! that all threads have as much to do. A part is a product of its own to the thread that has it, and no
//! thread waits for another.

use super::parallel::part;
use super::product::Product;
use super::{Blocking, Gemm, MOST_THREADS, Operands, Right, Split};
use crate::mat::{Batch, BatchMut};
use crate::team::Workers;

/// The right operands of a batch.
#[derive(Clone, Copy, Debug)]
pub enum RightBatch<'a, B> {
    /// As they are: packed on the way, a shared one for each product anew.
    Plain(Batch<'a, B>),
    /// Each packed before by [`Gemm::pack_b`].
    Packed {
        /// The words of all.
        words: &'a [u32],
        /// Words from one operand to the next; 0 if all products share one.
        stride: usize,
        /// Neighbouring products that share one operand; at least 1.
        sharing: usize,
    },
}

/// Products Cᵢ (M × N) ← Aᵢ (M × K) · Bᵢ (K × N), or Cᵢ += Aᵢ·Bᵢ, as many as there are C.
#[derive(Debug)]
pub struct Products<'a, A, B, C> {
    /// The left operands.
    pub a: Batch<'a, A>,
    /// The right operands.
    pub b: RightBatch<'a, B>,
    /// The results.
    pub c: BatchMut<'a, C>,
    /// Products are added to what C holds.
    pub accumulate: bool,
}

impl<P: Product> Gemm<P> {
    /// Words of workspace that [`Gemm::run_batch`] needs for products of M × N × K on `threads` threads.
    pub fn batch_workspace_len(&self, blocking: &Blocking, threads: usize, b_is_packed: bool, shape: (usize, usize, usize)) -> usize {
        threads.clamp(1, MOST_THREADS) * self.workspace_len(blocking, Split::ALONE, b_is_packed, shape)
    }

    /// All products, on the threads of `workers`.
    ///
    /// # Panics
    /// If there are not as many A and B as C, shapes do not fit each other, packed words are too few, or `ws`
    /// is shorter than [`Gemm::batch_workspace_len`].
    pub fn run_batch(&self, products: Products<'_, P::A, P::B, P::C>, blocking: &Blocking, workers: &dyn Workers, ws: &mut [u32]) {
        let Products { a, b, c, accumulate } = products;
        let (count, (m, n), k) = (c.count(), c.shape(), a.shape().1);
        if count == 0 {
            return;
        }
        assert_eq!((a.count(), a.shape().0), (count, m), "A are not as many, or have not as many rows, as C");
        let is_packed = match &b {
            RightBatch::Plain(b) => {
                assert_eq!((b.count(), b.shape()), (count, (k.div_ceil(P::B_DEPTH), n)), "B do not fit A and C");
                false
            }
            RightBatch::Packed { words, stride, sharing } => {
                assert!(*sharing > 0, "a matrix is shared by none");
                let needed = (count - 1) / sharing * stride + self.packed_b_len(k, n);
                assert!(needed <= words.len(), "{needed} words of packed B are needed, {} there", words.len());
                true
            }
        };
        let right = |index: usize| match &b {
            RightBatch::Plain(b) => Right::Plain(b.get(index)),
            RightBatch::Packed { words, stride, sharing } => Right::Packed(self.packed_b(&words[index / sharing * stride..], k, n)),
        };
        let most = workers.count().min(MOST_THREADS);
        let split = Split::in_batch(most, count, self.geometry, (m, n), is_packed);
        // This and the blocking by the whole product and not by its parts: bits must not depend on the number of
        // threads.
        let few = self.few(a.get(0), &right(0));
        let split = few.map_or(split, |few| few.split(split.threads()));
        let threads = most.min(count * split.threads());
        let own = self.workspace_len(blocking, Split::ALONE, is_packed, (m, n, k));
        let blocking = &self.fit(blocking, m, is_packed);
        let ws = BatchMut::new(ws, threads, own, (1, own), own).shares([&|_| 0..1, &|_| 0..own], (1, 1), threads);
        let rows = |i| part(m, self.mr(), split.rows, i);
        let columns = |j| part(n, self.nr(), split.cols, j);
        let shares = c.shares([&rows, &columns], (split.rows, split.cols), threads);
        let work = |worker: usize| {
            let Some(mut own) = ws.take(worker).next() else { return };
            for part in shares.take(worker).filter(|p| !p.rows.is_empty() && !p.cols.is_empty()) {
                let a = a.get(part.index).block(part.rows.start, 0, part.rows.len(), k);
                let b = right(part.index).columns(part.cols);
                let operands = Operands { a, b, c: part.view, accumulate };
                match few {
                    Some(few) => self.direct(operands, few),
                    None => self.blocked(operands, blocking, own.view.row_mut(0)),
                }
            }
        };
        workers.share(threads, &work);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Geometry;
    use super::*;

    const TILE: Geometry = Geometry { mr: 8, nr: 32, step: 1, a_head: 0, a_words: 8, b_words: 32 };

    #[test]
    fn products_are_cut_only_where_threads_would_be_idle() {
        let split = |threads, count, m, n| Split::in_batch(threads, count, TILE, (m, n), true);
        assert_eq!(split(2, 14, 64, 512), Split::ALONE);
        assert_eq!(split(4, 64, 64, 512), Split::ALONE);
        assert_eq!(split(4, 2, 64, 512).threads(), 2);
        assert_eq!(split(2, 3, 512, 512).threads(), 2);
        assert_eq!(split(4, 1, 7, 512), Split { rows: 1, cols: 4 });
        assert_eq!(split(4, 1, 7, 20), Split::ALONE);
    }
}
