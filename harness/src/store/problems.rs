//! A store problem by problem, in memory that does not grow with it.
//!
//! Results are gathered by machine and problem, and of each problem only [what ranking needs](Kept) is kept. Where that is
//! still more than the limit, what was gathered and all that comes goes into files, by a hash of machine and problem, which
//! are then read one by one in the same way. They lie in a folder of their own beside the store, or in TMPDIR if that is
//! set, and are gone at the end.

use super::kept::Kept;
use super::scan::scan_lines;
use super::{Record, Unreadable, scan_shown};
use crate::progress::Progress;
use crate::space::Problem;
use anyhow::Context;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Timed results of a problem: the fastest; beyond them the fastest of each kernel, and of the default. As many
    /// comparisons in pairs and as many wrong answers, the first ones.
    pub of_a_problem: usize,
    /// Problems that [`reduce`](super::reduce) keeps.
    pub problems: usize,
    /// Bytes of lines that are gathered at a time, and bytes of what [`reduce`](super::reduce) keeps. Memory is at most
    /// about three times that, whatever the store holds.
    pub bytes: usize,
}

/// Files that results are split over at a time.
const PARTS: u64 = 64;
/// Times that results are split at most: by then no two problems are in one file.
const DEEPEST: u32 = 10;
/// Bytes that a problem costs beside its results.
const OF_A_PROBLEM: usize = 512;

/// A machine's problem, and the tier of the results: what is measured is not held against what is predicted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Of {
    problem: Problem,
    machine: String,
    tier: &'static str,
}

impl Of {
    /// The file that it goes into when files of that depth are split.
    fn part(&self, depth: u32) -> usize {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        (hasher.finish() / PARTS.pow(depth) % PARTS) as usize
    }
}

/// What was seen on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Problems of machines, each once for every tier.
    pub problems: u64,
    /// Results that count and are not among what is kept of their problem.
    pub left: u64,
    /// What could not be read.
    pub unreadable: Unreadable,
}

/// Gives the results that are `wanted` to `each`, problem by problem, machine by machine and tier by tier, those of a problem
/// oldest first and as many as the [limits](Limits) keep. The problems come in their order, or in an arbitrary one if there are so
/// many results that they must be split. `wanted` sees every result once, in the order of the store; results of operations
/// that this build does not know are left aside.
///
/// # Errors
/// If the store cannot be read, or files cannot be written beside it; those of `each`.
pub fn each_problem(
    path: &Path,
    limits: &Limits,
    mut wanted: impl FnMut(&Record) -> bool,
    mut each: impl FnMut(Problem, Vec<Record>) -> anyhow::Result<()>,
) -> anyhow::Result<Walked> {
    walk(path, limits, &mut wanted, &mut |of, kept| {
        let records = kept.into_lines().map(|(_, line)| parse(&line));
        each(of.problem, records.collect::<anyhow::Result<_>>()?)
    })
}

/// Reads a line again.
pub(super) fn parse(line: &[u8]) -> anyhow::Result<Record> {
    serde_json::from_slice(line).context("a line that could be read before cannot be read again")
}

type Wanted<'a> = &'a mut dyn FnMut(&Record) -> bool;
type Each<'a> = &'a mut dyn FnMut(Of, Kept) -> anyhow::Result<()>;

pub(super) fn walk(path: &Path, limits: &Limits, wanted: Wanted, each: Each) -> anyhow::Result<Walked> {
    let mut walk = Walk { store: path, limits, at: 0, walked: Walked::default(), each };
    let mut gathering = Gathering::default();
    let scanned = scan_shown(path, |record, line| if wanted(&record) { walk.take(&mut gathering, &record, line) } else { Ok(()) })?;
    walk.finish(gathering)?;
    Ok(Walked { unreadable: scanned.unreadable, ..walk.walked })
}

struct Walk<'a> {
    store: &'a Path,
    limits: &'a Limits,
    /// Results taken so far.
    at: u64,
    walked: Walked,
    each: Each<'a>,
}

/// What was read of one file.
#[derive(Default)]
struct Gathering {
    depth: u32,
    problems: BTreeMap<Of, Kept>,
    bytes: usize,
    parts: Option<Parts>,
}

impl Walk<'_> {
    fn take(&mut self, gathering: &mut Gathering, record: &Record, line: &[u8]) -> anyhow::Result<()> {
        let Some(problem) = record.config.problem() else { return Ok(()) };
        let of = Of { problem, machine: record.machine.clone(), tier: record.tier.name() };
        self.at += 1;
        if let Some(parts) = &mut gathering.parts {
            return parts.write(of.part(gathering.depth), line);
        }
        if gathering.bytes > self.limits.bytes && !self.make_room(gathering)? {
            self.walked.left += 1;
            return Ok(());
        }
        if let Some(parts) = &mut gathering.parts {
            return parts.write(of.part(gathering.depth), line);
        }
        let kept = gathering.problems.entry(of).or_insert_with(|| {
            gathering.bytes += OF_A_PROBLEM;
            Kept::default()
        });
        gathering.bytes -= kept.bytes();
        kept.add(record, line, self.at, self.limits.of_a_problem);
        gathering.bytes += kept.bytes();
        Ok(())
    }

    /// Leaves out what need not be kept, and begins to split if that is not enough. Whether there is room now.
    fn make_room(&mut self, gathering: &mut Gathering) -> anyhow::Result<bool> {
        gathering.problems.values_mut().for_each(|kept| kept.trim(self.limits.of_a_problem));
        gathering.bytes = gathering.problems.values().map(|kept| kept.bytes() + OF_A_PROBLEM).sum();
        // Only where half is free again is it worth while to go on like this.
        if gathering.bytes <= self.limits.bytes / 2 {
            return Ok(true);
        }
        if gathering.problems.len() < 2 || gathering.depth >= DEEPEST {
            return Ok(gathering.bytes <= self.limits.bytes);
        }
        let mut parts = Parts::new(self.store)?;
        for (of, kept) in std::mem::take(&mut gathering.problems) {
            self.walked.left += kept.left;
            kept.into_lines().try_for_each(|(_, line)| parts.write(of.part(gathering.depth), &line))?;
        }
        gathering.bytes = 0;
        gathering.parts = Some(parts);
        Ok(true)
    }

    /// Hands over what was gathered, or reads the parts that it was split into.
    fn finish(&mut self, gathering: Gathering) -> anyhow::Result<()> {
        let Some(parts) = gathering.parts else {
            for (of, mut kept) in gathering.problems {
                kept.trim(self.limits.of_a_problem);
                self.walked.problems += 1;
                self.walked.left += kept.left;
                (self.each)(of, kept)?;
            }
            return Ok(());
        };
        let (dir, files) = parts.close()?;
        let progress = Progress::new(if gathering.depth == 0 { files.len() as u64 } else { 0 }, "reading them problem by problem");
        for path in files {
            let mut part = Gathering { depth: gathering.depth + 1, ..Gathering::default() };
            let cannot = || format!("cannot read {}", path.display());
            let file = File::open(&path).with_context(cannot)?;
            let all = scan_lines(BufReader::with_capacity(1 << 20, file), cannot, |record, line| self.take(&mut part, &record, line))?;
            anyhow::ensure!(all.unreadable.count == 0, "{} was changed by another program", path.display());
            self.finish(part)?;
            std::fs::remove_file(&path).with_context(cannot)?;
            if gathering.depth == 0 {
                progress.advance(1);
            }
        }
        drop(progress);
        dir.close().context("cannot remove a folder of temporary files")
    }
}

/// Files that results are split over.
struct Parts {
    dir: TempDir,
    files: BTreeMap<usize, BufWriter<File>>,
}

impl Parts {
    fn new(store: &Path) -> anyhow::Result<Parts> {
        let beside = store.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = std::env::var_os("TMPDIR").map_or_else(|| beside.to_owned(), PathBuf::from);
        let dir = tempfile::Builder::new().prefix(".kiln-parts-").tempdir_in(&folder);
        let dir = dir.with_context(|| {
            format!(
                "more results than fit into memory, and none can be put aside in {}: set TMPDIR to a folder with room",
                folder.display()
            )
        })?;
        Ok(Parts { dir, files: BTreeMap::new() })
    }

    fn write(&mut self, part: usize, line: &[u8]) -> anyhow::Result<()> {
        let dir = self.dir.path();
        let cannot = || format!("cannot put results aside in {}: set TMPDIR to a folder with room for the store", dir.display());
        let file = match self.files.entry(part) {
            Entry::Occupied(file) => file.into_mut(),
            Entry::Vacant(none) => {
                let file = File::create_new(dir.join(part.to_string())).with_context(cannot)?;
                none.insert(BufWriter::with_capacity(1 << 16, file))
            }
        };
        file.write_all(line).and_then(|()| file.write_all(b"\n")).with_context(cannot)
    }

    /// The folder and the files in it, all written.
    fn close(self) -> anyhow::Result<(TempDir, Vec<PathBuf>)> {
        let mut paths = Vec::new();
        for (part, mut file) in self.files {
            file.flush().with_context(|| format!("cannot put results aside in {}", self.dir.path().display()))?;
            paths.push(self.dir.path().join(part.to_string()));
        }
        Ok((self.dir, paths))
    }
}
