//! Times for baselines: each kernel in several fresh processes, spread over the whole session, so that what drifts meanwhile
//! and what a process has of its own are in the interval. It judges nothing.
//!
//! Each process runs the kernel beside itself: both are samples of it, and their difference is the noise floor.

use super::{Baseline, Figures, Row, Wanted, baseline, build, judge};
use crate::compare::Failed;
use crate::machine::others::Watch;
use crate::machine::{Machine, lock};
use crate::measure::apart::{self, Bench, Job};
use crate::measure::clock::Effort;
use crate::measure::noise;
use crate::measure::operands::Room;
use crate::peers::{self, Kiln};
use crate::progress::Progress;
use crate::space::Problem;
use crate::store::Config;
use crate::sweep::room;
use anyhow::Context;
use std::path::PathBuf;

/// Fewer processes than this say nothing of what differs between them.
const FEWEST: usize = 3;

/// Pairs of one configuration with itself, in nanoseconds per call.
pub(super) type Pairs = Vec<(f64, f64)>;

/// A session.
pub(super) struct Session<'a> {
    machine: &'a Machine,
    effort: &'a Effort,
    pub room: Room,
    pub configs: Vec<Config>,
    /// This program.
    pub program: PathBuf,
    /// For each configuration the pairs of each process.
    pairs: Vec<Vec<Pairs>>,
    processes: usize,
    _lock: lock::Lock,
    watch: Option<Watch>,
}

impl<'a> Session<'a> {
    /// One that has measured nothing yet and holds the machine.
    ///
    /// # Errors
    /// If nothing can be timed here, or no kernel of that kind runs here.
    pub(super) fn new(wanted: &Wanted, machine: &'a Machine, effort: &'a Effort) -> anyhow::Result<Session<'a>> {
        let room = room(machine);
        let problems = wanted.problems(room)?;
        machine.allow_timing(&problems.iter().map(|p| p.threads).collect::<Vec<_>>())?;
        let ours = Kiln::new(wanted.task, wanted.choice.clone(), machine)?;
        let config = |p: &Problem| Ok(Config::new(p, &ours.candidate(p.shape)?.0));
        let configs = problems.iter().map(config).collect::<anyhow::Result<Vec<_>>>()?;
        let (program, pairs) = (apart::this_program()?, vec![Vec::new(); configs.len()]);
        let lock = lock::machine(|note| eprintln!("note: {note}"))?;
        Ok(Session { machine, effort, room, configs, program, pairs, processes: 0, _lock: lock, watch: Watch::start() })
    }

    /// Measures those of that number in some more processes.
    fn measure(&mut self, which: &[usize], what: &str) -> anyhow::Result<()> {
        let processes = self.effort.processes.max(FEWEST);
        let progress = Progress::new((processes * which.len()) as u64, what);
        let mut bench = Bench::new(Some(&self.program));
        for _ in 0..processes {
            for index in which {
                let config = &self.configs[*index];
                progress.at(format!("{}, {} thread(s)", config.shape, config.threads));
                self.processes += 1;
                let pairs = self.effort.pairs.div_ceil(processes);
                self.pairs[*index].push(process(&mut bench, config, (self.effort, pairs), (self.room, self.processes as u64))?);
                progress.advance(1);
            }
        }
        Ok(())
    }

    /// What was found.
    fn baseline(&self) -> anyhow::Result<Baseline> {
        let rows = self.configs.iter().zip(&self.pairs).map(|(config, pairs)| row(config, pairs));
        Ok(baseline(self.machine.key(), build(), None, rows.collect::<anyhow::Result<_>>()?))
    }

    /// What else ran meanwhile, and noise that hides all but large differences: told, not judged.
    pub(super) fn remark(&self, found: &Baseline) {
        let busy = self.watch.and_then(|w| w.remark());
        busy.iter().for_each(|remark| eprintln!("note: {remark}"));
        for Row { config, figures } in found.rows.iter().filter(|r| r.figures.noise_floor() > self.effort.noisy) {
            let floor = 100.0 * figures.noise_floor();
            eprintln!("note: {} at {} thread(s): noise of {floor:.1} % hides smaller differences", config.shape, config.threads);
        }
    }
}

/// The row of a configuration's pairs, a list for each process.
pub(super) fn row(config: &Config, pairs: &[Pairs]) -> anyhow::Result<Row> {
    let samples: Vec<Vec<f64>> = pairs.iter().map(|p| p.iter().map(|(a, b)| (a + b) / 2.0).collect()).collect();
    let floor = noise::of_pairs(&pairs.concat());
    let figures = floor.and_then(|floor| Figures::timed(&samples, floor)).context("no samples")?;
    Ok(Row { config: config.clone(), figures })
}

/// Pairs of a configuration with itself from a fresh process of a bench.
pub(super) fn process(
    bench: &mut Bench,
    config: &Config,
    (effort, pairs): (&Effort, usize),
    (room, seed): (Room, u64),
) -> anyhow::Result<Pairs> {
    bench.renew();
    let answer = bench.pairs(Job::new((config.clone(), config.clone()), effort, pairs, room, seed))?;
    // Its memory is not kept while others are timed.
    bench.renew();
    let (shape, threads) = (config.shape, config.threads);
    answer.map_err(|why| Failed { system: peers::NAME, shape, threads, why }.into())
}

/// Measures, and where something looks slower than `before`, measures that once more at the end: what was a moment's weakness
/// of the machine is then the processes' disagreement.
///
/// # Errors
/// Bad input; [`Failed`] for a kernel that is wrong.
pub fn measure(wanted: &Wanted, before: Option<&Baseline>, machine: &Machine, effort: &Effort) -> anyhow::Result<Baseline> {
    let mut session = Session::new(wanted, machine, effort)?;
    session.measure(&(0..session.configs.len()).collect::<Vec<_>>(), "measuring")?;
    let mut found = session.baseline()?;
    if let Some(before) = before {
        let judged = judge::judge(before, &found, 0.0)?;
        let slow = |index: &usize| judged.rows[*index].verdict == judge::Verdict::Slower;
        let slow: Vec<usize> = (0..judged.rows.len()).filter(slow).collect();
        if !slow.is_empty() {
            session.measure(&slow, "measuring again what looks slower")?;
            found = session.baseline()?;
        }
    }
    session.remark(&found);
    Ok(found)
}
