//! Peak f32 multiply-add rate: a loop of independent FMAs on registers alone.
//!
//! It runs the instructions and counts the operations; timing is the caller's.

use super::*;
use core::hint::black_box;

/// One measurable peak: an ISA that this CPU has, and its loop.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// The instruction set.
    pub isa: IsaId,
    /// Runs about `n` rounds and returns the floating-point operations executed.
    pub run: fn(n: usize) -> u64,
}

macro_rules! peaks {
    ($($isa:ident $name:literal $arch:tt $file:literal;)+) => {
        /// The peak loops of every ISA that this CPU has.
        pub fn peaks_f32() -> Vec<Peak> {
            let mut peaks = Vec::new();
            $(if let Some(run) = if_arch!($arch => { <$isa as PeakLoop>::peak_loop() } else { None }) {
                peaks.push(Peak { isa: IsaId::$isa, run });
            })+
            peaks
        }
    };
}
with_isas!(peaks);

/// An ISA that has a peak loop.
pub(super) trait PeakLoop {
    /// The loop, when this CPU has the ISA.
    fn peak_loop() -> Option<fn(usize) -> u64>;
}

impl<I: Simd> PeakLoop for I {
    fn peak_loop() -> Option<fn(usize) -> u64> {
        I::detect()?;
        Some(|n| match I::detect() {
            Some(isa) => fma_rounds(isa, n),
            None => 0,
        })
    }
}

fn fma_rounds<I: Simd>(isa: I, n: usize) -> u64 {
    isa.vectorize(
        #[inline(always)]
        || {
            // 12 chains hide four cycles of latency on up to three pipes; 24 on up to six.
            match I::ACCUMULATORS {
                24.. => chains::<I, 24>(isa, n),
                12.. => chains::<I, 12>(isa, n),
                _ => chains::<I, 8>(isa, n),
            }
        },
    )
}

#[inline(always)]
fn chains<I: Simd, const N: usize>(isa: I, n: usize) -> u64 {
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
