//! Results on disk: append-only JSON lines, one result a line.
//!
//! A line is written by one call and never changed again. A line that cannot be read (torn by a crash,
//! or of another schema) stays where it is, is counted and passed over; what is appended after it
//! starts on a line of its own. One sweep at a time holds the store. Lines reach the disk within a
//! second, at the latest when the store is closed; a killed process loses none that was written.

mod counts;
mod generate;
mod kept;
mod merge;
mod problems;
mod query;
mod record;
mod reduce;
mod scan;
mod shown;

pub use counts::counting;
pub use generate::{GENERATED, Generated, Options as GenerateOptions, generate};
pub use merge::{Merged, is_same, merge};
pub use problems::{Limits, Walked, each_problem};
pub use query::{Kind, Query};
pub use record::{Blocks, Config, Key, LEFT_BEHIND, Outcome, Record, SCHEMA, TIME_RAN_OUT, Thoroughness, UNSTEADY, shared};
pub use reduce::{Reduced, reduce};
pub use scan::{Scanned, Unreadable, scan};
pub use shown::scan_shown;

use anyhow::Context;
use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a store holds, or what was wanted of it.
#[derive(Debug, Default)]
pub struct Contents {
    /// The results, oldest first.
    pub records: Vec<Record>,
    /// Lines that could not be read.
    pub unreadable: Unreadable,
}

impl Contents {
    /// A line about what could not be read; `None` if all could.
    pub fn complaint(&self, path: &Path) -> Option<String> {
        self.unreadable.complaint(path)
    }
}

/// Reads a store without holding it.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> anyhow::Result<Contents> {
    let mut records = Vec::new();
    let scanned = scan(path, |record, _| {
        records.push(record);
        Ok(())
    })?;
    Ok(Contents { records, unreadable: scanned.unreadable })
}

/// A store that is held for appending.
pub struct Store {
    lines: Appender,
    /// Those of the results that are wanted, in 128 bits.
    keys: HashSet<u128>,
}

impl Store {
    /// Opens a store, makes it if need be, and takes hold of it until it is dropped. Of what it holds only the results that
    /// are `wanted` are kept and known by their keys, so that its size does not matter: nothing else may be asked for or
    /// appended.
    ///
    /// # Errors
    /// If it cannot be written, or another process holds it.
    pub fn open(path: &Path, mut wanted: impl FnMut(&Record) -> bool) -> anyhow::Result<(Store, Contents)> {
        let lines = Appender::open(path)?;
        let mut records = Vec::new();
        let scanned = scan_shown(path, |record, _| {
            if wanted(&record) {
                records.push(record);
            }
            Ok(())
        })?;
        let keys = records.iter().map(|r| r.key().hashed()).collect();
        Ok((Store { lines, keys }, Contents { records, unreadable: scanned.unreadable }))
    }

    /// Whether a result of that key is there.
    pub fn has(&self, key: &Key) -> bool {
        self.keys.contains(&key.hashed())
    }

    /// Appends a result, by one write.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append(&mut self, record: &Record) -> anyhow::Result<()> {
        self.lines.append_line(&serde_json::to_vec(record).context("a result cannot be written as JSON")?)?;
        self.keys.insert(record.key().hashed());
        Ok(())
    }
}

/// The end of a store, which this process alone may write to.
struct Appender {
    path: PathBuf,
    file: File,
    /// The next line must first end the torn one before it.
    torn: bool,
    unsynced: Option<Instant>,
}

/// Lines may stay with the system alone for this long.
const SYNC_AFTER: Duration = Duration::from_secs(1);

impl Appender {
    /// Opens a store, makes it if need be, and takes hold of it until it is dropped.
    fn open(path: &Path) -> anyhow::Result<Appender> {
        let cannot = || format!("cannot write the store {}", path.display());
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).with_context(cannot)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!("the store {} is in use by another sweep: wait for it, or give another --store", path.display())
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0)).with_context(cannot)? > 0 {
            file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).with_context(cannot)?;
        }
        Ok(Appender { path: path.to_owned(), file, torn: last != [b'\n'], unsynced: None })
    }

    /// Appends a line, to which its end is added, by one write.
    fn append_line(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let whole = [if self.torn { &b"\n"[..] } else { b"" }, line, b"\n"].concat();
        let written = self.file.write(&whole).with_context(|| format!("cannot write the store {}", self.path.display()))?;
        if written < whole.len() {
            // The disk is full: the rest of the line may never fit, so the next one must not join it.
            self.torn = true;
            anyhow::bail!("cannot write the store {}: no room for a whole line", self.path.display());
        }
        self.torn = false;
        let since = *self.unsynced.get_or_insert_with(Instant::now);
        if since.elapsed() >= SYNC_AFTER {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> anyhow::Result<()> {
        self.unsynced = None;
        self.file.sync_data().with_context(|| format!("cannot write the store {}", self.path.display()))
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        if self.unsynced.is_some() {
            let _ = self.sync();
        }
    }
}

/// This moment, RFC 3339 in UTC, to the second.
pub fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::space::Temperature;
    use kiln_profiles::schema::Tier;

    /// A timed result of `kernel` at `shape`.
    pub(crate) fn record(kernel: &str, shape: &str, samples: &[f64]) -> Record {
        let rows = !shape.matches('x').count().eq(&2);
        Record {
            schema: SCHEMA,
            time: now(),
            machine: "x86_64/AuthenticAMD/25/1/1/l1d32K/avx2".into(),
            compiler: "rustc".into(),
            flags: "opt-level=3".into(),
            tier: Tier::Measured,
            config: Config {
                kernel: kernel.into(),
                fingerprint: "00".into(),
                op: if rows { "rms_norm" } else { "gemm" }.into(),
                format: "f32".into(),
                isa: "avx2".into(),
                shape: shape.parse().expect("a shape"),
                threads: 1,
                tile: if rows { (0, 0) } else { (6, 16) },
                blocking: (!rows).then_some(Blocks(256, 252, 1024, Default::default())),
                split: None,
                split_varied: false,
                spin: None,
                packed: !rows,
                operands: Temperature::Hot,
            },
            default: false,
            page_bytes: 4096,
            huge_pages: Some("madvise".into()),
            noise_floor: 0.01,
            forced: false,
            effort: None,
            verification_error: Some(0.5),
            outcome: Outcome::timed(samples, None).expect("samples"),
        }
    }

    fn parse(text: &str) -> Contents {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("store.jsonl");
        std::fs::write(&path, text).expect("written");
        read(&path).expect("contents")
    }

    #[test]
    fn what_is_appended_is_read_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("deep/store.jsonl");
        let (one, two) = (record("a", "8x8x8", &[1.0, 2.0]), record("b", "4x4", &[3.0]));
        let (mut store, contents) = Store::open(&path, |_| true).expect("a store");
        assert!(contents.records.is_empty());
        store.append(&one).expect("append");
        store.append(&two).expect("append");
        assert!(store.has(&one.key()) && !store.has(&record("c", "4x4", &[3.0]).key()));
        drop(store);
        assert_eq!(read(&path).expect("contents").records, [one, two]);
    }

    #[test]
    fn only_what_is_wanted_is_kept_of_a_store_and_what_cannot_be_read_is_told_all_the_same() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("store.jsonl");
        let (one, two) = (record("a", "8x8x8", &[1.0]), record("b", "4x4x4", &[2.0]));
        let line = |r: &Record| serde_json::to_string(r).expect("JSON");
        std::fs::write(&path, format!("{}\nrubbish\n{}\n", line(&one), line(&two))).expect("written");
        let mut seen = 0;
        let wanted = |r: &Record| {
            seen += 1;
            r.config.shape == two.config.shape
        };
        let (mut store, contents) = Store::open(&path, wanted).expect("a store");
        assert_eq!((contents.records.as_slice(), contents.unreadable.count, seen), (std::slice::from_ref(&two), 1, 2));
        assert!(store.has(&two.key()) && !store.has(&one.key()));
        store.append(&record("c", "4x4x4", &[3.0])).expect("append");
        drop(store);
        assert_eq!(read(&path).expect("contents").records.len(), 3);
    }

    #[test]
    fn lines_name_split_and_spin_and_older_ones_without_them_are_read() {
        let old = record("a", "8x8x8", &[1.0]);
        let line = serde_json::to_string(&old).expect("JSON");
        assert!(!line.contains("split") && !line.contains("spin"), "{line}");
        let mut new = old.clone();
        (new.config.threads, new.config.split, new.config.split_varied, new.config.spin) = (2, "2x1".parse().ok(), true, Some(0));
        let text = format!("{line}\n{}\n", serde_json::to_string(&new).expect("JSON"));
        assert!(text.contains(r#""split":"2x1""#) && text.contains(r#""spin":0"#), "{text}");
        assert_eq!(parse(&text).records, [old, new.clone()]);
        assert_eq!(new.config.label(), "a kc 256 mc 252 nc 1024 split 2x1 spin 0");
    }

    #[test]
    fn a_torn_last_line_is_left_aside_wherever_it_was_torn() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("store.jsonl");
        let (one, two, three) = (record("a", "8x8x8", &[1.0]), record("b", "8x8x8", &[2.0]), record("c", "8x8x8", &[3.0]));
        let first = serde_json::to_string(&one).expect("JSON") + "\n";
        let second = serde_json::to_string(&two).expect("JSON");
        for cut in [1, second.len() / 2, second.len() - 1, second.len()] {
            std::fs::write(&path, format!("{first}{}", &second[..cut])).expect("written");
            let whole = cut == second.len();
            let (mut store, contents) = Store::open(&path, |_| true).expect("a store");
            assert_eq!((contents.records.len(), contents.unreadable.count), if whole { (2, 0) } else { (1, 1) });
            assert_eq!(contents.complaint(&path).is_some(), !whole);
            store.append(&three).expect("append");
            drop(store);
            let after = read(&path).expect("contents");
            assert_eq!(after.records.last(), Some(&three), "cut at {cut}");
            assert_eq!(after.unreadable.count, usize::from(!whole));
        }
    }

    #[test]
    fn two_cannot_hold_it_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("store.jsonl");
        let held = Store::open(&path, |_| true).expect("a store");
        let error = Store::open(&path, |_| true).err().expect("held").to_string();
        assert!(error.contains("in use"), "{error}");
        drop(held);
        assert!(Store::open(&path, |_| true).is_ok());
    }

    #[test]
    fn a_line_without_measure_is_passed_over_in_little_memory() {
        let line = serde_json::to_string(&record("a", "8x8x8", &[1.0])).expect("JSON");
        let endless = "x".repeat((16 << 20) + 5);
        for (text, records) in [(format!("{line}\n{endless}\n{line}\n"), 2), (format!("{line}\n{endless}"), 1)] {
            let contents = parse(&text);
            assert_eq!((contents.records.len(), contents.unreadable.count), (records, 1));
        }
    }

    #[test]
    fn other_schemas_and_rubbish_are_counted() {
        let mut other = record("a", "8x8x8", &[1.0]);
        other.schema = 99;
        let text = format!("{}\nrubbish\n\n\u{1F525}\n", serde_json::to_string(&other).expect("JSON"));
        let contents = parse(&text);
        assert_eq!((contents.records.len(), contents.unreadable.count), (0, 3));
        assert!(contents.unreadable.first.as_ref().is_some_and(|(line, why)| *line == 1 && why.contains("schema 99")));
        let error = contents.complaint(Path::new("s")).expect("a complaint");
        assert!(error.contains("3 line") && !error.contains('\n'), "{error}");
    }
}
