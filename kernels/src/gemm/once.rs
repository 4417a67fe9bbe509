//! A product in one line: the workspace is allocated, block sizes and the split are computed. Calls that
//! are repeated keep a workspace and call [`Gemm::run_parallel`] with tuned parameters instead.

use super::product::Product;
use super::{Caches, Gemm, Operands, Split};
use crate::team::Workers;

/// Multiply-adds that a thread must get to be worth waking: they take some ten microseconds, as waking does.
const WORTH_A_THREAD: usize = 1 << 17;

impl Split {
    /// As [`Split::analytical`], on no more threads than are worth waking for a product of M × N × K.
    pub fn worthwhile<P: Product>(gemm: &Gemm<P>, threads: usize, b_is_packed: bool, (m, n, k): (usize, usize, usize)) -> Split {
        let worth = (m.saturating_mul(n).saturating_mul(k) / WORTH_A_THREAD).clamp(1, threads.max(1));
        Split::analytical(worth, gemm.geometry(), m, n, b_is_packed)
    }
}

impl<P: Product> Gemm<P> {
    /// The product, with block sizes computed for `caches`, on as many threads of `workers` as it is worth.
    /// It allocates its workspace.
    ///
    /// ```
    /// use kiln_kernels::{gemm, isa, mat::{Mat, MatMut}, team::Alone};
    /// let gemm = gemm::F32::<isa::Scalar, 4, 4, 1>::handle().expect("plain code runs everywhere");
    /// let (a, b, mut c) = ([1.0, 2.0], [3.0, 4.0], [0.0]);
    /// gemm.multiply(gemm::Operands::new(Mat::new(&a, 1, 2, 2), Mat::new(&b, 2, 1, 1), MatMut::new(&mut c, 1, 1, 1)), gemm::Caches::default(), &Alone);
    /// assert_eq!(c, [11.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not fit each other, or B is packed for another layout.
    pub fn multiply(&self, operands: Operands<'_, P::A, P::B, P::C>, caches: Caches, workers: &dyn Workers) {
        let (shape, packed) = (self.check(&operands), operands.b.is_packed());
        let blocking = self.blocking(caches);
        let split = Split::worthwhile(self, workers.count(), packed, shape);
        let mut ws = vec![0; self.workspace_len(&blocking, split, packed, shape)];
        self.run_parallel(operands, &blocking, split, workers, &mut ws);
    }
}
