//! What is kept of one problem's results, however many there are: what ranking needs of them, and never more than so many.
//! Results stay as the lines that they came in; only what orders them, and what tells which of them counts, is held beside.

use super::counts::{self, Claim, hashed};
use super::{Outcome, Record};
use std::collections::HashSet;

/// Bytes that a kept line costs beside its text.
const OVERHEAD: usize = 160;

/// One result.
#[derive(Debug)]
struct Line {
    /// Its place among all results that were read.
    at: u64,
    text: Box<[u8]>,
    claim: Claim,
    is: Is,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    /// Something with a time, or with cycles: what it is ordered by, its kernel, and whether it is the default.
    Timed { cost: f64, kernel: u64, default: bool },
    /// A comparison.
    Pair,
    /// A wrong answer.
    Wrong,
}

impl Line {
    fn bytes(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// The results of one problem on one machine that are kept: those that [count](counts::which), and of them of those that were
/// timed the fastest `most`, and beyond them the fastest of every kernel and the fastest default; of comparisons in pairs and of
/// wrong answers the first `most`. So a problem never has more than 3·`most` results and one for each kernel that there is;
/// while it is filled it has at most `most` more.
///
/// What ranking says of them is what it would say of all, unless one that is slower than `most` others by its median is
/// faster in pairs, or more than `most` are wrong.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// In the order that they were read in.
    lines: Vec<Line>,
    /// Results at which what is not to be kept is left out again.
    trim_at: usize,
    bytes: usize,
    /// Results that count and were left out.
    pub(super) left: u64,
}

impl Kept {
    /// Takes a result with its line, the `at`-th of all.
    pub(super) fn add(&mut self, record: &Record, line: &[u8], at: u64, most: usize) {
        let is = match (&record.outcome, record.cost()) {
            (Outcome::Invalid { .. }, _) => Is::Wrong,
            (_, Some(cost)) => Is::Timed { cost, kernel: hashed(&record.config.kernel), default: record.default },
            _ => Is::Pair,
        };
        let line = Line { at, text: line.into(), claim: Claim::of(record), is };
        self.bytes += line.bytes();
        self.lines.push(line);
        if self.lines.len() > self.trim_at.max(2 * most) {
            self.trim(most);
        }
    }

    /// Leaves out what is not to be kept.
    pub(super) fn trim(&mut self, most: usize) {
        let mut counts = counts::which(self.lines.iter().map(|l| &l.claim)).into_iter();
        self.lines.retain(|_| counts.next() == Some(true));
        let all = self.lines.len();
        let slow = self.slow(most);
        let (mut pairs, mut wrong) = (0, 0);
        self.lines.retain(|line| match line.is {
            Is::Timed { .. } => !slow.contains(&line.at),
            Is::Pair => {
                pairs += 1;
                pairs <= most
            }
            Is::Wrong => {
                wrong += 1;
                wrong <= most
            }
        });
        self.left += (all - self.lines.len()) as u64;
        self.bytes = self.lines.iter().map(Line::bytes).sum();
        self.trim_at = self.lines.len() + most;
    }

    /// The places of those that are slower than the fastest `most`, but for the first of every kernel and the first default.
    fn slow(&self, most: usize) -> HashSet<u64> {
        let timed = |l: &Line| match l.is {
            Is::Timed { cost, kernel, default } => Some((cost, l.at, kernel, default)),
            Is::Pair | Is::Wrong => None,
        };
        let mut timed: Vec<(f64, u64, u64, bool)> = self.lines.iter().filter_map(timed).collect();
        timed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (mut kernels, mut defaults) = (HashSet::new(), 0);
        let slow = timed.into_iter().enumerate().filter(|(rank, (_, _, kernel, default))| {
            let first_of_kernel = kernels.insert(*kernel);
            defaults += usize::from(*default);
            *rank >= most && !first_of_kernel && !(*default && defaults == 1)
        });
        slow.map(|(_, (_, at, ..))| at).collect()
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Results that there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The lines in the order that they were read in, each with its place.
    pub(super) fn into_lines(self) -> impl Iterator<Item = (u64, Box<[u8]>)> {
        self.lines.into_iter().map(|l| (l.at, l.text))
    }
}
