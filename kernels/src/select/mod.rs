//! The largest elements of rows: the first of the largest, and the largest few in order, as a sampler wants of logits.
//!
//! NaN is larger than any number. The generic bodies are in `body.rs`, the registered parameters in `list.rs`.

mod body;
mod list;
#[cfg(target_arch = "aarch64")]
mod sve;

pub use body::{Few, First};
#[cfg(feature = "sweep")]
pub(crate) use list::ENTRIES;

use crate::mat::Mat;
use crate::row::{Row, RowOp};
#[cfg(feature = "sweep")]
use crate::{
    format::Format,
    reference::{self, Expected},
    registry::Kernel,
    row::{Access, Data, Element, Extent, Operand, TOP},
};

/// A handle to a kernel that finds the first of the largest elements of each row.
pub type ArgMax = Row<ArgMaxOp>;
/// A handle to a kernel that finds the largest few of a row.
pub type TopK = Row<TopKOp>;

/// What [`ArgMax`] does.
#[derive(Debug)]
pub enum ArgMaxOp {}
/// What [`TopK`] does.
#[derive(Debug)]
pub enum TopKOp {}

impl RowOp for ArgMaxOp {
    type Args<'a> = (Mat<'a, f32>, &'a mut [u32]);

    #[cfg(feature = "sweep")]
    fn kernel(handle: ArgMax) -> Kernel {
        Kernel::ArgMax(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        vec![Operand::read(Format::F32), Operand { element: Element::Index, extent: Extent::Some(1), access: Access::Write }]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &ArgMax, data: &mut Data<'_>) {
        if data.cols > 0 {
            kernel.run(data.mat(0, data.cols), bytemuck::cast_slice_mut(data.write[0]));
        }
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], _: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        vec![reference::largest(&read[0], 1).iter().map(|i| Expected::exactly(*i as f64)).collect()]
    }
}

impl RowOp for TopKOp {
    type Args<'a> = (&'a [f32], &'a mut [f32], &'a mut [u32]);

    #[cfg(feature = "sweep")]
    fn kernel(handle: TopK) -> Kernel {
        Kernel::TopK(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        let few = |element| Operand { element, extent: Extent::Some(TOP), access: Access::Write };
        vec![Operand::read(Format::F32), few(Element::Of(Format::F32)), few(Element::Index)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &TopK, data: &mut Data<'_>) {
        let (cols, few) = (data.cols, Extent::Some(TOP).of(data.cols));
        let rows: Mat<'_, f32> = data.mat(0, cols);
        let [values, at] = data.write.as_mut_slice() else { return };
        let (values, at): (&mut [f32], &mut [u32]) = (bytemuck::cast_slice_mut(values), bytemuck::cast_slice_mut(at));
        for (r, (values, at)) in values.chunks_exact_mut(few.max(1)).zip(at.chunks_exact_mut(few.max(1))).enumerate() {
            kernel.run(rows.row(r).unwrap_or_default(), values, at);
        }
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], _: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        let at = reference::largest(&read[0], Extent::Some(TOP).of(read[0].len()));
        let values = at.iter().map(|i| Expected::exactly(f64::from(read[0][*i]))).collect();
        vec![values, at.iter().map(|i| Expected::exactly(*i as f64)).collect()]
    }
}

impl ArgMax {
    /// Writes for each row of `x` where the first of its largest elements is.
    ///
    /// # Panics
    /// If rows are empty or of 2^32 elements or more, not adjacent, or not as many as `at` has elements.
    pub fn run(&self, x: Mat<'_, f32>, at: &mut [u32]) {
        assert!(x.cols() > 0 && u32::try_from(x.cols()).is_ok(), "rows of {} elements have no largest one that can be told", x.cols());
        assert_eq!(x.rows(), at.len(), "rows and results differ in number");
        self.body().run((x, at));
    }
}

impl TopK {
    /// Finds the largest elements of `x`, as many as `values` has, largest first, and where they are. Of equal ones the
    /// first comes first.
    ///
    /// # Panics
    /// If `values` and `at` differ in length, or `x` is shorter or has 2^32 elements or more.
    pub fn run(&self, x: &[f32], values: &mut [f32], at: &mut [u32]) {
        assert!(values.len() == at.len() && values.len() <= x.len(), "{} and {} of {} elements", values.len(), at.len(), x.len());
        assert!(u32::try_from(x.len()).is_ok(), "{} elements are more than can be told apart", x.len());
        self.body().run((x, values, at));
    }
}
