//! Results of T4 documents as results of a store again.
//!
//! Documents are read element by element. What is ours is gathered in a store of its own, which is merged when all was
//! read: a document that ends early leaves the store as it was, and results that the store has are not added again.
//!
//! Only what [`to_record`](super::t4::to_record) takes is taken, because a result of a store is believed: it was verified,
//! timed against a noise floor, on the machine that it names. What another tool timed has none of that, and no tier of ours;
//! it is refused and counted. A result that names another machine stays that machine's.

use super::t4::{List, TIME_UNIT, to_record};
use crate::store::{self, Merged};
use anyhow::{Context, bail, ensure};
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// No element of a document is longer.
const LONGEST: u64 = 16 << 20;

/// What came of it.
#[derive(Debug, Default)]
pub struct Imported {
    /// Results that are new in the store.
    pub added: usize,
    /// Results that it had already, or that came twice.
    pub known: usize,
    /// Results that are not ours.
    pub refused: usize,
    /// The first of them: the document, where in it, and why.
    pub first_refused: Option<String>,
}

/// Adds to `store`, which need not be there, every result of the documents that it does not hold.
///
/// # Errors
/// If a document cannot be read or is no T4 of Kiln's, if none of the results is ours, or if the store cannot be written.
pub fn import(documents: &[PathBuf], store: &Path) -> anyhow::Result<Imported> {
    let gathered = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let (mut imported, mut taken) = (Imported::default(), 0);
    let mut lines = BufWriter::new(gathered.as_file());
    for path in documents {
        ensure!(!store::is_same(path, store), "{} is to be imported into itself", path.display());
        let mut each = |list: List, number: usize, element: Value| {
            match to_record(element) {
                Ok(record) => {
                    serde_json::to_writer(&mut lines, &record)?;
                    writeln!(lines)?;
                    taken += 1;
                }
                Err(why) => {
                    imported.refused += 1;
                    imported.first_refused.get_or_insert_with(|| format!("{}: {}[{number}]: {why}", path.display(), list.name()));
                }
            }
            Ok(())
        };
        read(path, &mut each)?;
    }
    lines.flush().context("cannot write a temporary file")?;
    drop(lines);
    if let (0, Some(first)) = (taken, &imported.first_refused) {
        bail!("none of {} results was exported by Kiln, and nothing else can be believed; the first: {first}", imported.refused);
    }
    let Merged { added, known, .. } = store::merge(store, &[gathered.path().to_owned()])?;
    Ok(Imported { added, known, ..imported })
}

/// Takes an element of a list: its number, from 0, and what it is.
type Each<'a> = dyn FnMut(List, usize, Value) -> anyhow::Result<()> + 'a;

fn read(path: &Path, each: &mut Each) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let left = Cell::new(LONGEST);
    let mut text = serde_json::Deserializer::from_reader(BufReader::new(Bounded { from: BufReader::new(file), left: &left }));
    let mut failed = None;
    let document = Document { each, left: &left, failed: &mut failed, metadata: Value::Null };
    let read = document.deserialize(&mut text).and_then(|found| text.end().map(|()| found));
    if let Some(error) = failed {
        return Err(error);
    }
    let metadata = read.with_context(|| format!("{} is no T4 document", path.display()))?;
    let unit = metadata["timeunit"].as_str().unwrap_or("a unit that it does not name");
    ensure!(
        unit == TIME_UNIT,
        "{}: its times are in {unit}; what Kiln exports has {TIME_UNIT}, and nothing else is imported",
        path.display()
    );
    Ok(())
}

/// A reader that gives up when too much comes between two elements.
struct Bounded<'a, R> {
    from: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| std::io::Error::other(format!("an element is longer than {LONGEST} bytes")))?);
        Ok(read)
    }
}

/// A document whose lists go by: what is left of it is its metadata.
struct Document<'a, 'b> {
    each: &'a mut Each<'b>,
    left: &'a Cell<u64>,
    failed: &'a mut Option<anyhow::Error>,
    metadata: Value,
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list of results")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut has_results = false;
        while let Some(key) = map.next_key::<String>()? {
            let list = [List::Results, List::Comparisons].into_iter().find(|list| list.name() == key);
            match list {
                Some(list) => {
                    has_results |= list == List::Results;
                    map.next_value_seed(Elements { list, each: self.each, left: self.left, failed: self.failed })?;
                }
                None if key == "metadata" => self.metadata = map.next_value()?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
            self.left.set(LONGEST);
        }
        if has_results { Ok(self.metadata) } else { Err(A::Error::custom("it has no list of results")) }
    }
}

/// One list, whose elements go by.
struct Elements<'a, 'b> {
    list: List,
    each: &'a mut Each<'b>,
    left: &'a Cell<u64>,
    failed: &'a mut Option<anyhow::Error>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_, '_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of results")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(element) = list.next_element::<Value>()? {
            if let Err(error) = (self.each)(self.list, number, element) {
                *self.failed = Some(error);
                return Err(A::Error::custom("it was not taken"));
            }
            self.left.set(LONGEST);
            number += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("d.json");
        std::fs::write(&path, text).expect("written");
        let error = import(&[path], &dir.path().join("s.jsonl")).expect_err("refused");
        assert!(!dir.path().join("s.jsonl").exists(), "a store was made of {text:.40}");
        format!("{error:#}")
    }

    #[test]
    fn what_is_no_document_is_refused_and_leaves_no_store() {
        for (text, part) in [
            ("", "no T4 document"),
            ("[]", "no T4 document"),
            ("{\"results\": 7}", "no T4 document"),
            ("{\"metadata\": {}}", "no list of results"),
            ("{\"results\": [{\"a\": 1}", "no T4 document"),
            ("{\"metadata\": {\"timeunit\": \"nanoseconds\"}, \"results\": [7, {}]}", "none of 2 results"),
            ("{\"metadata\": {\"timeunit\": \"milliseconds\"}, \"results\": []}", "times are in milliseconds"),
            ("{\"results\": []}", "does not name"),
        ] {
            let error = error(text);
            assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn an_endless_element_is_not_read_to_its_end() {
        let long = format!("{{\"results\": [\"{}\"]}}", "x".repeat(LONGEST as usize + (1 << 20)));
        assert!(error(&long).contains("longer than"));
    }
}
