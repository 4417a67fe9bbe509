//! What the benches share: the registry's kernels that run here, and operands for them.
//!
//! The benches loop over the registry, so a new kernel is timed without a line here. They are for
//! looking at one kernel under Criterion; winners are chosen by the laboratory's paired runs, and
//! figures worth keeping are written to `record/` with their date, machine and command.

use kiln_kernels::registry::{self, Kernel, Meta, Op};

/// Every kernel of an operation that this CPU can run.
pub fn kernels(op: Op) -> impl Iterator<Item = (&'static Meta, Kernel)> {
    registry::all().filter(move |e| e.meta.op == op).filter_map(|e| Some((e.meta, (e.make)()?)))
}

/// Reproducible values in −1..1.
pub fn values(len: usize) -> Vec<f32> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_kernel_to_bench() {
        for op in Op::ALL {
            assert!(kernels(*op).count() > 0, "{op}");
        }
    }

    #[test]
    fn values_stay_in_range() {
        assert!(values(10_000).iter().all(|v| (-1.0..1.0).contains(v)));
    }
}
