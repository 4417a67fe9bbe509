//! The registered parameters of selection: to add a kernel, add its parameters to the line of its ISA.

use super::{Few, First};
use crate::fingerprint::{fnv1a, of_source};
use crate::isa;
#[cfg(feature = "sweep")]
use crate::registry::Entry;
use crate::registry::{Meta, Registered, row_kernels};
use crate::row;

/// Hash of what the kernels of an ISA are built from, beside the ISA's own file.
const fn source(isa: isa::IsaId) -> u64 {
    match isa {
        isa::IsaId::Sve => row::source(
            isa,
            const { fnv1a(fnv1a(of_source(include_bytes!("sve.rs")), include_bytes!("body.rs")), include_bytes!("../softmax/sve.rs")) },
        ),
        _ => row::source(isa, const { of_source(include_bytes!("body.rs")) }),
    }
}

macro_rules! selections {
    ($($lines:tt)+) => {
        row_kernels! { FIRST = ArgMax F32 ["argmax_f32_"] First ["select::First::<isa::"] source; $($lines)+ }
        row_kernels! { FEW = TopK F32 ["top_k_f32_"] Few ["select::Few::<isa::"] source; $($lines)+ }
    };
}

// ISA, its name and architecture: (vectors at a time)…
selections! {
    Scalar "scalar" "any": (u 1) (u 4);
    Avx2 "avx2" "x86_64": (u 1) (u 2) (u 4) (u 8);
    Avx512 "avx512" "x86_64": (u 1) (u 2) (u 4) (u 8);
    Neon "neon" "aarch64": (u 1) (u 2) (u 4) (u 8);
    Sve "sve" "aarch64": (u 1) (u 2) (u 4);
}

/// Every selection.
#[cfg(feature = "sweep")]
pub(crate) const ENTRIES: &[&[Entry]] = &[FIRST, FEW];
