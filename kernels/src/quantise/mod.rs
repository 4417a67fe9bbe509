//! Quantising rows, as activations are for products with weights in blocks, and what was quantised back to f32.
//!
//! Blocks lie as in a GGUF file. The generic bodies are in `body.rs` and `back.rs`, the SVE loops in `sve.rs`, the
//! registered parameters in `list.rs`. Every kernel equals [`crate::format::Block`] bit for bit.

mod back;
mod body;
mod list;
#[cfg(target_arch = "aarch64")]
pub(crate) mod sve;

pub use back::Back;
pub(crate) use body::Spans;
pub use body::ToQ8_0;
#[cfg(feature = "sweep")]
pub(crate) use list::ENTRIES;
pub use list::*;

use crate::format::{Block, Format, SPAN, q8_0};
use crate::gemm::product::Product;
use crate::mat::{Mat, MatMut};
use crate::row::{Row, RowOp};
use crate::with_product;
#[cfg(feature = "sweep")]
use crate::{
    reference::Expected,
    registry::Kernel,
    row::{Data, Operand},
};

/// Elements of a row that are worth being computed before they are quantised: they stay in the nearest cache.
pub(crate) const PIECE: usize = 16 * SPAN;

/// A handle to a kernel that quantises: each 32 elements of a row become the nearest Q8_0 block.
pub type Quantise = Row<QuantiseOp>;
/// A handle to a kernel that turns blocks of weights into f32.
pub type Dequantise = Row<DequantiseOp>;

/// What [`Quantise`] does.
#[derive(Debug)]
pub enum QuantiseOp {}
/// What [`Dequantise`] does.
#[derive(Debug)]
pub enum DequantiseOp {}

/// Q8_0 blocks that a row of `cols` elements takes.
pub const fn blocks(cols: usize) -> usize {
    cols.div_ceil(SPAN)
}

impl RowOp for QuantiseOp {
    type Args<'a> = (Mat<'a, f32>, MatMut<'a, q8_0::Block>);

    #[cfg(feature = "sweep")]
    fn kernel(handle: Quantise) -> Kernel {
        Kernel::Quantise(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(_: Format) -> Vec<Operand> {
        vec![Operand::read(Format::F32), Operand::write(Format::Q8_0)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &Quantise, data: &mut Data<'_>) {
        let cols = data.cols;
        kernel.run(data.mat(0, cols), data.mat_mut(0, blocks(cols)));
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], _: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        let whole = |x: &[f32]| {
            let mut span = [0.0; SPAN];
            span[..x.len()].copy_from_slice(x);
            let block = q8_0::Block::quantise(&span);
            (0..x.len()).map(move |i| Expected::exactly(f64::from(block.value(i) as f32)))
        };
        vec![read[0].chunks(SPAN).flat_map(whole).collect()]
    }
}

impl RowOp for DequantiseOp {
    /// Blocks as bytes: of which format is the kernel's own business.
    type Args<'a> = (&'a [u8], &'a mut [f32]);

    #[cfg(feature = "sweep")]
    fn kernel(handle: Dequantise) -> Kernel {
        Kernel::Dequantise(handle)
    }
    #[cfg(feature = "sweep")]
    fn operands(format: Format) -> Vec<Operand> {
        vec![Operand::read(format), Operand::write(Format::F32)]
    }
    #[cfg(feature = "sweep")]
    fn call(kernel: &Dequantise, data: &mut Data<'_>) {
        let (cols, rows, bytes) = (data.cols, data.rows, data.read[0]);
        let mut out: MatMut<'_, f32> = data.mat_mut(0, cols);
        for (r, blocks) in bytes.chunks_exact((bytes.len() / rows.max(1)).max(1)).enumerate().take(rows) {
            kernel.body().run((blocks, out.row_mut(r)));
        }
    }
    #[cfg(feature = "sweep")]
    fn expected(_: Format, read: &[Vec<f32>], _: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
        // A product and a sum are rounded, each to f32; how they come out bit for bit is tested beside the kernels.
        let each = |x: &f32| Expected::within(f64::from(*x), 4.0 * f64::from(f32::EPSILON));
        vec![read[0].iter().map(each).collect()]
    }
}

/// What becomes of exact `values` that a kernel computes in f32 before it quantises them: they may come out one step
/// away.
#[cfg(feature = "sweep")]
pub(crate) fn expected(values: &[f64]) -> Vec<Expected> {
    let span = |x: &[f64]| {
        let step = x.iter().fold(0.0f64, |most, x| most.max(x.abs())) / 127.0;
        // A scale saturates at the largest half.
        let shrunk = (65504.0 / step).min(1.0);
        let (x, step) = (x.iter().map(|x| x * shrunk), step * shrunk);
        // Half a step is what rounding takes from an exact value; the scale itself is rounded to 11 bits, and to
        // multiples of 2^-24 where it is small.
        let coarse = 127.0 * 2f64.powi(-25);
        x.map(|x| Expected::within(x, 0.51 * step + x.abs() * 6e-4 + coarse)).collect::<Vec<_>>()
    };
    values.chunks(SPAN).flat_map(span).collect()
}

impl Quantise {
    /// Quantises each row of `x` into a row of `y`; what is beyond the last column counts as 0. Values must be finite.
    ///
    /// # Panics
    /// If `y` has not [`blocks`] of the columns of `x`, or rows of `x` are not adjacent elements.
    pub fn run(&self, x: Mat<'_, f32>, y: MatMut<'_, q8_0::Block>) {
        assert!((x.rows(), blocks(x.cols())) == (y.rows(), y.cols()), "rows and blocks differ in shape");
        self.body().run((x, y));
    }
}

impl Dequantise {
    /// The format of its blocks.
    pub fn format(&self) -> Format {
        self.meta().format
    }

    /// Turns as many weights as `out` has elements into f32.
    ///
    /// # Panics
    /// If the blocks are of another format or hold fewer weights, or do not end with the last of them.
    pub fn run<B: Block>(&self, blocks: &[B], out: &mut [f32]) {
        assert_eq!(self.meta().format, B::FORMAT, "blocks of another format");
        self.run_bytes(bytemuck::cast_slice(blocks), out);
    }

    /// As [`Dequantise::run`], of blocks of the kernel's own format as they lie in a file, aligned to nothing.
    ///
    /// # Panics
    /// If the bytes are not those of as many blocks as `out` needs.
    pub fn run_bytes(&self, blocks: &[u8], out: &mut [f32]) {
        let bytes = with_product!(self.meta().format, P => P::b_bytes(out.len()));
        assert_eq!(blocks.len(), bytes, "blocks and weights differ in number");
        self.body().run((blocks, out));
    }
}
