//! Tensor descriptions and their data, checked against each other and against the file's size.
//! Nothing here copies tensor data; rows are unpacked one request at a time.

use std::fmt;

use crate::baked::{Format, Ops};

use super::error::{GgufError, shown};

/// Element types that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Blocks of an f16 scale and 32 signed bytes.
    Q8_0,
}

impl TensorType {
    /// The type with this number in the format.
    pub fn from_id(id: u32) -> Option<Self> {
        match id {
            0 => Some(Self::F32),
            1 => Some(Self::F16),
            8 => Some(Self::Q8_0),
            _ => None,
        }
    }

    /// Elements in a block.
    pub const fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 => 1,
            Self::Q8_0 => 32,
        }
    }

    /// Bytes in a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q8_0 => 34,
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q8_0 => "Q8_0",
        })
    }
}

/// ` (name)` of a type number that the format defines and this reader does not support, else empty.
pub(super) fn known_type(id: u32) -> &'static str {
    match id {
        2 => " (Q4_0)",
        3 => " (Q4_1)",
        6 => " (Q5_0)",
        7 => " (Q5_1)",
        9 => " (Q8_1)",
        10 => " (Q2_K)",
        11 => " (Q3_K)",
        12 => " (Q4_K)",
        13 => " (Q5_K)",
        14 => " (Q6_K)",
        15 => " (Q8_K)",
        30 => " (BF16)",
        _ => "",
    }
}

/// What the file says about one tensor, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Element type.
    pub kind: TensorType,
    /// Elements of one row: the first dimension, which is contiguous.
    pub cols: usize,
    /// Number of rows: the product of the other dimensions.
    pub rows: usize,
    /// Number of dimensions, 1 to 4.
    pub rank: usize,
    /// Offset of its bytes within the data section.
    pub offset: usize,
    /// Its length in bytes.
    pub len: usize,
}

impl TensorInfo {
    /// Checks a tensor's claims: `dims` from the fastest varying on, `offset` within a data section of `data_len` bytes.
    ///
    /// # Errors
    /// The [`GgufError`] that names the first false claim.
    pub fn check(name: &str, dims: &[u64], type_id: u32, offset: u64, alignment: u64, data_len: u64) -> Result<Self, GgufError> {
        let kind = TensorType::from_id(type_id).ok_or_else(|| GgufError::TensorType {
            name: shown(name),
            id: type_id,
            known: known_type(type_id),
        })?;
        if dims.contains(&0) {
            return Err(GgufError::Dims { name: shown(name), dims: format!("{dims:?}") });
        }
        let overflow = || GgufError::Overflow { name: shown(name), dims: dims.to_vec() };
        let row = dims[0];
        let block = kind.block_elements() as u64;
        if !row.is_multiple_of(block) {
            return Err(GgufError::RowLength { name: shown(name), row, block });
        }
        let rows = dims[1..].iter().try_fold(1u64, |n, &d| n.checked_mul(d)).ok_or_else(overflow)?;
        rows.checked_mul(row).ok_or_else(overflow)?;
        let len = (row / block).checked_mul(kind.block_bytes() as u64).and_then(|bytes| bytes.checked_mul(rows)).ok_or_else(overflow)?;
        if !offset.is_multiple_of(alignment) {
            return Err(GgufError::Misaligned { name: shown(name), offset, alignment });
        }
        if offset.checked_add(len).is_none_or(|end| end > data_len) {
            return Err(GgufError::OutsideFile { name: shown(name), offset, len, have: data_len });
        }
        // Everything is bounded by the data section's length, which is a slice's; only a row count on a
        // 32-bit machine could still be too large.
        let size = |value: u64| usize::try_from(value).map_err(|_| overflow());
        Ok(Self {
            name: name.to_owned(),
            kind,
            cols: size(row)?,
            rows: size(rows)?,
            rank: dims.len(),
            offset: size(offset)?,
            len: size(len)?,
        })
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.rows * self.cols
    }
}

/// A tensor and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// Its description.
    pub info: &'a TensorInfo,
    /// Its bytes, exactly `info.len` of them.
    pub bytes: &'a [u8],
}

impl Tensor<'_> {
    /// Unpacks rows `from .. from + out.len() / cols` into `out`, row after row. Halves and blocks go through baked kernels.
    ///
    /// Returns `false` when a value or a scale is not finite; `out` then holds it.
    ///
    /// # Panics
    /// When `out` is not a whole number of rows, or the rows do not exist: the caller's mistake, never the file's.
    pub fn unpack_rows(&self, ops: &Ops, from: usize, out: &mut [f32]) -> bool {
        let cols = self.info.cols;
        assert_eq!(out.len() % cols, 0, "a whole number of rows");
        let row_bytes = cols / self.info.kind.block_elements() * self.info.kind.block_bytes();
        let count = out.len() / cols;
        let bytes = &self.bytes[from * row_bytes..(from + count) * row_bytes];
        match self.info.kind {
            TensorType::F32 => {
                let (words, _) = bytes.as_chunks::<4>();
                for (value, word) in out.iter_mut().zip(words) {
                    *value = f32::from_le_bytes(*word);
                }
            }
            TensorType::F16 => {
                // Copied first: the file's bytes need not be aligned for u16.
                let (halves, _) = bytes.as_chunks::<2>();
                let halves: Vec<u16> = halves.iter().map(|half| u16::from_le_bytes(*half)).collect();
                ops.f16_to_f32.run(&halves, out);
            }
            TensorType::Q8_0 => match ops.dequantise_of(Format::Q8_0) {
                Some(kernel) => kernel.run_bytes(bytes, out),
                None => out.fill(f32::NAN),
            },
        }
        // A sum of zeros and NaNs: x * 0 is 0 for finite x and NaN for the rest.
        out.iter().fold(0.0, |sum, &value| sum + value * 0.0) == 0.0
    }
}
