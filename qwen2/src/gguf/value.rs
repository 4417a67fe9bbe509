//! Metadata values. Arrays are stored by element type, and each value's memory is announced to the reader before it is
//! taken, so that all together is never out of proportion to the file, whatever the file claims.

use super::error::{GgufError, shown};
use super::reader::Reader;
use super::strings::Strings;

/// Deepest nesting of arrays that is read; the format's users need one level.
pub const MAX_DEPTH: usize = 4;

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any unsigned integer of the format.
    Unsigned(u64),
    /// Any signed integer of the format.
    Signed(i64),
    /// `f32`, widened, or `f64`.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    String(String),
    /// An array.
    Array(Array),
}

/// An array of metadata values, all of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// `u8`, also booleans.
    U8(Vec<u8>),
    /// `i8`.
    I8(Vec<i8>),
    /// `u16`.
    U16(Vec<u16>),
    /// `i16`.
    I16(Vec<i16>),
    /// `u32`.
    U32(Vec<u32>),
    /// `i32`.
    I32(Vec<i32>),
    /// `f32`.
    F32(Vec<f32>),
    /// `u64`.
    U64(Vec<u64>),
    /// `i64`.
    I64(Vec<i64>),
    /// `f64`.
    F64(Vec<f64>),
    /// Strings.
    String(Strings),
    /// Arrays.
    Array(Vec<Array>),
}

/// The format's type numbers.
mod id {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

/// Reads `count` fixed-size numbers, which [`Reader::count`] has already found to fit the file.
macro_rules! numbers {
    ($reader:expr, $count:expr, $t:ty) => {{
        const SIZE: usize = std::mem::size_of::<$t>();
        $reader.keep($count * SIZE)?;
        let bytes = $reader.take(($count * SIZE) as u64, "array")?;
        let (chunks, _) = bytes.as_chunks::<SIZE>();
        chunks.iter().map(|chunk| <$t>::from_le_bytes(*chunk)).collect()
    }};
}

impl Value {
    /// Reads the value of metadata key `key`: its type number, then its content.
    ///
    /// # Errors
    /// Truncation, impossible counts, unknown types, nesting beyond [`MAX_DEPTH`], booleans other than 0 and 1.
    pub fn read(reader: &mut Reader<'_>, key: &str) -> Result<Self, GgufError> {
        let what = "metadata value";
        Ok(match reader.u32("metadata value type")? {
            id::U8 => Self::Unsigned(u8::from_le_bytes(reader.array(what)?).into()),
            id::I8 => Self::Signed(i8::from_le_bytes(reader.array(what)?).into()),
            id::U16 => Self::Unsigned(u16::from_le_bytes(reader.array(what)?).into()),
            id::I16 => Self::Signed(i16::from_le_bytes(reader.array(what)?).into()),
            id::U32 => Self::Unsigned(u32::from_le_bytes(reader.array(what)?).into()),
            id::I32 => Self::Signed(i32::from_le_bytes(reader.array(what)?).into()),
            id::F32 => Self::Float(f32::from_le_bytes(reader.array(what)?).into()),
            id::BOOL => Self::Bool(check_bool(u8::from_le_bytes(reader.array(what)?), key)? == 1),
            id::STRING => {
                let text = reader.string(what)?;
                reader.keep(text.len())?;
                Self::String(text.to_owned())
            }
            id::ARRAY => Self::Array(Array::read(reader, key, 1)?),
            id::U64 => Self::Unsigned(u64::from_le_bytes(reader.array(what)?)),
            id::I64 => Self::Signed(i64::from_le_bytes(reader.array(what)?)),
            id::F64 => Self::Float(f64::from_le_bytes(reader.array(what)?)),
            id => return Err(GgufError::ValueType { key: shown(key), id }),
        })
    }

    /// The name of this value's type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Unsigned(_) => "an unsigned integer",
            Self::Signed(_) => "a signed integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
        }
    }
}

impl Array {
    fn read(reader: &mut Reader<'_>, key: &str, depth: usize) -> Result<Self, GgufError> {
        if depth > MAX_DEPTH {
            return Err(GgufError::Depth { key: shown(key), limit: MAX_DEPTH });
        }
        let id = reader.u32("array element type")?;
        let min_bytes = match id {
            id::U8 | id::I8 | id::BOOL => 1,
            id::U16 | id::I16 => 2,
            id::U32 | id::I32 | id::F32 => 4,
            id::U64 | id::I64 | id::F64 | id::STRING => 8,
            id::ARRAY => 12,
            id => return Err(GgufError::ValueType { key: shown(key), id }),
        };
        let count = reader.count("array elements", min_bytes)?;
        Ok(match id {
            id::U8 => Self::U8(numbers!(reader, count, u8)),
            id::I8 => Self::I8(numbers!(reader, count, i8)),
            id::U16 => Self::U16(numbers!(reader, count, u16)),
            id::I16 => Self::I16(numbers!(reader, count, i16)),
            id::U32 => Self::U32(numbers!(reader, count, u32)),
            id::I32 => Self::I32(numbers!(reader, count, i32)),
            id::F32 => Self::F32(numbers!(reader, count, f32)),
            id::U64 => Self::U64(numbers!(reader, count, u64)),
            id::I64 => Self::I64(numbers!(reader, count, i64)),
            id::F64 => Self::F64(numbers!(reader, count, f64)),
            id::BOOL => {
                reader.keep(count)?;
                let bytes = reader.take(count as u64, "array")?;
                Self::U8(bytes.iter().map(|&byte| check_bool(byte, key)).collect::<Result<_, _>>()?)
            }
            id::STRING => Self::String(Strings::read(reader, count)?),
            _ => {
                reader.keep(count.saturating_mul(size_of::<Self>()))?;
                let mut arrays = Vec::with_capacity(count);
                for _ in 0..count {
                    arrays.push(Self::read(reader, key, depth + 1)?);
                }
                Self::Array(arrays)
            }
        })
    }
}

fn check_bool(value: u8, key: &str) -> Result<u8, GgufError> {
    if value > 1 { Err(GgufError::Bool { key: shown(key), value }) } else { Ok(value) }
}
