//! One line of a store: a result with everything that is needed to judge it later.

use crate::filter;
use crate::measure::clock::Effort;
use crate::measure::statistics::{self, Ratio};
use crate::space::{Candidate, Problem, Shape, Temperature};
use kiln_kernels::registry::Op;
use kiln_profiles::schema::{BlockSizes, Order, Parts, Tier};
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The version of the lines that this build writes and reads.
pub const SCHEMA: u32 = 1;

/// What was run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Config {
    /// The kernel's name.
    pub kernel: String,
    /// Fingerprint of its sources, 16 hexadecimal digits.
    pub fingerprint: String,
    /// The operation's name.
    pub op: String,
    /// The name of its operands' format.
    pub format: String,
    /// The instruction set's name.
    pub isa: String,
    /// The shape.
    pub shape: Shape,
    /// Threads.
    pub threads: usize,
    /// Rows and columns of its tile in elements; zeros for kernels without one.
    pub tile: (usize, usize),
    /// KC, MC and NC, for matrix products.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub blocking: Option<Blocks>,
    /// How it was shared out, for matrix products on several threads; older results are of the computed split.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub split: Option<Parts>,
    /// That split is not the one computed for the shape.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub split_varied: bool,
    /// Turns that threads spun for between calls, for matrix products on several; older results are of the usual.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spin: Option<u32>,
    /// B was packed beforehand.
    pub packed: bool,
    /// Hot or cold operands.
    pub operands: Temperature,
}

/// KC, MC and NC in elements, and the order of loops if it is not the usual one, as a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blocks(pub usize, pub usize, pub usize, #[serde(default, skip_serializing_if = "Order::is_usual")] pub Order);

impl From<BlockSizes> for Blocks {
    fn from(b: BlockSizes) -> Blocks {
        Blocks(b.kc, b.mc, b.nc, b.order)
    }
}

impl From<Blocks> for BlockSizes {
    fn from(Blocks(kc, mc, nc, order): Blocks) -> BlockSizes {
        BlockSizes { kc, mc, nc, order }
    }
}

impl Config {
    /// What running a candidate on a problem is.
    pub fn new(problem: &Problem, candidate: &Candidate) -> Config {
        let meta = candidate.entry.meta;
        Config {
            kernel: meta.name.into(),
            fingerprint: format!("{:016x}", meta.fingerprint),
            op: meta.op.name().into(),
            format: meta.format.name().into(),
            isa: meta.isa.name().into(),
            shape: problem.shape,
            threads: problem.threads,
            tile: candidate.tile,
            blocking: candidate.blocking.map(|b| BlockSizes::from(b).into()),
            split: candidate.split.map(Into::into),
            split_varied: candidate.split_varied,
            spin: candidate.spin,
            packed: problem.packed,
            operands: problem.operands,
        }
    }

    /// The problem that it solves. `None` if this build does not know the operation.
    pub fn problem(&self) -> Option<Problem> {
        let op: Op = self.op.parse().ok()?;
        let format = filter::format(&self.format).ok()?;
        Some(Problem { op, format, shape: self.shape, packed: self.packed, threads: self.threads, operands: self.operands })
    }

    /// The kernel and its parameters in a few words.
    pub fn label(&self) -> String {
        let mut label = self.kernel.clone();
        if let Some(blocks) = self.blocking {
            label += &format!(" {}", BlockSizes::from(blocks));
        }
        label + &shared(self.split, self.spin)
    }
}

/// A split and a wait policy as labels have them, with a space before each.
pub fn shared(split: Option<Parts>, spin: Option<u32>) -> String {
    split.map(|s| format!(" split {s}")).unwrap_or_default() + &spin.map(|s| format!(" spin {s}")).unwrap_or_default()
}

/// How thoroughly something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thoroughness {
    /// For a first look.
    Quick,
    /// For results that are kept.
    Full,
}

impl Thoroughness {
    /// That of an effort: a quick look takes fewer samples than [`Effort::FULL`].
    pub fn of(effort: &Effort) -> Thoroughness {
        if effort.samples < Effort::FULL.samples { Thoroughness::Quick } else { Thoroughness::Full }
    }

    /// `quick` or `full`.
    pub fn name(self) -> &'static str {
        match self {
            Thoroughness::Quick => "quick",
            Thoroughness::Full => "full",
        }
    }
}

/// How the reason ends why a candidate was not measured in full that successive halving left behind.
pub const LEFT_BEHIND: &str = "not in the fastest third";
/// Why a candidate was not measured in full, where more time would have done it…
pub const TIME_RAN_OUT: &str = "time ran out";
/// …and why what was measured may be off.
pub const UNSTEADY: &str = "the machine changed while it was measured, every time";

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// It was timed.
    Timed {
        /// Nanoseconds per call, each the mean over one sample's calls.
        samples_ns: Vec<f64>,
        /// Their median.
        median_ns: f64,
        /// The median's 95 % interval.
        ci_ns: (f64, f64),
        /// Why it was not measured in full, if it was not.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        dropped: Option<String>,
        /// Times as slow as when its problem was begun, if the machine was another by then: samples are as they were taken, and
        /// candidates are ordered by what they would have been.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        drift: Option<f64>,
    },
    /// It was compared with another one in ABBA pairs.
    Paired {
        /// The other one: its label.
        against: String,
        /// The fingerprint of the other one's sources, as [`Config::fingerprint`]; older results do not say.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        against_fingerprint: Option<String>,
        /// The other one's role: `best` or `default`.
        role: String,
        /// Nanoseconds per call: this one, the other one; each pair at a place in memory of its own.
        pairs_ns: Vec<(f64, f64)>,
        /// Processes that they come from, as many from each, one after another.
        #[serde(skip_serializing_if = "is_one", default = "one")]
        processes: usize,
        /// Time of this one over time of the other.
        ratio: f64,
        /// Its 99 % interval.
        ratio_ci: (f64, f64),
    },
    /// It was predicted for a CPU that is not here.
    Predicted {
        /// Cycles of one call.
        cycles: f64,
        /// What takes most of them.
        limit: String,
    },
    /// It gave a wrong answer, or a process died of it: it does not count, whatever it took at other times.
    Invalid {
        /// What was wrong.
        reason: String,
    },
}

fn one() -> usize {
    1
}

fn is_one(processes: &usize) -> bool {
    *processes == 1
}

/// A result with its provenance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The machine's key.
    pub machine: String,
    /// The compiler's version.
    pub compiler: String,
    /// Its flags.
    pub flags: String,
    /// Where the figures come from.
    pub tier: Tier,
    /// What was run.
    #[serde(flatten)]
    pub config: Config,
    /// It is what an untuned build would run.
    #[serde(default)]
    pub default: bool,
    /// Bytes in a page.
    pub page_bytes: usize,
    /// The system's mode of transparent huge pages, which large operands ask for; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub huge_pages: Option<String>,
    /// What this session cannot tell from no difference, as a fraction.
    pub noise_floor: f64,
    /// That was more than results should be recorded with, and they were all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub forced: bool,
    /// How thoroughly it was measured; older results, and what nobody measured, do not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub effort: Option<Thoroughness>,
    /// The largest error of its verification as a fraction of the tolerance; absent if it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verification_error: Option<f64>,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What results are found again by: machine, compiler and flags, configuration (the kernel's fingerprint with it), what came
/// of it, with the opponent of a comparison, and the moment of what the clock told, since what is measured again is another
/// result. [Which of them counts](super::counting) is another question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    machine: String,
    build: (String, String),
    config: Config,
    what: String,
    time: Option<String>,
}

impl Key {
    /// It in 128 bits, in which no two of any number of results that can be stored are alike; the same within one process.
    pub fn hashed(&self) -> u128 {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, self).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        half(0) << 64 | half(1)
    }
}

impl Record {
    /// What it is found again by.
    pub fn key(&self) -> Key {
        let (what, clock) = match &self.outcome {
            // What halving left behind may be measured in full within the same second.
            Outcome::Timed { dropped, .. } => (format!("timed {}", dropped.as_deref().unwrap_or_default()), true),
            Outcome::Paired { against, role, .. } => (format!("{role} {against}"), true),
            // Another model, or a kernel that was verified since, makes it another prediction.
            Outcome::Predicted { cycles, .. } => (format!("predicted {cycles} {}", self.verification_error.is_some()), false),
            Outcome::Invalid { .. } => ("invalid".into(), false),
        };
        let build = (self.compiler.clone(), self.flags.clone());
        Key { machine: self.machine.clone(), build, config: self.config.clone(), what, time: clock.then(|| self.time.clone()) }
    }

    /// How thoroughly it was measured. An older result that does not say is of a quick look if it has fewer samples than a full
    /// measurement, although it was measured to the end.
    pub fn thoroughness(&self) -> Thoroughness {
        let few = match &self.outcome {
            Outcome::Timed { samples_ns, dropped: None, .. } => (1..Effort::FULL.samples).contains(&samples_ns.len()),
            _ => false,
        };
        self.effort.unwrap_or(if few { Thoroughness::Quick } else { Thoroughness::Full })
    }

    /// Whether time ran out before it was measured to the end.
    pub fn was_cut_short(&self) -> bool {
        matches!(&self.outcome, Outcome::Timed { dropped: Some(why), .. } if why == TIME_RAN_OUT)
    }

    /// Whether successive halving left it behind, on fewer samples than a full measurement has.
    pub fn was_halved(&self) -> bool {
        matches!(&self.outcome, Outcome::Timed { dropped: Some(why), .. } if why.ends_with(LEFT_BEHIND))
    }

    /// Whether it was measured in full, or predicted.
    pub fn is_whole(&self) -> bool {
        matches!(&self.outcome, Outcome::Timed { dropped: None, .. } | Outcome::Predicted { .. })
    }

    /// Whether the machine never stood still while it was measured.
    pub fn was_unsteady(&self) -> bool {
        matches!(&self.outcome, Outcome::Timed { dropped: Some(why), .. } if why == UNSTEADY)
    }

    /// The median in nanoseconds per call, and its interval, if it was timed.
    pub fn median_ns(&self) -> Option<(f64, (f64, f64))> {
        match &self.outcome {
            Outcome::Timed { median_ns, ci_ns, .. } => Some((*median_ns, *ci_ns)),
            _ => None,
        }
    }

    /// What candidates of one tier are ordered by: the median in nanoseconds on the machine as it was when the problem was begun,
    /// or the cycles that were predicted. `None` unless it was timed or predicted.
    pub fn cost(&self) -> Option<f64> {
        match &self.outcome {
            Outcome::Timed { median_ns, drift, .. } => Some(median_ns / drift.unwrap_or(1.0)),
            Outcome::Predicted { cycles, .. } => Some(*cycles),
            _ => None,
        }
    }

    /// The samples of that, as they were taken: a prediction is one.
    pub fn costs(&self) -> &[f64] {
        match &self.outcome {
            Outcome::Timed { samples_ns, .. } => samples_ns,
            Outcome::Predicted { cycles, .. } => std::slice::from_ref(cycles),
            _ => &[],
        }
    }

    /// The samples in nanoseconds per call on the machine as it was when the problem was begun; empty unless it was timed.
    pub fn level_ns(&self) -> Vec<f64> {
        let drift = match &self.outcome {
            Outcome::Timed { drift, .. } => drift.unwrap_or(1.0),
            _ => 1.0,
        };
        self.samples_ns().iter().map(|ns| ns / drift).collect()
    }

    /// The samples in nanoseconds per call, as they were taken; empty unless it was timed.
    pub fn samples_ns(&self) -> &[f64] {
        match &self.outcome {
            Outcome::Timed { samples_ns, .. } => samples_ns,
            _ => &[],
        }
    }
}

impl Outcome {
    /// Of samples in nanoseconds per call. `None` of nothing.
    pub fn timed(samples: &[f64], dropped: Option<String>) -> Option<Outcome> {
        let samples_ns: Vec<f64> = samples.iter().map(|s| rounded(*s)).collect();
        let (median_ns, ci_ns) = (statistics::median(&samples_ns)?, statistics::median_ci(&samples_ns)?);
        Some(Outcome::Timed { samples_ns, median_ns, ci_ns, dropped, drift: None })
    }

    /// It, taken while the machine was so many times as slow as when its problem was begun; 1 is not said.
    pub fn drifted(mut self, times: f64) -> Outcome {
        if let Outcome::Timed { drift, .. } = &mut self {
            *drift = Some(times).filter(|times| *times != 1.0);
        }
        self
    }

    /// It, with the fingerprint of the opponent's sources if it is a comparison.
    pub fn with(mut self, opponent: &Config) -> Outcome {
        if let Outcome::Paired { against_fingerprint, .. } = &mut self {
            *against_fingerprint = Some(opponent.fingerprint.clone());
        }
        self
    }

    /// Of pairs in nanoseconds per call, from so many processes. `None` of nothing.
    pub fn paired(against: String, role: &str, pairs: &[(f64, f64)], processes: usize) -> Option<Outcome> {
        let Ratio { value, ci } = statistics::signed_rank_ratio(pairs)?;
        let pairs_ns = pairs.iter().map(|(a, b)| (rounded(*a), rounded(*b))).collect();
        Some(Outcome::Paired { against, against_fingerprint: None, role: role.into(), pairs_ns, processes, ratio: value, ratio_ci: ci })
    }
}

/// To hundredths of a nanosecond: less is noise, and digits cost space.
fn rounded(ns: f64) -> f64 {
    (ns * 100.0).round() / 100.0
}
