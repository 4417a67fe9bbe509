//! The registered parameters of softmax: to add a kernel, add its parameters to the line of its ISA.

use super::Three;
use crate::fingerprint::of_source;
use crate::isa;
#[cfg(feature = "sweep")]
use crate::registry::Entry;
use crate::registry::{Meta, Registered, row_kernels};
use crate::row;

/// Hash of what the kernels of an ISA are built from, beside the ISA's own file.
const fn source(isa: isa::IsaId) -> u64 {
    match isa {
        isa::IsaId::Sve => row::source(isa, const { of_source(include_bytes!("sve.rs")) }),
        _ => row::source(isa, const { of_source(include_bytes!("body.rs")) }),
    }
}

// ISA, its name and architecture: (vectors at a time, rows at once, lines asked for ahead)…
row_kernels! {
    THREE = Softmax F32 ["softmax_f32_"] Three ["softmax::Three::<isa::"] source;
    Scalar "scalar" "any": (u 1 r 1 a 0) (u 4 r 1 a 0);
    Avx2 "avx2" "x86_64": (u 1 r 1 a 0) (u 2 r 1 a 0) (u 4 r 1 a 0) (u 2 r 3 a 0) (u 4 r 3 a 32);
    Avx512 "avx512" "x86_64": (u 1 r 1 a 0) (u 2 r 1 a 0) (u 4 r 1 a 0) (u 2 r 3 a 0) (u 4 r 3 a 32) (u 2 r 3 a 64);
    Neon "neon" "aarch64": (u 1 r 1 a 0) (u 2 r 1 a 0) (u 4 r 1 a 0) (u 2 r 3 a 0) (u 4 r 3 a 0);
    Sve "sve" "aarch64": (u 1 r 1 a 0) (u 2 r 1 a 0) (u 4 r 1 a 0);
}

/// Every softmax.
#[cfg(feature = "sweep")]
pub(crate) const ENTRIES: &[&[Entry]] = &[THREE];
