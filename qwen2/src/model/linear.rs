//! A weight matrix in packed form. The panels are those of the baked GEMM: `nr` outputs side by side, one panel
//! after the other, each as deep as the input is wide. Packing streams: at no time is there a second f32 copy.
//! The words lie in memory that all matrices of a model share.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::source::Rows;
use crate::baked::{Gemm, Mat, MatMut, Ops, PackedB, Team, Workers};
use crate::error::Error;
use crate::threads;

/// Rows unpacked at a time, about: enough to feed the packing, few enough to stay in cache.
const ROWS_AT_A_TIME: usize = 64;

/// Words at which a matrix begins a line of the cache.
const LINE: usize = 16;

/// A packed matrix of `inputs` → `outputs`: where it lies among the words of its model.
#[derive(Debug)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    kernel: Gemm,
    words: Range<usize>,
}

impl Linear {
    /// Words that `rows` (outputs × inputs) take in packed form, up to where another matrix may begin.
    pub fn words(ops: &Ops, rows: &dyn Rows) -> usize {
        ops.gemm_for(usize::MAX).kernel.packed_b_len(rows.cols(), rows.rows()).next_multiple_of(LINE)
    }

    /// Packs `rows` (outputs × inputs) for the kernels of `ops` into `memory` from word `at` on, on the threads of
    /// `team`; `name` is for the error.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    ///
    /// # Panics
    /// If `memory` ends before that.
    pub fn pack(ops: &Ops, team: &Team, rows: &dyn Rows, name: &str, memory: &mut [u32], at: usize) -> Result<Self, Error> {
        let (inputs, outputs) = (rows.cols(), rows.rows());
        let kernel = ops.gemm_for(usize::MAX).kernel;
        let range = at..at + kernel.packed_b_len(inputs, outputs);
        let packed = &mut memory[range.clone()];
        let at_a_time = ROWS_AT_A_TIME.next_multiple_of(kernel.nr());
        let blocks = outputs.div_ceil(at_a_time);
        let threads = threads::worth(team, inputs * outputs, blocks);
        let share = |thread: usize| {
            let blocks = threads::part(blocks, threads, thread);
            blocks.start * at_a_time..(blocks.end * at_a_time).min(outputs)
        };
        let words = |outputs: usize| kernel.packed_b_len(inputs, outputs);
        let len = packed.len();
        let panels = MatMut::new(packed, 1, len, len)
            .grid([&|_| 0..1, &|thread| words(share(thread).start)..words(share(thread).end)], (1, threads));
        let finite = AtomicBool::new(true);
        team.share(threads, &|thread| {
            let Some(mut panels) = panels.take(0, thread) else { return };
            let mut unpacked = Vec::new();
            let blocks = share(thread).step_by(at_a_time).zip(panels.row_mut(0).chunks_mut(words(at_a_time)));
            for (from, panels) in blocks {
                let count = at_a_time.min(outputs - from);
                unpacked.resize(count * inputs, 0.0);
                if !rows.fill(ops, from, &mut unpacked) {
                    finite.store(false, Relaxed);
                }
                if !finite.load(Relaxed) {
                    return;
                }
                kernel.pack_b(Mat::new(&unpacked, count, inputs, inputs).transposed(), panels);
            }
        });
        if finite.into_inner() { Ok(Self { inputs, outputs, kernel, words: range }) } else { Err(Error::NotFinite(name.to_owned())) }
    }

    /// Width of the input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of the output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The panels, in the memory that it was packed into.
    pub fn panels<'a>(&self, memory: &'a [u32]) -> PackedB<'a> {
        self.kernel.packed_b(&memory[self.words.clone()], self.inputs, self.outputs)
    }

    /// Writes the weights of one output, a row of the original matrix, into `out`.
    ///
    /// # Panics
    /// When there is no such output or `out` is longer than the input is wide.
    pub fn row(&self, memory: &[u32], output: usize, out: &mut [f32]) {
        assert!(output < self.outputs && out.len() <= self.inputs, "row {output} of {}", self.outputs);
        let nr = self.kernel.nr();
        let panel = &memory[self.words.clone()][output / nr * nr * self.inputs..];
        for (value, lane) in out.iter_mut().zip(panel.chunks_exact(nr)) {
            *value = f32::from_bits(lane[output % nr]);
        }
    }
}
