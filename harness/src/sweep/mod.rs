//! A sweep: candidates are verified, searched, compared in pairs, and every result is stored at once.
//!
//! Everything that can be refused is refused before the first measurement. What the store already
//! holds for this machine, this build and these sources is not measured again, if it was measured as thoroughly as is asked
//! for now.

mod anchor;
mod blame;
mod group;
mod session;

pub(crate) use anchor::LOOK;

use crate::filter::Filter;
use crate::machine::{Machine, lock};
use crate::measure::clock::Effort;
use crate::measure::operands::{self, Room};
use crate::model::Predictor;
use crate::progress::Progress;
use crate::ranking::Current;
use crate::search::Strategy;
use crate::space::{self, Blockings, Candidate, Constraint, Problem, Pruned, Spec, Temperature};
use crate::store::{self, Config, Outcome, Record, Store, Thoroughness};
use group::GroupRun;
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// The build that measures: results of another one are measured again.
const COMPILER: &str = env!("KILN_COMPILER");
const FLAGS: &str = env!("KILN_FLAGS");

/// The share of a budget after which problems are no longer searched…
const SEARCH: f64 = 0.5;
/// …what did well at one of them is no longer tried at the others…
const TRIED: f64 = 0.6;
/// …and finalists of a problem are no longer compared: the rest is for what may be chosen for a class.
const COMPARED: f64 = 0.85;

/// What to sweep.
#[derive(Clone, Debug)]
pub struct Options {
    /// The operation.
    pub op: Op,
    /// The format of the operands.
    pub format: Format,
    /// Which of its kernels; operation and format in it are ignored.
    pub filter: Filter,
    /// The shapes.
    pub specs: Vec<Spec>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Hot or cold operands; `None`: cold where packed weights meet one row, hot elsewhere.
    pub operands: Option<Temperature>,
    /// Which blockings, splits and wait policies.
    pub blockings: Blockings,
    /// What candidates must keep to, beside the default; empty: anything.
    pub constraints: Vec<Constraint>,
    /// How to search.
    pub strategy: Strategy,
    /// Candidates that may be measured at each problem; `None`: what the strategy needs.
    pub evaluations: Option<usize>,
    /// What searches draw from.
    pub seed: u64,
    /// Time for all of it; `None`: as long as it takes.
    pub budget: Option<Duration>,
    /// How thoroughly to measure.
    pub effort: Effort,
    /// Record on a machine that is too noisy as well; results are marked.
    pub force: bool,
    /// The part of the problems that is measured; `None`: all of them.
    pub shard: Option<Shard>,
    /// The program that final comparisons are run by in processes of their own; `None`: they are run in this one.
    pub program: Option<PathBuf>,
    /// Where results go.
    pub store: PathBuf,
}

/// One of so many parts of a sweep, each for a machine of a fleet. A problem is measured by one machine alone, since what is
/// compared must be measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    pub part: usize,
    /// Of how many.
    pub of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parsed = text.split_once('/').and_then(|(part, of)| Some(Shard { part: part.parse().ok()?, of: of.parse().ok()? }));
        let shard = parsed.filter(|s| s.part >= 1 && s.part <= s.of);
        shard.ok_or_else(|| format!("'{text}' is no part: give one such as 2/8, from 1/8 to 8/8"))
    }
}

/// What a sweep did.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Results that were stored now.
    pub stored: usize,
    /// Results that were there before and need not be measured again.
    pub resumed: usize,
    /// Candidates that gave wrong answers: name and what was wrong.
    pub invalid: Vec<(String, String)>,
    /// Candidates that were left out before anything was measured, and of what kernels, by the reason.
    pub pruned: BTreeMap<String, Omitted>,
    /// Candidates that the budget did not suffice for.
    pub unmeasured: usize,
    /// Candidates that the strategy saw no need to measure.
    pub passed_over: usize,
    /// What the session cannot tell from no difference; `None` if nothing was left to measure.
    pub noise_floor: Option<f64>,
    /// The results that count of all that this sweep goes by: those of the store that need not be measured again, and its own.
    pub records: Vec<Record>,
}

/// What was left out for one reason.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Omitted {
    /// How many candidates.
    pub candidates: usize,
    /// Their kernels.
    pub kernels: BTreeSet<&'static str>,
}

/// One problem with its candidates.
struct Group {
    problem: Problem,
    candidates: Vec<Candidate>,
}

impl Group {
    /// Whether a configuration is what an untuned build would run.
    fn is_default(&self, config: &Config) -> bool {
        self.candidates.iter().any(|c| c.default && Config::new(&self.problem, c) == *config)
    }
}

/// What operands may take of this machine.
pub fn room(machine: &Machine) -> Room {
    let last = machine.caches.iter().filter(|c| c.holds_data()).map(|c| c.bytes).max().unwrap_or(0);
    Room { last_cache: last as usize, memory: machine.usable_memory().map_or(1 << 30, |m| m as usize / 2) }
}

impl Options {
    fn groups(&self, machine: &Machine, room: Room) -> anyhow::Result<(Vec<Group>, BTreeMap<String, Omitted>)> {
        machine.allow_timing(&self.threads)?;
        let filter = Filter { op: vec![self.op], format: vec![self.format], ..self.filter.clone() };
        let entries = filter.entries()?;
        let caches = space::caches(machine);
        let (mut groups, mut omitted): (Vec<Group>, BTreeMap<String, Omitted>) = (Vec::new(), BTreeMap::new());
        for &threads in &self.threads {
            for &Spec { shape, packed } in &self.specs {
                let usual = Temperature::usual(shape.class(), packed);
                let problem =
                    Problem { op: self.op, format: self.format, shape, packed, threads, operands: self.operands.unwrap_or(usual) };
                // A number of threads that is given twice would be measured by two shards.
                if groups.iter().any(|g| g.problem == problem) {
                    continue;
                }
                operands::fits(&problem, room)?;
                let (candidates, pruned) = space::candidates(&problem, &entries, self.blockings, caches)?;
                let (candidates, unwanted) = space::constrain(candidates, &self.constraints);
                for Pruned { kernel, reason } in pruned.into_iter().chain(unwanted) {
                    let omitted = omitted.entry(reason).or_default();
                    omitted.candidates += 1;
                    omitted.kernels.insert(kernel);
                }
                groups.push(Group { problem, candidates });
            }
        }
        space::refuse_unknown(groups.iter().flat_map(|g| &g.candidates), &self.constraints)?;
        // Small problems first: what they leave of their share of the budget goes to the large ones.
        groups.sort_by(|a, b| a.problem.cost().total_cmp(&b.problem.cost()));
        if let Some(Shard { part, of }) = self.shard {
            let mine = groups.into_iter().enumerate().filter(|(at, _)| at % of == part - 1);
            groups = mine.map(|(_, group)| group).collect();
        }
        Ok((groups, omitted))
    }
}

/// Runs a sweep.
///
/// # Errors
/// Bad input, before anything is measured; a store that cannot be written.
pub fn run(options: &Options, machine: &Machine) -> anyhow::Result<Summary> {
    let room = room(machine);
    let (groups, pruned) = options.groups(machine, room)?;
    let (store, contents) = Store::open(&options.store, wanted(options, machine, &groups))?;
    if let Some(complaint) = contents.complaint(&options.store) {
        eprintln!("note: {complaint}");
    }
    let steps: usize = groups.iter().map(|g| g.candidates.len()).sum();
    let records = contents.records;
    let resumed = records.len();
    let _machine = lock::machine(|note| eprintln!("note: {note}"))?;
    let progress = Progress::new(steps as u64, "sweeping");
    if resumed > 0 {
        progress.note(&format!("resumed: {resumed} results already there"));
    }
    // Before the clock starts for problems, but it is time that a search by model takes.
    let filter = Filter { op: vec![options.op], format: vec![options.format], ..options.filter.clone() };
    let predictor =
        (options.strategy == Strategy::Model).then(|| Predictor::here(&filter, |kernel| progress.at(format!("predicting {kernel}"))));
    let predictor = predictor.transpose()?;
    let mut session = Session::new(options, machine, room, (store, records), (progress, predictor));
    let began = Instant::now();
    let left = |share: f64, parts: usize| options.budget.map(|b| b.mul_f64(share).saturating_sub(began.elapsed()) / parts as u32);
    for (index, group) in groups.iter().enumerate() {
        GroupRun::search_missing(&mut session, group, left(SEARCH, groups.len() - index))?;
    }
    // What did well at one problem of a class may do so at the others, and what does so there…
    let mut tried = true;
    while tried {
        tried = false;
        for (index, group) in groups.iter().enumerate() {
            tried |= GroupRun::try_fastest(&mut session, group, left(TRIED, groups.len() - index))?;
        }
    }
    for (index, group) in groups.iter().enumerate() {
        GroupRun::compare_missing(&mut session, group, left(COMPARED, groups.len() - index))?;
    }
    session.settle(&groups, |open| options.budget.is_none_or(|b| began.elapsed() + open < b))?;
    let records = store::counting(session.records);
    let invalid = records.iter().filter_map(|r| match &r.outcome {
        Outcome::Invalid { reason } => Some((r.config.kernel.clone(), reason.clone())),
        _ => None,
    });
    Ok(Summary {
        stored: session.stored,
        resumed,
        invalid: invalid.collect(),
        pruned,
        unmeasured: session.unmeasured,
        passed_over: session.passed_over,
        noise_floor: session.noise_floor,
        records,
    })
}

/// Whether a stored result need not be measured again: it is of this machine, this build, these sources and the problems at
/// hand, and as good as what the [options](stands) ask for.
fn wanted(options: &Options, machine: &Machine, groups: &[Group]) -> impl Fn(&Record) -> bool {
    let (current, problems) = (Current::of_this_build(), groups.iter().map(|g| g.problem).collect::<BTreeSet<_>>());
    let (asked, force) = (Thoroughness::of(&options.effort), options.force);
    move |r| {
        let here = r.machine == machine.key() && r.compiler == COMPILER && r.flags == FLAGS;
        here && current.has(r) && r.config.problem().is_some_and(|p| problems.contains(&p)) && stands(r, asked, force)
    }
}

/// Whether a result is as good as one that would be measured now. What is wrong stays so. What was measured less thoroughly
/// or not to the end does not stand, nor does what a restless machine spoilt: unless a quick look is all that is
/// asked for, or what is too noisy is to be recorded again.
fn stands(record: &Record, asked: Thoroughness, force: bool) -> bool {
    let in_peace = asked == Thoroughness::Quick || !(record.was_unsteady() || record.forced && !force);
    let whole = record.thoroughness() >= asked && !record.was_cut_short();
    matches!(record.outcome, Outcome::Invalid { .. }) || (whole && in_peace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;
    use crate::store::{TIME_RAN_OUT, UNSTEADY};
    use Thoroughness::{Full, Quick};

    #[test]
    fn what_was_measured_with_less_effort_or_in_unrest_is_measured_again() {
        let timed = |dropped: Option<&str>| {
            let outcome = Outcome::timed(&[1.0; 15], dropped.map(Into::into)).expect("samples");
            Record { effort: Some(Full), outcome, ..record("a", "8x8x8", &[1.0]) }
        };
        let (full, dropped) = (timed(None), timed(Some("round 1: not in the fastest third")));
        let (quick, forced) = (Record { effort: Some(Quick), ..full.clone() }, Record { forced: true, ..full.clone() });
        let wrong = Record { outcome: Outcome::Invalid { reason: "wrong".into() }, ..quick.clone() };
        for (record, in_full, in_full_by_force, at_a_glance) in [
            (full, true, true, true),
            (dropped, true, true, true),
            (quick, false, false, true),
            (forced, false, true, true),
            (timed(Some(UNSTEADY)), false, false, true),
            (timed(Some(TIME_RAN_OUT)), false, false, false),
            (wrong, true, true, true),
        ] {
            let stand = (stands(&record, Full, false), stands(&record, Full, true), stands(&record, Quick, false));
            assert_eq!(stand, (in_full, in_full_by_force, at_a_glance), "{record:?}");
        }
    }
}
