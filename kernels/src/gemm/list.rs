//! The tiles of the GEMM family: to add one, add its `(MR NV)` to the line of its ISA.

use super::F32;
use crate::fingerprint::of_source;
use crate::isa;
#[cfg(feature = "sweep")]
use crate::registry::Entry;
use crate::registry::{Meta, Registered, meta};

/// Hash of what the kernels of an ISA are built from, beside the ISA's own file.
const fn source(isa: isa::IsaId) -> u64 {
    match isa {
        isa::IsaId::Sve => const { of_source(include_bytes!("sve.rs")) },
        _ => const { of_source(include_bytes!("micro.rs")) },
    }
}

macro_rules! gemm_meta {
    ($isa:ident $name:literal $mr:literal $nv:literal $ku:literal) => {
        meta!(Gemm F32 $isa, source,
            concat!("gemm::F32::<isa::", stringify!($isa), ", ", $mr, ", ", $nv, ", ", $ku, ">"),
            concat!("gemm_f32_", $name, "_", $mr, "x", $nv, "v_u", $ku),
            [("MR" $mr) ("NV" $nv) ("KU" $ku)],
            concat!("b", $nv, "v"),
            isa::IsaId::$isa.order())
    };
}

macro_rules! tiles {
    ($($isa:ident $name:literal $arch:tt $unroll:tt: $(($mr:literal $nv:literal))+;)+) => {
        $($(tiles!(@impls $isa $name $arch $mr $nv $unroll);)+)+

        /// Every GEMM kernel.
        #[cfg(feature = "sweep")]
        pub(crate) const ENTRIES: &[&[Entry]] = &[$($(tiles!(@entries $isa $name $arch $mr $nv $unroll)),+),+];
    };
    (@impls $isa:ident $name:literal $arch:tt $mr:literal $nv:literal [$($ku:literal)+]) => {
        $(isa::only_on! { $arch
            impl Registered for F32<isa::$isa, $mr, $nv, $ku> {
                const META: &'static Meta = &gemm_meta!($isa $name $mr $nv $ku);
            }
        })+
    };
    (@entries $isa:ident $name:literal $arch:tt $mr:literal $nv:literal [$($ku:literal)+]) => {
        &[$(Entry {
            meta: &gemm_meta!($isa $name $mr $nv $ku),
            make: isa::if_arch!($arch => { F32::<isa::$isa, $mr, $nv, $ku>::make } else { || None }),
        }),+]
    };
}

// ISA, its name and architecture, [unrolls of the depth loop]: (MR NV)…
tiles! {
    Scalar "scalar" "any" [1]: (1 4) (2 4) (4 4);
    Avx2 "avx2" "x86_64" [1 4]: (1 1) (1 2) (1 3) (1 4) (2 2) (4 2) (6 2) (5 2) (3 3) (4 3) (8 1) (12 1);
    Avx512 "avx512" "x86_64" [1 4]: (1 1) (1 2) (1 3) (1 4) (4 2) (8 2) (12 2) (14 2) (8 3) (9 3) (6 4) (24 1);
    Neon "neon" "aarch64" [1 4]: (1 1) (1 2) (1 3) (1 4) (1 5) (1 6) (4 4) (4 5) (8 2) (8 3) (12 2) (4 6) (6 4) (16 1);
    Sve "sve" "aarch64" [1 4]: (1 2) (1 3) (1 4) (1 5) (1 6) (4 4) (4 5) (4 6) (6 4) (8 2) (8 3) (12 2);
}
