//! Where weights come from: a GGUF file, a model folder, or numbers drawn at random for timing. All give rows as they are stored on
//! request, so that packing never needs a whole matrix beside its packed form.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;

use crate::baked::{Format, Ops};

use super::config::tied;
use super::stored::{store, widen};
use crate::error::Error;
use crate::gguf::{Gguf, Tensor, TensorInfo, TensorType, shown};
use crate::hf::{Folder, names};

/// A matrix that gives out its rows.
pub trait Rows: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;
    /// Elements of a row.
    fn cols(&self) -> usize;
    /// How they are stored.
    fn format(&self) -> Format;
    /// Writes rows `from ..` into `out`, as they are stored: as many as it holds.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, from: usize, out: &mut [u8]) -> io::Result<()>;
    /// Bytes of a row.
    fn row_bytes(&self) -> usize {
        self.cols() / self.format().depth() * self.format().bytes()
    }
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

    fn format(&self) -> Format {
        self.info.kind.format()
    }

    fn read(&self, from: usize, out: &mut [u8]) -> io::Result<()> {
        self.read_rows(from, out)
    }
}

/// The tensors of a file or a folder. It remembers which were asked for, so that leftovers can be refused.
pub struct FileSource<'a> {
    container: Container<'a>,
    used: RefCell<HashSet<String>>,
}

#[derive(Clone, Copy)]
enum Container<'a> {
    Gguf(&'a Gguf),
    Folder { folder: &'a Folder, tied: bool },
}

/// What a folder calls the head, which is of no use in one whose head is tied.
const HEAD: &str = "output.weight";

impl<'a> FileSource<'a> {
    /// A source of `file`'s tensors.
    pub fn of_gguf(file: &'a Gguf) -> Self {
        Self { container: Container::Gguf(file), used: RefCell::default() }
    }

    /// A source of the tensors of `folder`, by the names that GGUF has for them.
    ///
    /// # Errors
    /// The configuration does not say properly whether the head is tied.
    pub fn of_folder(folder: &'a Folder) -> Result<Self, Error> {
        let tied = tied(folder)?;
        // Some writers store a tied head all the same; the embeddings count, as they do elsewhere.
        let used = if tied { names::of_gguf(HEAD).into_iter().collect() } else { HashSet::new() };
        Ok(Self { container: Container::Folder { folder, tied }, used: RefCell::new(used) })
    }

    /// The container's name of a head that it stores though the model is tied and has no use for it.
    pub(crate) fn unused_head(&self) -> Option<String> {
        match self.container {
            Container::Folder { tied: true, .. } => names::of_gguf(HEAD),
            _ => None,
        }
    }

    /// Checks that every tensor was asked for.
    ///
    /// # Errors
    /// [`Error::UnusedTensor`].
    pub fn check_all_used(&self) -> Result<(), Error> {
        let tensors: &[TensorInfo] = match self.container {
            Container::Gguf(file) => file.tensors(),
            Container::Folder { folder, .. } => folder.tensors(),
        };
        let used = self.used.borrow();
        match tensors.iter().find(|tensor| !used.contains(&tensor.name)) {
            Some(tensor) => Err(Error::UnusedTensor(shown(&tensor.name))),
            None => Ok(()),
        }
    }

    /// What the container calls the tensor `name`, and that tensor.
    fn find(&self, name: &str) -> (String, Option<Tensor<'a>>) {
        match self.container {
            Container::Gguf(file) => (name.to_owned(), file.tensor(name)),
            Container::Folder { folder, .. } => match names::of_gguf(name) {
                Some(theirs) => {
                    let tensor = folder.tensor(&theirs);
                    (theirs, tensor)
                }
                None => (name.to_owned(), None),
            },
        }
    }

    fn tensor(&self, name: &str, rank: usize, rows: usize, cols: usize) -> Result<Tensor<'a>, Error> {
        let (name, tensor) = self.find(name);
        let Some(tensor) = tensor else { return Err(Error::MissingTensor(name)) };
        let info = tensor.info;
        if (info.rank, info.rows, info.cols) != (rank, rows, cols) {
            let found = format!("{} x {} of rank {}", info.rows, info.cols, info.rank);
            let expected = format!("{rows} x {cols} of rank {rank}");
            return Err(Error::Shape { name: shown(&name), found, expected });
        }
        self.used.borrow_mut().insert(name);
        Ok(tensor)
    }
}

impl Source for FileSource<'_> {
    fn has(&self, name: &str) -> bool {
        match self.container {
            // There must be one if the folder says so: without it the embeddings would be taken for it.
            Container::Folder { tied, .. } if name == HEAD => !tied,
            _ => self.find(name).1.is_some(),
        }
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Box<dyn Rows + '_>, Error> {
        Ok(Box::new(self.tensor(name, 2, rows, cols)?))
    }

    fn vector(&self, ops: &Ops, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        let tensor = self.tensor(name, 1, 1, len)?;
        let mut stored = vec![0; tensor.row_bytes()];
        let named = || shown(&tensor.info.name);
        tensor.read(0, &mut stored).map_err(|source| Error::Unreadable { name: named(), source })?;
        if !tensor.format().is_finite(&stored) {
            return Err(Error::NotFinite(named()));
        }
        let mut out = vec![0.0; len];
        widen(ops, tensor.format(), &stored, &mut out);
        Ok(out)
    }
}

/// Weights drawn at random from a seed and the tensor's name: the same model at every start, of no use but timing.
pub struct RandomSource<'a> {
    /// How they are stored.
    pub kind: TensorType,
    /// The seed.
    pub seed: u64,
    /// What stores numbers in blocks.
    pub ops: &'a Ops,
}

/// Rows are runs of a pool of blocks, each from a place of its own: drawing every number would take longer than packing.
struct RandomRows {
    rows: usize,
    cols: usize,
    kind: TensorType,
    seed: u64,
    pool: Vec<u8>,
}

/// Elements in a pool.
const POOL: usize = 1 << 16;

impl Source for RandomSource<'_> {
    fn has(&self, name: &str) -> bool {
        // Tied, and with separate projections, as the published models of these sizes are.
        !matches!(name, "output.weight") && !name.contains("attn_qkv")
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Box<dyn Rows + '_>, Error> {
        let kind = self.kind;
        if !cols.is_multiple_of(kind.block_elements()) {
            let why = format!("rows of {cols} elements are no whole blocks of {kind}; choose another type");
            return Err(Error::Usage(why));
        }
        let seed = name.bytes().fold(self.seed, |hash, byte| mix(hash ^ u64::from(byte)));
        // Keeps the variance of a product's output near that of its input.
        let scale = (1.0 / cols as f32).sqrt();
        let numbers: Vec<f32> = (0..POOL as u64)
            // Uniform in -1 .. 1 from the top 24 bits.
            .map(|at| ((mix(seed ^ at) >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale)
            .collect();
        Ok(Box::new(RandomRows { rows, cols, kind, seed, pool: store(self.ops, kind.format(), &numbers, &mut Vec::new()).to_vec() }))
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

    fn format(&self) -> Format {
        self.kind.format()
    }

    fn read(&self, from: usize, out: &mut [u8]) -> io::Result<()> {
        let block = self.kind.block_bytes();
        let blocks = self.pool.len() / block;
        for (at, mut row) in out.chunks_exact_mut(self.row_bytes()).enumerate() {
            let mut start = mix(self.seed ^ (from + at) as u64) as usize % blocks;
            while !row.is_empty() {
                let run = row.len().min((blocks - start) * block);
                let (head, rest) = row.split_at_mut(run);
                head.copy_from_slice(&self.pool[start * block..][..run]);
                (row, start) = (rest, 0);
            }
        }
        Ok(())
    }
}

/// The finaliser of SplitMix64: every output bit depends on every input bit.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Several matrices of equal row length and one format, one below the other.
pub struct Stack<'a>(pub Vec<Box<dyn Rows + 'a>>);

impl Rows for Stack<'_> {
    fn rows(&self) -> usize {
        self.0.iter().map(|part| part.rows()).sum()
    }

    fn cols(&self) -> usize {
        self.0.first().map_or(0, |part| part.cols())
    }

    fn format(&self) -> Format {
        self.0.first().map_or(Format::F32, |part| part.format())
    }

    fn read(&self, mut from: usize, mut out: &mut [u8]) -> io::Result<()> {
        for part in &self.0 {
            if from >= part.rows() {
                from -= part.rows();
                continue;
            }
            let here = ((part.rows() - from) * part.row_bytes()).min(out.len());
            let (mine, rest) = out.split_at_mut(here);
            if !mine.is_empty() {
                part.read(from, mine)?;
            }
            (out, from) = (rest, 0);
        }
        Ok(())
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
