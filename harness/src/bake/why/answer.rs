//! The question and its answer, as data: what `--json` prints.

use crate::bake::Objective;
use crate::measure::statistics::Ratio;
use crate::space::{Shape, Temperature};
use crate::store::Config;
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_profiles::schema::{Choice, Class, Tier, When};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The operation.
    pub op: Op,
    /// The format of its operands.
    pub format: Format,
    /// The shape.
    pub shape: Shape,
    /// The profile's name; `None`: that of this CPU.
    pub cpu: Option<&'a str>,
    /// Threads whose results count; `None`: those that the choice was compared with.
    pub threads: Option<usize>,
    /// What the profile's choices are to make fast.
    pub objective: Objective,
    /// A store to go by instead of the evidence beside the profile.
    pub store: Option<&'a Path>,
    /// The folder of all profiles.
    pub root: &'a Path,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The profile's name.
    pub cpu: String,
    /// Its file.
    pub profile: PathBuf,
    /// When it was baked, RFC 3339; empty if it does not say.
    pub created: String,
    /// The key of the machine that it was tuned on; empty if none was needed.
    pub machine: String,
    /// Instruction sets that the choice's variant of the profile needs.
    pub isas: Vec<String>,
    /// The results that were gone by; `None`: there are none beside the profile.
    pub results: Option<PathBuf>,
    /// Operation, by name.
    pub op: String,
    /// Format, by name.
    pub format: String,
    /// The shape.
    pub shape: Shape,
    /// The class whose results the shape's would count for.
    pub class: Class,
    /// The choice that serves it, whose class is another where the profile ends few rows elsewhere.
    pub choice: Choice,
    /// The row of its table that holds the shape; `None`: the choice's own serve it.
    pub row: Option<RowAt>,
    /// What runs there: kernel, blocking, split and spin.
    pub runs: String,
    /// Whether the choice's sources are those of this build.
    pub sources: Sources,
    /// What decided the class, over all of its shapes; `None`: no result of it counts.
    pub over_class: Option<OverClass>,
    /// What the results say at that very shape; `None`: it was not measured.
    pub at_shape: Option<AtShape>,
    /// The nearest measured shapes, nearest first, where it was not.
    pub nearest: Vec<Near>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// A row of a choice's table.
#[derive(Clone, Debug, Serialize)]
pub struct RowAt {
    /// Its place, from 1.
    pub number: usize,
    /// Rows of the table; behind them the choice's own serve.
    pub rows: usize,
    /// The row.
    pub when: When,
}

/// A choice's sources beside those of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sources {
    /// They are the same.
    Same,
    /// They have changed since.
    Changed,
    /// This build has no such kernel.
    Gone,
    /// The choice was not measured, and names none.
    Unnamed,
}

/// A decision retold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The rule that settled it: `medians`, `pairs`, `predictions`, `mean`, `tie band` or `no-harm gate`.
    pub decided_by: &'static str,
    /// What each rule said, in the order that they are asked.
    pub steps: Vec<String>,
}

/// A ratio of times with its interval: 99 % of pairs at one shape, 95 % of all else.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The ratio.
    pub ratio: f64,
    /// Its interval, low end first.
    pub ci: (f64, f64),
}

impl From<Ratio> for Figure {
    fn from(Ratio { value, ci }: Ratio) -> Figure {
        Figure { ratio: value, ci }
    }
}

/// The decision of a class, gone through again.
#[derive(Clone, Debug, Serialize)]
pub struct OverClass {
    /// The shapes that counted, and the choice's time over the best one's at each; `None` where it was not measured.
    pub shapes: Vec<(Shape, Option<f64>)>,
    /// Whether these results lead to the profile's choice.
    pub agrees: bool,
    /// What they lead to: kernel, blocking, split and spin.
    pub winner: String,
    /// Time of the default over time of the winner; `None` if the default stays, or was not measured.
    pub gain: Option<Figure>,
    /// What decided.
    pub verdict: Verdict,
}

/// What results say at one shape.
#[derive(Clone, Debug, Serialize)]
pub struct AtShape {
    /// Threads.
    pub threads: usize,
    /// B was packed beforehand.
    pub packed: bool,
    /// Hot or cold operands.
    pub operands: Temperature,
    /// Who wins at this shape alone: a label; `None`: all gave wrong answers.
    pub winner: Option<String>,
    /// What decides there.
    pub verdict: Option<Verdict>,
    /// All that were timed or predicted, fastest first.
    pub candidates: Vec<Costed>,
    /// Comparisons in pairs.
    pub pairs: Vec<Compared>,
    /// Candidates that gave wrong answers.
    pub invalid: Vec<Wrong>,
}

/// A candidate and what a call of it takes, as it was measured or predicted.
#[derive(Clone, Debug, Serialize)]
pub struct Costed {
    /// Kernel and parameters.
    pub label: String,
    /// `choice`, `default`, `runner-up`, `winner here`: what it is beside a candidate.
    pub roles: Vec<&'static str>,
    /// What was run.
    pub config: Config,
    /// Where it comes from.
    pub tier: Tier,
    /// Median in nanoseconds per call, if it was timed.
    pub median_ns: Option<f64>,
    /// Its 95 % interval.
    pub ci_ns: Option<(f64, f64)>,
    /// Cycles of a call, if it was predicted.
    pub cycles: Option<f64>,
    /// Time or cycles over the lowest.
    pub over_best: f64,
    /// Why it was not measured in full.
    pub dropped: Option<String>,
    /// Whether its sources are those of this build.
    pub current: bool,
}

/// A comparison in pairs.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// One.
    pub label: String,
    /// The other.
    pub against: String,
    /// What the other was: `best`, `default` or `class`.
    pub role: String,
    /// Pairs; `None`: they were left out of the evidence, which keeps their ratio.
    pub pairs: Option<usize>,
    /// Processes that they come from.
    pub processes: usize,
    /// Time of the one over time of the other.
    pub time: Figure,
    /// `faster`, `slower` or `tie`.
    pub verdict: &'static str,
}

/// A candidate that gave a wrong answer.
#[derive(Clone, Debug, Serialize)]
pub struct Wrong {
    /// Kernel and parameters.
    pub label: String,
    /// What was wrong.
    pub reason: String,
}

/// A measured shape near the one that was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Near {
    /// The shape.
    pub shape: Shape,
    /// The class that it helped to decide.
    pub class: Class,
    /// Candidates that were timed or predicted.
    pub candidates: usize,
    /// Who wins there: a label.
    pub winner: String,
    /// The winner's median in nanoseconds per call, if it was timed.
    pub median_ns: Option<f64>,
    /// Its cycles of a call, if it was predicted.
    pub cycles: Option<f64>,
    /// What the profile has for it: kernel and parameters.
    pub choice: Option<String>,
}
