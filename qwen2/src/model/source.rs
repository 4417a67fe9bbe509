//! Where weights come from: a GGUF file, or numbers drawn at random for timing. Both give rows of f32 on request,
//! so that packing never needs a whole matrix in f32 beside its packed form.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::baked::{Format, Mat, MatMut, Ops, SPAN, q8_0};
use half::f16;

use crate::error::Error;
use crate::gguf::{Gguf, Tensor, TensorType, shown};

/// A matrix that gives out its rows.
pub trait Rows: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;
    /// Elements of a row.
    fn cols(&self) -> usize;
    /// Writes rows `from ..` into `out`, as many as fit; `false` when one of the numbers is not finite.
    fn fill(&self, ops: &Ops, from: usize, out: &mut [f32]) -> bool;
}

/// Gives the tensors of a model by name.
pub trait Source {
    /// Whether there is a tensor of this name.
    fn has(&self, name: &str) -> bool;

    /// The matrix `name` of `rows` × `cols` (outputs × inputs).
    ///
    /// # Errors
    /// It is missing or has another shape.
    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Box<dyn Rows + '_>, Error>;

    /// The vector `name` of `len` elements.
    ///
    /// # Errors
    /// It is missing, has another length, or is not finite.
    fn vector(&self, ops: &Ops, name: &str, len: usize) -> Result<Vec<f32>, Error>;
}

impl Rows for Tensor<'_> {
    fn rows(&self) -> usize {
        self.info.rows
    }

    fn cols(&self) -> usize {
        self.info.cols
    }

    fn fill(&self, ops: &Ops, from: usize, out: &mut [f32]) -> bool {
        self.unpack_rows(ops, from, out)
    }
}

/// The tensors of a file. It remembers which were asked for, so that leftovers can be refused.
pub struct GgufSource<'a> {
    file: &'a Gguf,
    used: RefCell<HashSet<String>>,
}

impl<'a> GgufSource<'a> {
    /// A source of `file`'s tensors.
    pub fn new(file: &'a Gguf) -> Self {
        Self { file, used: RefCell::default() }
    }

    /// Checks that every tensor of the file was asked for.
    ///
    /// # Errors
    /// [`Error::UnusedTensor`].
    pub fn check_all_used(&self) -> Result<(), Error> {
        let used = self.used.borrow();
        match self.file.tensors().iter().find(|tensor| !used.contains(&tensor.name)) {
            Some(tensor) => Err(Error::UnusedTensor(shown(&tensor.name))),
            None => Ok(()),
        }
    }

    fn tensor(&self, name: &str, rank: usize, rows: usize, cols: usize) -> Result<Tensor<'a>, Error> {
        let tensor = self.file.tensor(name).ok_or_else(|| Error::MissingTensor(name.to_owned()))?;
        self.used.borrow_mut().insert(name.to_owned());
        let info = tensor.info;
        if (info.rank, info.rows, info.cols) != (rank, rows, cols) {
            let found = format!("{} x {} of rank {}", info.rows, info.cols, info.rank);
            let expected = format!("{rows} x {cols} of rank {rank}");
            return Err(Error::Shape { name: shown(name), found, expected });
        }
        Ok(tensor)
    }
}

impl Source for GgufSource<'_> {
    fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Box<dyn Rows + '_>, Error> {
        Ok(Box::new(self.tensor(name, 2, rows, cols)?))
    }

    fn vector(&self, ops: &Ops, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        let tensor = self.tensor(name, 1, 1, len)?;
        let mut out = vec![0.0; len];
        if tensor.unpack_rows(ops, 0, &mut out) { Ok(out) } else { Err(Error::NotFinite(name.to_owned())) }
    }
}

/// Weights drawn at random from a seed and the tensor's name: the same model at every start, of no use but timing.
pub struct RandomSource {
    /// Numbers are rounded to what this type can hold.
    pub kind: TensorType,
    /// The seed.
    pub seed: u64,
}

struct RandomRows {
    rows: usize,
    cols: usize,
    scale: f32,
    kind: TensorType,
    seed: u64,
}

impl Source for RandomSource {
    fn has(&self, name: &str) -> bool {
        // Tied, and with separate projections, as the published models of these sizes are.
        !matches!(name, "output.weight") && !name.contains("attn_qkv")
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Box<dyn Rows + '_>, Error> {
        let seed = name.bytes().fold(self.seed, |hash, byte| mix(hash ^ u64::from(byte)));
        // Keeps the variance of a product's output near that of its input.
        let scale = (1.0 / cols as f32).sqrt();
        Ok(Box::new(RandomRows { rows, cols, scale, kind: self.kind, seed }))
    }

    fn vector(&self, _: &Ops, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        Ok(vec![if name.contains("norm") { 1.0 } else { 0.0 }; len])
    }
}

impl Rows for RandomRows {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn fill(&self, ops: &Ops, from: usize, out: &mut [f32]) -> bool {
        let first = (from * self.cols) as u64;
        for (at, value) in (first..).zip(out.iter_mut()) {
            // Uniform in -1 .. 1 from the top 24 bits.
            let bits = mix(self.seed ^ at) >> 40;
            *value = (bits as f32 / (1 << 23) as f32 - 1.0) * self.scale;
        }
        match self.kind {
            TensorType::F32 => {}
            TensorType::F16 => {
                let mut halves = vec![0; out.len()];
                ops.f32_to_f16.run(out, &mut halves);
                ops.f16_to_f32.run(&halves, out);
            }
            TensorType::Q8_0 => {
                let mut blocks = vec![q8_0::Block { d: f16::ZERO, quants: [0; SPAN] }; out.len().div_ceil(SPAN)];
                let count = blocks.len();
                ops.quantise.run(Mat::new(out, 1, out.len(), out.len()), MatMut::new(&mut blocks, 1, count, count));
                if let Some(kernel) = ops.dequantise_of(Format::Q8_0) {
                    kernel.run(&blocks, out);
                }
            }
        }
        true
    }
}

/// The finaliser of SplitMix64: every output bit depends on every input bit.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Several matrices of equal row length, one below the other.
pub struct Stack<'a>(pub Vec<Box<dyn Rows + 'a>>);

impl Rows for Stack<'_> {
    fn rows(&self) -> usize {
        self.0.iter().map(|part| part.rows()).sum()
    }

    fn cols(&self) -> usize {
        self.0.first().map_or(0, |part| part.cols())
    }

    fn fill(&self, ops: &Ops, mut from: usize, mut out: &mut [f32]) -> bool {
        let cols = self.cols();
        let mut finite = true;
        for part in &self.0 {
            if from >= part.rows() {
                from -= part.rows();
                continue;
            }
            let here = ((part.rows() - from) * cols).min(out.len());
            let (mine, rest) = out.split_at_mut(here);
            finite &= mine.is_empty() || part.fill(ops, from, mine);
            out = rest;
            from = 0;
        }
        finite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_spreads_neighbours() {
        let differing = (mix(1) ^ mix(2)).count_ones();
        assert!((16..48).contains(&differing), "{differing} of 64 bits differ");
    }
}
