//! SVE: vectors whose length only the running CPU knows, predicated edges.
//!
//! Rust has no stable SVE types, so [`Sve`] is no [`super::Simd`]: its kernels are whole loops in
//! [`sve_asm!`], beside the generic body of each family. They are written for any vector length.

use super::neon_dot::dots;
use super::{IntDot, Isa, IsaId, NeonFhm, NeonI8mm, Simd, extends, peak};
use crate::format::Format;

/// Proof that this CPU has SVE.
#[derive(Clone, Copy, Debug)]
pub struct Sve(());

impl Isa for Sve {
    const ID: IsaId = IsaId::Sve;
    const PEAKS: &'static [(Format, peak::Loop)] = &[(Format::F32, f32_peak)];
    fn of_this_cpu() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("sve").then_some(Sve(()))
    }
}

impl Sve {
    /// f32 elements in a vector: 4 to 64.
    #[inline]
    pub fn lanes(self) -> usize {
        let lanes: usize;
        // SAFETY: `self` proves SVE; the instruction reads nothing but the vector length.
        unsafe {
            core::arch::asm!(".arch_extension sve", "cntw {}", out(reg) lanes, options(pure, nomem, nostack, preserves_flags));
        }
        lanes
    }
}

macro_rules! tokens {
    ($($(#[$doc:meta])+ $isa:ident $feature:tt;)+) => {
        $($(#[$doc])+
        #[derive(Clone, Copy, Debug)]
        pub struct $isa(Sve);

        impl Isa for $isa {
            const ID: IsaId = IsaId::$isa;
            fn of_this_cpu() -> Option<Self> {
                if std::arch::is_aarch64_feature_detected!($feature) { Sve::detect().map(Self) } else { None }
            }
        }

        impl From<$isa> for Sve {
            fn from(isa: $isa) -> Sve {
                isa.0
            }
        })+
    };
}

tokens! {
    /// Proof that this CPU has SVE with bf16.
    SveBf16 "bf16";
    /// Proof that this CPU has SVE2.
    Sve2 "sve2";
}

/// Proof that this CPU has SVE with i8mm, and NEON with it. As [`Simd`] it is NEON: what its kernels do beside
/// their loops needs no longer vectors.
#[derive(Clone, Copy, Debug)]
pub struct SveI8mm(NeonI8mm, Sve);

impl Isa for SveI8mm {
    const ID: IsaId = IsaId::SveI8mm;
    fn of_this_cpu() -> Option<Self> {
        Some(SveI8mm(NeonI8mm::detect()?, Sve::detect()?))
    }
}

impl From<SveI8mm> for Sve {
    fn from(isa: SveI8mm) -> Sve {
        isa.1
    }
}

impl From<SveI8mm> for NeonI8mm {
    fn from(isa: SveI8mm) -> NeonI8mm {
        isa.0
    }
}

impl From<SveI8mm> for NeonFhm {
    fn from(isa: SveI8mm) -> NeonFhm {
        isa.0.into()
    }
}

extends! { SveI8mm NeonI8mm "sve,neon,dotprod,fp16,fhm,i8mm" }

dots! { SveI8mm NeonI8mm }

/// `asm!` with SVE instructions in one template, in which all vector registers and the predicates
/// p0 to p3 may be overwritten. What names an operand must not ask for a vector register: scalars
/// go in and out by general ones. A template of several texts is written `[one, two, …]`.
macro_rules! sve_asm {
    ($text:literal, $($operands:tt)*) => {
        $crate::isa::sve_asm!([$text], $($operands)*)
    };
    ([$($text:expr),+ $(,)?], $($operands:tt)*) => {
        $crate::isa::vector_asm!([".arch_extension sve", $($text),+], $($operands)*)
    };
}
pub(crate) use sve_asm;

/// As [`sve_asm!`], of NEON's instructions and those of extensions that the texts name.
macro_rules! vector_asm {
    ([$($text:expr),+ $(,)?], $($operands:tt)*) => {
        core::arch::asm!(
            $($text,)+
            $($operands)*
            out("p0") _, out("p1") _, out("p2") _, out("p3") _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        )
    };
}
pub(crate) use vector_asm;

/// Accumulators of the peak loop: enough for four cycles of latency on six pipes.
const CHAINS: usize = 24;

fn f32_peak(n: usize) -> u64 {
    Sve::detect().map_or(0, |isa| fma_rounds(isa, n))
}

fn fma_rounds(isa: Sve, n: usize) -> u64 {
    // SAFETY: `isa` proves SVE; the loop touches registers alone.
    unsafe {
        sve_asm!(
            r"
            .altmacro
            .macro kiln_start chain
                mov z\chain\().s, #0
            .endm
            .macro kiln_fma chain
                fmla z\chain\().s, z30.s, z0.s[0]
            .endm
                fmov z0.s, #0.5
                fmov z30.s, #0.125
                .set .Lkiln_i, 0
                .rept {chains}
                    kiln_start %(1 + .Lkiln_i)
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr
                cbz {n}, 3f
            2:
                .set .Lkiln_i, 0
                .rept {chains}
                    kiln_fma %(1 + .Lkiln_i)
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr
                subs {n}, {n}, #1
                b.ne 2b
            3:
            .purgem kiln_start
            .purgem kiln_fma
            .noaltmacro
            ",
            n = inout(reg) n => _,
            chains = const CHAINS,
        );
    }
    (2 * isa.lanes() * CHAINS * n) as u64
}
