//! Quantising a model: tensors of F32, F16 or BF16 in, a GGUF file with tensors of fewer bits out. Which tensor gets
//! which type, and every bit of the result, is as llama.cpp's `llama-quantize` has it, so that files of both are the
//! same; `rules` has the types, the block formats of the kernel crate the arithmetic.
//!
//! A model is never held: a few rows are read, converted on all threads and written before the next ones are read. What
//! metadata says is carried over, not interpreted, save for what the rules need to know.

mod folder;
mod input;
mod output;
mod rules;

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::OnceLock;

use serde::Serialize;

pub use folder::FolderInput;
pub use input::{Described, Input};
pub use output::Output;
pub use rules::{Choice, Target, choose};

use crate::baked::{Ops, Team, Workers};
use crate::error::{Error, zeroed};
use crate::gguf::{FileHead, GgufError, TensorType, Value, ValueType, key_type, shown};
use crate::model::{Rows, store, widen};
use crate::threads;

/// The version of the block formats, as `general.quantization_version` gives it.
const QUANTIZATION_VERSION: u64 = 2;
/// Elements that a thread converts at a time, at least one row: some hundred kilobytes.
const CHUNK: usize = 1 << 16;
/// The largest scale that a block can have. Numbers beyond it are no weights of a sound model.
const LARGEST: f32 = 65504.0;

/// How much there is of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Tensors.
    pub tensors: u64,
    /// Their elements.
    pub elements: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Tensors by their type.
pub type Counts = BTreeMap<TensorType, Count>;

/// A tensor that is stored otherwise than it was to be, since its rows are no whole blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The tensor.
    pub name: String,
    /// What it was to be stored as.
    pub wanted: TensorType,
    /// What it is stored as.
    pub kind: TensorType,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The tensors as they were.
    pub before: Counts,
    /// The tensors as they are.
    pub after: Counts,
    /// Those whose rows did not fit.
    pub fallbacks: Vec<Fallback>,
    /// Length of the file in bytes.
    pub file_bytes: u64,
}

impl Summary {
    /// The whole of some counts.
    pub fn total(counts: &Counts) -> Count {
        counts.values().fold(Count::default(), |sum, count| Count {
            tensors: sum.tensors + count.tensors,
            elements: sum.elements + count.elements,
            bytes: sum.bytes + count.bytes,
        })
    }
}

/// Writes the model `input` to `out` with tensors as `target` has them, all of one type if `pure`, on `threads` threads.
/// `progress` is told elements done and elements in all. The file is the same whatever the number of threads.
///
/// # Errors
/// The model is no Qwen2, has no tensors, or is a part of one; a tensor is quantised already, has rows that fit no type,
/// or holds what is not finite; a tensor cannot be read; [`Error::Output`] when `out` cannot be written.
pub fn quantize(
    input: &dyn Input,
    (target, pure): (Target, bool),
    ops: &Ops,
    threads: usize,
    out: impl Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Summary, Error> {
    let tensors = in_order(input)?;
    let choices = choose(&tensors, (target, pure), layers(input.metadata())?)?;
    let head = head(input, target, &tensors, &choices)?;
    let mut summary = summarise(&tensors, &choices);
    let total = Summary::total(&summary.after).elements;

    // Threads sleep while what they made is written.
    let team = threads::team(threads, 0)?;
    let mut out = head.write_to(out)?;
    let mut done = 0;
    for (tensor, choice) in tensors.iter().zip(&choices) {
        let rows = input.rows(&tensor.name)?;
        let work = Work { name: &tensor.name, rows: &*rows, from: tensor.kind, kind: choice.kind, ops };
        work.run(&team, |bytes, elements| {
            out.data(bytes)?;
            done += elements;
            progress(done, total);
            Ok(())
        })?;
    }
    (_, summary.file_bytes) = out.finish()?;
    Ok(summary)
}

/// The tensors in llama.cpp's order: those outside of layers, then layer by layer, each by name. Its rules count in it.
fn in_order(input: &dyn Input) -> Result<Vec<Described>, Error> {
    let metadata = input.metadata();
    match metadata.get("general.architecture") {
        Some(Value::String(name)) if name == "qwen2" => {}
        Some(Value::String(other)) => return Err(Error::Architecture(shown(other))),
        Some(other) => return Err(key_type("general.architecture", other, "a string").into()),
        None => return Err(GgufError::MissingKey("general.architecture".to_owned()).into()),
    }
    if metadata.get("split.count").and_then(Value::as_uint).is_some_and(|parts| parts > 1) {
        let why = "the file is one part of a split model; merge the parts first (llama-gguf-split --merge)";
        return Err(Error::Usage(why.to_owned()));
    }
    let mut tensors = input.tensors();
    if tensors.is_empty() {
        return Err(Error::Usage("the file has no tensors, so there is nothing to quantise".to_owned()));
    }
    if let Some(tensor) = tensors.iter().find(|tensor| tensor.rank > 2) {
        let why = format!("it has {} dimensions, but a qwen2 model consists of vectors and matrices", tensor.rank);
        return Err(Error::Unquantisable { name: shown(&tensor.name), why });
    }
    tensors.sort_by(|a, b| (a.layer(), &a.name).cmp(&(b.layer(), &b.name)));
    Ok(tensors)
}

/// Number of layers.
fn layers(metadata: &BTreeMap<String, Value>) -> Result<u64, Error> {
    let key = "qwen2.block_count";
    let value = metadata.get(key).ok_or_else(|| GgufError::MissingKey(key.to_owned()))?;
    let layers = value.as_uint().filter(|layers| *layers <= u32::MAX.into());
    layers.ok_or_else(|| key_type(key, value, "a sensible number of layers").into())
}

/// The head of the file: metadata as it was but for what says how tensors are stored, and the tensors.
fn head(input: &dyn Input, target: Target, tensors: &[Described], choices: &[Choice]) -> Result<FileHead, Error> {
    let mut head = FileHead::new();
    let ours = [("general.file_type", target.file_type()), ("general.quantization_version", QUANTIZATION_VERSION)];
    for (key, value) in input.metadata() {
        let is_ours = ours.iter().any(|(ours, _)| key == ours);
        if !is_ours && !key.starts_with("split.") && key != "general.alignment" {
            head.metadata(key, input.value_type(key).unwrap_or_else(|| ValueType::of(value)), value)?;
        }
    }
    for (key, value) in ours {
        head.metadata(key, ValueType::U32, &Value::Unsigned(value))?;
    }
    for (tensor, choice) in tensors.iter().zip(choices) {
        let dims = [tensor.cols as u64, tensor.rows as u64];
        head.tensor(&tensor.name, &dims[..tensor.rank], choice.kind)?;
    }
    Ok(head)
}

fn summarise(tensors: &[Described], choices: &[Choice]) -> Summary {
    let mut summary = Summary { before: Counts::new(), after: Counts::new(), fallbacks: Vec::new(), file_bytes: 0 };
    for (tensor, choice) in tensors.iter().zip(choices) {
        for (counts, kind) in [(&mut summary.before, tensor.kind), (&mut summary.after, choice.kind)] {
            let count: &mut Count = counts.entry(kind).or_default();
            count.tensors += 1;
            count.elements += (tensor.rows * tensor.cols) as u64;
            count.bytes += (tensor.rows * (tensor.cols / kind.block_elements() * kind.block_bytes())) as u64;
        }
        if choice.kind != choice.wanted {
            let name = tensor.name.clone();
            summary.fallbacks.push(Fallback { name, wanted: choice.wanted, kind: choice.kind });
        }
    }
    summary
}

/// One tensor on its way.
struct Work<'a> {
    name: &'a str,
    rows: &'a dyn Rows,
    from: TensorType,
    kind: TensorType,
    ops: &'a Ops,
}

impl Work<'_> {
    /// Hands the converted rows to `take` in their order, with the number of elements that they have.
    fn run(&self, team: &Team, mut take: impl FnMut(&[u8], u64) -> Result<(), Error>) -> Result<(), Error> {
        let (rows, cols) = (self.rows.rows(), self.rows.cols());
        let chunk = (CHUNK / cols.max(1)).max(1);
        let mut from = 0;
        while from < rows {
            let parts = (rows - from).div_ceil(chunk).min(team.count());
            let range = |part: usize| from + part * chunk..rows.min(from + (part + 1) * chunk);
            let mut done = Vec::new();
            done.resize_with(parts, OnceLock::new);
            // Nobody else sets a part's result.
            team.share(parts, &|part| drop(done[part].set(self.convert(range(part)))));
            for (part, bytes) in done.into_iter().enumerate() {
                if let Some(bytes) = bytes.into_inner() {
                    take(&bytes?, (range(part).len() * cols) as u64)?;
                }
            }
            from = range(parts - 1).end;
        }
        Ok(())
    }

    /// Some rows as they are to be stored.
    fn convert(&self, rows: Range<usize>) -> Result<Vec<u8>, Error> {
        let what = "rows of a tensor";
        let elements = rows.len() * self.rows.cols();
        let mut stored = zeroed(rows.len() * self.rows.row_bytes(), what)?;
        let unreadable = |source| Error::Unreadable { name: shown(self.name), source };
        self.rows.read(rows.start, &mut stored).map_err(unreadable)?;
        if !self.from.format().is_finite(&stored) {
            return Err(Error::NotFinite(shown(self.name)));
        }
        if self.from == self.kind {
            return Ok(stored);
        }
        let mut numbers = zeroed(elements, what)?;
        widen(self.ops, self.from.format(), &stored, &mut numbers);
        // A plain format that has more room holds larger numbers.
        let is_large = |number: &f32| number.abs() > LARGEST;
        if !matches!(self.kind, TensorType::F32 | TensorType::Bf16) && numbers.iter().any(is_large) {
            let why = format!("it holds numbers beyond {LARGEST}, which {} has no room for", self.kind);
            return Err(Error::Unquantisable { name: shown(self.name), why });
        }
        Ok(store(self.ops, self.kind.format(), &numbers, &mut Vec::new()).to_vec())
    }
}
