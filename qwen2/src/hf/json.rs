//! Small JSON files, read into a tree that can be asked for values. A key that occurs twice is refused, since readers
//! would disagree about which counts; `null` is as good as absent, as it is to those who write these files.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::error::Error;
use crate::gguf::shown;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    String(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// What kind of value this is, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Unsigned(_) => "a non-negative integer",
            Self::Float(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// The value at `key` of an object; `None` where it is absent or `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries.get(key).filter(|value| **value != Self::Null),
            _ => None,
        }
    }

    /// The text of a string.
    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }
}

/// The object that a file of a model folder holds.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    file: String,
    root: Json,
}

impl Document {
    /// Reads the content of `file`, whose name is for messages.
    ///
    /// # Errors
    /// [`Error::Folder`] when it is not JSON, not an object, nested beyond 128 levels, or has a key twice.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        let root = serde_json::from_slice(bytes).map_err(|error| malformed(file, &error))?;
        let document = Self { file: file.to_owned(), root };
        if matches!(document.root, Json::Object(_)) { Ok(document) } else { Err(document.wrong("it is not an object".to_owned())) }
    }

    /// An error about this file.
    pub(crate) fn wrong(&self, why: String) -> Error {
        Error::Folder { file: self.file.clone(), why }
    }

    /// The value at `key`; `None` where it is absent or `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        self.root.get(key)
    }

    /// The value at `key`, which must be there.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(crate) fn need(&self, key: &str) -> Result<&Json, Error> {
        self.get(key).ok_or_else(|| self.wrong(format!("'{key}' is missing")))
    }

    /// An error about the kind of a value.
    pub(crate) fn mistyped(&self, key: &str, found: &Json, expected: &str) -> Error {
        self.wrong(format!("'{key}' is {}, expected {expected}", found.kind()))
    }

    /// The non-negative integer at `key`, if there is one.
    ///
    /// # Errors
    /// [`Error::Folder`] for any other kind of value.
    pub(crate) fn find_uint(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Unsigned(value)) => Ok(Some(*value)),
            Some(other) => Err(self.mistyped(key, other, "a non-negative integer")),
        }
    }

    /// The boolean at `key`, `false` where there is none.
    ///
    /// # Errors
    /// [`Error::Folder`] for any other kind of value.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, Error> {
        match self.get(key) {
            None => Ok(false),
            Some(Json::Bool(value)) => Ok(*value),
            Some(other) => Err(self.mistyped(key, other, "a boolean")),
        }
    }

    /// The string at `key`, if there is one.
    ///
    /// # Errors
    /// [`Error::Folder`] for any other kind of value.
    pub(crate) fn find_str(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.mistyped(key, other, "a string")),
        }
    }

    /// The number `value`, found at `key`.
    ///
    /// # Errors
    /// [`Error::Folder`] for any other kind of value.
    pub(crate) fn number(&self, key: &str, value: &Json) -> Result<f64, Error> {
        match value {
            Json::Unsigned(value) => Ok(*value as f64),
            Json::Float(value) => Ok(*value),
            other => Err(self.mistyped(key, other, "a number")),
        }
    }
}

/// Longest message of the JSON reader that is passed on, in characters. It may quote the file.
const MAX_MESSAGE: usize = 200;

/// An error about a file that does not parse.
pub(crate) fn malformed(file: &str, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    // Ends with the place, unless something long is quoted.
    let line = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let why = if line.clone().nth(MAX_MESSAGE).is_some() {
        format!("{}… at line {} column {}", line.take(MAX_MESSAGE).collect::<String>(), error.line(), error.column())
    } else {
        line.collect()
    };
    Error::Folder { file: file.to_owned(), why }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key '{}' occurs twice", shown(&key))));
            }
            object.insert(key, entries.next_value()?);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_refused() {
        for (text, why) in
            [("", "EOF"), ("[]", "not an object"), ("{", "EOF"), ("{}x", "trailing"), (r#"{"a":1,"a":1}"#, "'a' occurs twice")]
        {
            let error = Document::parse("config.json", text.as_bytes()).expect_err(text).to_string();
            assert!(error.starts_with("config.json: ") && error.contains(why), "{error}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
        assert!(Document::parse("config.json", deep.as_bytes()).unwrap_err().to_string().contains("recursion"));
    }

    #[test]
    fn values_are_of_their_kind() {
        let document = Document::parse("config.json", br#"{"n":null,"u":7,"i":-7,"f":1e-6,"s":"x","t":true}"#).unwrap();
        assert_eq!(document.find_uint("n").unwrap(), None);
        assert_eq!(document.find_uint("u").unwrap(), Some(7));
        assert!(document.find_uint("i").is_err() && document.find_uint("s").is_err());
        assert!(document.flag("t").unwrap() && !document.flag("absent").unwrap() && document.flag("u").is_err());
        assert_eq!(document.find_str("s").unwrap(), Some("x"));
        assert!(document.need("n").is_err());
    }
}
