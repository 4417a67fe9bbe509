//! A list of strings in two pieces of memory: a vocabulary's hundred thousand words would each take more for being a
//! `String` than for their letters, and a file of empty ones three times its size.

use super::error::GgufError;
use super::reader::Reader;

/// Strings one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strings {
    text: String,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Strings {
    /// Reads `count` strings, which [`Reader::count`] has already found to fit the file.
    pub(super) fn read(reader: &mut Reader<'_>, count: usize) -> Result<Self, GgufError> {
        let what = "string in an array";
        // Through them once for their length, so that no memory is taken that is not needed.
        let (mut ahead, mut len) = (reader.clone(), 0);
        for _ in 0..count {
            len += ahead.string(what)?.len();
        }
        reader.keep(len.saturating_add(count.saturating_mul(size_of::<usize>())))?;
        let mut strings = Self { text: String::with_capacity(len), ends: Vec::with_capacity(count) };
        for _ in 0..count {
            strings.push(reader.string(what)?);
        }
        Ok(strings)
    }

    /// Adds one at the end.
    pub fn push(&mut self, string: &str) {
        self.text.push_str(string);
        self.ends.push(self.text.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The one at place `at`, if there is one.
    pub fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(start..end)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        (0..self.len()).map(|at| self.get(at).unwrap_or_default())
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut all = Self::default();
        strings.into_iter().for_each(|string| all.push(string.as_ref()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Strings;

    #[test]
    fn each_is_found_again() {
        let strings: Strings = ["", "ab", "", "é"].into_iter().collect();
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["", "ab", "", "é"]);
        assert_eq!((strings.len(), strings.get(3), strings.get(4)), (4, Some("é"), None));
        assert!(Strings::default().is_empty());
    }
}
