//! What this machine can do at most, measured now: arithmetic peaks and memory bandwidths.
//!
//! Under a user-mode emulator nothing is measured: the times would be the emulator's.

use super::bandwidth::{Access, Bandwidth};
use super::peak::{Peak, peaks};
use super::timing::Plan;
use super::{Machine, bandwidth, timing};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Measured limits of one machine, or why there are none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Limits {
    /// Measured on this machine in this session.
    Measured {
        /// Arithmetic, for each instruction set and number of threads.
        peaks: Vec<Peak>,
        /// Memory, for each level, access, kind of pages and number of threads.
        bandwidths: Vec<Bandwidth>,
    },
    /// Not measured.
    NotAvailable {
        /// Why.
        reason: String,
    },
}

impl Limits {
    /// The highest measured f32 peak of `threads` threads.
    pub fn peak_f32(&self, threads: usize) -> Option<&Peak> {
        let Limits::Measured { peaks, .. } = self else { return None };
        let matching = peaks.iter().filter(|p| p.format == "f32" && p.threads == threads);
        matching.max_by(|a, b| a.flops.median.total_cmp(&b.flops.median))
    }

    /// The f32 peak of one instruction set with `threads` threads.
    pub fn peak_f32_of(&self, isa: &str, threads: usize) -> Option<&Peak> {
        let Limits::Measured { peaks, .. } = self else { return None };
        peaks.iter().find(|p| p.format == "f32" && p.isa == isa && p.threads == threads)
    }

    /// The bandwidth of reading `level` (`l1`, …, `dram`) with `threads` threads, on huge pages where there are any.
    pub fn read_bandwidth(&self, level: &str, threads: usize) -> Option<&Bandwidth> {
        let Limits::Measured { bandwidths, .. } = self else { return None };
        bandwidth::preferred(bandwidths).find(|b| b.access == Access::Read && b.level == level && b.threads == threads)
    }
}

/// Numbers of threads to measure: 1, doubling up to `usable`, and `usable` itself.
pub fn thread_counts(usable: usize) -> Vec<usize> {
    let mut counts: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < usable).collect();
    counts.push(usable.max(1));
    counts
}

/// The numbers of threads to measure on this machine: no more than can each have a CPU.
fn threads(machine: &Machine) -> Vec<usize> {
    let pinnable = timing::cpus().len();
    let usable = machine.system.cores.usable;
    thread_counts(if pinnable == 0 { usable } else { pinnable.min(usable) })
}

/// How often [`measure`] reports progress.
pub fn steps(machine: &Machine) -> u64 {
    let threads = threads(machine);
    let peaks = kiln_kernels::isa::peak::peaks().len() * threads.len();
    let memory: usize = threads.iter().map(|count| bandwidth::lines(machine, *count)).sum();
    (1 + peaks + memory) as u64
}

/// Measures peaks and bandwidths for 1 thread up to all that may be used. `progress` hears what comes
/// next. A full measurement takes a fifth of a second to a second per line of the result.
pub fn measure(machine: &Machine, quick: bool, mut progress: impl FnMut(&str)) -> Limits {
    if let Some(emulator) = &machine.system.emulator {
        return Limits::NotAvailable { reason: format!("running under {emulator}: its times say nothing of a CPU") };
    }
    let plan = if quick { Plan::QUICK } else { Plan::FULL };
    let threads = threads(machine);
    progress("letting the clock settle");
    settle(threads.last().copied().unwrap_or(1), quick);
    let peaks = peaks(None, &threads, &plan, &mut progress);
    let bandwidths = bandwidth::bandwidths(machine, &threads, &plan, &mut progress);
    if peaks.is_empty() && bandwidths.is_empty() {
        return Limits::NotAvailable { reason: "no loop gave a figure on this machine".into() };
    }
    Limits::Measured { peaks, bandwidths }
}

/// Keeps all CPUs busy until their rate stands still: idle ones may take half a second to clock up.
fn settle(threads: usize, quick: bool) {
    let limit = Duration::from_millis(if quick { 300 } else { 1200 });
    let plan = Plan { slice: Duration::from_millis(25), warm_up: limit / 2, warm_up_limit: limit, samples: 1 };
    timing::rate(threads, &plan, |_| {
        let mut state = 1u64;
        move |rounds| {
            for _ in 0..rounds * 64 {
                state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
            rounds as f64
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_counts_double_and_end_at_all() {
        assert_eq!(thread_counts(1), [1]);
        assert_eq!(thread_counts(2), [1, 2]);
        assert_eq!(thread_counts(6), [1, 2, 4, 6]);
        assert_eq!(thread_counts(0), [1]);
    }

    #[test]
    fn an_emulator_measures_nothing() {
        let mut machine = Machine::detect();
        machine.system.emulator = Some("qemu-aarch64".into());
        let limits = measure(&machine, true, |_| {});
        assert!(matches!(&limits, Limits::NotAvailable { reason } if reason.contains("qemu-aarch64")));
        assert_eq!(limits.peak_f32(1), None);
    }
}
