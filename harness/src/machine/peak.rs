//! The most floating-point work the cores can do: chains of fused multiply-adds that touch no memory.
//!
//! The loops are the kernels crate's, one for each instruction set, so that a kernel's share of the
//! peak compares like with like.

use super::timing::{Figure, Plan, rate};
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
    /// Floating-point operations per second; a fused multiply-add counts as two.
    pub flops: Figure,
}

impl Peak {
    /// The median in GFLOP/s.
    pub fn gflops(&self) -> f64 {
        self.flops.median / 1e9
    }
}

/// Measures the f32 peak of every instruction set that runs here, for each number of threads.
pub fn f32_peaks(threads: &[usize], plan: &Plan, mut progress: impl FnMut(&str)) -> Vec<Peak> {
    let mut peaks = Vec::new();
    for one in kiln_kernels::isa::peak::peaks_f32() {
        for &threads in threads {
            progress(&format!("f32 peak, {}, {threads} thread(s)", one.isa));
            // The loop counts its own operations.
            let measured = rate(threads, plan, |_| |rounds: usize| (one.run)(rounds * 64) as f64);
            peaks.extend(measured.map(|flops| Peak { isa: one.isa.to_string(), format: "f32".into(), threads, flops }));
        }
    }
    peaks
}
