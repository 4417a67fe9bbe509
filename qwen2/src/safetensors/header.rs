//! The header of a safetensors file: one JSON object that describes a tensor by each of its entries.
//!
//! The grammar is small and flat, so it is read here by hand, without recursion and without a tree in memory: what
//! is kept is the list of tensors alone, and nothing is kept of a header that is refused. Data is not seen here.

use std::borrow::Cow;

use super::error::SafetensorsError;
use crate::gguf::{TensorInfo, TensorType, shown};

/// Most dimensions of a tensor.
const MAX_RANK: usize = 4;

/// One entry as it stands in the header: syntax is checked, claims are not.
struct Entry<'a> {
    /// Between the quotation marks, escapes as they are.
    name: &'a str,
    dtype: &'a str,
    dims: [u64; MAX_RANK],
    /// May be more than [`MAX_RANK`].
    rank: usize,
    begin: u64,
    end: u64,
}

/// The tensors that the header `text` describes, within `data_len` bytes of data, in the order of their bytes.
///
/// # Errors
/// The [`SafetensorsError`] that names what is wrong first.
pub(super) fn parse(text: &str, data_len: u64) -> Result<Vec<TensorInfo>, SafetensorsError> {
    // Twice through: the first counts, so that the list takes no more memory than it needs.
    let mut count = 0;
    Cursor { text, at: 0 }.header(&mut |entry| {
        count += 1;
        check(entry, data_len).map(drop)
    })?;
    let mut tensors = Vec::with_capacity(count);
    Cursor { text, at: 0 }.header(&mut |entry| {
        let mut info = check(entry, data_len)?;
        info.name = unescape(entry.name).into_owned();
        tensors.push(info);
        Ok(())
    })?;
    tensors.sort_unstable_by_key(|tensor| (tensor.offset, tensor.len));
    check_layout(&tensors, data_len)?;
    Ok(tensors)
}

/// Checks a tensor's claims by themselves. The name is left out.
fn check(entry: &Entry<'_>, data_len: u64) -> Result<TensorInfo, SafetensorsError> {
    let name = || shown(&unescape(entry.name));
    let dims = &entry.dims[..entry.rank.min(MAX_RANK)];
    let kind = match entry.dtype {
        "F32" => TensorType::F32,
        "F16" => TensorType::F16,
        "BF16" => TensorType::Bf16,
        other => return Err(SafetensorsError::Type { name: name(), dtype: shown(other) }),
    };
    if entry.name.is_empty() {
        return Err(SafetensorsError::DuplicateTensor(String::new()));
    }
    if !(1..=MAX_RANK).contains(&entry.rank) || dims.contains(&0) {
        let dims = if entry.rank > MAX_RANK { format!("of rank {}", entry.rank) } else { format!("{dims:?}") };
        return Err(SafetensorsError::Dims { name: name(), dims });
    }
    let overflow = || SafetensorsError::Overflow { name: name(), dims: format!("{dims:?}") };
    let product = |dims: &[u64]| dims.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim));
    let elements = product(dims).ok_or_else(overflow)?;
    let need = elements.checked_mul(kind.block_bytes() as u64).ok_or_else(overflow)?;
    if entry.end.checked_sub(entry.begin) != Some(need) {
        return Err(SafetensorsError::Extent { name: name(), begin: entry.begin, end: entry.end, need });
    }
    if entry.end > data_len {
        return Err(SafetensorsError::OutsideFile { name: name(), end: entry.end, have: data_len });
    }
    // The last dimension varies fastest. All of it lies within the file, so only a 32-bit machine could overflow.
    let size = |value: u64| usize::try_from(value).map_err(|_| overflow());
    let cols = dims[entry.rank - 1];
    Ok(TensorInfo {
        name: String::new(),
        kind,
        cols: size(cols)?,
        rows: size(elements / cols)?,
        rank: entry.rank,
        offset: size(entry.begin)?,
        len: size(need)?,
    })
}

/// Checks that tensors in the order of their bytes fill the data without overlap and without a hole.
fn check_layout(tensors: &[TensorInfo], data_len: u64) -> Result<(), SafetensorsError> {
    let mut last: Option<&TensorInfo> = None;
    for tensor in tensors {
        let end = last.map_or(0, |last| last.offset + last.len);
        match last {
            Some(last) if tensor.offset < end => {
                return Err(SafetensorsError::Overlap { first: shown(&last.name), second: shown(&tensor.name) });
            }
            _ if tensor.offset > end => return Err(SafetensorsError::Hole { begin: end as u64, end: tensor.offset as u64 }),
            _ => last = Some(tensor),
        }
    }
    let end = last.map_or(0, |last| (last.offset + last.len) as u64);
    if end < data_len { Err(SafetensorsError::Hole { begin: end, end: data_len }) } else { Ok(()) }
}

/// A place in the header.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads the whole header and hands over each tensor's entry.
    fn header(&mut self, each: &mut dyn FnMut(&Entry<'a>) -> Result<(), SafetensorsError>) -> Result<(), SafetensorsError> {
        // No blank may come before it: other readers tell the format by this byte.
        if !self.text.starts_with('{') {
            return self.fail("'{'");
        }
        let mut noted = false;
        self.object(&mut |cursor, name| {
            // However it is written.
            if unescape(name) != "__metadata__" {
                return each(&cursor.tensor(name)?);
            }
            if std::mem::replace(&mut noted, true) {
                return Err(SafetensorsError::DuplicateTensor("__metadata__".to_owned()));
            }
            // Remarks by whoever wrote the file; nothing depends on them.
            cursor.object(&mut |cursor, _| cursor.string().map(drop))
        })?;
        self.blanks();
        if self.at == self.text.len() { Ok(()) } else { self.fail("the end") }
    }

    /// One tensor's description.
    fn tensor(&mut self, name: &'a str) -> Result<Entry<'a>, SafetensorsError> {
        let key = |key| SafetensorsError::Key { name: shown(&unescape(name)), key };
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        self.object(&mut |cursor, found| {
            let (known, twice) = match found {
                "dtype" => ("dtype", dtype.replace(cursor.string()?).is_some()),
                "shape" => ("shape", shape.replace(cursor.numbers()?).is_some()),
                "data_offsets" => ("data_offsets", offsets.replace(cursor.numbers()?).is_some()),
                _ => return cursor.fail("'dtype', 'shape' or 'data_offsets'"),
            };
            if twice { Err(key(known)) } else { Ok(()) }
        })?;
        let dtype = dtype.ok_or_else(|| key("dtype"))?;
        let (dims, rank) = shape.ok_or_else(|| key("shape"))?;
        let ([begin, end, ..], count) = offsets.ok_or_else(|| key("data_offsets"))?;
        if count == 2 { Ok(Entry { name, dtype, dims, rank, begin, end }) } else { self.fail("two numbers as 'data_offsets'") }
    }

    /// An object: `each` gets the keys and reads the values.
    fn object(&mut self, each: &mut dyn FnMut(&mut Self, &'a str) -> Result<(), SafetensorsError>) -> Result<(), SafetensorsError> {
        self.token(b'{', "'{'")?;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.token(b':', "':'")?;
            each(self, key)?;
            if !self.eat(b',') {
                return self.token(b'}', "',' or '}'");
            }
        }
    }

    /// An array of non-negative integers: the first few, and how many there are.
    fn numbers(&mut self) -> Result<([u64; MAX_RANK], usize), SafetensorsError> {
        let (mut numbers, mut count) = ([0; MAX_RANK], 0);
        self.token(b'[', "'['")?;
        if self.eat(b']') {
            return Ok((numbers, 0));
        }
        loop {
            let number = self.number()?;
            if let Some(place) = numbers.get_mut(count) {
                *place = number;
            }
            count += 1;
            if !self.eat(b',') {
                self.token(b']', "',' or ']'")?;
                return Ok((numbers, count));
            }
        }
    }

    fn number(&mut self) -> Result<u64, SafetensorsError> {
        self.blanks();
        let rest = &self.text[self.at..];
        let digits = &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()];
        match digits.parse() {
            Ok(number) if digits.len() == 1 || !digits.starts_with('0') => {
                self.at += digits.len();
                Ok(number)
            }
            _ => self.fail("an integer from 0 to 2^64 - 1"),
        }
    }

    /// A string: what is between the quotation marks, in which escapes are known to be well formed.
    fn string(&mut self) -> Result<&'a str, SafetensorsError> {
        self.token(b'"', "a string")?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                // Bytes of longer characters are above these.
                Some(0x20..) => self.at += 1,
                _ => return self.fail("'\"' at the end of a string"),
            }
        }
        self.at += 1;
        Ok(&self.text[start..self.at - 1])
    }

    /// Passes over one escape, which may be a pair of surrogates.
    fn escape(&mut self) -> Result<(), SafetensorsError> {
        match escaped(&self.text[self.at..]) {
            Some((_, len)) => {
                self.at += len;
                Ok(())
            }
            None => self.fail("an escape that JSON has"),
        }
    }

    fn blanks(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
    }

    /// Passes over `byte` if it comes next.
    fn eat(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn token(&mut self, byte: u8, expected: &'static str) -> Result<(), SafetensorsError> {
        if self.eat(byte) { Ok(()) } else { self.fail(expected) }
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, SafetensorsError> {
        Err(SafetensorsError::Syntax { at: self.at, expected })
    }
}

/// The character that the escape at the start of `text` stands for, and the escape's length.
fn escaped(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        // `from_str_radix` takes a sign as well.
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    Some(match text.as_bytes().get(1)? {
        b'"' => ('"', 2),
        b'\\' => ('\\', 2),
        b'/' => ('/', 2),
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        b'n' => ('\n', 2),
        b'r' => ('\r', 2),
        b't' => ('\t', 2),
        b'u' => match (unit(0)?, unit(6)) {
            (high @ 0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                (char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?, 12)
            }
            (alone, _) => (char::from_u32(alone)?, 6),
        },
        _ => return None,
    })
}

/// A name without its escapes.
fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains('\\') {
        return Cow::Borrowed(name);
    }
    // Escapes are longer than what they stand for.
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        // They were checked when the string was read.
        let (letter, len) = escaped(&rest[at..]).unwrap_or((char::REPLACEMENT_CHARACTER, 1));
        out.push(letter);
        rest = &rest[at + len..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#;

    fn names(header: &str) -> Result<Vec<String>, SafetensorsError> {
        Ok(parse(header, 8)?.into_iter().map(|tensor| tensor.name).collect())
    }

    #[test]
    fn blanks_may_be_anywhere_but_in_front() {
        assert_eq!(names(&format!("{{ \"a\" :\n{{ {ONE} }} }}\r\n\t   ")).unwrap(), ["a"]);
        assert!(names(&format!(" {{\"a\":{{{ONE}}}}}")).is_err());
    }

    #[test]
    fn escapes_are_those_of_json() {
        let name = |name: &str| names(&format!("{{\"{name}\":{{{ONE}}}}}"));
        assert_eq!(name(r#"a\"\\\/\b\f\n\r\t\u00e9\ud83e\udd80z"#).unwrap(), ["a\"\\/\u{8}\u{c}\n\r\té🦀z"]);
        for bad in [r"\x", r"\u12", r"\u+123", r"\ud800", r"\ud800\u0041", r"\udd80", "\\", "a\nb", r"\ué"] {
            assert!(matches!(name(bad), Err(SafetensorsError::Syntax { .. })), "{bad}");
        }
    }

    #[test]
    fn remarks_are_strings() {
        assert_eq!(names(&format!(r#"{{"__metadata__":{{"format":"p\"t"}},"a":{{{ONE}}}}}"#)).unwrap(), ["a"]);
        assert_eq!(names(&format!(r#"{{"__metadata_\u005f":{{}},"a":{{{ONE}}}}}"#)).unwrap(), ["a"]);
        for bad in ["1", "[]", r#"{"a":1}"#, r#"{"a":{"b":"c"}}"#] {
            assert!(matches!(names(&format!(r#"{{"__metadata__":{bad},"a":{{{ONE}}}}}"#)), Err(SafetensorsError::Syntax { .. })));
        }
    }
}
