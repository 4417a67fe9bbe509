//! Safetensors files: the tensors of a model as Hugging Face stores them, read from a file or from memory.
//!
//! The file is not trusted: its header is checked to the last byte against the length of the file before anything is
//! kept, and what cannot be read is a [`SafetensorsError`]. Data is read when it is wanted, never mapped. This module
//! knows the container alone; what a Qwen2 model must contain is the business of `model`.

mod error;
mod header;

use std::os::unix::fs::FileExt;
use std::path::Path;

pub use error::SafetensorsError;

use crate::data::{Data, open_regular};
use crate::error::Error;
use crate::gguf::{Tensor, TensorInfo, shown};

/// Longest header that the format allows, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// An opened safetensors file: tensors whose bytes are known to be there.
#[derive(Debug)]
pub struct Safetensors {
    file_len: u64,
    /// In the order of their bytes.
    tensors: Vec<TensorInfo>,
    /// Places among the tensors, in the order of their names.
    by_name: Vec<u32>,
    data: Data,
}

impl Safetensors {
    /// Opens the file at `path` and reads everything but the tensors' data.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::NotAFile`] when it cannot be read, [`Error::Safetensors`] when it is malformed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let malformed = |source| Error::Safetensors { file: name_of(path), source };
        let (file, file_len) = open_regular(path)?;
        let mut first = [0; 8];
        if file_len < 8 {
            return Err(malformed(SafetensorsError::TooShort(file_len)));
        }
        file.read_exact_at(&mut first, 0).map_err(io)?;
        let len = header_len(first, file_len).map_err(malformed)?;
        let mut header = vec![0; len];
        file.read_exact_at(&mut header, 8).map_err(io)?;
        let (tensors, by_name) = read_header(&header, file_len).map_err(malformed)?;
        Ok(Self { file_len, tensors, by_name, data: Data::in_file(file, 8 + len) })
    }

    /// Reads a file's content from memory.
    ///
    /// # Errors
    /// [`SafetensorsError`] when it is malformed.
    pub fn from_vec(bytes: Vec<u8>) -> Result<Self, SafetensorsError> {
        let file_len = bytes.len() as u64;
        let first = bytes.first_chunk().ok_or(SafetensorsError::TooShort(file_len))?;
        let len = header_len(*first, file_len)?;
        let (tensors, by_name) = read_header(&bytes[8..8 + len], file_len)?;
        Ok(Self { file_len, tensors, by_name, data: Data::in_memory(bytes, 8 + len) })
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// All tensors in the order of their bytes.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensors, and where their bytes are.
    pub(crate) fn into_parts(self) -> (Vec<TensorInfo>, Data) {
        (self.tensors, self.data)
    }

    /// The tensor called `name`, if there is one.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let at = self.by_name.binary_search_by(|&at| self.tensors[at as usize].name.as_str().cmp(name)).ok()?;
        Some(Tensor { info: &self.tensors[self.by_name[at] as usize], data: &self.data })
    }
}

/// What an error calls the file: the last part of its path.
fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| shown(&name.to_string_lossy()))
}

/// Length of the header in bytes, which the file's first 8 bytes give.
fn header_len(first: [u8; 8], file_len: u64) -> Result<usize, SafetensorsError> {
    let (len, have) = (u64::from_le_bytes(first), file_len - 8);
    // An empty header is `{}`.
    if have < 2 {
        return Err(SafetensorsError::TooShort(file_len));
    }
    match usize::try_from(len) {
        Ok(size) if len <= have.min(MAX_HEADER) => Ok(size),
        _ => Err(SafetensorsError::HeaderLength { len, have, limit: MAX_HEADER }),
    }
}

/// The tensors of a file of `file_len` bytes with this header, and their order by name.
fn read_header(header: &[u8], file_len: u64) -> Result<(Vec<TensorInfo>, Vec<u32>), SafetensorsError> {
    let text = std::str::from_utf8(header).map_err(|error| SafetensorsError::Utf8(error.valid_up_to()))?;
    let tensors = header::parse(text, file_len - 8 - header.len() as u64)?;
    // Far fewer than 2^32: each takes dozens of bytes of a header that has a limit.
    let mut by_name: Vec<u32> = (0..tensors.len() as u32).collect();
    let name = |at: u32| tensors[at as usize].name.as_str();
    by_name.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
    if let Some(twice) = by_name.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        return Err(SafetensorsError::DuplicateTensor(shown(name(twice[0]))));
    }
    Ok((tensors, by_name))
}
