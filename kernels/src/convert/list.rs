//! The registered unrolls of the conversion families: to add one, add a number to the line of its ISA.

use super::{Narrow, Widen};
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

macro_rules! conversions {
    ($($isa:ident $name:literal $arch:tt: $($u:literal)+;)+) => {
        row_kernels! { F16ToF32 F16 source "f16_to_f32_" Widen "convert::Widen::<isa::" WIDEN: $($isa $name $arch: $($u)+;)+ }
        row_kernels! { F32ToF16 F32 source "f32_to_f16_" Narrow "convert::Narrow::<isa::" NARROW: $($isa $name $arch: $($u)+;)+ }
    };
}

// ISA, its name and architecture: vectors at a time…
conversions! {
    Scalar "scalar" "any": 1 4;
    Avx2 "avx2" "x86_64": 1 2 4 8;
    Avx512 "avx512" "x86_64": 1 2 4 8;
    Neon "neon" "aarch64": 1 2 4 8;
    Sve "sve" "aarch64": 1 2 4;
}

/// Every conversion kernel.
#[cfg(feature = "sweep")]
pub(crate) const ENTRIES: &[&[Entry]] = &[WIDEN, NARROW];
