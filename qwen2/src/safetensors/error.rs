//! What can be wrong with a safetensors file, one variant per way of being wrong.
//! Messages are one line each: text taken from the file is escaped and clipped before it is shown.

/// A defect of a safetensors file: its header or the layout of its data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// The file is too short for the length of its header and an empty header.
    #[error("not a safetensors file: it has {0} bytes, fewer than an empty one; download it again")]
    TooShort(u64),
    /// The header does not fit the file, or is longer than the format allows.
    #[error("the header claims {len} bytes, {have} remain and {limit} are allowed; the file is truncated or no safetensors file")]
    HeaderLength {
        /// What the file says.
        len: u64,
        /// Bytes after the number.
        have: u64,
        /// Longest header of the format.
        limit: u64,
    },
    /// The header is not UTF-8.
    #[error("the header is not valid UTF-8 (byte {0})")]
    Utf8(usize),
    /// The header is not the JSON of a safetensors file.
    #[error("the header is malformed at its byte {at}: expected {expected}")]
    Syntax {
        /// Byte offset in the header.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// A tensor's description says something twice, or not at all.
    #[error("tensor '{name}': '{key}' is missing or occurs twice")]
    Key {
        /// The tensor.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// A tensor's name occurs twice, or is empty.
    #[error("tensor name '{0}' is empty or occurs twice")]
    DuplicateTensor(String),
    /// A tensor is of a type that is not supported.
    #[error("tensor '{name}' has type '{dtype}'; supported are F32, F16 and BF16")]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor has no dimension, more than four, or one of length 0.
    #[error("tensor '{name}' has dimensions {dims}; 1 to 4 are allowed, none of them 0")]
    Dims {
        /// The tensor.
        name: String,
        /// What the file says.
        dims: String,
    },
    /// The number of elements or bytes does not fit 64 bits.
    #[error("tensor '{name}': its size overflows ({dims})")]
    Overflow {
        /// The tensor.
        name: String,
        /// Its dimensions.
        dims: String,
    },
    /// The extent of a tensor is not what its shape and type take.
    #[error("tensor '{name}' has bytes {begin} to {end}, but its shape and type take {need}")]
    Extent {
        /// The tensor.
        name: String,
        /// Offset of its first byte within the data.
        begin: u64,
        /// Offset of the byte after its last.
        end: u64,
        /// Bytes that it must have.
        need: u64,
    },
    /// A tensor's bytes do not lie within the file.
    #[error("tensor '{name}' lies outside the file: it ends at byte {end} of {have} of data; the file is truncated or lies")]
    OutsideFile {
        /// The tensor.
        name: String,
        /// Offset of the byte after its last.
        end: u64,
        /// Length of the data.
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
    /// Bytes of the data belong to no tensor, which the format forbids.
    #[error("bytes {begin} to {end} of the data belong to no tensor; the file is damaged")]
    Hole {
        /// Offset of the first.
        begin: u64,
        /// Offset of the byte after the last.
        end: u64,
    },
}
