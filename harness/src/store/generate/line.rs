//! One generated result as text: what serialising the record would give, byte for byte, at the speed of a disk.

use super::GENERATED;
use super::fleet::{Candidate, Machine};
use crate::measure::statistics::Random;
use crate::space::Problem;
use crate::store::SCHEMA;
use kiln_profiles::schema::Tier;
use std::io::Write;

/// Samples of a result in full; odd, so that the median is one of them.
const SAMPLES: usize = 31;
/// Samples of one that was dropped.
const FEW: usize = 5;
/// Pairs of a comparison.
const PAIRS: usize = 20;

/// A line under construction.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// It, with its end.
    pub(super) text: Vec<u8>,
    /// Samples in hundredths of a nanosecond.
    samples: Vec<u64>,
    ratios: Vec<f64>,
}

/// What all results of a machine at a problem have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub machine: &'a Machine,
    pub problem: &'a Problem,
    /// The problem's shape as text.
    pub shape: &'a str,
    /// When, RFC 3339.
    pub time: &'a str,
    pub seed: u64,
}

/// What becomes of a candidate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Result<'a> {
    /// Timed in full, or dropped.
    Timed { dropped: bool },
    /// Compared with another, of that label and role, that takes so many nanoseconds.
    Paired { against: &'a str, role: &'a str, ns: f64 },
    /// A wrong answer.
    Invalid,
}

impl Line {
    /// Makes it the result of a candidate.
    pub(super) fn write(&mut self, place: &Place, candidate: &Candidate, result: Result, random: &mut Random) {
        self.text.clear();
        self.head(place, candidate);
        let hundredth = |random: &mut Random| random.below(10_000) as f64 / 10_000.0;
        self.float(r#","noise_floor":"#, 0.005 + hundredth(random) / 50.0);
        if !matches!(result, Result::Invalid) {
            self.float(r#","verification_error":"#, hundredth(random) / 2.0);
        }
        match result {
            Result::Timed { dropped } => self.timed(candidate.ns, dropped, random),
            Result::Paired { against, role, ns } => {
                self.strings(&[r#","result":"paired","against":""#, against, r#"","role":""#, role, r#"","pairs_ns":["#]);
                self.pairs(candidate.ns, ns, random);
            }
            Result::Invalid => self.strings(&[r#","result":"invalid","reason":"3 elements differ by more than the tolerance""#]),
        }
        self.text.extend_from_slice(b"}\n");
    }

    fn head(&mut self, Place { machine, problem, shape, time, seed }: &Place, candidate: &Candidate) {
        let meta = candidate.meta;
        self.number(r#"{"schema":"#, u64::from(SCHEMA));
        self.strings(&[
            r#","time":""#,
            time,
            r#"","machine":""#,
            &machine.key,
            r#"","compiler":""#,
            GENERATED,
            r#"","flags":""#,
            GENERATED,
        ]);
        self.number(", seed ", *seed);
        self.strings(&[r#"","tier":""#, Tier::Predicted.name(), r#"","kernel":""#, meta.name, r#"","fingerprint":""#]);
        self.hexadecimal(candidate.fingerprint);
        self.strings(&[r#"","op":""#, meta.op.name(), r#"","format":""#, meta.format.name(), r#"","isa":""#, meta.isa.name()]);
        self.strings(&[r#"","shape":""#, shape]);
        self.number(r#"","threads":"#, problem.threads as u64);
        self.number(r#","tile":["#, candidate.tile.0 as u64);
        self.number(",", candidate.tile.1 as u64);
        self.strings(&["]"]);
        if let Some(blocks) = candidate.blocking {
            self.number(r#","blocking":["#, blocks.0 as u64);
            self.number(",", blocks.1 as u64);
            self.number(",", blocks.2 as u64);
            self.strings(&["]"]);
        }
        if let Some(split) = candidate.split {
            self.number(r#","split":""#, split.rows as u64);
            self.number("x", split.cols as u64);
            self.strings(&["\""]);
        }
        if candidate.split_varied {
            self.strings(&[r#","split_varied":true"#]);
        }
        if let Some(spin) = candidate.spin {
            self.number(r#","spin":"#, u64::from(spin));
        }
        let truth = |it: bool| if it { "true" } else { "false" };
        self.strings(&[r#","packed":"#, truth(problem.packed), r#","operands":""#, problem.operands.name()]);
        self.strings(&[r#"","default":"#, truth(candidate.default), r#","page_bytes":4096,"huge_pages":"madvise""#]);
    }

    fn timed(&mut self, ns: f64, dropped: bool, random: &mut Random) {
        self.strings(&[r#","result":"timed","samples_ns":["#]);
        self.samples.clear();
        for i in 0..if dropped { FEW } else { SAMPLES } {
            let sample = hundredths(ns, random);
            self.samples.push(sample);
            self.decimal(if i == 0 { "" } else { "," }, sample);
        }
        let mut sorted = std::mem::take(&mut self.samples);
        sorted.sort_unstable();
        let (low, high) = interval(sorted.len());
        self.decimal(r#"],"median_ns":"#, sorted[sorted.len() / 2]);
        self.decimal(r#","ci_ns":["#, sorted[low]);
        self.decimal(",", sorted[high]);
        self.strings(&["]", if dropped { r#","dropped":"more than twice the time of the best""# } else { "" }]);
        self.samples = sorted;
    }

    fn pairs(&mut self, ns: f64, other_ns: f64, random: &mut Random) {
        let mut ratios = std::mem::take(&mut self.ratios);
        ratios.clear();
        for i in 0..PAIRS {
            let (one, other) = (hundredths(ns, random), hundredths(other_ns, random));
            self.decimal(if i == 0 { "[" } else { ",[" }, one);
            self.decimal(",", other);
            self.strings(&["]"]);
            ratios.push(one as f64 / other as f64);
        }
        ratios.sort_unstable_by(f64::total_cmp);
        let (low, high) = interval(ratios.len());
        self.float(r#"],"ratio":"#, (ratios[PAIRS / 2 - 1] + ratios[PAIRS / 2]) / 2.0);
        self.float(r#","ratio_ci":["#, ratios[low]);
        self.float(",", ratios[high]);
        self.strings(&["]"]);
        self.ratios = ratios;
    }

    fn strings(&mut self, all: &[&str]) {
        all.iter().for_each(|s| self.text.extend_from_slice(s.as_bytes()));
    }

    fn number(&mut self, before: &str, n: u64) {
        self.strings(&[before]);
        self.digits(n, 1);
    }

    /// A number of hundredths, as the shortest decimal that has a point.
    fn decimal(&mut self, before: &str, hundredths: u64) {
        self.number(before, hundredths / 100);
        self.text.push(b'.');
        match hundredths % 100 {
            tenths if tenths % 10 == 0 => self.digits(tenths / 10, 1),
            fraction => self.digits(fraction, 2),
        }
    }

    /// Decimal digits, with zeros before if there are fewer than `least`.
    fn digits(&mut self, mut n: u64, least: usize) {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        while n > 0 {
            at -= 1;
            digits[at] += (n % 10) as u8;
            n /= 10;
        }
        self.text.extend_from_slice(&digits[at.min(20 - least)..]);
    }

    fn hexadecimal(&mut self, n: u64) {
        self.text.extend((0..16).rev().map(|i| b"0123456789abcdef"[(n >> (4 * i)) as usize & 15]));
    }

    /// A number to six decimal places, which are read as what was written.
    fn float(&mut self, before: &str, x: f64) {
        self.strings(&[before]);
        // Writing to memory does not fail.
        let _ = write!(self.text, "{:?}", (x * 1e6).round() / 1e6);
    }
}

/// A sample of something that takes so long, in hundredths of a nanosecond: some noise, and now and then an interruption.
fn hundredths(ns: f64, random: &mut Random) -> u64 {
    let bits = random.bits();
    let part = |shift: u32| (bits >> shift & 0xffff) as f64 / 65536.0;
    let interruption = if bits >> 58 == 0 { 0.2 } else { 0.0 };
    (100.0 * ns * (1.0 + 0.02 * (part(0) + part(16) - 1.0) + interruption)).round() as u64
}

/// The ranks between which the median of the distribution lies with 95 %, from 0.
fn interval(n: usize) -> (usize, usize) {
    let low = (n as f64 / 2.0 - 0.98 * (n as f64).sqrt()).floor().max(0.0) as usize;
    (low, n - 1 - low)
}
