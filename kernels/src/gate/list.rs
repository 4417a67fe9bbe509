//! The registered parameters of gates: to add a kernel, add its parameters to the line of its ISA.

use super::{Silu, SiluQuantise};
use crate::fingerprint::{fnv1a, of_source};
use crate::isa;
#[cfg(feature = "sweep")]
use crate::registry::Entry;
use crate::registry::{Meta, Registered, row_kernels};
use crate::row;

/// Hash of what the kernels of an ISA are built from, beside the ISA's own file.
const fn source(isa: isa::IsaId) -> u64 {
    match isa {
        isa::IsaId::Sve => row::source(isa, const { fnv1a(of_source(include_bytes!("sve.rs")), include_bytes!("../quantise/sve.rs")) }),
        _ => row::source(isa, const { fnv1a(of_source(include_bytes!("body.rs")), include_bytes!("../quantise/body.rs")) }),
    }
}

// ISA, its name and architecture: (vectors at a time)…
row_kernels! {
    SILU = SiluMul F32 ["silu_mul_f32_"] Silu ["gate::Silu::<isa::"] source;
    Scalar "scalar" "any": (u 1) (u 4);
    Avx2 "avx2" "x86_64": (u 1) (u 2) (u 4);
    Avx512 "avx512" "x86_64": (u 1) (u 2) (u 4) (u 8);
    Neon "neon" "aarch64": (u 1) (u 2) (u 4);
    Sve "sve" "aarch64": (u 1) (u 2) (u 4);
}

// ISA, its name and architecture: (spans at a time)…
row_kernels! {
    SILU_QUANTISE = SiluMulQuantise F32 ["silu_mul_quantise_f32_"] SiluQuantise ["gate::SiluQuantise::<isa::"] source;
    Scalar "scalar" "any": (u 1);
    Avx2 "avx2" "x86_64": (u 1) (u 2) (u 4);
    Avx512 "avx512" "x86_64": (u 1) (u 2) (u 4) (u 8);
    Neon "neon" "aarch64": (u 1) (u 2) (u 4);
    Sve "sve" "aarch64": (u 1) (u 2);
}

/// Every gate.
#[cfg(feature = "sweep")]
pub(crate) const ENTRIES: &[&[Entry]] = &[SILU, SILU_QUANTISE];
