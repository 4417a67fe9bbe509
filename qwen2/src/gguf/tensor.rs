//! Tensor descriptions and their data, checked against each other and against the file's size.
//! Data is read as it is stored, a few rows at a time.

use std::fmt;
use std::str::FromStr;

use crate::baked::Format;
use crate::data::Data;

use super::error::{GgufError, shown};

/// The list of element types that are read and written: variant, number in the format, name, how the kernels call it.
macro_rules! tensor_types {
    ($($kind:ident $id:literal $name:literal $format:ident;)+) => {
        /// Element types that can be read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum TensorType {
            $(#[doc = concat!("GGUF's `", $name, "`.")] $kind,)+
        }

        impl TensorType {
            /// Every type, in the order of the list.
            pub const ALL: &'static [TensorType] = &[$(Self::$kind),+];

            /// The type with this number in the format.
            pub fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$kind),)+
                    _ => None,
                }
            }

            /// Its number in the format.
            pub const fn id(self) -> u32 {
                match self { $(Self::$kind => $id),+ }
            }

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }

            /// How its elements are stored.
            pub const fn format(self) -> Format {
                match self { $(Self::$kind => Format::$format),+ }
            }
        }
    };
}

tensor_types! {
    F32 0 "F32" F32;
    F16 1 "F16" F16;
    Bf16 30 "BF16" Bf16;
    Q8_0 8 "Q8_0" Q8_0;
    Q4_0 2 "Q4_0" Q4_0;
    Q4_1 3 "Q4_1" Q4_1;
    Q5_0 6 "Q5_0" Q5_0;
    Q5_1 7 "Q5_1" Q5_1;
    Q4K 12 "Q4_K" Q4K;
    Q5K 13 "Q5_K" Q5K;
    Q6K 14 "Q6_K" Q6K;
}

impl TensorType {
    /// Elements in a block.
    pub const fn block_elements(self) -> usize {
        self.format().depth()
    }

    /// Bytes in a block.
    pub const fn block_bytes(self) -> usize {
        self.format().bytes()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name in any case, as it stands on the command line.
impl FromStr for TensorType {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|kind| kind.name().to_lowercase()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().find(|kind| kind.name().eq_ignore_ascii_case(text));
        found.copied().ok_or_else(|| format!("'{text}' is no type of weights; known are {}", known()))
    }
}

/// The names of all types that are supported.
pub(super) fn type_names() -> String {
    TensorType::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

/// ` (name)` of a type number that the format defines and this reader does not support, else empty.
pub(super) fn known_type(id: u32) -> &'static str {
    match id {
        9 => " (Q8_1)",
        10 => " (Q2_K)",
        11 => " (Q3_K)",
        15 => " (Q8_K)",
        16..=23 | 29 => " (one of the IQ types)",
        24..=27 => " (integers)",
        28 => " (F64)",
        34 | 35 => " (one of the TQ types)",
        39 => " (MXFP4)",
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

/// A tensor and where its bytes are.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// Its description.
    pub info: &'a TensorInfo,
    /// The data section that it lies in.
    pub(crate) data: &'a Data,
}

impl TensorInfo {
    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.cols / self.kind.block_elements() * self.kind.block_bytes()
    }
}

impl Tensor<'_> {
    /// Reads the rows from `from` on into `out`, as they are stored: as many as it holds.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Panics
    /// When `out` is not a whole number of rows, or the rows do not exist: the caller's mistake, never the file's.
    pub fn read_rows(&self, from: usize, out: &mut [u8]) -> std::io::Result<()> {
        let row = self.info.row_bytes();
        assert!(out.len().is_multiple_of(row) && from + out.len() / row <= self.info.rows, "rows of '{}' that exist", self.info.name);
        self.data.read(self.info.offset + from * row, out)
    }
}
