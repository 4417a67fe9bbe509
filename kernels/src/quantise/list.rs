//! The registered parameters of quantisers: to add a kernel, add its parameters to the line of its ISA. Every block
//! format of the list of formats has its kernels here.

use super::{Back, ToQ8_0};
use crate::fingerprint::of_source;
use crate::format;
use crate::isa;
#[cfg(feature = "sweep")]
use crate::registry::Entry;
use crate::registry::{Meta, Registered, row_kernels};
use crate::row;

/// Hash of what quantisers of an ISA are built from, beside the ISA's own file.
const fn source(isa: isa::IsaId) -> u64 {
    match isa {
        isa::IsaId::Sve => row::source(isa, const { of_source(include_bytes!("sve.rs")) }),
        _ => row::source(isa, const { of_source(include_bytes!("body.rs")) }),
    }
}

/// The same of those that go back.
const fn back_source(isa: isa::IsaId) -> u64 {
    match isa {
        isa::IsaId::Sve => source(isa),
        _ => row::source(isa, const { of_source(include_bytes!("back.rs")) }),
    }
}

// ISA, its name and architecture: (spans at a time)…
row_kernels! {
    TO_Q8_0 = Quantise F32 ["quantise_f32_"] ToQ8_0 ["quantise::ToQ8_0::<isa::"] source;
    Scalar "scalar" "any": (u 1);
    Avx2 "avx2" "x86_64": (u 1) (u 2) (u 4) (u 8);
    Avx512 "avx512" "x86_64": (u 1) (u 2) (u 4) (u 8);
    Neon "neon" "aarch64": (u 1) (u 2) (u 4) (u 8);
    Sve "sve" "aarch64": (u 1) (u 2);
}

/// The kernels of a line in the list of formats: none of a `plain` one, nor of one that is another's once more.
macro_rules! back {
    (block $format:ident $name:literal $module:ident) => {
        #[doc = concat!($name, " → f32.")]
        pub type $format<I, const U: usize> = Back<I, format::$module::Block, U>;

        // ISA, its name and architecture: (vectors at a time)…
        back! { @lines $module $format $name
            Scalar "scalar" "any": (u 1) (u 8);
            Avx2 "avx2" "x86_64": (u 1) (u 2) (u 4);
            Avx512 "avx512" "x86_64": (u 1) (u 2);
            Neon "neon" "aarch64": (u 1) (u 2) (u 4) (u 8);
            Sve "sve" "aarch64": (u 1);
        }
    };
    (@lines $module:ident $format:ident $name:literal $($lines:tt)+) => {
        pub(super) mod $module {
            use super::*;
            row_kernels! {
                TABLE = Dequantise $format ["dequantise_", $name, "_"] $format
                    ["Back"; concat!(", kiln_kernels::format::", stringify!($module), "::Block")]
                    ["quantise::", stringify!($format), "::<isa::"] back_source;
                $($lines)+
            }
            #[cfg(feature = "sweep")]
            pub(super) const ENTRIES: &[Entry] = TABLE;
        }
    };
    ($kind:ident $format:ident $name:literal $module:ident) => {};
}

macro_rules! block_formats {
    ($($format:ident $name:literal $kind:ident $type:ident $doc:literal;)+) => {
        $(back!($kind $format $name $type);)+
    };
}
crate::with_formats!([block_formats]);

/// Every quantiser.
#[cfg(feature = "sweep")]
pub(crate) const ENTRIES: &[&[Entry]] =
    &[TO_Q8_0, q8_0::ENTRIES, q4_0::ENTRIES, q4_1::ENTRIES, q5_0::ENTRIES, q5_1::ENTRIES, q4_k::ENTRIES, q5_k::ENTRIES, q6_k::ENTRIES];
