//! Normalisation of rows: RMS norm and layer norm, and RMS norm fused with the sum before it or the quantisation
//! behind it.
//!
//! The generic bodies and their edges are in `body.rs`, the fused ones in `fused.rs`, the SVE loops in `sve.rs`, the
//! registered parameters in `list.rs`. Rows are never split over threads here.

mod body;
mod fused;
mod list;
mod spread;
#[cfg(target_arch = "aarch64")]
mod sve;

pub use body::{Layer, Rms};
pub use fused::{AddRms, RmsQuantise};
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

/// A handle to an RMS norm kernel: y = x / √(mean(x²) + ε) · weight, row by row.
pub type RmsNorm = Row<RmsNormOp>;
/// A handle to a layer norm kernel: y = (x − mean) / √(variance + ε) · weight + bias, row by row.
pub type LayerNorm = Row<LayerNormOp>;
/// A handle to a kernel that adds and norms: x ← x + delta, then y = x / √(mean(x²) + ε) · weight, row by row.
pub type AddRmsNorm = Row<AddRmsNormOp>;
/// A handle to a kernel that norms and quantises: the blocks nearest to what [`RmsNorm`] gives.
pub type RmsNormQuantise = Row<RmsNormQuantiseOp>;

/// What [`RmsNorm`] does.
#[derive(Debug)]
pub enum RmsNormOp {}
/// What [`LayerNorm`] does.
#[derive(Debug)]
pub enum LayerNormOp {}
/// What [`AddRmsNorm`] does.
#[derive(Debug)]
pub enum AddRmsNormOp {}
/// What [`RmsNormQuantise`] does.
#[derive(Debug)]
pub enum RmsNormQuantiseOp {}

/// The operands of an RMS norm.
#[derive(Debug)]
pub struct Norm<'a> {
    /// Rows.
    pub x: Mat<'a, f32>,
    /// What each column is multiplied by.
    pub weight: &'a [f32],
    /// What is added to the mean of squares.
    pub eps: f32,
    /// Results.
    pub y: MatMut<'a, f32>,
}

/// The operands of an RMS norm of a sum.
#[derive(Debug)]
pub struct AddNorm<'a> {
    /// Rows; the sums afterwards.
    pub x: MatMut<'a, f32>,
    /// What is added to them.
    pub delta: Mat<'a, f32>,
    /// What each column is multiplied by.
    pub weight: &'a [f32],
    /// What is added to the mean of squares.
    pub eps: f32,
    /// Results.
    pub y: MatMut<'a, f32>,
}

/// The operands of an RMS norm whose results are quantised.
#[derive(Debug)]
pub struct NormQuantise<'a> {
    /// Rows.
    pub x: Mat<'a, f32>,
    /// What each column is multiplied by.
    pub weight: &'a [f32],
    /// What is added to the mean of squares.
    pub eps: f32,
    /// Results: [`blocks`] of them in a row.
    pub y: MatMut<'a, q8_0::Block>,
}

impl RowOp for RmsNormOp {
    type Args<'a> = Norm<'a>;

    #[cfg(feature = "sweep")]
    fn kernel(handle: RmsNorm) -> Kernel {
        Kernel::RmsNorm(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        vec![Operand::read(Format::F32), Operand::shared(Format::F32), Operand::write(Format::F32)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &RmsNorm, data: &mut Data<'_>) {
        let cols = data.cols;
        kernel.run(data.mat(0, cols), data.shared(1), EPS, data.mat_mut(0, cols));
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], _: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        vec![rms_expected(&read[0], &read[1])]
    }
}

impl RowOp for LayerNormOp {
    type Args<'a> = (Norm<'a>, &'a [f32]);

    #[cfg(feature = "sweep")]
    fn kernel(handle: LayerNorm) -> Kernel {
        Kernel::LayerNorm(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        vec![Operand::read(Format::F32), Operand::shared(Format::F32), Operand::shared(Format::F32), Operand::write(Format::F32)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &LayerNorm, data: &mut Data<'_>) {
        let cols = data.cols;
        kernel.run(data.mat(0, cols), data.shared(1), data.shared(2), EPS, data.mat_mut(0, cols));
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], _: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        let [x, weight, bias] = read else { return Vec::new() };
        let n = x.len() as f64;
        let (_, scale) = reference::moments(x, EPS);
        let magnitude = x.iter().map(|v| f64::from(v.abs())).sum::<f64>() / n;
        let each = reference::layer_norm(x, weight, bias, EPS).into_iter().enumerate().map(|(i, want)| {
            // The mean errs by n·eps of the mean magnitude, which passes into every element; the variance by n·eps of
            // itself.
            let centred = (f64::from(x[i].abs()) + magnitude) * scale * f64::from(weight[i].abs());
            Expected::within(want, (n + 8.0) * f64::from(f32::EPSILON) * (centred + f64::from(bias[i].abs())))
        });
        vec![each.collect()]
    }
}

impl RowOp for AddRmsNormOp {
    type Args<'a> = AddNorm<'a>;

    #[cfg(feature = "sweep")]
    fn kernel(handle: AddRmsNorm) -> Kernel {
        Kernel::AddRmsNorm(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        let f32 = Format::F32;
        vec![Operand::read(f32), Operand::shared(f32), Operand::update(f32), Operand::write(f32)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &AddRmsNorm, data: &mut Data<'_>) {
        let (rows, cols) = (data.rows, data.cols);
        let (delta, weight) = (data.mat(0, cols), data.shared(1));
        let [x, y] = data.write.as_mut_slice() else { return };
        let view = |bytes| MatMut::new(bytemuck::cast_slice_mut(bytes), rows, cols, cols);
        kernel.run(view(x), delta, weight, EPS, view(y));
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], before: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        let sum: Vec<f32> = before[0].iter().zip(&read[0]).map(|(x, delta)| x + delta).collect();
        vec![sum.iter().map(|x| Expected::exactly(f64::from(*x))).collect(), rms_expected(&sum, &read[1])]
    }
}

impl RowOp for RmsNormQuantiseOp {
    type Args<'a> = NormQuantise<'a>;

    #[cfg(feature = "sweep")]
    fn kernel(handle: RmsNormQuantise) -> Kernel {
        Kernel::RmsNormQuantise(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        vec![Operand::read(Format::F32), Operand::shared(Format::F32), Operand::write(Format::Q8_0)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &RmsNormQuantise, data: &mut Data<'_>) {
        let cols = data.cols;
        kernel.run(data.mat(0, cols), data.shared(1), EPS, data.mat_mut(0, blocks(cols)));
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], _: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        vec![crate::quantise::expected(&reference::rms_norm(&read[0], &read[1], EPS))]
    }
}

/// The ε of norms where nobody says, as Qwen2 has it.
#[cfg(feature = "sweep")]
pub const EPS: f32 = 1e-6;

#[cfg(feature = "sweep")]
fn rms_expected(x: &[f32], weight: &[f32]) -> Vec<Expected> {
    // A sum of n squares errs by at most n·eps relatively, its root by half of that; the root, the division and two
    // products add one rounding each.
    let relative = (x.len() as f64 / 2.0 + 6.0) * f64::from(f32::EPSILON);
    reference::rms_norm(x, weight, EPS).into_iter().map(|want| Expected::within(want, relative * want.abs())).collect()
}

const MISFIT: &str = "rows, weight and output differ in shape";

impl RmsNorm {
    /// Norms each row of `x` into `y`.
    ///
    /// # Panics
    /// If the shapes differ, or rows of `x` are not adjacent elements.
    pub fn run(&self, x: Mat<'_, f32>, weight: &[f32], eps: f32, y: MatMut<'_, f32>) {
        assert!((x.rows(), x.cols()) == (y.rows(), y.cols()) && x.cols() == weight.len(), "{MISFIT}");
        self.body().run(Norm { x, weight, eps, y });
    }
}

impl LayerNorm {
    /// Norms each row of `x` into `y`.
    ///
    /// # Panics
    /// If the shapes differ, or rows of `x` are not adjacent elements.
    pub fn run(&self, x: Mat<'_, f32>, weight: &[f32], bias: &[f32], eps: f32, y: MatMut<'_, f32>) {
        assert!((x.rows(), x.cols()) == (y.rows(), y.cols()) && x.cols() == weight.len() && x.cols() == bias.len(), "{MISFIT}");
        self.body().run((Norm { x, weight, eps, y }, bias));
    }
}

impl AddRmsNorm {
    /// Adds `delta` to `x`, and norms each row of the sum into `y`.
    ///
    /// # Panics
    /// If the shapes differ, or rows of `delta` are not adjacent elements.
    pub fn run(&self, x: MatMut<'_, f32>, delta: Mat<'_, f32>, weight: &[f32], eps: f32, y: MatMut<'_, f32>) {
        let shape = (x.rows(), x.cols());
        assert!((delta.rows(), delta.cols()) == shape && (y.rows(), y.cols()) == shape && x.cols() == weight.len(), "{MISFIT}");
        self.body().run(AddNorm { x, delta, weight, eps, y });
    }
}

impl RmsNormQuantise {
    /// Norms each row of `x`, and quantises it into a row of `y`; what is beyond the last column counts as 0. Values
    /// must be finite.
    ///
    /// # Panics
    /// If `y` has not [`blocks`] of the columns of `x`, the shapes differ, or rows of `x` are not adjacent elements.
    pub fn run(&self, x: Mat<'_, f32>, weight: &[f32], eps: f32, y: MatMut<'_, q8_0::Block>) {
        assert!((x.rows(), blocks(x.cols())) == (y.rows(), y.cols()) && x.cols() == weight.len(), "{MISFIT}");
        self.body().run(NormQuantise { x, weight, eps, y });
    }
}
