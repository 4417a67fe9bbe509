//! What results belong together outside of Kiln: those of one problem, on one machine, of one tier. A document of other
//! tools is about one such group, because what it holds may be ranked.

use crate::filter;
use crate::space::{Shape, Temperature};
use crate::store::{Config, Record};
use anyhow::{Context, ensure};
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_profiles::schema::Tier;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A problem on a machine, and where its figures come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Group {
    /// The operation's name.
    pub op: String,
    /// The name of its operands' format.
    pub format: String,
    /// The shape.
    pub shape: Shape,
    /// Threads.
    pub threads: usize,
    /// B was packed beforehand.
    pub packed: bool,
    /// Hot or cold operands.
    pub operands: Temperature,
    /// The machine's key.
    pub machine: String,
    /// Where the figures come from.
    pub tier: Tier,
}

impl Group {
    /// The group of a result.
    pub fn of(record: &Record) -> Group {
        let Config { op, format, shape, threads, packed, operands, .. } = record.config.clone();
        Group { op, format, shape, threads, packed, operands, machine: record.machine.clone(), tier: record.tier }
    }

    /// Whether results of it have a blocking, a split and a wait policy.
    pub fn is_product(&self) -> bool {
        matches!(self.shape, Shape::Product { .. })
    }

    /// The beginning of its file's name: the problem, of letters, digits, `_` and `-`.
    fn stem(&self) -> String {
        let Group { op, format, shape, threads, .. } = self;
        let packed = if self.packed { "-packed" } else { "" };
        let name = format!("{op}-{format}-{shape}-{threads}t{packed}-{}", self.operands.name());
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' }).take(120).collect()
    }

    /// A file name for each group, ending in `.{kind}.json`; of several that differ by machine or tier alone the later ones
    /// are numbered.
    pub fn file_names<'a>(groups: impl Iterator<Item = &'a Group>, kind: &str) -> Vec<String> {
        let mut used: BTreeMap<String, usize> = BTreeMap::new();
        let one = |group: &Group| {
            let stem = group.stem();
            let count = used.entry(stem.clone()).or_default();
            *count += 1;
            let number = if *count > 1 { format!(".{count}") } else { String::new() };
            format!("{stem}{number}.{kind}.json")
        };
        groups.map(one).collect()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Group { op, format, shape, threads, machine, tier, .. } = self;
        let packed = if self.packed { "packed" } else { "not packed" };
        write!(f, "{op} {format} {shape}, {threads} threads, {packed}, {}, {tier} on {machine}", self.operands.name())
    }
}

/// Which results are meant; what is not given means all.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Wanted {
    /// Operations, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "OP")]
    pub op: Vec<Op>,
    /// Formats of operands, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "FORMAT", value_parser = filter::format)]
    pub operand_format: Vec<Format>,
    /// Shapes as results have them, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "MxNxK,…")]
    pub shape: Vec<Shape>,
    /// Numbers of threads, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "N")]
    pub threads: Vec<usize>,
    /// Whether B was packed beforehand [default: either]
    #[arg(long, value_name = "true|false")]
    pub packed: Option<bool>,
    /// Hot or cold operands [default: either]
    #[arg(long)]
    pub operands: Option<Temperature>,
    /// A machine by its whole key [default: all]
    #[arg(long, value_name = "KEY")]
    pub machine: Option<String>,
    /// Where figures come from: measured, counted or predicted [default: all]
    #[arg(long, value_parser = tier)]
    pub tier: Option<Tier>,
}

fn tier(name: &str) -> Result<Tier, String> {
    let all = [Tier::Measured, Tier::Counted, Tier::Predicted];
    all.into_iter().find(|t| t.name() == name).ok_or_else(|| "known are measured, counted and predicted".into())
}

impl Wanted {
    /// Whether a result is meant.
    pub fn takes(&self, record: &Record) -> bool {
        fn among<T>(list: &[T], is: impl Fn(&T) -> bool) -> bool {
            list.is_empty() || list.iter().any(is)
        }
        let config = &record.config;
        among(&self.op, |op| op.name() == config.op)
            && among(&self.operand_format, |format| format.name() == config.format)
            && among(&self.shape, |shape| *shape == config.shape)
            && among(&self.threads, |threads| *threads == config.threads)
            && self.packed.is_none_or(|packed| packed == config.packed)
            && self.operands.is_none_or(|operands| operands == config.operands)
            && self.machine.as_ref().is_none_or(|machine| *machine == record.machine)
            && self.tier.is_none_or(|tier| tier == record.tier)
    }
}

/// What a group has in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Results that are timed or were found to be wrong.
    pub results: u64,
    /// Comparisons in pairs.
    pub comparisons: u64,
}

/// The group of all that were found, which must be one.
///
/// # Errors
/// If there are several; the message says in what they differ.
pub fn the_only(groups: &BTreeMap<Group, Count>) -> anyhow::Result<Group> {
    let all = || groups.keys();
    let values = |of: fn(&Group) -> String| all().map(of).collect::<BTreeSet<_>>().len();
    let differ: [(&str, usize); 8] = [
        ("--op", values(|g| g.op.clone())),
        ("--operand-format", values(|g| g.format.clone())),
        ("--shape", values(|g| g.shape.to_string())),
        ("--threads", values(|g| g.threads.to_string())),
        ("--packed", values(|g| g.packed.to_string())),
        ("--operands", values(|g| g.operands.name().into())),
        ("--machine", values(|g| g.machine.clone())),
        ("--tier", values(|g| g.tier.to_string())),
    ];
    let by: Vec<&str> = differ.iter().filter(|d| d.1 > 1).map(|d| d.0).collect();
    ensure!(
        groups.len() == 1,
        "a document is of one problem, and the results are of {}: choose one by {}, or give --folder for a file each",
        groups.len(),
        by.join(" ")
    );
    all().next().cloned().context("a group that was just counted")
}

/// Something that a parameter of a configuration may be set to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// A number.
    Number(i64),
    /// A name.
    Name(String),
}
