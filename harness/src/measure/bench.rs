//! A bench: the operands of one problem, and the candidate that is at work on them. A process may have several.
//!
//! It times what it is told to, after it has verified that very call, once for each candidate, and keeps no results. What is asked for as
//! few samples as would, at their least, take less than a warm-up is looked at, after a brief one; so is what comes back, in a later round
//! of a search or to tell whether the machine is as it was. The first candidate of all has a warm-up in full: the others are held against
//! it.

use super::clock;
use super::operands::{Operands, Room};
use super::runner::Runner;
use crate::space::{Candidate, Problem};
use crate::store::Config;
use anyhow::Context;
use kiln_profiles::schema::BlockSizes;
use rayon::ThreadPool;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// What a warm-up is divided by where a brief one will do.
const BRIEF: u32 = 20;

/// Operands of a problem with a thread to use them.
pub struct Workbench {
    problem: Problem,
    pool: Arc<ThreadPool>,
    operands: Operands,
    /// What was timed last.
    current: Option<(Config, Ready)>,
    /// What was verified, with its error as a fraction of the tolerance.
    verified: HashMap<Config, f64>,
}

/// A candidate that can be timed.
struct Ready {
    runner: Runner,
    /// The error of its verification as a fraction of the tolerance.
    error: f64,
    /// The calls in one sample.
    calls: usize,
    stage: Stage,
}

/// How far a candidate has warmed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is the first of its bench.
    First,
    /// It was not timed before.
    New,
    /// It was timed before, and another one since.
    Back,
    /// It had a brief warm-up, and was just looked at.
    Looked,
    /// It had all that it needs.
    Settled,
}

impl Stage {
    /// The warm-up before so many samples of a length, by what one lasts in full; and the stage after it.
    pub(crate) fn warm_up(self, full: Duration, (count, sample): (usize, Duration)) -> (Option<Duration>, Stage) {
        let is_look = sample * (count as u32) < full;
        match (self, is_look) {
            (Stage::First, _) | (Stage::New | Stage::Looked, false) => (Some(full), Stage::Settled),
            (Stage::New, true) => (Some(full / BRIEF), Stage::Looked),
            (Stage::Back, _) => (Some(full / BRIEF), Stage::Settled),
            (Stage::Looked, true) | (Stage::Settled, _) => (None, self),
        }
    }
}

/// Samples in nanoseconds per call with the error of the verification, or why the candidate is not valid.
pub type Timed = Result<(Vec<f64>, f64), String>;

impl Workbench {
    /// Operands of a problem; their values and places are drawn from the seed. What is timed runs in the [pool](super::runner::pinned).
    ///
    /// # Errors
    /// If memory cannot be had.
    pub fn new(problem: &Problem, room: Room, seed: u64, pool: Arc<ThreadPool>) -> anyhow::Result<Workbench> {
        let operands = Operands::new(problem, room, seed)?;
        Ok(Workbench { problem: *problem, pool, operands, current: None, verified: HashMap::new() })
    }

    /// The problem that it is for.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// `count` samples of a configuration of its problem, each of at least `sample`, after a warm-up that lasts `full` where a brief one
    /// will not do.
    ///
    /// # Errors
    /// If there is no such kernel in this build, or memory cannot be had.
    pub fn samples(&mut self, config: &Config, count: usize, (full, sample): (Duration, Duration)) -> anyhow::Result<Timed> {
        let mut ready = match self.current.take().filter(|c| c.0 == *config) {
            Some((_, ready)) => ready,
            None => match self.prepare(config)? {
                Ok(ready) => ready,
                Err(reason) => return Ok(Err(reason)),
            },
        };
        let (time, stage) = ready.stage.warm_up(full, (count, sample));
        let operands = &mut self.operands;
        let timed = caught(&self.pool, || {
            if let Some(time) = time {
                ready.calls = clock::warm_up(time, sample, || ready.runner.call(operands));
            }
            Ok((0..count).map(|_| clock::sample(ready.calls, || ready.runner.call(operands))).collect())
        });
        let error = ready.error;
        match &timed {
            Ok(_) => self.current = Some((config.clone(), Ready { stage, ..ready })),
            Err(_) => drop(self.verified.remove(config)),
        }
        Ok(timed.map(|samples| (samples, error)))
    }

    /// Makes a candidate ready and verifies the call that is to be timed, unless it was.
    fn prepare(&mut self, config: &Config) -> anyhow::Result<Result<Ready, String>> {
        let candidate = candidate(config)?;
        let mut runner = Runner::new(&candidate, &self.operands)?;
        if let Some(&error) = self.verified.get(config) {
            return Ok(Ok(Ready { runner, error, calls: 1, stage: Stage::Back }));
        }
        let stage = if self.verified.is_empty() { Stage::First } else { Stage::New };
        Ok(caught(&self.pool, || runner.verify(&mut self.operands)).map(|error| {
            self.verified.insert(config.clone(), error);
            Ready { runner, error, calls: 1, stage }
        }))
    }
}

/// What comes of calling a kernel in a pool, or what it panicked with.
fn caught<T: Send>(pool: &ThreadPool, call: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    let called = catch_unwind(AssertUnwindSafe(|| pool.install(call)));
    called.unwrap_or_else(|panic| Err(format!("panicked: {}", crate::check::panic_message(panic.as_ref()))))
}

/// The candidate that a configuration describes.
///
/// # Errors
/// If there is no such kernel in this build, or this CPU cannot run it.
pub fn candidate(config: &Config) -> anyhow::Result<Candidate> {
    let entry = crate::filter::by_name(&config.kernel)?;
    let kernel = (entry.make)().with_context(|| format!("this CPU cannot run {}", config.kernel))?;
    Ok(Candidate {
        tile: config.tile,
        blocking: config.blocking.map(|b| BlockSizes::from(b).into()),
        split: config.split.map(Into::into),
        split_varied: config.split_varied,
        spin: config.spin,
        ..Candidate::usual(entry, kernel)
    })
}

#[cfg(test)]
mod tests {
    use super::super::runner;
    use super::*;
    use crate::space::{Blockings, Temperature, all_candidates, caches};
    use kiln_kernels::registry::{self, Op};

    #[test]
    fn what_comes_back_is_not_verified_again_and_a_panic_is_its_reason() {
        let shape = "24x32x40".parse().expect("a shape");
        let problem = Problem { op: Op::Gemm, format: Op::Gemm.format(), shape, packed: false, threads: 1, operands: Temperature::Hot };
        let caches = caches(&crate::machine::Machine::detect());
        let all = all_candidates(&problem, &registry::all().collect::<Vec<_>>(), Blockings::Analytical, caches).expect("candidates");
        let configs: Vec<Config> = all.iter().take(2).map(|c| Config::new(&problem, c)).collect();
        let pool = Arc::new(runner::pinned().expect("a thread"));
        let room = Room { last_cache: 1 << 20, memory: 1 << 30 };
        let mut bench = Workbench::new(&problem, room, 1, Arc::clone(&pool)).expect("operands");
        let times = (Duration::from_millis(2), Duration::from_micros(100));
        let mut error = |at: usize, count: usize| {
            let (samples, error) = bench.samples(&configs[at], count, times).expect("an answer").expect("a right one");
            assert_eq!(samples.len(), count);
            // Where it comes from is seen when it is asked for again.
            bench.verified.insert(configs[at].clone(), 0.123);
            error
        };
        let first = (error(0, 2), error(0, 30));
        assert!(first.0 == first.1 && first.0 != 0.123, "{first:?}");
        assert_ne!(error(1, 1), 0.123);
        assert_eq!(error(0, 2), 0.123);
        assert_eq!(caught(&pool, || -> Result<(), String> { panic!("of its own") }), Err("panicked: of its own".into()));
    }

    #[test]
    fn a_warm_up_is_in_full_where_what_is_timed_is_new_and_is_timed_for_as_long() {
        let (full, sample) = (Duration::from_millis(20), Duration::from_millis(4));
        let after = |stage: Stage, count: usize| {
            let (time, then) = stage.warm_up(full, (count, sample));
            (time.map(|time| time.as_millis()), then)
        };
        use Stage::{Back, First, Looked, New, Settled};
        assert_eq!(after(First, 2), (Some(20), Settled));
        assert_eq!((after(New, 2), after(New, 13)), ((Some(1), Looked), (Some(20), Settled)));
        assert_eq!((after(Looked, 4), after(Looked, 9)), ((None, Looked), (Some(20), Settled)));
        assert_eq!((after(Back, 3), after(Back, 13)), ((Some(1), Settled), (Some(1), Settled)));
        assert_eq!((after(Settled, 2), after(Settled, 13)), ((None, Settled), (None, Settled)));
    }
}
