//! The registered parameters of rotations: to add a kernel, add its parameters to the line of its ISA.

use super::Turn;
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

// ISA, its name and architecture: (vectors at a time)…
row_kernels! {
    TURN = Rope F32 ["rope_f32_"] Turn ["rope::Turn::<isa::"] source;
    Scalar "scalar" "any": (u 1);
    Avx2 "avx2" "x86_64": (u 1) (u 2) (u 4);
    Avx512 "avx512" "x86_64": (u 1) (u 2);
    Neon "neon" "aarch64": (u 1) (u 2) (u 4) (u 8);
    Sve "sve" "aarch64": (u 1) (u 2) (u 4);
}

/// Every rotation.
#[cfg(feature = "sweep")]
pub(crate) const ENTRIES: &[&[Entry]] = &[TURN];
