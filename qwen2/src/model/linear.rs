//! A weight matrix in packed form. The panels are those of the baked GEMM: `nr` outputs side by side, one panel
//! after the other, each as deep as the input is wide. Packing streams: at no time is there a second f32 copy.

use crate::baked::Gemm;
use crate::baked::Mat;
use crate::baked::Ops;
use crate::baked::PackedB;
use rayon::prelude::*;

use super::source::Rows;
use crate::error::{Error, zeroed};

/// Rows unpacked at a time, about: enough to feed the packing, few enough to stay in cache.
const ROWS_AT_A_TIME: usize = 64;

/// A packed matrix of `inputs` → `outputs`, with an optional bias.
#[derive(Debug)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    kernel: Gemm,
    packed: Vec<u32>,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// Packs `rows` (outputs × inputs) for the kernels of `ops`; `name` is for the error. Runs on the current rayon pool.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::Memory`].
    pub fn pack(ops: &Ops, rows: &dyn Rows, bias: Option<Vec<f32>>, name: &str) -> Result<Self, Error> {
        let (inputs, outputs) = (rows.cols(), rows.rows());
        let kernel = ops.gemm_for(usize::MAX).kernel;
        let mut packed = zeroed(kernel.packed_b_len(inputs, outputs), "the packed weights")?;
        let at_a_time = ROWS_AT_A_TIME.next_multiple_of(kernel.nr());
        packed.par_chunks_mut(kernel.packed_b_len(inputs, at_a_time)).enumerate().try_for_each_init(
            Vec::new,
            |unpacked, (part, panels)| {
                let from = part * at_a_time;
                let count = at_a_time.min(outputs - from);
                unpacked.resize(count * inputs, 0.0);
                if !rows.fill(ops, from, unpacked) {
                    return Err(Error::NotFinite(name.to_owned()));
                }
                kernel.pack_b(Mat::new(unpacked, count, inputs, inputs).transposed(), panels);
                Ok(())
            },
        )?;
        Ok(Self { inputs, outputs, kernel, packed, bias })
    }

    /// Width of the input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of the output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The bias, one number per output.
    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// The panels.
    pub fn panels(&self) -> PackedB<'_> {
        self.kernel.packed_b(&self.packed, self.inputs, self.outputs)
    }

    /// Writes the weights of one output, a row of the original matrix, into `out`.
    ///
    /// # Panics
    /// When there is no such output or `out` is longer than the input is wide.
    pub fn row(&self, output: usize, out: &mut [f32]) {
        assert!(output < self.outputs && out.len() <= self.inputs, "row {output} of {}", self.outputs);
        let nr = self.kernel.nr();
        let panel = &self.packed[output / nr * nr * self.inputs..];
        for (value, lane) in out.iter_mut().zip(panel.chunks_exact(nr)) {
            *value = f32::from_bits(lane[output % nr]);
        }
    }

    /// Bytes of the panels.
    pub fn packed_bytes(&self) -> u64 {
        size_of_val(self.packed.as_slice()) as u64
    }
}
