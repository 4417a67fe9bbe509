//! A sweep: candidates are verified, searched, compared in pairs, and every result is stored at once.
//!
//! Everything that can be refused is refused before the first measurement. What the store already
//! holds for this machine and these sources is not measured again.

use crate::check;
use crate::filter::Filter;
use crate::machine::Machine;
use crate::measure::clock::{self, Effort};
use crate::measure::operands::{self, Operands, Room};
use crate::measure::pairing::abba;
use crate::measure::runner::{self, Runner};
use crate::measure::noise;
use crate::progress::Progress;
use crate::ranking;
use crate::search::{Bench, Search, Strategy, Verdict};
use crate::space::{self, Blockings, Candidate, Problem, Pruned, Spec, Temperature};
use crate::store::{self, Config, Contents, Outcome, Record, Store};
use kiln_kernels::registry::Op;
use kiln_profiles::schema::{Class, Tier};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What to sweep.
#[derive(Clone, Debug)]
pub struct Options {
    /// The operation.
    pub op: Op,
    /// Which of its kernels; the operation in it is ignored.
    pub filter: Filter,
    /// The shapes.
    pub specs: Vec<Spec>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Hot or cold operands; `None`: cold where packed weights meet one row, hot elsewhere.
    pub operands: Option<Temperature>,
    /// Which blockings.
    pub blockings: Blockings,
    /// How to search.
    pub strategy: Strategy,
    /// Time for all of it; `None`: as long as it takes.
    pub budget: Option<Duration>,
    /// How thoroughly to measure.
    pub effort: Effort,
    /// Where results go.
    pub store: PathBuf,
}

/// What a sweep did.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Results that were stored now.
    pub stored: usize,
    /// Results that were there before.
    pub resumed: usize,
    /// Candidates that gave wrong answers: name and what was wrong.
    pub invalid: Vec<(String, String)>,
    /// What was left out without measuring.
    pub pruned: BTreeMap<&'static str, String>,
    /// Candidates that time did not suffice for.
    pub unmeasured: usize,
    /// What the session cannot tell from no difference; `None` if nothing was left to measure.
    pub noise_floor: Option<f64>,
    /// All results of this machine at the swept problems.
    pub records: Vec<Record>,
}

/// One problem with its candidates.
struct Group {
    problem: Problem,
    candidates: Vec<Candidate>,
}

/// What operands may take of this machine.
pub fn room(machine: &Machine) -> Room {
    let last = machine.caches.iter().filter(|c| c.holds_data()).map(|c| c.bytes).max().unwrap_or(0);
    Room { last_cache: last as usize, memory: machine.usable_memory().map_or(1 << 30, |m| m as usize / 2) }
}

impl Options {
    fn groups(&self, machine: &Machine, room: Room) -> anyhow::Result<(Vec<Group>, BTreeMap<&'static str, String>)> {
        if let Some(emulator) = &machine.system.emulator {
            anyhow::bail!("this runs under {emulator}, whose times say nothing of a CPU: sweep on the machine itself");
        }
        let usable = machine.system.cores.usable;
        for &threads in &self.threads {
            anyhow::ensure!((1..=usable).contains(&threads), "{threads} threads asked for, but from 1 to {usable} can run here at once");
        }
        let filter = Filter { op: vec![self.op], ..self.filter.clone() };
        let entries = filter.entries()?;
        let caches = space::caches(machine);
        let (mut groups, mut all_pruned) = (Vec::new(), BTreeMap::new());
        for &threads in &self.threads {
            for &Spec { shape, packed } in &self.specs {
                let decode = packed && shape.class() == Class::Decode;
                let usual = if decode { Temperature::Cold } else { Temperature::Hot };
                let problem = Problem { op: self.op, shape, packed, threads, operands: self.operands.unwrap_or(usual) };
                operands::fits(&problem, room)?;
                let (candidates, pruned) = space::candidates(&problem, &entries, self.blockings, caches)?;
                all_pruned.extend(pruned.into_iter().map(|Pruned { kernel, reason }| (kernel, format!("{reason} ({shape})"))));
                groups.push(Group { problem, candidates });
            }
        }
        Ok((groups, all_pruned))
    }
}

/// Runs a sweep.
///
/// # Errors
/// Bad input, before anything is measured; a store that cannot be written.
pub fn run(options: &Options, machine: &Machine) -> anyhow::Result<Summary> {
    let room = room(machine);
    let (groups, pruned) = options.groups(machine, room)?;
    let (store, contents) = Store::open(&options.store)?;
    if let Some(complaint) = contents.complaint(&options.store) {
        eprintln!("note: {complaint}");
    }
    let steps: usize = groups.iter().map(|g| g.candidates.len() + options.effort.finalists).sum();
    let mut session = Session {
        options,
        machine,
        room,
        store,
        records: wanted(contents, machine, &groups),
        verified: HashMap::new(),
        noise_floor: None,
        stored: 0,
        unmeasured: 0,
        progress: Progress::new(steps as u64, "sweeping"),
    };
    let resumed = session.records.len();
    if resumed > 0 {
        session.progress.note(&format!("resumed: {resumed} results already there"));
    }
    let began = Instant::now();
    for (index, group) in groups.iter().enumerate() {
        let left = options.budget.map(|b| b.saturating_sub(began.elapsed()) / (groups.len() - index) as u32);
        session.group(group, left)?;
    }
    let invalid = session.records.iter().filter_map(|r| match &r.outcome {
        Outcome::Invalid { reason } => Some((r.config.kernel.clone(), reason.clone())),
        _ => None,
    });
    Ok(Summary {
        stored: session.stored,
        resumed,
        invalid: invalid.collect(),
        pruned,
        unmeasured: session.unmeasured,
        noise_floor: session.noise_floor,
        records: session.records,
    })
}

/// The stored results of this machine and these sources for the problems at hand.
fn wanted(contents: Contents, machine: &Machine, groups: &[Group]) -> Vec<Record> {
    let (current, _) = ranking::current(contents.records);
    let mine = |r: &Record| r.machine == machine.key() && r.config.problem().is_some_and(|p| groups.iter().any(|g| g.problem == p));
    current.into_iter().filter(mine).collect()
}

struct Session<'a> {
    options: &'a Options,
    machine: &'a Machine,
    room: Room,
    store: Store,
    records: Vec<Record>,
    /// The conformance grid's word on each kernel: worst error, or what is wrong.
    verified: HashMap<&'static str, Result<f64, String>>,
    noise_floor: Option<f64>,
    stored: usize,
    unmeasured: usize,
    progress: Progress,
}

impl Session<'_> {
    /// Measures what is missing at one problem; the search gets most of `time`, the finals the rest.
    fn group(&mut self, group: &Group, time: Option<Duration>) -> anyhow::Result<()> {
        let began = Instant::now();
        let configs: Vec<Config> = group.candidates.iter().map(|c| Config::new(&group.problem, c)).collect();
        let known = self.known(&configs);
        self.progress.at(format!("{} {}", group.problem.op, group.problem.shape));
        self.progress.advance(known.len() as u64);
        let finals_done = known.len() == configs.len() && self.finals_are_stored(group);
        if finals_done {
            self.progress.advance(self.options.effort.finalists as u64);
            return Ok(());
        }
        let noise = self.noise(group)?;
        let operands = Operands::new(&group.problem, self.room, configs.len() as u64 + self.stored as u64)?;
        let mut bench = GroupBench {
            pool: runner::pool(group.problem.threads)?,
            operands,
            candidates: &group.candidates,
            effort: self.options.effort,
            verified: &mut self.verified,
            errors: HashMap::new(),
            runner: None,
        };
        let out_of_time = || time.is_some_and(|t| began.elapsed() > t.mul_f64(0.7));
        let (records, store, stored, progress) = (&mut self.records, &mut self.store, &mut self.stored, &self.progress);
        let errors = RefCell::new(HashMap::new());
        let provenance = Provenance { machine: self.machine, noise };
        let mut sink = |candidate: usize, verdict: Verdict| -> anyhow::Result<()> {
            let outcome = match verdict {
                Verdict::Timed { samples, dropped } => Outcome::timed(&samples, dropped),
                Verdict::Invalid(reason) => {
                    progress.note(&format!("invalid, not timed: {}: {reason}", configs[candidate].label()));
                    Some(Outcome::Invalid { reason })
                }
            };
            let Some(outcome) = outcome else { return Ok(()) };
            let error: Option<f64> = errors.borrow().get(&candidate).copied();
            let record = provenance.record(configs[candidate].clone(), group.candidates[candidate].default, error, outcome);
            store.append(&record)?;
            records.push(record);
            *stored += 1;
            progress.advance(1);
            Ok(())
        };
        let mut watched = Watched { bench: &mut bench, errors: &errors };
        let search = Search {
            strategy: self.options.strategy,
            samples: self.options.effort.samples,
            known,
            out_of_time: &out_of_time,
            sink: &mut sink,
        };
        let order = search.run(group.candidates.len(), &mut watched)?;
        self.unmeasured += order.unmeasured;
        let errors = errors.into_inner();
        let left = time.map(|t| t.saturating_sub(began.elapsed()));
        self.finals(group, &configs, &order.ranking, &errors, bench, noise, left)
    }

    /// Candidates whose results are stored: their medians, `None` for those that were not valid.
    fn known(&self, configs: &[Config]) -> HashMap<usize, Option<f64>> {
        let mut known = HashMap::new();
        for record in &self.records {
            let Some(index) = configs.iter().position(|c| *c == record.config) else { continue };
            match &record.outcome {
                Outcome::Timed { median_ns, .. } => known.insert(index, Some(*median_ns)),
                Outcome::Invalid { .. } => known.insert(index, None),
                Outcome::Paired { .. } => None,
            };
        }
        known
    }

    fn noise(&mut self, group: &Group) -> anyhow::Result<f64> {
        if let Some(noise) = self.noise_floor {
            return Ok(noise);
        }
        let noise = noise::floor(&group.problem, &group.candidates[0], self.room, &self.options.effort)?;
        self.progress.note(&format!("noise floor of this session: {:.2} %; smaller differences cannot be told from none", noise * 100.0));
        self.noise_floor = Some(noise);
        Ok(noise)
    }
}
