//! Softmax of rows, in place: x ← e^(s·x − s·max) / Σ, of the elements that a mask shows; the others become 0.
//!
//! The generic body is in `body.rs`, the registered parameters in `list.rs`.

mod body;
mod list;
#[cfg(target_arch = "aarch64")]
pub(crate) mod sve;

pub use body::Three;
#[cfg(feature = "sweep")]
pub(crate) use list::ENTRIES;

use crate::mat::MatMut;
use crate::row::{Row, RowOp};
#[cfg(feature = "sweep")]
use crate::{
    format::Format,
    reference::{self, Expected},
    registry::Kernel,
    row::{Data, Operand},
};

/// A handle to a softmax kernel.
pub type Softmax = Row<SoftmaxOp>;

/// What [`Softmax`] does.
#[derive(Debug)]
pub enum SoftmaxOp {}

/// Which elements of a row count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    /// All of them.
    All,
    /// Of row r the first `first` + r + 1, as of a token that sees itself and what came before.
    Causal {
        /// Elements before those of the first row's own.
        first: usize,
    },
}

impl Visible {
    /// How many of `cols` elements of row `row` count.
    #[inline]
    pub fn count(self, row: usize, cols: usize) -> usize {
        match self {
            Visible::All => cols,
            Visible::Causal { first } => first.saturating_add(row).saturating_add(1).min(cols),
        }
    }
}

impl RowOp for SoftmaxOp {
    type Args<'a> = (MatMut<'a, f32>, f32, Visible);

    #[cfg(feature = "sweep")]
    fn kernel(handle: Softmax) -> Kernel {
        Kernel::Softmax(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        vec![Operand::update(Format::F32)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &Softmax, data: &mut Data<'_>) {
        let cols = data.cols;
        kernel.run(data.mat_mut(0, cols), 1.0, Visible::All);
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, _: &[Vec<f32>], before: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        vec![reference::softmax(&before[0], 1.0, before[0].len())]
    }
}

impl Softmax {
    /// Replaces each row by the softmax of `scale` times its visible elements. A row whose elements are all −∞, or of
    /// which one is NaN or +∞, becomes NaN.
    pub fn run(&self, x: MatMut<'_, f32>, scale: f32, visible: Visible) {
        self.body().run((x, scale, visible));
    }
}
