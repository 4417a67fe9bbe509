//! Chosen kernels under the counters: what a call costs and where it stands under the roofline.
//!
//! Counters are opened on the thread that runs the kernel, so profiles are of one thread. A counter
//! that this machine does not have is reported as missing, with the reason, and never as 0.

use crate::check::{self, Status};
use crate::counters::{Count, CounterSet, Counts, Event, Scope};
use crate::machine::bandwidth::{Access, bandwidths};
use crate::machine::timing::Plan;
use crate::machine::{Machine, bandwidth, peak};
use crate::measure::clock::{self, Effort};
use crate::measure::operands::{Operands, Room};
use crate::measure::runner::{self, Runner};
use crate::measure::statistics;
use crate::space::{Candidate, Problem};
use crate::store::Config;
use kiln_reports::Tier;
use kiln_reports::page::Counter;
use kiln_reports::roofline::KernelPoint;
use serde::Serialize;
use std::time::Duration;

/// How long a kernel runs under the counters.
const COUNTED: Duration = Duration::from_millis(200);

/// What this machine can do at most on one thread, measured in this session.
#[derive(Clone, Debug, Serialize)]
pub struct Roof {
    /// Peaks of each instruction set and format.
    pub peaks: Vec<peak::Peak>,
    /// Bandwidths of each level.
    pub bandwidths: Vec<bandwidth::Bandwidth>,
}

impl Roof {
    /// Measures it, roughly.
    pub fn measure(machine: &Machine) -> Roof {
        let none = |_: &str| {};
        Roof { peaks: peak::peaks(None, &[1], &Plan::QUICK, none), bandwidths: bandwidths(machine, &[1], &Plan::QUICK, none) }
    }

    /// What an instruction set does in the arithmetic of a format, in 10⁹ operations per second; of formats that it
    /// has no arithmetic of its own for, what it does in f32.
    fn peak(&self, isa: &str, format: &str) -> Option<f64> {
        let of = |format: &str| self.peaks.iter().find(|p| p.isa == isa && p.format == format).map(peak::Peak::gflops);
        let arithmetic = crate::filter::format(format).map_or(format, |f| f.arithmetic().name());
        of(arithmetic).or_else(|| of("f32"))
    }

    /// The read bandwidth in GB/s of the nearest level whose cache holds `bytes`.
    fn bandwidth(&self, machine: &Machine, bytes: f64) -> Option<(&str, f64)> {
        let level = machine.caches.iter().filter(|c| c.holds_data()).find(|c| bytes <= c.bytes as f64);
        let name = level.map_or("dram".to_owned(), |c| format!("l{}", c.level));
        let found = bandwidth::preferred(&self.bandwidths).find(|b| b.access == Access::Read && b.level == name)?;
        Some((&found.level, found.bytes_per_second.median / 1e9))
    }
}

/// One kernel at one shape.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// What was run.
    pub config: Config,
    /// Calls that were counted.
    pub calls: u64,
    /// Median nanoseconds per call.
    pub median_ns: f64,
    /// Its 95 % interval.
    pub ci_ns: (f64, f64),
    /// GFLOP/s; absent for row operations.
    pub gflops: Option<f64>,
    /// GB/s of the bytes that the algorithm must move.
    pub gbytes_per_s: f64,
    /// GFLOP/s over the measured peak of the kernel's instruction set.
    pub fraction_of_peak: Option<f64>,
    /// FLOP for each byte that the algorithm must move.
    pub intensity: Option<f64>,
    /// The level whose bandwidth bounds it: the nearest that holds the operands.
    pub level: Option<String>,
    /// GFLOP/s that peak and bandwidth allow.
    pub roof_gflops: Option<f64>,
    /// `compute` or `memory`: which of them is the lower.
    pub bound: Option<&'static str>,
    /// Instructions per cycle, where both were counted.
    pub ipc: Option<f64>,
    /// FLOP per cycle, where cycles were counted.
    pub flops_per_cycle: Option<f64>,
    /// The counters over all counted calls.
    pub counters: Counts,
    /// Where the figures come from.
    pub tier: Tier,
}

/// Verifies, warms up, times and counts one candidate.
///
/// # Errors
/// If it gives a wrong answer, or its operands do not fit.
pub fn run(
    problem: &Problem,
    candidate: &Candidate,
    machine: &Machine,
    room: Room,
    roof: &Roof,
    effort: &Effort,
) -> anyhow::Result<Profile> {
    let config = Config::new(problem, candidate);
    if let Status::Failed { first, .. } = check::kernel(candidate.entry) {
        anyhow::bail!("{} gives wrong answers and is not timed: {first}", config.kernel);
    }
    let (samples, calls, counters) = runner::pinned()?.install(|| -> anyhow::Result<_> {
        let mut operands = Operands::new(problem, room, 1)?;
        let mut runner = Runner::new(candidate, &operands)?;
        runner.verify(&mut operands).map_err(|e| anyhow::anyhow!("{} gives wrong answers and is not timed: {e}", config.label()))?;
        let calls = clock::warm_up(effort.session_warm_up, effort.sample, || runner.call(&mut operands));
        let samples: Vec<f64> = (0..effort.samples).map(|_| clock::sample(calls, || runner.call(&mut operands))).collect();
        let per_call = statistics::median(&samples).unwrap_or(1.0).max(1.0);
        let counted = ((COUNTED.as_nanos() as f64 / per_call) as usize).max(1);
        let mut set = CounterSet::open(Event::ALL, Scope::Thread);
        let ((), counts) = set.measure(|| (0..counted).for_each(|_| runner.call(&mut operands)));
        Ok((samples, counted as u64, counts))
    })?;
    Ok(Profile::new(problem, config, &samples, calls, counters, machine, roof))
}

impl Profile {
    fn new(problem: &Problem, config: Config, samples: &[f64], calls: u64, counters: Counts, machine: &Machine, roof: &Roof) -> Profile {
        let median_ns = statistics::median(samples).unwrap_or(f64::NAN);
        let bytes = problem.bytes();
        let flops = problem.shape.flops();
        let gflops = flops.map(|f| f / median_ns);
        let peak = roof.peak(&config.isa, &config.format);
        let level = roof.bandwidth(machine, bytes);
        let intensity = flops.map(|f| f / bytes);
        let slope = intensity.zip(level).map(|(i, (_, bandwidth))| i * bandwidth);
        Profile {
            calls,
            median_ns,
            ci_ns: statistics::median_ci(samples).unwrap_or((f64::NAN, f64::NAN)),
            gflops,
            gbytes_per_s: bytes / median_ns,
            fraction_of_peak: gflops.zip(peak).map(|(g, p)| g / p),
            intensity,
            level: level.map(|l| l.0.to_owned()),
            roof_gflops: slope.zip(peak).map(|(s, p)| s.min(p)),
            bound: slope.zip(peak).map(|(s, p)| if s < p { "memory" } else { "compute" }),
            ipc: counters.ratio(Event::Instructions, Event::Cycles),
            flops_per_cycle: flops
                .zip(counters.value(Event::Cycles))
                .filter(|(_, cycles)| *cycles > 0)
                .map(|(f, cycles)| f * calls as f64 / cycles as f64),
            counters,
            config,
            tier: Tier::Measured,
        }
    }

    /// The counters as a page shows them, each for one call.
    pub fn page_counters(&self) -> Vec<Counter> {
        let what = format!("{} {}", self.config.kernel, self.config.shape);
        let row = |event: &Event, count: &Count| Counter {
            what: what.clone(),
            name: format!("{event} per call"),
            value: count.value().map(|v| v as f64 / self.calls as f64),
            unit: event.unit().into(),
            source: if event.is_hardware() { "PMU".into() } else { "software event".into() },
            counted: match count {
                Count::Counted { enabled, running, .. } if *enabled > 0 => Some(*running as f64 / *enabled as f64),
                _ => None,
            },
            tier: Tier::Measured,
        };
        self.counters.0.iter().map(|(event, count)| row(event, count)).collect()
    }

    /// Where it stands under the roofline; `None` for row operations.
    pub fn point(&self) -> Option<KernelPoint> {
        Some(KernelPoint {
            label: format!("{} {}", self.config.kernel, self.config.shape),
            intensity: self.intensity?,
            gflops: self.gflops?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Blockings, Temperature, caches, candidates};
    use kiln_kernels::registry::{self, Op};

    #[test]
    fn a_profile_counts_or_says_why_not() {
        let machine = Machine::detect();
        let shape = "24x24x24".parse().expect("a shape");
        let problem = Problem { op: Op::Gemm, format: Op::Gemm.format(), shape, packed: false, threads: 1, operands: Temperature::Hot };
        let entries: Vec<_> = registry::all().collect();
        let (all, _) = candidates(&problem, &entries, Blockings::Analytical, caches(&machine)).expect("candidates");
        let roof = Roof { peaks: Vec::new(), bandwidths: Vec::new() };
        let room = Room { last_cache: 1 << 20, memory: 1 << 30 };
        let effort = Effort { session_warm_up: Duration::ZERO, ..Effort::QUICK };
        let profile = run(&problem, &all[0], &machine, room, &roof, &effort).expect("a profile");
        assert!(profile.gflops.is_some_and(|g| g > 0.0) && profile.fraction_of_peak.is_none() && profile.bound.is_none());
        assert_eq!(profile.page_counters().len(), Event::ALL.len());
        assert!(profile.page_counters().iter().all(|c| c.value.is_none() || c.counted.is_some()));
    }
}
