//! What is kept of one problem's results, however many there are: what ranking needs of them, and never more than so many.
//! Results stay as the lines that they came in; only what orders them is held beside.

use super::{Outcome, Record};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Bytes that a kept line costs beside its text.
const OVERHEAD: usize = 96;

/// One result.
#[derive(Debug)]
struct Line {
    /// Its place among all results that were read.
    at: u64,
    text: Box<[u8]>,
}

impl Line {
    fn bytes(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// A timed one.
#[derive(Debug)]
struct Timed {
    line: Line,
    /// What it is ordered by.
    cost: f64,
    kernel: u64,
    default: bool,
}

/// The results of one problem on one machine that are kept: of those that were timed the fastest `most`, and beyond them
/// the fastest of every kernel and the fastest default; of comparisons in pairs and of wrong answers the first `most`, each
/// comparison once. So a problem never has more than 3·`most` results and one for each kernel that there is; while it is
/// filled it has at most `most` more.
///
/// What ranking says of them is what it would say of all, unless one that is slower than `most` others by its median is
/// faster in pairs.
#[derive(Debug, Default)]
pub(super) struct Kept {
    timed: Vec<Timed>,
    pairs: Vec<Line>,
    compared: HashSet<u128>,
    invalid: Vec<Line>,
    /// Timed results at which the slow ones are left out again.
    trim_at: usize,
    bytes: usize,
    /// Results that were left out.
    pub(super) left: u64,
}

impl Kept {
    /// Takes a result with its line, the `at`-th of all.
    pub(super) fn add(&mut self, record: &Record, line: &[u8], at: u64, most: usize) {
        let line = Line { at, text: line.into() };
        let bytes = line.bytes();
        match &record.outcome {
            Outcome::Timed { median_ns: cost, .. } | Outcome::Predicted { cycles: cost, .. } => {
                let kernel = hashed(&record.config.kernel);
                self.timed.push(Timed { line, cost: *cost, kernel, default: record.default });
                self.bytes += bytes;
                if self.timed.len() > self.trim_at.max(2 * most) {
                    self.trim(most);
                }
            }
            Outcome::Paired { .. } if self.compared.contains(&record.key().hashed()) => self.left += 1,
            Outcome::Paired { .. } if self.pairs.len() < most => {
                self.compared.insert(record.key().hashed());
                self.pairs.push(line);
                self.bytes += bytes;
            }
            Outcome::Invalid { .. } if self.invalid.len() < most => {
                self.invalid.push(line);
                self.bytes += bytes;
            }
            Outcome::Paired { .. } | Outcome::Invalid { .. } => self.left += 1,
        }
    }

    /// Leaves out what is not to be kept.
    pub(super) fn trim(&mut self, most: usize) {
        if self.timed.len() > most {
            self.timed.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.line.at.cmp(&b.line.at)));
            let (mut kernels, mut default, mut rank) = (HashSet::new(), false, 0);
            let all = self.timed.len();
            self.timed.retain(|t| {
                rank += 1;
                let first_of_kernel = kernels.insert(t.kernel);
                let first_default = t.default && !default;
                default |= t.default;
                rank <= most || first_of_kernel || first_default
            });
            self.left += (all - self.timed.len()) as u64;
            let lines = self.timed.iter().map(|t| &t.line).chain(&self.pairs).chain(&self.invalid);
            self.bytes = lines.map(Line::bytes).sum();
        }
        self.trim_at = self.timed.len() + most;
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Results that there are.
    pub(super) fn len(&self) -> usize {
        self.timed.len() + self.pairs.len() + self.invalid.len()
    }

    /// The lines in the order that they were read in, each with its place.
    pub(super) fn into_lines(self) -> impl Iterator<Item = (u64, Box<[u8]>)> {
        let mut lines: Vec<Line> = self.timed.into_iter().map(|t| t.line).chain(self.pairs).chain(self.invalid).collect();
        lines.sort_by_key(|l| l.at);
        lines.into_iter().map(|l| (l.at, l.text))
    }
}

fn hashed(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
