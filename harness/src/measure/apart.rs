//! Comparisons in fresh processes: where code and memory happen to lie in one process is part of what is timed there
//! (Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009), so what is to decide is
//! timed in several.
//!
//! The parent writes a [`Job`] to a child's input and reads pairs of times from its output; the child is this program.

use super::clock::{self, Effort};
use super::operands::{Operands, Room};
use super::pairing::abba;
use super::runner::{self, Runner};
use crate::space::Candidate;
use crate::store::Config;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The hidden command that does a job.
pub const COMMAND: &str = "pairs";

/// Two ways to solve a problem, to be compared in one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The one; its problem is that of both.
    pub one: Config,
    /// The other.
    pub other: Config,
    /// Quadruples.
    pub pairs: usize,
    /// Nanoseconds that a sample lasts at least.
    pub sample_ns: u64,
    /// Nanoseconds of the warm-up of each.
    pub warm_up_ns: u64,
    /// Bytes of the last cache, and of memory that operands may take.
    pub room: (usize, usize),
    /// What places of operands and their values are drawn from.
    pub seed: u64,
    /// Nanoseconds that the one waits after each call: a difference of known size.
    #[serde(default)]
    pub delay_ns: u64,
}

impl Job {
    /// A job of that effort.
    pub fn new((one, other): (Config, Config), effort: &Effort, pairs: usize, room: Room, seed: u64) -> Job {
        let ns = |time: Duration| time.as_nanos() as u64;
        let room = (room.last_cache, room.memory);
        Job { one, other, pairs, sample_ns: ns(effort.sample), warm_up_ns: ns(effort.warm_up), room, seed, delay_ns: 0 }
    }

    /// Does it here: nanoseconds per call of the one and the other.
    ///
    /// # Errors
    /// If a configuration is of no kernel that runs here, memory cannot be had, or an answer is wrong.
    pub fn run(&self) -> anyhow::Result<Vec<(f64, f64)>> {
        let problem = self.one.problem().context("this build does not know the operation")?;
        ensure!(self.other.problem() == Some(problem), "the two solve different problems");
        let (one, other) = (candidate(&self.one)?, candidate(&self.other)?);
        let room = Room { last_cache: self.room.0, memory: self.room.1 };
        let (sample, warm_up) = (Duration::from_nanos(self.sample_ns), Duration::from_nanos(self.warm_up_ns));
        runner::pinned()?.install(|| {
            let mut operands = Operands::new(&problem, room, self.seed)?;
            let mut ready = |candidate: &Candidate| -> anyhow::Result<(Runner, usize)> {
                let mut runner = Runner::new(candidate, &operands)?;
                runner.verify(&mut operands).map_err(|why| anyhow::anyhow!("{}: {why}", candidate.entry.meta.name))?;
                let calls = clock::warm_up(warm_up, sample, || runner.call(&mut operands));
                Ok((runner, calls))
            };
            let ((mut one, one_calls), (mut other, other_calls)) = (ready(&one)?, ready(&other)?);
            let operands = RefCell::new(operands);
            let call = |runner: &mut Runner| runner.call(&mut operands.borrow_mut());
            let delay = Duration::from_nanos(self.delay_ns);
            let slowed = || {
                call(&mut one);
                if !delay.is_zero() {
                    let called = Instant::now();
                    while called.elapsed() < delay {}
                }
            };
            Ok(abba(self.pairs, one_calls, other_calls, slowed, || call(&mut other)))
        })
    }

    /// Does it in a process of its own, started from `program`.
    ///
    /// # Errors
    /// If there can be no such process, or what it says of its failure.
    pub fn run_apart(&self, program: &std::path::Path) -> anyhow::Result<Vec<(f64, f64)>> {
        let cannot = || format!("cannot run {} {COMMAND}", program.display());
        let (input, output, errors) = (Stdio::piped(), Stdio::piped(), Stdio::piped());
        let mut child = Command::new(program).arg(COMMAND).stdin(input).stdout(output).stderr(errors).spawn().with_context(cannot)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&serde_json::to_vec(self)?).with_context(cannot)?;
        }
        let out = child.wait_with_output().with_context(cannot)?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "a comparison in a process of its own ended with {}: {}", out.status, said.trim());
        serde_json::from_slice(&out.stdout).with_context(cannot)
    }
}

/// The candidate that a configuration describes.
fn candidate(config: &Config) -> anyhow::Result<Candidate> {
    let entry = crate::filter::by_name(&config.kernel)?;
    let kernel = (entry.make)().with_context(|| format!("this CPU cannot run {}", config.kernel))?;
    Ok(Candidate {
        tile: config.tile,
        blocking: config.blocking.map(|b| kiln_profiles::schema::BlockSizes::from(b).into()),
        split: config.split.map(Into::into),
        split_varied: config.split_varied,
        spin: config.spin,
        ..Candidate::usual(entry, kernel)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Blockings, Problem, Temperature, all_candidates, caches};
    use kiln_kernels::registry::{self, Op};

    #[test]
    fn a_job_survives_the_way_to_another_process_and_gives_as_many_pairs_as_it_asks_for() {
        let shape = "24x32x40".parse().expect("a shape");
        let problem = Problem { op: Op::Gemm, format: Op::Gemm.format(), shape, packed: true, threads: 1, operands: Temperature::Hot };
        let caches = caches(&crate::machine::Machine::detect());
        let all = all_candidates(&problem, &registry::all().collect::<Vec<_>>(), Blockings::Near, caches).expect("candidates");
        let configs = [0, all.len() - 1].map(|at| Config::new(&problem, &all[at]));
        for (config, of) in configs.iter().zip([&all[0], &all[all.len() - 1]]) {
            assert_eq!(Config::new(&problem, &candidate(config).expect("a candidate")), *config);
            assert_eq!(candidate(config).expect("a candidate").blocking, of.blocking);
        }
        let [one, other] = configs;
        let job = Job::new((one, other), &Effort::QUICK, 3, Room { last_cache: 1 << 20, memory: 1 << 30 }, 7);
        let sent: Job = serde_json::from_slice(&serde_json::to_vec(&job).expect("JSON")).expect("a job");
        assert_eq!(sent, job);
        let pairs = sent.run().expect("pairs");
        assert!(pairs.len() == 3 && pairs.iter().all(|(a, b)| *a > 0.0 && *b > 0.0), "{pairs:?}");
        let other = Config { shape: "8x8x8".parse().expect("a shape"), ..job.other.clone() };
        assert!(Job { other, ..job }.run().unwrap_err().to_string().contains("different problems"));
    }
}
