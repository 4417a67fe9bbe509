//! Rotary positions (Su et al. 2021) in the NEOX order: element i of a head turns with element i + dim / 2. The bias of
//! queries and keys is added on the way.
//!
//! The generic body is in `body.rs`, the registered parameters in `list.rs`. Angles are the caller's: it brings
//! cosines and sines.

mod body;
mod list;
#[cfg(target_arch = "aarch64")]
mod sve;

pub use body::Turn;
#[cfg(feature = "sweep")]
pub(crate) use list::ENTRIES;

use crate::mat::{Mat, MatMut};
use crate::row::{Row, RowOp};
#[cfg(feature = "sweep")]
use crate::{
    format::Format,
    reference::{self, Expected},
    registry::Kernel,
    row::{Access, Data, Element, Extent, HEAD, Operand},
};

/// A handle to a kernel that adds a bias and turns heads to their positions, in place.
pub type Rope = Row<RopeOp>;

/// What [`Rope`] does.
#[derive(Debug)]
pub enum RopeOp {}

/// The operands of a rotation.
#[derive(Debug)]
pub struct Rotation<'a> {
    /// Rows of whole heads, side by side.
    pub x: MatMut<'a, f32>,
    /// What is added to each row before it is turned; empty for nothing.
    pub bias: &'a [f32],
    /// For each row the cosines of half a head, then the sines.
    pub angles: Mat<'a, f32>,
}

impl RowOp for RopeOp {
    type Args<'a> = Rotation<'a>;

    #[cfg(feature = "sweep")]
    fn kernel(handle: Rope) -> Kernel {
        Kernel::Rope(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        let f32 = Format::F32;
        let angles = Operand { element: Element::Of(f32), extent: Extent::Head, access: Access::Read };
        vec![Operand::shared(f32), angles, Operand::update(f32)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &Rope, data: &mut Data<'_>) {
        let (rows, cols, dim) = (data.rows, data.cols, Extent::Head.of(data.cols));
        // Columns that make up no head stay as they are.
        let heads = cols / dim.max(1) * dim;
        let (bias, angles) = (&data.shared(0)[..heads], data.mat(1, dim));
        kernel.run(MatMut::new(bytemuck::cast_slice_mut(data.write[0]), rows, heads, cols), bias, angles);
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], before: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        debug_assert!(HEAD.is_multiple_of(2));
        vec![reference::rope(&before[0], &read[0], &read[1])]
    }
}

impl Rope {
    /// Turns the heads of each row, which are as long as a row of `angles`.
    ///
    /// # Panics
    /// If rows are not whole heads of even length, there is a bias of another length, rows of `angles` are fewer or
    /// their elements not adjacent.
    pub fn run(&self, x: MatMut<'_, f32>, bias: &[f32], angles: Mat<'_, f32>) {
        let dim = angles.cols();
        assert!(x.rows() == angles.rows(), "rows and angles differ in number");
        assert!(dim.is_multiple_of(2) && x.cols().is_multiple_of(dim.max(2)), "rows of {} are not whole heads of {dim}", x.cols());
        assert!(bias.is_empty() || bias.len() == x.cols(), "a bias of another length than rows");
        self.body().run(Rotation { x, bias, angles });
    }
}
