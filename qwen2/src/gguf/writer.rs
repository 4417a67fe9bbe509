//! Writing GGUF files, version 3: first the head, which names every tensor and says where it will lie, then the
//! tensors' data as it comes, in the order of the head. Nothing but the head is ever held, and no number is converted.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Write};

use super::error::{GgufError, shown};
use super::tensor::{TensorInfo, TensorType};
use super::value::{Array, MAX_DEPTH, Value, ValueType};
use super::{DEFAULT_ALIGNMENT, Head};

/// What stands before the data of a file to be: metadata, and tensors in the order in which their data will come.
#[derive(Debug, Default)]
pub struct FileHead {
    metadata: Vec<u8>,
    keys: HashSet<String>,
    tensors: Vec<u8>,
    names: HashSet<String>,
    /// Length of each tensor's data in bytes.
    lens: Vec<u64>,
    /// Where the next tensor will lie.
    offset: u64,
}

/// A file that is being written: its head is out, the data of its tensors is awaited.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    lens: std::vec::IntoIter<u64>,
    /// Bytes of the current tensor that are still to come.
    rest: u64,
    /// Bytes that fill up after it.
    padding: usize,
    written: u64,
}

impl FileHead {
    /// A head without metadata and tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the value of `key`, stored as `kind`. The data is aligned to 32 bytes, so `general.alignment` is best left out.
    ///
    /// # Errors
    /// The key is empty or has been added, `kind` cannot hold the value, arrays are nested deeper than [`MAX_DEPTH`].
    pub fn metadata(&mut self, key: &str, kind: ValueType, value: &Value) -> Result<(), GgufError> {
        if key.is_empty() || !self.keys.insert(key.to_owned()) {
            return Err(GgufError::DuplicateKey(shown(key)));
        }
        string(&mut self.metadata, key);
        self.metadata.extend(kind.id().to_le_bytes());
        match (kind, value) {
            (ValueType::Array, Value::Array(array)) => put_array(&mut self.metadata, array, key, 1),
            _ => put_scalar(&mut self.metadata, kind, value).ok_or_else(|| GgufError::Unwritable {
                key: shown(key),
                found: value.type_name(),
                kind,
            }),
        }
    }

    /// Adds a tensor of `dims`, from the fastest varying on, whose elements are stored as `kind`.
    ///
    /// # Errors
    /// The name is empty or has been added, there are no dimensions or more than four, one is 0, a row does not fill
    /// whole blocks, sizes overflow.
    pub fn tensor(&mut self, name: &str, dims: &[u64], kind: TensorType) -> Result<(), GgufError> {
        if name.is_empty() || !self.names.insert(name.to_owned()) {
            return Err(GgufError::DuplicateTensor(shown(name)));
        }
        if !(1..=4).contains(&dims.len()) {
            return Err(GgufError::Dims { name: shown(name), dims: format!("{dims:?}") });
        }
        // What a reader will check, by its own rules.
        let info = TensorInfo::check(name, dims, kind.id(), self.offset, DEFAULT_ALIGNMENT, u64::MAX)?;
        let overflow = || GgufError::Overflow { name: shown(name), dims: dims.to_vec() };
        let end = self.offset.checked_add(info.len as u64).and_then(|end| end.checked_next_multiple_of(DEFAULT_ALIGNMENT));
        let end = end.ok_or_else(overflow)?;
        string(&mut self.tensors, name);
        self.tensors.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| self.tensors.extend(dim.to_le_bytes()));
        self.tensors.extend(kind.id().to_le_bytes());
        self.tensors.extend(self.offset.to_le_bytes());
        self.lens.push(info.len as u64);
        self.offset = end;
        Ok(())
    }

    /// Writes the head to `out`, which had better be buffered; the data is to follow.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_to<W: Write>(self, mut out: W) -> io::Result<Writer<W>> {
        let mut head = Head::MAGIC.to_vec();
        head.extend(Head::VERSION.to_le_bytes());
        head.extend((self.lens.len() as u64).to_le_bytes());
        head.extend((self.keys.len() as u64).to_le_bytes());
        head.extend(self.metadata);
        head.extend(self.tensors);
        head.resize(head.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
        out.write_all(&head)?;
        Ok(Writer { out, lens: self.lens.into_iter(), rest: 0, padding: 0, written: head.len() as u64 })
    }
}

impl<W: Write> Writer<W> {
    /// Writes the next bytes of the tensors' data, in the order of the head; gaps are filled here. A call may end
    /// anywhere in a tensor, but not in another one than it began in.
    ///
    /// # Errors
    /// What the system says; that there are more bytes than the tensor has.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.rest == 0 && !bytes.is_empty() {
            let none = || io::Error::new(ErrorKind::InvalidInput, "data without a tensor");
            self.rest = self.lens.next().ok_or_else(none)?;
            self.padding = (self.rest.next_multiple_of(DEFAULT_ALIGNMENT) - self.rest) as usize;
        }
        let len = bytes.len() as u64;
        let too_many = || io::Error::new(ErrorKind::InvalidInput, "more data than the tensor has");
        self.rest = self.rest.checked_sub(len).ok_or_else(too_many)?;
        self.out.write_all(bytes)?;
        self.written += len;
        if self.rest == 0 {
            self.out.write_all(&[0; DEFAULT_ALIGNMENT as usize][..self.padding])?;
            self.written += self.padding as u64;
            self.padding = 0;
        }
        Ok(())
    }

    /// Ends the file; gives what was written to, flushed, and the file's length in bytes.
    ///
    /// # Errors
    /// What the system says; that data is missing.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        if self.rest > 0 || self.lens.len() > 0 {
            return Err(io::Error::new(ErrorKind::InvalidInput, "data of a tensor is missing"));
        }
        self.out.flush()?;
        Ok((self.out, self.written))
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Writes a value that is no array; nothing, if `kind` cannot hold it.
fn put_scalar(out: &mut Vec<u8>, kind: ValueType, value: &Value) -> Option<()> {
    macro_rules! integer {
        ($t:ty) => {
            match value {
                Value::Unsigned(value) => out.extend(<$t>::try_from(*value).ok()?.to_le_bytes()),
                Value::Signed(value) => out.extend(<$t>::try_from(*value).ok()?.to_le_bytes()),
                _ => return None,
            }
        };
    }
    match (kind, value) {
        (ValueType::U8, _) => integer!(u8),
        (ValueType::I8, _) => integer!(i8),
        (ValueType::U16, _) => integer!(u16),
        (ValueType::I16, _) => integer!(i16),
        (ValueType::U32, _) => integer!(u32),
        (ValueType::I32, _) => integer!(i32),
        (ValueType::U64, _) => integer!(u64),
        (ValueType::I64, _) => integer!(i64),
        (ValueType::F32, Value::Float(value)) if (*value as f32).is_finite() || !value.is_finite() => {
            out.extend((*value as f32).to_le_bytes())
        }
        (ValueType::F64, Value::Float(value)) => out.extend(value.to_le_bytes()),
        (ValueType::Bool, Value::Bool(value)) => out.push(u8::from(*value)),
        (ValueType::String, Value::String(text)) => string(out, text),
        _ => return None,
    }
    Some(())
}

fn put_array(out: &mut Vec<u8>, array: &Array, key: &str, depth: usize) -> Result<(), GgufError> {
    if depth > MAX_DEPTH {
        return Err(GgufError::Depth { key: shown(key), limit: MAX_DEPTH });
    }
    let mut head = |kind: ValueType, count: usize| {
        out.extend(kind.id().to_le_bytes());
        out.extend((count as u64).to_le_bytes());
    };
    macro_rules! numbers {
        ($kind:ident, $list:expr) => {{
            head(ValueType::$kind, $list.len());
            $list.iter().for_each(|number| out.extend(number.to_le_bytes()));
        }};
    }
    match array {
        Array::U8(list) => numbers!(U8, list),
        Array::I8(list) => numbers!(I8, list),
        Array::U16(list) => numbers!(U16, list),
        Array::I16(list) => numbers!(I16, list),
        Array::U32(list) => numbers!(U32, list),
        Array::I32(list) => numbers!(I32, list),
        Array::F32(list) => numbers!(F32, list),
        Array::U64(list) => numbers!(U64, list),
        Array::I64(list) => numbers!(I64, list),
        Array::F64(list) => numbers!(F64, list),
        Array::Bool(list) => {
            head(ValueType::Bool, list.len());
            out.extend(list.iter().map(|value| u8::from(*value)));
        }
        Array::String(list) => {
            head(ValueType::String, list.len());
            list.iter().for_each(|text| string(out, text));
        }
        Array::Array(list) => {
            head(ValueType::Array, list.len());
            return list.iter().try_for_each(|array| put_array(out, array, key, depth + 1));
        }
    }
    Ok(())
}
