//! The registered parameters of attention: to add a kernel, add its parameters to the line of its ISA. Every format of
//! the cache has its kernels here.

use super::{Tiles, Token, cache};
use crate::fingerprint::{fnv1a, of_source};
use crate::isa;
#[cfg(feature = "sweep")]
use crate::registry::Entry;
use crate::registry::{Meta, Registered, row_kernels};
use crate::row;

/// Hash of what all kernels share beside the ISA's own file.
const SHARED: u64 = fnv1a(of_source(include_bytes!("cache.rs")), include_bytes!("online.rs"));

/// Hash of what kernels for many tokens are built from.
const fn many(isa: isa::IsaId) -> u64 {
    const PREFILL: u64 = fnv1a(SHARED, include_bytes!("prefill.rs"));
    match isa {
        isa::IsaId::Sve => row::source(isa, const { fnv1a(PREFILL, include_bytes!("sve.rs")) }),
        _ => row::source(isa, PREFILL),
    }
}

/// The same of those for one.
const fn one(isa: isa::IsaId) -> u64 {
    row::source(isa, const { fnv1a(SHARED, include_bytes!("decode.rs")) })
}

/// The kernels of a format of the cache: the names of their types, of the format, and of the module that lists them.
macro_rules! formats {
    ($($format:ident $name:literal $module:ident $many:ident $one:ident;)+) => {
        $(
            #[doc = concat!("Attention of many tokens to a cache of ", $name, ".")]
            pub type $many<I, const R: usize, const V: usize, const T: usize> = Tiles<I, cache::$format, R, V, T>;
            #[doc = concat!("Attention of one token to a cache of ", $name, ".")]
            pub type $one<I, const H: usize, const V: usize, const T: usize, const A: usize> = Token<I, cache::$format, H, V, T, A>;

            mod $module {
                use super::*;

                // ISA, its name and architecture: (rows and vectors in registers, keys at a time)…
                row_kernels! {
                    MANY = Attention $format ["attention_", $name, "_"] $many ["Tiles"; concat!(", kiln_kernels::attention::cache::", stringify!($format))] ["attention::", stringify!($many), "::<isa::"] many;
                    Scalar "scalar" "any": (r 4 v 4 t 64);
                    Avx2 "avx2" "x86_64": (r 4 v 3 t 64) (r 4 v 2 t 64);
                    Avx512 "avx512" "x86_64": (r 8 v 3 t 64) (r 8 v 2 t 64) (r 8 v 3 t 128);
                    Neon "neon" "aarch64": (r 8 v 3 t 64) (r 4 v 4 t 64);
                    Sve "sve" "aarch64": (r 8 v 3 t 64) (r 8 v 2 t 64);
                }

                // ISA, its name and architecture: (heads and vectors in registers, keys at a time, whether the next tile is
                // asked for)…
                row_kernels! {
                    ONE = AttentionDecode $format ["attention_decode_", $name, "_"] $one ["Token"; concat!(", kiln_kernels::attention::cache::", stringify!($format))] ["attention::", stringify!($one), "::<isa::"] one;
                    Scalar "scalar" "any": (h 4 v 4 t 64 a 0);
                    Avx2 "avx2" "x86_64": (h 4 v 2 t 64 a 0) (h 4 v 2 t 64 a 1);
                    Avx512 "avx512" "x86_64": (h 7 v 2 t 64 a 0) (h 7 v 2 t 64 a 1) (h 7 v 2 t 256 a 1) (h 4 v 4 t 64 a 1);
                    Neon "neon" "aarch64": (h 4 v 4 t 64 a 0) (h 4 v 4 t 64 a 1) (h 7 v 2 t 64 a 0);
                }

                #[cfg(feature = "sweep")]
                pub(super) const ENTRIES: [&[Entry]; 2] = [MANY, ONE];
            }
        )+

        /// Every kernel.
        #[cfg(feature = "sweep")]
        pub(crate) const ENTRIES: &[&[Entry]] = &[$($module::ENTRIES[0], $module::ENTRIES[1]),+];
    };
}

formats! {
    F32 "f32" of_f32 ManyF32 OneF32;
    F16 "f16" of_f16 ManyF16 OneF16;
    Bf16 "bf16" of_bf16 ManyBf16 OneBf16;
    Q8_0 "q8_0" of_q8_0 ManyQ8_0 OneQ8_0;
}
