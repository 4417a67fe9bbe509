//! The registered parameters of the norm families: to add a kernel, add its parameters to the line of its ISA.

use super::{AddRms, Layer, Rms, RmsQuantise};
use crate::fingerprint::{fnv1a, of_source};
use crate::isa;
#[cfg(feature = "sweep")]
use crate::registry::Entry;
use crate::registry::{Meta, Registered, row_kernels};
use crate::row;

/// Hash of what the kernels of an ISA are built from, beside the ISA's own file.
const fn source(isa: isa::IsaId) -> u64 {
    match isa {
        isa::IsaId::Sve => row::source(isa, const { of_source(include_bytes!("sve.rs")) }),
        _ => row::source(isa, const { fnv1a(of_source(include_bytes!("body.rs")), include_bytes!("spread.rs")) }),
    }
}

/// The same of the fused ones.
const fn fused_source(isa: isa::IsaId) -> u64 {
    match isa {
        isa::IsaId::Sve => row::source(isa, const { fnv1a(of_source(include_bytes!("sve.rs")), include_bytes!("../quantise/sve.rs")) }),
        _ => row::source(
            isa,
            const { fnv1a(fnv1a(of_source(include_bytes!("body.rs")), include_bytes!("fused.rs")), include_bytes!("../quantise/body.rs")) },
        ),
    }
}

macro_rules! norms {
    ($($lines:tt)+) => {
        row_kernels! { RMS = RmsNorm F32 ["rms_norm_f32_"] Rms ["norm::Rms::<isa::"] source; $($lines)+ }
        row_kernels! { LAYER = LayerNorm F32 ["layer_norm_f32_"] Layer ["norm::Layer::<isa::"] source; $($lines)+ }
    };
}

// ISA, its name and architecture: (vectors at a time, rows at a time, MiB from which results pass the caches, lines asked
// for ahead)…
norms! {
    Scalar "scalar" "any": (u 1 r 1 s 0 a 0) (u 4 r 1 s 0 a 0);
    Avx2 "avx2" "x86_64": (u 1 r 1 s 0 a 0) (u 4 r 1 s 0 a 0) (u 4 r 2 s 0 a 0) (u 4 r 1 s 1 a 16) (u 2 r 2 s 16 a 32);
    Avx512 "avx512" "x86_64": (u 1 r 1 s 0 a 0) (u 4 r 1 s 0 a 0) (u 4 r 2 s 0 a 0) (u 4 r 1 s 1 a 16) (u 2 r 2 s 1 a 32) (u 2 r 2 s 16 a 32);
    Neon "neon" "aarch64": (u 1 r 1 s 0 a 0) (u 4 r 1 s 0 a 0) (u 8 r 1 s 0 a 0) (u 4 r 2 s 0 a 0) (u 2 r 4 s 0 a 0);
    Sve "sve" "aarch64": (u 1 r 1 s 0 a 0) (u 2 r 1 s 0 a 0) (u 4 r 1 s 0 a 0);
}

// ISA, its name and architecture: (vectors at a time, MiB from which results pass the caches)…
row_kernels! {
    ADD_RMS = AddRmsNorm F32 ["add_rms_norm_f32_"] AddRms ["norm::AddRms::<isa::"] fused_source;
    Scalar "scalar" "any": (u 1 s 0);
    Avx2 "avx2" "x86_64": (u 1 s 0) (u 4 s 0) (u 4 s 1);
    Avx512 "avx512" "x86_64": (u 1 s 0) (u 4 s 0) (u 4 s 1) (u 4 s 16);
    Neon "neon" "aarch64": (u 1 s 0) (u 2 s 0) (u 4 s 0);
    Sve "sve" "aarch64": (u 1 s 0) (u 2 s 0);
}

// ISA, its name and architecture: (spans of 32 elements at a time)…
row_kernels! {
    RMS_QUANTISE = RmsNormQuantise F32 ["rms_norm_quantise_f32_"] RmsQuantise ["norm::RmsQuantise::<isa::"] fused_source;
    Scalar "scalar" "any": (u 1);
    Avx2 "avx2" "x86_64": (u 1) (u 2) (u 4);
    Avx512 "avx512" "x86_64": (u 1) (u 2) (u 4) (u 8);
    Neon "neon" "aarch64": (u 1) (u 2) (u 4);
    Sve "sve" "aarch64": (u 1) (u 2);
}

/// Every norm kernel.
#[cfg(feature = "sweep")]
pub(crate) const ENTRIES: &[&[Entry]] = &[RMS, LAYER, ADD_RMS, RMS_QUANTISE];
