//! What a product is given: its operands as views, checked against one another before any work.

use super::product::Product;
use super::{Gemm, PackedB};
use crate::mat::{Mat, MatMut};
use core::ops::Range;

/// A right operand as it is given to a product.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a, B> {
    /// As it is: packed on the way.
    Plain(Mat<'a, B>),
    /// Packed before, by [`Gemm::pack_b`] of a kernel with the same layout.
    Packed(PackedB<'a>),
}

impl<B> Right<'_, B> {
    /// Whether it was packed before.
    pub fn is_packed(&self) -> bool {
        matches!(self, Right::Packed(_))
    }

    /// Its columns: N.
    pub fn cols(&self) -> usize
    where
        B: Copy,
    {
        match self {
            Right::Plain(b) => b.cols(),
            Right::Packed(b) => b.n(),
        }
    }

    /// Its columns in a range that, if it was packed, does not cut a panel.
    pub(super) fn columns(&self, range: Range<usize>) -> Self
    where
        B: Copy,
    {
        match self {
            Right::Plain(b) => Right::Plain(b.block(0, range.start, b.rows(), range.len())),
            Right::Packed(b) => Right::Packed(b.columns(range.start, range.end)),
        }
    }
}

impl<'a, B> From<Mat<'a, B>> for Right<'a, B> {
    fn from(b: Mat<'a, B>) -> Self {
        Right::Plain(b)
    }
}

impl<'a, B> From<PackedB<'a>> for Right<'a, B> {
    fn from(b: PackedB<'a>) -> Self {
        Right::Packed(b)
    }
}

/// One product: C (M × N) ← A (M × K) · B (K × N), or C += A·B. With block formats a row of B holds
/// [`Product::B_DEPTH`] depths.
#[derive(Debug)]
pub struct Operands<'a, A, B, C> {
    /// The left operand.
    pub a: Mat<'a, A>,
    /// The right operand.
    pub b: Right<'a, B>,
    /// The result.
    pub c: MatMut<'a, C>,
    /// The product is added to what C holds. Without it C is written and never read.
    pub accumulate: bool,
}

impl<'a, A, B, C> Operands<'a, A, B, C> {
    /// C ← A·B.
    pub fn new(a: Mat<'a, A>, b: impl Into<Right<'a, B>>, c: MatMut<'a, C>) -> Self {
        Operands { a, b: b.into(), c, accumulate: false }
    }

    /// The same with `accumulate` as given.
    pub fn accumulate(self, accumulate: bool) -> Self {
        Operands { accumulate, ..self }
    }
}

impl<P: Product> Gemm<P> {
    /// M, N and K of operands that fit one another and this kernel.
    ///
    /// # Panics
    /// If they do not.
    pub(super) fn check<C: Copy>(&self, operands: &Operands<'_, P::A, P::B, C>) -> (usize, usize, usize) {
        let (m, k) = (operands.a.rows(), operands.a.cols());
        let n = operands.b.cols();
        match &operands.b {
            Right::Plain(b) => {
                assert_eq!(k.div_ceil(P::B_DEPTH), b.rows(), "A has {k} columns, B {} rows of depth {}", b.rows(), P::B_DEPTH);
            }
            Right::Packed(b) => {
                let (theirs, ours) = (b.geometry(), self.geometry);
                let same = (theirs.nr, theirs.step, theirs.b_words) == (ours.nr, ours.step, ours.b_words);
                let same = same && b.layout() == self.meta.layout;
                assert!(same, "B is packed for another layout ({}) than that of {} ({})", b.layout(), self.meta.name, self.meta.layout);
                assert_eq!(k, b.k(), "A has {k} columns, B is packed for a depth of {}", b.k());
            }
        }
        assert_eq!((operands.c.rows(), operands.c.cols()), (m, n), "C has another shape than A·B");
        (m, n, k)
    }
}
