//! GGUF files: metadata and tensors of a model, read (versions 2 and 3) from a file or from memory, and written.
//!
//! The file is not trusted: every count, length, offset and type is checked against the bytes that are there
//! before anything is allocated or sliced, and what cannot be read is a [`GgufError`]. This module knows the
//! container alone; what a Qwen2 model must contain is the business of `model`.

mod error;
mod reader;
mod strings;
mod tensor;
mod value;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

pub use error::{GgufError, shown};
pub use reader::Reader;
pub use strings::Strings;
pub use tensor::{Tensor, TensorInfo, TensorType};
pub use value::{Array, MAX_DEPTH, Value, ValueType};
pub use writer::{FileHead, Writer};

use crate::data::{Data, open_regular};
use crate::error::Error;

/// Smallest bytes of one metadata entry: a one-letter key, a type, a one-byte value.
const MIN_ENTRY: usize = 8 + 1 + 4 + 1;
/// Smallest bytes of one tensor description: a one-letter name, rank, one dimension, type, offset.
const MIN_TENSOR: usize = 8 + 1 + 4 + 8 + 4 + 8;
/// Bytes of memory that a metadata entry or a tensor's description takes beside its content and its name twice: what
/// collections have for it, at their emptiest.
const KEPT: usize = 256;
/// Alignment of the data section when the file gives none, and of files that are written.
const DEFAULT_ALIGNMENT: u64 = 32;

/// An opened GGUF file: its metadata, and tensors whose bytes are known to be there.
#[derive(Debug)]
pub struct Gguf {
    head: Head,
    data: Data,
}

/// What stands before the data.
#[derive(Debug)]
struct Head {
    version: u32,
    file_len: usize,
    data_start: usize,
    metadata: BTreeMap<String, Value>,
    value_types: HashMap<String, ValueType>,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
}

impl Gguf {
    /// Opens the file at `path` and reads everything but the tensors' data.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::NotAFile`] when it cannot be opened or mapped, [`Error::Gguf`] when it is malformed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (file, len) = open_regular(path)?;
        if len == 0 {
            return Ok(Self::from_vec(Vec::new())?); // cannot be mapped; fails as a file that is not GGUF
        }
        // SAFETY: the mapping is private and read-only, so nothing in this process writes to it. What remains is
        // the condition of every mapped file: no other process may rewrite or shorten it meanwhile. The time for
        // that is short: text is copied out and checked here, then it is unmapped.
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) };
        let map = map.map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let head = Head::parse(&map)?;
        Ok(Self { data: Data::in_file(file, head.data_start), head })
    }

    /// Reads a file that is part of the program.
    ///
    /// # Errors
    /// [`GgufError`] when it is malformed.
    pub fn from_static(bytes: &'static [u8]) -> Result<Self, GgufError> {
        let head = Head::parse(bytes)?;
        Ok(Self { data: Data::in_program(bytes, head.data_start), head })
    }

    /// Reads a file's content from memory.
    ///
    /// # Errors
    /// [`GgufError`] when it is malformed.
    pub fn from_vec(bytes: Vec<u8>) -> Result<Self, GgufError> {
        let head = Head::parse(&bytes)?;
        Ok(Self { data: Data::in_memory(bytes, head.data_start), head })
    }
}

impl Head {
    /// What a file starts with.
    const MAGIC: [u8; 4] = *b"GGUF";
    /// The version that is written.
    const VERSION: u32 = 3;

    fn parse(all: &[u8]) -> Result<Self, GgufError> {
        if !all.starts_with(&Self::MAGIC) {
            return Err(GgufError::Magic(all[..all.len().min(4)].to_vec()));
        }
        let mut reader = Reader::new(all);
        reader.take(4, "magic")?;
        let version = reader.u32("version")?;
        match version {
            2 | 3 => {}
            swapped if (1..=3).contains(&swapped.swap_bytes()) => return Err(GgufError::BigEndian),
            other => return Err(GgufError::Version(other)),
        }
        let tensor_at = reader.position();
        let tensor_count = reader.u64("number of tensors")?;
        let entry_count = reader.count("metadata entries", MIN_ENTRY)?;
        reader.check_count(tensor_count, "tensors", MIN_TENSOR, tensor_at)?;

        let mut metadata = BTreeMap::new();
        let mut value_types = HashMap::new();
        for _ in 0..entry_count {
            let key = reader.string("metadata key")?;
            if key.is_empty() || metadata.contains_key(key) {
                return Err(GgufError::DuplicateKey(shown(key)));
            }
            reader.keep(KEPT + 2 * key.len())?;
            let (kind, value) = Value::read(&mut reader, key)?;
            value_types.insert(key.to_owned(), kind);
            metadata.insert(key.to_owned(), value);
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Unsigned(value)) if value.is_power_of_two() => *value,
            Some(Value::Unsigned(value)) => return Err(GgufError::Alignment(*value)),
            Some(other) => return Err(key_type("general.alignment", other, "an unsigned integer")),
        };

        // Read the claims first: the data section they are checked against starts after the last of them.
        let tensor_count = reader.check_count(tensor_count, "tensors", MIN_TENSOR, tensor_at)?;
        reader.keep(tensor_count.saturating_mul(KEPT))?;
        let mut claims = Vec::with_capacity(tensor_count);
        for _ in 0..tensor_count {
            let name = reader.string("tensor name")?;
            reader.keep(2 * name.len())?;
            let rank = reader.u32("tensor rank")?;
            if !(1..=4).contains(&rank) {
                return Err(GgufError::Dims { name: shown(name), dims: format!("of rank {rank}") });
            }
            let mut dims = [0; 4];
            for dim in &mut dims[..rank as usize] {
                *dim = reader.u64("tensor dimension")?;
            }
            claims.push((name, dims, rank as usize, reader.u32("tensor type")?, reader.u64("tensor offset")?));
        }
        let header_end = reader.position() as u64;
        let data_start = header_end.checked_next_multiple_of(alignment).map_or(all.len() as u64, |s| s.min(all.len() as u64));
        let data_len = all.len() as u64 - data_start;

        let mut tensors = Vec::with_capacity(claims.len());
        let mut index = HashMap::with_capacity(claims.len());
        for (name, dims, rank, type_id, offset) in claims {
            if name.is_empty() || index.insert(name.to_owned(), tensors.len()).is_some() {
                return Err(GgufError::DuplicateTensor(shown(name)));
            }
            tensors.push(TensorInfo::check(name, &dims[..rank], type_id, offset, alignment, data_len)?);
        }
        check_overlap(&tensors)?;
        // In range: it was limited to the slice's length above.
        let data_start = data_start as usize;
        Ok(Self { version, file_len: all.len(), data_start, metadata, value_types, tensors, index })
    }
}

impl Gguf {
    /// The format's version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.head.version
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> usize {
        self.head.file_len
    }

    /// All tensors in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.head.tensors
    }

    /// The tensor called `name`, if there is one.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let info = &self.head.tensors[*self.head.index.get(name)?];
        Some(Tensor { info, data: &self.data })
    }

    /// The value of `key`, if it is there.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.head.metadata.get(key)
    }

    /// Removes and returns the value of `key`, so that a long list need not be kept or copied.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.head.metadata.remove(key)
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.head.metadata
    }

    /// How the value of `key` is stored in the file, if it is there.
    pub fn value_type(&self, key: &str) -> Option<ValueType> {
        self.head.value_types.get(key).copied()
    }

    /// The non-negative integer at `key`, if the key is there.
    ///
    /// # Errors
    /// [`GgufError::KeyType`] for any other kind of value.
    pub fn find_uint(&self, key: &str) -> Result<Option<u64>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value.as_uint().map(Some).ok_or_else(|| key_type(key, value, "a non-negative integer")),
        }
    }

    /// The non-negative integer at `key`.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], [`GgufError::KeyType`].
    pub fn uint(&self, key: &str) -> Result<u64, GgufError> {
        self.find_uint(key)?.ok_or_else(|| GgufError::MissingKey(key.to_owned()))
    }

    /// The floating-point number at `key`.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], [`GgufError::KeyType`].
    pub fn float(&self, key: &str) -> Result<f64, GgufError> {
        match self.get(key) {
            None => Err(GgufError::MissingKey(key.to_owned())),
            Some(Value::Float(value)) => Ok(*value),
            Some(other) => Err(key_type(key, other, "a float")),
        }
    }

    /// The string at `key`.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], [`GgufError::KeyType`].
    pub fn string(&self, key: &str) -> Result<&str, GgufError> {
        match self.get(key) {
            None => Err(GgufError::MissingKey(key.to_owned())),
            Some(Value::String(value)) => Ok(value),
            Some(other) => Err(key_type(key, other, "a string")),
        }
    }

    /// The array of strings under `key`.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], [`GgufError::KeyType`].
    pub fn strings(&self, key: &str) -> Result<&Strings, GgufError> {
        match self.get(key) {
            None => Err(GgufError::MissingKey(key.to_owned())),
            Some(Value::Array(Array::String(list))) => Ok(list),
            Some(other) => Err(key_type(key, other, "an array of strings")),
        }
    }

    /// Removes and returns the list of strings at `key`.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], [`GgufError::KeyType`].
    pub fn take_strings(&mut self, key: &str) -> Result<Strings, GgufError> {
        match self.take(key) {
            None => Err(GgufError::MissingKey(key.to_owned())),
            Some(Value::Array(Array::String(list))) => Ok(list),
            Some(other) => Err(key_type(key, &other, "an array of strings")),
        }
    }
}

pub(crate) fn key_type(key: &str, found: &Value, expected: &'static str) -> GgufError {
    GgufError::KeyType { key: shown(key), found: found.type_name(), expected }
}

fn check_overlap(tensors: &[TensorInfo]) -> Result<(), GgufError> {
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].len > pair[1].offset {
            return Err(GgufError::Overlap { first: shown(&pair[0].name), second: shown(&pair[1].name) });
        }
    }
    Ok(())
}
