//! One process's bench: the operands of one problem, and the candidate that is at work on them.
//!
//! It times what it is told to, after it has verified that very call, and keeps no results. A look, of samples that take no longer
//! than a warm-up would, does with a brief one, and so does what comes back, in a later round of a search or to tell whether the
//! machine is as it was, which was verified and has settled before.

use super::clock;
use super::operands::{Operands, Room};
use super::runner::{self, Runner};
use crate::space::{Candidate, Problem};
use crate::store::Config;
use anyhow::Context;
use kiln_profiles::schema::BlockSizes;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What a warm-up is divided by where a brief one will do.
const BRIEF: u32 = 20;

/// Operands of a problem with a thread to use them.
pub struct Workbench {
    problem: Problem,
    pool: rayon::ThreadPool,
    operands: Operands,
    /// What was timed last.
    current: Option<(Config, Ready)>,
    /// What was verified, with its error as a fraction of the tolerance.
    verified: HashMap<Config, f64>,
}

/// A candidate that can be timed.
struct Ready {
    runner: Runner,
    /// The calls in one sample; none before its first warm-up.
    calls: usize,
    /// Whether another warm-up would be wasted: it had one in full, or was timed before.
    settled: bool,
}

/// The brief warm-up that stands for one in full.
pub(crate) fn brief(full: Duration) -> Duration {
    full / BRIEF
}

/// Whether so many samples of a length are no more than a look.
pub(crate) fn is_look(full: Duration, count: usize, sample: Duration) -> bool {
    sample * (count as u32) < full
}

/// Samples in nanoseconds per call with the error of the verification, or why the candidate is not valid.
pub type Timed = Result<(Vec<f64>, f64), String>;

impl Workbench {
    /// Operands of a problem; their values and places are drawn from the seed.
    ///
    /// # Errors
    /// If memory or a thread cannot be had.
    pub fn new(problem: &Problem, room: Room, seed: u64) -> anyhow::Result<Workbench> {
        let (pool, operands) = (runner::pinned()?, Operands::new(problem, room, seed)?);
        Ok(Workbench { problem: *problem, pool, operands, current: None, verified: HashMap::new() })
    }

    /// The problem that it is for.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// `count` samples of a configuration of its problem, each of at least `sample`, after a warm-up, in full of `warm_up`, if another
    /// one was timed before.
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
        let Workbench { pool, operands, verified, .. } = self;
        let samples = pool.install(|| {
            let in_full = !ready.settled && !is_look(full, count, sample);
            if in_full || ready.calls == 0 {
                let time = if in_full { full } else { brief(full) };
                ready.calls = clock::warm_up(time, sample, || ready.runner.call(operands));
                ready.settled |= in_full;
            }
            (0..count).map(|_| clock::sample(ready.calls, || ready.runner.call(operands))).collect()
        });
        let error = verified.get(config).copied().unwrap_or(0.0);
        self.current = Some((config.clone(), ready));
        Ok(Ok((samples, error)))
    }

    /// Makes a candidate ready and verifies the call that is to be timed, unless it was.
    fn prepare(&mut self, config: &Config) -> anyhow::Result<Result<Ready, String>> {
        let candidate = candidate(config)?;
        let Workbench { pool, operands, verified, .. } = self;
        let mut runner = Runner::new(&candidate, operands)?;
        let settled = verified.contains_key(config);
        if settled {
            return Ok(Ok(Ready { runner, calls: 0, settled }));
        }
        let verify = || runner.verify(operands);
        let error = catch_unwind(AssertUnwindSafe(|| pool.install(verify)));
        let error = error.unwrap_or_else(|panic| Err(format!("panicked: {}", crate::check::panic_message(panic.as_ref()))));
        Ok(error.map(|error| {
            verified.insert(config.clone(), error);
            Ready { runner, calls: 0, settled }
        }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Blockings, Temperature, all_candidates, caches};
    use kiln_kernels::registry::{self, Op};

    #[test]
    fn what_comes_again_has_the_verdict_that_it_had_and_settles_in_less_time() {
        let shape = "24x32x40".parse().expect("a shape");
        let problem = Problem { op: Op::Gemm, format: Op::Gemm.format(), shape, packed: false, threads: 1, operands: Temperature::Hot };
        let caches = caches(&crate::machine::Machine::detect());
        let all = all_candidates(&problem, &registry::all().collect::<Vec<_>>(), Blockings::Analytical, caches).expect("candidates");
        let configs: Vec<Config> = all.iter().take(2).map(|c| Config::new(&problem, c)).collect();
        let mut bench = Workbench::new(&problem, Room { last_cache: 1 << 20, memory: 1 << 30 }, 1).expect("operands");
        let times = (Duration::from_millis(20), Duration::from_millis(1));
        let mut samples = |at: usize, count: usize| {
            let (samples, error) = bench.samples(&configs[at], count, times).expect("an answer").expect("a right one");
            assert_eq!(samples.len(), count);
            let settled = bench.current.as_ref().map(|current| current.1.settled);
            (error, settled.expect("a candidate"))
        };
        let first = samples(0, 2);
        assert!(!first.1, "a look is brief");
        assert!(samples(0, 20).1, "as many samples as take as long as a warm-up have one");
        assert!(!samples(1, 2).1, "another candidate");
        assert_eq!(samples(0, 2), (first.0, true));
        assert!(samples(1, 20).1);
    }
}
