//! Verification of kernels: each against its oracle, over the conformance grid, between guard pages.
//!
//! A kernel that panics has failed; one whose instruction set this CPU lacks is skipped; kernels of
//! other architectures are not counted at all. Nothing is timed, so kernels are checked in parallel.

use crate::filter::of_this_architecture;
use crate::guard;
use crate::progress::Progress;
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::Entry;
use rayon::prelude::*;
use serde::Serialize;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What became of one kernel.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// Every case agreed with the oracle.
    Passed {
        /// Cases run.
        cases: usize,
        /// The largest error, as a fraction of its tolerance.
        worst: f64,
    },
    /// Some case did not, or the kernel panicked.
    Failed {
        /// Cases run.
        cases: usize,
        /// How many failed.
        failed: usize,
        /// The first of them.
        first: String,
    },
    /// This CPU lacks the instruction set.
    Skipped,
}

/// One kernel and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Its name.
    pub kernel: &'static str,
    /// Its instruction set.
    pub isa: &'static str,
    /// What became of it.
    #[serde(flatten)]
    pub status: Status,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Instruction sets of which a kernel ran.
    pub isas_ran: Vec<&'static str>,
    /// Instruction sets of this architecture that this CPU lacks.
    pub isas_skipped: Vec<&'static str>,
    /// How many kernels passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were skipped.
    pub skipped: usize,
    /// Each kernel.
    pub kernels: Vec<Checked>,
}

impl Verification {
    /// How many kernels of an instruction set passed, failed and were skipped.
    pub fn of_isa(&self, isa: &str) -> (usize, usize, usize) {
        let count = |f: fn(&Status) -> bool| self.kernels.iter().filter(|k| k.isa == isa && f(&k.status)).count();
        let passed = count(|s| matches!(s, Status::Passed { .. }));
        let failed = count(|s| matches!(s, Status::Failed { .. }));
        (passed, failed, count(|s| matches!(s, Status::Skipped)))
    }

    /// A line for each kernel that failed.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.kernels.iter().filter_map(|k| match &k.status {
            Status::Failed { cases, failed, first } => Some(format!("{}: {failed} of {cases} cases, first {first}", k.kernel)),
            _ => None,
        })
    }
}

/// Checks one kernel.
pub fn kernel(entry: &'static Entry) -> Status {
    let run = || guard::watch(entry.meta.name, || kiln_grid::run(entry));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(None) => Status::Skipped,
        Ok(Some(o)) if o.passed() => Status::Passed { cases: o.cases, worst: o.worst },
        Ok(Some(o)) => {
            let first = o.failures.first().cloned().unwrap_or_else(|| "no case ran".into());
            Status::Failed { cases: o.cases, failed: o.failures.len(), first }
        }
        Err(panic) => Status::Failed { cases: 0, failed: 1, first: format!("panicked: {}", panic_message(panic.as_ref())) },
    }
}

/// Checks all kernels of this architecture among `entries`.
pub fn run(entries: &[&'static Entry]) -> Verification {
    let mine: Vec<_> = entries.iter().filter(|e| of_this_architecture(e.meta.isa)).collect();
    let progress = Progress::new(mine.len() as u64, "verifying");
    // A panic is reported as a failure of its kernel, not by the default hook.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let kernels: Vec<Checked> = mine
        .par_iter()
        .map(|entry| {
            let status = kernel(entry);
            progress.advance(1);
            Checked { kernel: entry.meta.name, isa: entry.meta.isa.name(), status }
        })
        .collect();
    std::panic::set_hook(hook);
    summarise(kernels)
}

fn summarise(kernels: Vec<Checked>) -> Verification {
    let count = |f: fn(&Status) -> bool| kernels.iter().filter(|k| f(&k.status)).count();
    let skipped = |s: &Status| matches!(s, Status::Skipped);
    let isas = |want: bool| {
        let has = |isa: &IsaId| kernels.iter().any(|k| k.isa == isa.name() && skipped(&k.status) == want);
        IsaId::ALL.iter().filter(|i| has(i)).map(|i| i.name()).collect()
    };
    Verification {
        isas_ran: isas(false),
        isas_skipped: isas(true),
        passed: count(|s| matches!(s, Status::Passed { .. })),
        failed: count(|s| matches!(s, Status::Failed { .. })),
        skipped: count(skipped),
        kernels,
    }
}

/// The text of a panic, on one line.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(isa: &'static str, status: Status) -> Checked {
        Checked { kernel: "k", isa, status }
    }

    #[test]
    fn every_kernel_is_counted_once() {
        let failed = || Status::Failed { cases: 3, failed: 1, first: "n 3".into() };
        let passed = || Status::Passed { cases: 3, worst: 0.5 };
        let v = summarise(vec![checked("scalar", passed()), checked("avx2", failed()), checked("avx512", Status::Skipped)]);
        assert_eq!((v.passed, v.failed, v.skipped), (1, 1, 1));
        assert_eq!((v.isas_ran, v.isas_skipped), (vec!["scalar", "avx2"], vec!["avx512"]));
    }

    #[test]
    fn scalar_kernels_pass_between_guard_pages() {
        let entry = kiln_kernels::registry::all().find(|e| e.meta.isa == IsaId::Scalar).expect("a scalar kernel");
        assert!(matches!(kernel(entry), Status::Passed { cases: 1.., .. }));
    }
}
