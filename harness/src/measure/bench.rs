//! One process's bench: the operands of one problem, and the candidate that is at work on them.
//!
//! It times what it is told to, after it has verified that very call, and keeps no results.

use super::clock;
use super::operands::{Operands, Room};
use super::runner::{self, Runner};
use crate::space::{Candidate, Problem};
use crate::store::Config;
use anyhow::Context;
use kiln_profiles::schema::BlockSizes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Operands of a problem with a thread to use them.
pub struct Workbench {
    problem: Problem,
    pool: rayon::ThreadPool,
    operands: Operands,
    /// What was timed last, with the error of its verification as a fraction of the tolerance, and the calls in one sample.
    current: Option<(Config, Runner, f64, usize)>,
}

/// Samples in nanoseconds per call with the error of the verification, or why the candidate is not valid.
pub type Timed = Result<(Vec<f64>, f64), String>;

impl Workbench {
    /// Operands of a problem; their values and places are drawn from the seed.
    ///
    /// # Errors
    /// If memory or a thread cannot be had.
    pub fn new(problem: &Problem, room: Room, seed: u64) -> anyhow::Result<Workbench> {
        Ok(Workbench { problem: *problem, pool: runner::pinned()?, operands: Operands::new(problem, room, seed)?, current: None })
    }

    /// The problem that it is for.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// `count` samples of a configuration of its problem, each of at least `sample`, after `warm_up` if another one was timed before.
    ///
    /// # Errors
    /// If there is no such kernel in this build, or memory cannot be had.
    pub fn samples(&mut self, config: &Config, count: usize, (warm_up, sample): (Duration, Duration)) -> anyhow::Result<Timed> {
        let ready = match self.current.take().filter(|c| c.0 == *config) {
            Some((_, runner, error, calls)) => Ok((runner, error, calls)),
            None => self.prepare(config, (warm_up, sample))?,
        };
        let (mut runner, error, calls) = match ready {
            Ok(ready) => ready,
            Err(reason) => return Ok(Err(reason)),
        };
        let Workbench { pool, operands, .. } = self;
        let samples = pool.install(|| (0..count).map(|_| clock::sample(calls, || runner.call(operands))).collect());
        self.current = Some((config.clone(), runner, error, calls));
        Ok(Ok((samples, error)))
    }

    fn prepare(
        &mut self,
        config: &Config,
        (warm_up, sample): (Duration, Duration),
    ) -> anyhow::Result<Result<(Runner, f64, usize), String>> {
        let candidate = candidate(config)?;
        let Workbench { pool, operands, .. } = self;
        let mut runner = Runner::new(&candidate, operands)?;
        let ready = || {
            let error = runner.verify(operands)?;
            let calls = clock::warm_up(warm_up, sample, || runner.call(operands));
            Ok((runner, error, calls))
        };
        let ready = catch_unwind(AssertUnwindSafe(|| pool.install(ready)));
        Ok(ready.unwrap_or_else(|panic| Err(format!("panicked: {}", crate::check::panic_message(panic.as_ref())))))
    }
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
