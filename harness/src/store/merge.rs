//! Stores of several sweeps, or of several machines, as one: every result once, whatever is merged how often.
//!
//! Lines are read one by one and never kept. What was seen before is known by a hash of its key, of so many keys at a time
//! that memory does not grow with the stores: when there are more, they are read again for the next part of the keys.

use super::{Appender, Record, Unreadable, scan};
use anyhow::{Context, ensure};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Keys that are remembered at a time: 300 MB of hashes, and half of that again while their table grows. So many fill seven
/// eighths of a table of 2^24, which is when it would grow once more.
const AT_A_TIME: u64 = 14 << 20;

/// What a merge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Results that are new in the target.
    pub added: usize,
    /// Results of the sources that it had already, or that came twice.
    pub known: usize,
    /// What could not be read, by source.
    pub unreadable: Vec<(PathBuf, Unreadable)>,
}

/// Appends to `target`, which need not be there, every result of `sources` that it does not hold.
///
/// # Errors
/// If a source cannot be read or is the target, or the target cannot be written.
pub fn merge(target: &Path, sources: &[PathBuf]) -> anyhow::Result<Merged> {
    merge_by(target, sources, AT_A_TIME)
}

fn merge_by(target: &Path, sources: &[PathBuf], at_a_time: u64) -> anyhow::Result<Merged> {
    let mut lines = 0;
    for source in sources {
        lines += count_lines(source)?;
        ensure!(!is_same(source, target), "{} is to be merged into itself", source.display());
    }
    let mut into = Appender::open(target)?;
    lines += count_lines(target)?;
    let parts = u128::from(lines.div_ceil(at_a_time).max(1));
    let mut merged = Merged { unreadable: sources.iter().map(|s| (s.clone(), Unreadable::default())).collect(), ..Merged::default() };
    for part in 0..parts {
        let mut seen: HashSet<u128> = HashSet::new();
        let new = |record: &Record, seen: &mut HashSet<u128>| {
            let key = record.key().hashed();
            (key % parts == part).then(|| seen.insert(key))
        };
        scan(target, |record, _| {
            new(&record, &mut seen);
            Ok(())
        })?;
        for (source, (_, unreadable)) in sources.iter().zip(&mut merged.unreadable) {
            *unreadable = scan(source, |record, line| {
                match new(&record, &mut seen) {
                    Some(true) => {
                        into.append_line(line)?;
                        merged.added += 1;
                    }
                    Some(false) => merged.known += 1,
                    None => {}
                }
                Ok(())
            })?
            .unreadable;
        }
    }
    merged.unreadable.retain(|(_, unreadable)| unreadable.count > 0);
    Ok(merged)
}

/// Lines of a file, a torn one too.
fn count_lines(path: &Path) -> anyhow::Result<u64> {
    let cannot = || format!("cannot read the store {}", path.display());
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).with_context(cannot)?);
    let mut lines = 1;
    loop {
        let buffer = reader.fill_buf().with_context(cannot)?;
        if buffer.is_empty() {
            return Ok(lines);
        }
        lines += buffer.iter().filter(|b| **b == b'\n').count() as u64;
        let used = buffer.len();
        reader.consume(used);
    }
}

/// Whether two paths are of one file that is there.
pub fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use crate::store::read;

    fn write(path: &Path, records: &[Record], tail: &str) {
        let lines: String = records.iter().map(|r| serde_json::to_string(r).expect("JSON") + "\n").collect();
        std::fs::write(path, lines + tail).expect("written");
    }

    #[test]
    fn every_result_is_there_once_however_often_stores_are_merged() {
        let dir = tempfile::tempdir().expect("a folder");
        let [one, two, all] = ["one", "two", "all"].map(|name| dir.path().join(name));
        let results: Vec<Record> = (0..40).map(|i| record(&format!("k{i}"), "8x8x8", &[f64::from(i) + 1.0])).collect();
        write(&one, &results[..25], "{\"torn");
        write(&two, &results[10..], "rubbish\n");
        for at_a_time in [1 << 20, 7] {
            let _ = std::fs::remove_file(&all);
            let merged = merge_by(&all, &[one.clone(), two.clone()], at_a_time).expect("merged");
            assert_eq!((merged.added, merged.known), (40, 15), "{at_a_time} at a time");
            assert_eq!(merged.unreadable.iter().map(|u| u.1.count).collect::<Vec<_>>(), [1, 1]);
            let mut found = read(&all).expect("contents").records;
            found.sort_by_key(|r| r.samples_ns()[0] as usize);
            assert_eq!(found, results);
            let again = merge_by(&all, &[two.clone(), one.clone()], at_a_time).expect("merged");
            assert_eq!((again.added, again.known), (0, 55));
        }
        assert!(merge(&all, std::slice::from_ref(&all)).unwrap_err().to_string().contains("into itself"));
        assert!(merge(&all, &[dir.path().join("none")]).is_err());
    }
}
