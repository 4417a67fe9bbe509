//! The gate of a feed-forward network: y = silu(gate) · up with silu(x) = x / (1 + e^−x), alone or fused with the
//! quantisation behind it.
//!
//! The generic bodies are in `body.rs`, the registered parameters in `list.rs`. What bounds the error of the
//! exponential function is [`crate::isa::math::EXP_ULPS`].

mod body;
mod list;
#[cfg(target_arch = "aarch64")]
mod sve;

pub use body::{Silu, SiluQuantise};
#[cfg(feature = "sweep")]
pub(crate) use list::ENTRIES;

use crate::format::q8_0;
use crate::mat::{Mat, MatMut};
use crate::quantise::blocks;
use crate::row::{Row, RowOp};
#[cfg(feature = "sweep")]
use crate::{
    format::Format,
    reference::{self, Expected},
    registry::Kernel,
    row::{Data, Operand},
};

/// A handle to a kernel for y = silu(gate) · up.
pub type SiluMul = Row<SiluMulOp>;
/// A handle to a kernel for the Q8_0 blocks nearest to silu(gate) · up.
pub type SiluMulQuantise = Row<SiluMulQuantiseOp>;

/// What [`SiluMul`] does.
#[derive(Debug)]
pub enum SiluMulOp {}
/// What [`SiluMulQuantise`] does.
#[derive(Debug)]
pub enum SiluMulQuantiseOp {}

impl RowOp for SiluMulOp {
    type Args<'a> = (Mat<'a, f32>, Mat<'a, f32>, MatMut<'a, f32>);

    #[cfg(feature = "sweep")]
    fn kernel(handle: SiluMul) -> Kernel {
        Kernel::SiluMul(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        vec![Operand::read(Format::F32), Operand::read(Format::F32), Operand::write(Format::F32)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &SiluMul, data: &mut Data<'_>) {
        let cols = data.cols;
        kernel.run(data.mat(0, cols), data.mat(1, cols), data.mat_mut(0, cols));
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], _: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        vec![reference::silu_mul(&read[0], &read[1])]
    }
}

impl RowOp for SiluMulQuantiseOp {
    type Args<'a> = (Mat<'a, f32>, Mat<'a, f32>, MatMut<'a, q8_0::Block>);

    #[cfg(feature = "sweep")]
    fn kernel(handle: SiluMulQuantise) -> Kernel {
        Kernel::SiluMulQuantise(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        vec![Operand::read(Format::F32), Operand::read(Format::F32), Operand::write(Format::Q8_0)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &SiluMulQuantise, data: &mut Data<'_>) {
        let cols = data.cols;
        kernel.run(data.mat(0, cols), data.mat(1, cols), data.mat_mut(0, blocks(cols)));
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], _: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        let exact: Vec<f64> = reference::silu_mul(&read[0], &read[1]).iter().map(|e| e.value).collect();
        vec![crate::quantise::expected(&exact)]
    }
}

const MISFIT: &str = "gate, up and output differ in shape";

impl SiluMul {
    /// Gates each row of `up` into `y`.
    ///
    /// # Panics
    /// If the shapes differ, or rows of `gate` or `up` are not adjacent elements.
    pub fn run(&self, gate: Mat<'_, f32>, up: Mat<'_, f32>, y: MatMut<'_, f32>) {
        let shape = (y.rows(), y.cols());
        assert!((gate.rows(), gate.cols()) == shape && (up.rows(), up.cols()) == shape, "{MISFIT}");
        self.body().run((gate, up, y));
    }
}

impl SiluMulQuantise {
    /// Gates each row of `up` and quantises it into a row of `y`. Values must be finite.
    ///
    /// # Panics
    /// If the shapes differ, `y` has not [`blocks`] of their columns, or rows of `gate` or `up` are not adjacent
    /// elements.
    pub fn run(&self, gate: Mat<'_, f32>, up: Mat<'_, f32>, y: MatMut<'_, q8_0::Block>) {
        let shape = (gate.rows(), gate.cols());
        assert!((up.rows(), up.cols()) == shape && (y.rows(), y.cols()) == (shape.0, blocks(shape.1)), "{MISFIT}");
        self.body().run((gate, up, y));
    }
}
