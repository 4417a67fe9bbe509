//! The registered unrolls of the norm families: to add one, add a number to the line of its ISA.

use super::{Layer, Rms};
use crate::fingerprint::of_source;
use crate::isa;
#[cfg(feature = "sweep")]
use crate::registry::Entry;
use crate::registry::{Meta, Registered, row_kernels};

/// Hash of what the kernels of an ISA are built from, beside the ISA's own file.
const fn source(isa: isa::IsaId) -> u64 {
    match isa {
        isa::IsaId::Sve => const { of_source(include_bytes!("sve.rs")) },
        _ => const { of_source(include_bytes!("body.rs")) },
    }
}

macro_rules! norms {
    ($($isa:ident $name:literal $arch:tt: $($u:literal)+;)+) => {
        row_kernels! { RmsNorm F32 source "rms_norm_f32_" Rms "norm::Rms::<isa::" RMS: $($isa $name $arch: $($u)+;)+ }
        row_kernels! { LayerNorm F32 source "layer_norm_f32_" Layer "norm::Layer::<isa::" LAYER: $($isa $name $arch: $($u)+;)+ }
    };
}

// ISA, its name and architecture: vectors at a time…
norms! {
    Scalar "scalar" "any": 1 4;
    Avx2 "avx2" "x86_64": 1 2 4 8;
    Avx512 "avx512" "x86_64": 1 2 4 8;
    Neon "neon" "aarch64": 1 2 4 8;
    Sve "sve" "aarch64": 1 2 4;
}

/// Every norm kernel.
#[cfg(feature = "sweep")]
pub(crate) const ENTRIES: &[&[Entry]] = &[RMS, LAYER];
