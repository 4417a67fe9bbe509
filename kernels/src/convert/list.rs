//! The registered parameters of the conversion families: to add a kernel, add its parameters to the line of its ISA.

use super::{Narrow, NarrowBf16, Widen, WidenBf16};
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

macro_rules! conversions {
    ($($lines:tt)+) => {
        row_kernels! { WIDEN = F16ToF32 F16 ["f16_to_f32_"] Widen ["convert::Widen::<isa::"] source; $($lines)+ }
        row_kernels! { NARROW = F32ToF16 F32 ["f32_to_f16_"] Narrow ["convert::Narrow::<isa::"] source; $($lines)+ }
        row_kernels! { WIDEN_BF16 = Bf16ToF32 Bf16 ["bf16_to_f32_"] WidenBf16 ["convert::WidenBf16::<isa::"] source; $($lines)+ }
        row_kernels! { NARROW_BF16 = F32ToBf16 F32 ["f32_to_bf16_"] NarrowBf16 ["convert::NarrowBf16::<isa::"] source; $($lines)+ }
    };
}

// ISA, its name and architecture: (vectors at a time, MiB from which results pass the caches, lines asked for ahead)…
conversions! {
    Scalar "scalar" "any": (u 1 s 0 a 0) (u 4 s 0 a 0);
    Avx2 "avx2" "x86_64": (u 1 s 0 a 0) (u 2 s 0 a 0) (u 4 s 0 a 0) (u 4 s 4 a 0) (u 4 s 16 a 16) (u 8 s 0 a 0);
    Avx512 "avx512" "x86_64": (u 1 s 0 a 0) (u 2 s 0 a 0) (u 4 s 0 a 0) (u 8 s 0 a 0) (u 4 s 4 a 0) (u 8 s 4 a 64) (u 4 s 16 a 16) (u 4 s 64 a 16);
    Neon "neon" "aarch64": (u 1 s 0 a 0) (u 2 s 0 a 0) (u 4 s 0 a 0) (u 8 s 0 a 0);
    Sve "sve" "aarch64": (u 1 s 0 a 0) (u 2 s 0 a 0) (u 4 s 0 a 0);
}

/// Every conversion kernel.
#[cfg(feature = "sweep")]
pub(crate) const ENTRIES: &[&[Entry]] = &[WIDEN, NARROW, WIDEN_BF16, NARROW_BF16];
