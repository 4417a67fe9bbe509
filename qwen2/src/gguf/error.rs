//! What can be wrong with a GGUF file, one variant per way of being wrong.
//! Messages are one line each: text taken from the file is escaped and clipped before it is shown.

use super::value::ValueType;

/// A defect of a GGUF file's container: its header, metadata, tensor list or data layout.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it starts with {0:02x?} instead of 'GGUF'; give a .gguf model file")]
    Magic(Vec<u8>),
    /// The version is neither 2 nor 3.
    #[error("GGUF version {0} is not supported (2 and 3 are); convert the file with a current tool")]
    Version(u32),
    /// The version number only makes sense with its bytes swapped.
    #[error("this is a big-endian GGUF file; only little-endian files are supported")]
    BigEndian,
    /// The file ends inside something.
    #[error("the file is truncated: {what} at byte {at} needs {need} bytes, {have} remain; download it again")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Byte offset where it starts.
        at: usize,
        /// Bytes it needs.
        need: u64,
        /// Bytes left in the file.
        have: usize,
    },
    /// A count promises more items than the remaining bytes could hold.
    #[error("the file claims {count} {what} at byte {at}, but its remaining {have} bytes cannot hold them; it is truncated or lies")]
    Count {
        /// What is counted.
        what: &'static str,
        /// The count that the file gives.
        count: u64,
        /// Byte offset of the count.
        at: usize,
        /// Bytes left in the file.
        have: usize,
    },
    /// What the file describes would take memory out of proportion to it.
    #[error("what the file describes up to byte {at} takes more memory than twice its {len} bytes; it is no file that a model came in")]
    Memory {
        /// Byte offset up to which it was read.
        at: usize,
        /// Length of the file.
        len: usize,
    },
    /// Arrays nested deeper than [`MAX_DEPTH`](super::value::MAX_DEPTH).
    #[error("metadata key '{key}': arrays are nested deeper than {limit} levels")]
    Depth {
        /// The key.
        key: String,
        /// Deepest nesting that is read.
        limit: usize,
    },
    /// A metadata value has a type number that the format does not define.
    #[error("metadata key '{key}': value type {id} does not exist")]
    ValueType {
        /// The key.
        key: String,
        /// The type number found.
        id: u32,
    },
    /// A boolean is neither 0 nor 1.
    #[error("metadata key '{key}': a boolean has the value {value}")]
    Bool {
        /// The key.
        key: String,
        /// The byte found.
        value: u8,
    },
    /// A string is not UTF-8.
    #[error("{what} at byte {at} is not valid UTF-8")]
    Utf8 {
        /// What was being read.
        what: &'static str,
        /// Byte offset of the text.
        at: usize,
    },
    /// A key occurs twice, or is empty.
    #[error("metadata key '{0}' is empty or occurs twice")]
    DuplicateKey(String),
    /// A tensor's name occurs twice, or is empty.
    #[error("tensor name '{0}' is empty or occurs twice")]
    DuplicateTensor(String),
    /// `general.alignment` is not a power of two.
    #[error("general.alignment is {0}, which is not a power of two")]
    Alignment(u64),
    /// A tensor has no dimension, more than four, or one of length 0.
    #[error("tensor '{name}' has dimensions {dims}; 1 to 4 are allowed, none of them 0")]
    Dims {
        /// The tensor.
        name: String,
        /// What the file says.
        dims: String,
    },
    /// The number of elements or bytes does not fit 64 bits.
    #[error("tensor '{name}': its size overflows ({dims:?})")]
    Overflow {
        /// The tensor.
        name: String,
        /// Its dimensions.
        dims: Vec<u64>,
    },
    /// A tensor is of a type that is not supported.
    #[error("tensor '{name}' has type {id}{known}; supported are {}", super::tensor::type_names())]
    TensorType {
        /// The tensor.
        name: String,
        /// The type number found.
        id: u32,
        /// ` (its name)` when the format defines the number, else empty.
        known: &'static str,
    },
    /// A row does not fill whole blocks of the tensor's type.
    #[error("tensor '{name}': a row of {row} elements does not divide into blocks of {block}")]
    RowLength {
        /// The tensor.
        name: String,
        /// Elements in a row.
        row: u64,
        /// Elements in a block.
        block: u64,
    },
    /// A tensor's offset is not a multiple of the alignment.
    #[error("tensor '{name}': offset {offset} is not a multiple of the alignment {alignment}")]
    Misaligned {
        /// The tensor.
        name: String,
        /// Offset within the data section.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor's bytes do not lie within the file.
    #[error("tensor '{name}' lies outside the file: bytes {offset} + {len} of {have} in the data section; the file is truncated or lies")]
    OutsideFile {
        /// The tensor.
        name: String,
        /// Offset within the data section.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// Length of the data section.
        have: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors '{first}' and '{second}' overlap in the file")]
    Overlap {
        /// The one that starts first.
        first: String,
        /// The one that starts before the first has ended.
        second: String,
    },
    /// A value is to be written as a type that cannot hold it.
    #[error("metadata key '{key}': {found} cannot be written as {kind:?}")]
    Unwritable {
        /// The key.
        key: String,
        /// Type of the value.
        found: &'static str,
        /// How it was to be stored.
        kind: ValueType,
    },
    /// A key that the model needs is absent.
    #[error("metadata key '{0}' is missing")]
    MissingKey(String),
    /// A key has a value of another type than it must.
    #[error("metadata key '{key}' is {found}, expected {expected}")]
    KeyType {
        /// The key.
        key: String,
        /// Type found.
        found: &'static str,
        /// Type needed.
        expected: &'static str,
    },
}

/// Text from a file, made fit for one line of a message: control characters escaped, at most 80 characters.
pub fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        out.push('…');
    }
    out
}
