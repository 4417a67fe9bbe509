//! Reading a store line by line, so that one of any size can be read. Nothing is kept of a line but what its reader keeps.

use super::{Record, SCHEMA};
use anyhow::Context;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// A line longer than this is no result.
const LONGEST: u64 = 16 << 20;

/// What could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// Lines.
    pub count: usize,
    /// The first of them: its number, from 1, and why.
    pub first: Option<(usize, String)>,
}

impl Unreadable {
    fn add(&mut self, line: usize, why: String) {
        self.count += 1;
        self.first.get_or_insert((line, why));
    }

    /// A line about it; `None` if all could be read.
    pub fn complaint(&self, path: &Path) -> Option<String> {
        let (line, why) = self.first.as_ref()?;
        Some(format!("{}: {} line(s) that cannot be read are left aside, first line {line}: {why}", path.display(), self.count))
    }
}

/// What a scan leaves to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// What could not be read.
    pub unreadable: Unreadable,
    /// The last line has no end.
    pub unfinished: bool,
}

/// Gives every result of a store to `each`, oldest first, with the line that it stands in.
///
/// # Errors
/// If the file cannot be read; those of `each`.
pub fn scan(path: &Path, each: impl FnMut(Record, &[u8]) -> anyhow::Result<()>) -> anyhow::Result<Scanned> {
    let cannot = || format!("cannot read the store {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    scan_lines(BufReader::with_capacity(1 << 20, file), cannot, each)
}

pub(super) fn scan_lines(
    mut reader: impl BufRead,
    cannot: impl Fn() -> String,
    mut each: impl FnMut(Record, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Scanned> {
    let (mut scanned, mut line) = (Scanned::default(), Vec::new());
    for number in 1.. {
        line.clear();
        reader.by_ref().take(LONGEST).read_until(b'\n', &mut line).with_context(&cannot)?;
        if line.is_empty() {
            break;
        }
        scanned.unfinished = !line.ends_with(b"\n");
        if scanned.unfinished && line.len() as u64 == LONGEST {
            scanned.unfinished = !skip_line(&mut reader).with_context(&cannot)?;
            scanned.unreadable.add(number, format!("longer than {LONGEST} bytes"));
            continue;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match serde_json::from_slice::<Record>(text) {
            Ok(record) if record.schema == SCHEMA => each(record, text)?,
            Ok(record) => scanned.unreadable.add(number, format!("schema {} instead of {SCHEMA}", record.schema)),
            Err(error) => scanned.unreadable.add(number, error.to_string()),
        }
    }
    Ok(scanned)
}

/// Passes over the rest of a line; whether it had an end.
fn skip_line(reader: &mut impl BufRead) -> std::io::Result<bool> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}
