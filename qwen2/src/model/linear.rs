//! Weight matrices with the same input in packed form. The panels are those of the baked kernels for the format that the
//! weights are stored in, or for that of the arithmetic: so many outputs side by side, one panel after the other, each as
//! deep as the input is wide. Packing streams: at no time is there a second copy. The words lie in memory that all matrices
//! of a model share.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::source::Rows;
use super::stored::{store, widen};
use crate::baked::{Format, MatMut, Ops, Products, Team, Workers};
use crate::error::Error;
use crate::threads;

/// Rows read at a time, about: enough to feed the packing, few enough to stay in cache.
const ROWS_AT_A_TIME: usize = 64;

/// Words at which a matrix begins a line of the cache.
const LINE: usize = 16;

/// A matrix found and checked, not yet read.
pub(super) struct Matrix<'a> {
    /// Its name, for errors.
    pub name: String,
    /// Its rows: outputs × inputs.
    pub rows: Box<dyn Rows + 'a>,
}

/// Packed matrices of the same input: one below the other, as one, where they are stored alike.
#[derive(Debug)]
pub struct Linear {
    inputs: usize,
    parts: Vec<Part>,
}

/// One packed matrix: where it lies among the words of its model.
#[derive(Debug)]
pub struct Part {
    /// The format of its kernels.
    format: Format,
    /// Which outputs are its.
    outputs: Range<usize>,
    words: Range<usize>,
}

impl Matrix<'_> {
    /// The kernels that it is packed for.
    fn products<'o>(&self, ops: &'o Ops) -> &'o Products {
        ops.products_of(self.rows.format())
    }

    /// Words that it takes in packed form, up to where another may begin.
    pub(super) fn words(&self, ops: &Ops) -> usize {
        self.products(ops).for_rows(usize::MAX).kernel.packed_len(self.rows.cols(), self.rows.rows()).next_multiple_of(LINE)
    }

    /// Packs it into `memory` from word `at` on.
    fn pack(&self, ops: &Ops, team: &Team, memory: &mut [u32], at: usize) -> Result<(Format, Range<usize>), Error> {
        let Self { name, rows } = self;
        let (inputs, outputs, stored) = (rows.cols(), rows.rows(), rows.format());
        let products = self.products(ops);
        let kernel = &*products.for_rows(usize::MAX).kernel;
        let words = |outputs: usize| kernel.packed_len(inputs, outputs);
        let range = at..at + words(outputs);
        let packed = &mut memory[range.clone()];
        let at_a_time = ROWS_AT_A_TIME.next_multiple_of(kernel.geometry().nr);
        let blocks = outputs.div_ceil(at_a_time);
        let threads = threads::worth(team, inputs * outputs, blocks);
        let share = |thread: usize| {
            let blocks = threads::part(blocks, threads, thread);
            blocks.start * at_a_time..(blocks.end * at_a_time).min(outputs)
        };
        let len = packed.len();
        let panels = MatMut::new(packed, 1, len, len)
            .grid([&|_| 0..1, &|thread| words(share(thread).start)..words(share(thread).end)], (1, threads));
        // Others than those that the kernels pack are turned into them: a format may have no kernels here, or another arithmetic.
        let packs = products.format.stored();
        let (failed, failure) = (AtomicBool::new(false), Mutex::new(None));
        let fail = |error| {
            failed.store(true, Relaxed);
            if let Ok(mut first) = failure.lock() {
                first.get_or_insert(error);
            }
        };
        team.share(threads, &|thread| {
            let Some(mut panels) = panels.take(0, thread) else { return };
            // Words, for their alignment.
            let (mut buffer, mut unpacked, mut turned) = (Vec::<u32>::new(), Vec::<f32>::new(), Vec::<u32>::new());
            let blocks = share(thread).step_by(at_a_time).zip(panels.row_mut(0).chunks_mut(words(at_a_time)));
            for (from, panels) in blocks {
                if failed.load(Relaxed) {
                    return;
                }
                let count = at_a_time.min(outputs - from);
                let bytes = count * rows.row_bytes();
                buffer.resize(bytes.div_ceil(size_of::<u32>()), 0);
                let bytes = &mut bytemuck::cast_slice_mut(&mut buffer)[..bytes];
                if let Err(source) = rows.read(from, bytes) {
                    return fail(Error::Unreadable { name: name.clone(), source });
                }
                if !stored.is_finite(bytes) {
                    return fail(Error::NotFinite(name.clone()));
                }
                if packs == stored {
                    kernel.pack(bytes, inputs, panels);
                } else {
                    unpacked.resize(count * inputs, 0.0);
                    widen(ops, stored, bytes, &mut unpacked);
                    kernel.pack(store(ops, packs, &unpacked, &mut turned), inputs, panels);
                }
            }
        });
        match failure.into_inner() {
            Ok(Some(error)) => Err(error),
            _ => Ok((products.format, range)),
        }
    }
}

impl Linear {
    /// Packs `matrices`, which have the same number of inputs, for the kernels of `ops` into `memory` from word `at` on, on
    /// the threads of `team`. Each takes as many words as it [says](Matrix::words).
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::Unreadable`].
    ///
    /// # Panics
    /// If `memory` ends before that.
    pub(super) fn pack(ops: &Ops, team: &Team, matrices: &[Matrix<'_>], memory: &mut [u32], mut at: usize) -> Result<Self, Error> {
        let (mut parts, mut output, mut inputs) = (Vec::with_capacity(matrices.len()), 0, 0);
        for matrix in matrices {
            let (format, words) = matrix.pack(ops, team, memory, at)?;
            inputs = matrix.rows.cols();
            parts.push(Part { format, outputs: output..output + matrix.rows.rows(), words });
            (at, output) = (at + matrix.words(ops), output + matrix.rows.rows());
        }
        Ok(Self { inputs, parts })
    }

    /// Width of the input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of the output.
    pub fn outputs(&self) -> usize {
        self.parts.last().map_or(0, |part| part.outputs.end)
    }

    /// Its packed matrices, by rising outputs.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Bytes of its packed matrices.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.words.len() * size_of::<u32>()).sum()
    }

    /// Words of workspace that [`Linear::row`] needs.
    pub fn row_workspace_len(&self, ops: &Ops) -> usize {
        self.parts.iter().map(|part| part.products(ops).for_rows(usize::MAX).kernel.row_workspace_len()).max().unwrap_or(0)
    }

    /// Writes the weights of one output, a row of the original matrix, into `out`.
    ///
    /// # Panics
    /// When there is no such output, `out` is not as long as the input is wide, or the workspace is too short.
    pub fn row(&self, ops: &Ops, memory: &[u32], output: usize, out: &mut [f32], workspace: &mut [u32]) {
        let part = self.parts.iter().find(|part| part.outputs.contains(&output)).expect("an output that there is");
        let kernel = &part.products(ops).for_rows(usize::MAX).kernel;
        kernel.row(part.panels(memory), part.outputs.len(), output - part.outputs.start, out, workspace);
    }
}

impl Part {
    /// The format of its kernels.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The kernels that it is packed for.
    pub fn products<'o>(&self, ops: &'o Ops) -> &'o Products {
        ops.products_in(self.format).expect("the kernels that it was packed for")
    }

    /// Which outputs are its.
    pub fn outputs(&self) -> Range<usize> {
        self.outputs.clone()
    }

    /// Its panels, in the memory that it was packed into.
    pub fn panels<'a>(&self, memory: &'a [u32]) -> &'a [u32] {
        &memory[self.words.clone()]
    }
}
