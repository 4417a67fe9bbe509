//! The most arithmetic the cores can do: chains of multiply-adds that touch no memory.
//!
//! The loops are the kernels crate's, one for each instruction set, so that a kernel's share of the
//! peak compares like with like.

use super::timing::{Figure, Plan, rate};
use kiln_kernels::format::Format;
use serde::{Deserialize, Serialize};

/// What one instruction set reaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// The instruction set, as kernels name it.
    pub isa: String,
    /// Element type of the arithmetic.
    pub format: String,
    /// Threads at work, each pinned to its own CPU.
    pub threads: usize,
    /// Operations per second; a multiply-add counts as two.
    pub flops: Figure,
}

impl Peak {
    /// The median in 10⁹ operations per second: GFLOP/s, or GOP/s of integers.
    pub fn gflops(&self) -> f64 {
        self.flops.median / 1e9
    }
}

/// Measures the peaks of every instruction set that runs here, for each number of threads; of one format
/// alone, if it is given.
pub fn peaks(format: Option<Format>, threads: &[usize], plan: &Plan, mut progress: impl FnMut(&str)) -> Vec<Peak> {
    let mut peaks = Vec::new();
    for one in kiln_kernels::isa::peak::peaks().into_iter().filter(|p| format.is_none_or(|f| p.format == f)) {
        for &threads in threads {
            progress(&format!("{} peak, {}, {threads} thread(s)", one.format, one.isa));
            // The loop counts its own operations.
            let measured = rate(threads, plan, |_| |rounds: usize| (one.run)(rounds * 64) as f64);
            peaks.extend(measured.map(|flops| Peak { isa: one.isa.to_string(), format: one.format.name().into(), threads, flops }));
        }
    }
    peaks
}
