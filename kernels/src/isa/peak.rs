//! Peak arithmetic rates: loops of independent multiply-adds on registers alone.
//!
//! They run the instructions and count the operations; timing is the caller's.

use super::*;
use crate::format::Format;
use core::hint::black_box;

/// A loop that runs about `n` rounds and returns the operations executed, a multiply-add being two.
/// Only for a CPU that has the instructions: elsewhere it does nothing and returns 0.
pub type Loop = fn(n: usize) -> u64;

/// One measurable peak: an ISA that this CPU has, and its loop.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// The instruction set.
    pub isa: IsaId,
    /// The format that is multiplied.
    pub format: Format,
    /// The loop.
    pub run: Loop,
}

macro_rules! peaks {
    ($($isa:ident $name:literal $arch:tt $file:literal;)+) => {
        /// The peak loops of every ISA that this CPU has.
        pub fn peaks() -> Vec<Peak> {
            let mut peaks = Vec::new();
            $(if IsaId::$isa.runs_here() {
                let loops: &[(Format, Loop)] = if_arch!($arch => { <$isa as Isa>::PEAKS } else { &[] });
                peaks.extend(loops.iter().map(|(format, run)| Peak { isa: IsaId::$isa, format: *format, run: *run }));
            })+
            peaks
        }
    };
}
with_isas!(peaks);

/// Multiply-adds of f32.
pub(super) fn f32<I: Simd>(n: usize) -> u64 {
    let Some(isa) = I::detect() else { return 0 };
    isa.vectorize(
        #[inline(always)]
        || {
            // 12 chains hide four cycles of latency on up to three pipes; 24 on up to six.
            match I::ACCUMULATORS {
                24.. => f32_chains::<I, 24>(isa, n),
                12.. => f32_chains::<I, 12>(isa, n),
                _ => f32_chains::<I, 8>(isa, n),
            }
        },
    )
}

#[inline(always)]
fn f32_chains<I: Simd, const N: usize>(isa: I, n: usize) -> u64 {
    let (x, y) = (isa.splat(black_box(0.999)), isa.splat(black_box(0.001)));
    let mut acc = [isa.splat(1.0); N];
    for _ in 0..n {
        for a in &mut acc {
            *a = isa.fma(*a, x, y);
        }
    }
    let mut total = 0.0;
    for a in acc {
        total += isa.sum(a);
    }
    black_box(total);
    (2 * I::LANES * N * n) as u64
}

/// Multiply-adds of bytes, summed in 32-bit lanes.
pub(super) fn s8<I: IntDot>(n: usize) -> u64 {
    let Some(isa) = I::detect() else { return 0 };
    isa.vectorize(
        #[inline(always)]
        || match I::ACCUMULATORS {
            24.. => s8_tile::<I, 5, 4>(isa, n),
            12.. => s8_tile::<I, 3, 3>(isa, n),
            _ => s8_tile::<I, 2, 2>(isa, n),
        },
    )
}

/// A tile whose B stays in registers. A is read again at every step: the compiler must not know that it
/// is the same, or it would multiply once and only add from then on.
#[inline(always)]
fn s8_tile<I: IntDot, const MR: usize, const NV: usize>(isa: I, n: usize) -> u64 {
    let (a, words) = ([0x0101_0101u32; MR], black_box([0x0101_0101u32; MAX_LANES * 8]));
    let Some(b) = I::bytes(&words).first_chunk::<NV>() else { return 0 };
    let mut acc = [[isa.splat_i32(0); NV]; MR];
    for _ in 0..n {
        isa.rank1_s8(&mut acc, black_box(&a), b);
    }
    let mut lanes = [0; MAX_LANES];
    for v in acc.into_iter().flatten() {
        isa.store_i32(v, &mut lanes);
        black_box(lanes);
    }
    (2 * I::LANES * I::DEPTH * MR * NV * n) as u64
}

/// Multiply-adds of bfloat16, summed in f32 lanes.
pub(super) fn bf16<I: Bf16Dot>(n: usize) -> u64 {
    let Some(isa) = I::detect() else { return 0 };
    isa.vectorize(
        #[inline(always)]
        || match I::ACCUMULATORS {
            24.. => bf16_tile::<I, 5, 4>(isa, n),
            12.. => bf16_tile::<I, 3, 3>(isa, n),
            _ => bf16_tile::<I, 2, 2>(isa, n),
        },
    )
}

#[inline(always)]
fn bf16_tile<I: Bf16Dot, const MR: usize, const NV: usize>(isa: I, n: usize) -> u64 {
    let (a, words) = ([0x3c00_3c00u32; MR], black_box([0x3c00_3c00u32; MAX_LANES * 8]));
    let Some(b) = I::words(&words).first_chunk::<NV>() else { return 0 };
    let mut acc = [[isa.splat(0.0); NV]; MR];
    for _ in 0..n {
        isa.rank1_bf16(&mut acc, black_box(&a), b);
    }
    for v in acc.into_iter().flatten() {
        black_box(isa.sum(v));
    }
    (2 * I::LANES * 2 * MR * NV * n) as u64
}
