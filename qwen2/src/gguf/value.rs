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
    /// `u8`.
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
    /// Booleans.
    Bool(Vec<bool>),
    /// Strings.
    String(Strings),
    /// Arrays.
    Array(Vec<Array>),
}

/// The list of types of the format: variant, number.
macro_rules! value_types {
    ($($kind:ident $id:literal;)+) => {
        /// How a value is stored in a file. A [`Value`] knows its number, not how wide it was.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ValueType {
            $(#[doc = concat!("Type number ", $id, ".")] $kind,)+
        }

        impl ValueType {
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
        }
    };
}

value_types! {
    U8 0;
    I8 1;
    U16 2;
    I16 3;
    U32 4;
    I32 5;
    F32 6;
    Bool 7;
    String 8;
    Array 9;
    U64 10;
    I64 11;
    F64 12;
}

impl ValueType {
    fn read(reader: &mut Reader<'_>, key: &str, what: &'static str) -> Result<Self, GgufError> {
        let id = reader.u32(what)?;
        Self::from_id(id).ok_or_else(|| GgufError::ValueType { key: shown(key), id })
    }

    /// The type that a value has in a file when nothing else is known: 32 bits where they hold it.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Unsigned(value) if u32::try_from(*value).is_ok() => Self::U32,
            Value::Unsigned(_) => Self::U64,
            Value::Signed(value) if i32::try_from(*value).is_ok() => Self::I32,
            Value::Signed(_) => Self::I64,
            Value::Float(value) if f64::from(*value as f32) == *value || value.is_nan() => Self::F32,
            Value::Float(_) => Self::F64,
            Value::Bool(_) => Self::Bool,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
        }
    }
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
    /// Reads the value of metadata key `key`: its type number, then its content. Gives the type too.
    ///
    /// # Errors
    /// Truncation, impossible counts, unknown types, nesting beyond [`MAX_DEPTH`], booleans other than 0 and 1.
    pub fn read(reader: &mut Reader<'_>, key: &str) -> Result<(ValueType, Self), GgufError> {
        let what = "metadata value";
        let kind = ValueType::read(reader, key, "metadata value type")?;
        let value = match kind {
            ValueType::U8 => Self::Unsigned(u8::from_le_bytes(reader.array(what)?).into()),
            ValueType::I8 => Self::Signed(i8::from_le_bytes(reader.array(what)?).into()),
            ValueType::U16 => Self::Unsigned(u16::from_le_bytes(reader.array(what)?).into()),
            ValueType::I16 => Self::Signed(i16::from_le_bytes(reader.array(what)?).into()),
            ValueType::U32 => Self::Unsigned(u32::from_le_bytes(reader.array(what)?).into()),
            ValueType::I32 => Self::Signed(i32::from_le_bytes(reader.array(what)?).into()),
            ValueType::F32 => Self::Float(f32::from_le_bytes(reader.array(what)?).into()),
            ValueType::Bool => Self::Bool(check_bool(u8::from_le_bytes(reader.array(what)?), key)?),
            ValueType::String => {
                let text = reader.string(what)?;
                reader.keep(text.len())?;
                Self::String(text.to_owned())
            }
            ValueType::Array => Self::Array(Array::read(reader, key, 1)?),
            ValueType::U64 => Self::Unsigned(u64::from_le_bytes(reader.array(what)?)),
            ValueType::I64 => Self::Signed(i64::from_le_bytes(reader.array(what)?)),
            ValueType::F64 => Self::Float(f64::from_le_bytes(reader.array(what)?)),
        };
        Ok((kind, value))
    }

    /// The value as a non-negative integer, if it is one.
    pub fn as_uint(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            Self::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
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
        let kind = ValueType::read(reader, key, "array element type")?;
        let min_bytes = match kind {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::String => 8,
            ValueType::Array => 12,
        };
        let count = reader.count("array elements", min_bytes)?;
        Ok(match kind {
            ValueType::U8 => Self::U8(numbers!(reader, count, u8)),
            ValueType::I8 => Self::I8(numbers!(reader, count, i8)),
            ValueType::U16 => Self::U16(numbers!(reader, count, u16)),
            ValueType::I16 => Self::I16(numbers!(reader, count, i16)),
            ValueType::U32 => Self::U32(numbers!(reader, count, u32)),
            ValueType::I32 => Self::I32(numbers!(reader, count, i32)),
            ValueType::F32 => Self::F32(numbers!(reader, count, f32)),
            ValueType::U64 => Self::U64(numbers!(reader, count, u64)),
            ValueType::I64 => Self::I64(numbers!(reader, count, i64)),
            ValueType::F64 => Self::F64(numbers!(reader, count, f64)),
            ValueType::Bool => {
                reader.keep(count)?;
                let bytes = reader.take(count as u64, "array")?;
                bytes.iter().try_for_each(|&byte| check_bool(byte, key).map(drop))?;
                // At once and not while they are checked, when it would grow and take more.
                Self::Bool(bytes.iter().map(|&byte| byte == 1).collect())
            }
            ValueType::String => Self::String(Strings::read(reader, count)?),
            ValueType::Array => {
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

fn check_bool(value: u8, key: &str) -> Result<bool, GgufError> {
    if value > 1 { Err(GgufError::Bool { key: shown(key), value }) } else { Ok(value == 1) }
}
