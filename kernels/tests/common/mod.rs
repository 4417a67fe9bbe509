//! Operands for any product, and the kernels to run them with.

use kiln_kernels::gemm::AnyGemm;
use kiln_kernels::gemm::product::Product;
use kiln_kernels::registry::{self, Kernel, Meta};

/// Every matrix product kernel that runs here.
pub fn kernels() -> Vec<(&'static Meta, AnyGemm)> {
    let kernel = |e: &'static registry::Entry| match (e.make)()? {
        Kernel::Gemm(any) => Some((e.meta, any)),
        _ => None,
    };
    registry::all().filter_map(kernel).collect()
}

/// Reproducible values in −1..1.
pub fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed ^ 0x2545_f491_4f6c_dd1d;
    let step = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| step(&mut state)).collect()
}

/// Elements of A.
pub fn left<P: Product>(len: usize, seed: u64) -> Vec<P::A> {
    values(len, seed).into_iter().map(P::a_of).collect()
}

/// Elements of B.
pub fn right<P: Product>(len: usize, seed: u64) -> Vec<P::B> {
    values(len * P::B_DEPTH, seed).chunks_exact(P::B_DEPTH).map(P::b_of).collect()
}
