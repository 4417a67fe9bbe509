//! Kernels of bf16 for rows of f32, which are rounded where they are packed: in return for bits of their operands, products
//! have the instructions for bf16 that a CPU has. It is an accuracy class of its own.
//!
//! The micro-kernels are those of bf16 × bf16 and lay operands out as they do; nothing is multiplied here.

use super::Gemm;
use super::dot::Arithmetic;
use super::micro::{Geometry, MicroKernel, Tile, handle};
use super::product::{BFloat, BFloatRounded};
use crate::format;
use crate::isa::{Isa, Simd};
use crate::mat::{Mat, MatMut};
#[cfg(feature = "sweep")]
use crate::registry::Kernel;
use crate::registry::Registered;
use half::bf16;

/// The micro-kernel `K` of bf16 × bf16 for rows of f32.
#[derive(Clone, Copy, Debug)]
pub struct Rounded<K>(K);

/// Rows of a strip at most, and depths of it that are rounded at a time: a multiple of every step.
const ROWS: usize = 16;
const DEPTH: usize = 64;

impl<D: Arithmetic<P = BFloat>, const MR: usize, const NV: usize, const KU: usize, const AHEAD: usize> Rounded<Tile<D, MR, NV, KU, AHEAD>>
where
    Self: Registered + MicroKernel<BFloatRounded>,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<Gemm<BFloatRounded>> {
        D::Isa::detect().map(|isa| handle(Self(Tile(isa))))
    }

    /// [`Self::handle`] for the registry.
    #[cfg(feature = "sweep")]
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(|gemm| Kernel::Gemm(gemm.into()))
    }
}

impl<D: Arithmetic<P = BFloat>, const MR: usize, const NV: usize, const KU: usize, const AHEAD: usize> MicroKernel<BFloatRounded>
    for Rounded<Tile<D, MR, NV, KU, AHEAD>>
where
    D::Isa: Rounds,
    Tile<D, MR, NV, KU, AHEAD>: MicroKernel<BFloat>,
{
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn narrow(&self) -> usize {
        self.0.narrow()
    }

    fn tile(&self, a: &[u32], b: &[u32], c: MatMut<'_, f32>, accumulate: bool) {
        self.0.tile(a, b, c, accumulate);
    }

    fn pack_a(&self, a: Mat<'_, f32>, out: &mut [u32]) {
        const { assert!(MR <= ROWS) };
        let geometry @ Geometry { mr, step, a_head, a_words, .. } = self.geometry();
        let (k, isa) = (a.cols(), self.0.0);
        assert!(a_head == 0 && DEPTH.is_multiple_of(step), "parts of a strip's depth follow one another");
        if k == 0 {
            return;
        }
        let mut rounded = [bf16::ZERO; ROWS * DEPTH];
        for (first, strip) in (0..a.rows()).step_by(mr).zip(out.chunks_exact_mut(geometry.strip(k))) {
            let rows = mr.min(a.rows() - first);
            for (at, words) in (0..k).step_by(DEPTH).zip(strip.chunks_mut(DEPTH / step * a_words)) {
                let part = a.block(first, at, rows, DEPTH.min(k - at));
                isa.wide(
                    #[inline(always)]
                    || round(part, &mut rounded),
                );
                self.0.pack_a(Mat::new(&rounded, rows, part.cols(), DEPTH), words);
            }
        }
    }

    fn pack_b(&self, bt: Mat<'_, bf16>, out: &mut [u32]) {
        self.0.pack_b(bt, out);
    }
}

/// The elements of `part`, rounded to the nearest, each row at a multiple of [`DEPTH`].
#[inline(always)]
fn round(part: Mat<'_, f32>, rounded: &mut [bf16]) {
    let nearest = |x: f32| bf16::from_bits(format::bf16::from_f32(x));
    for (i, out) in rounded.chunks_exact_mut(DEPTH).take(part.rows()).enumerate() {
        match part.row(i) {
            Some(row) => out.iter_mut().zip(row).for_each(|(out, x)| *out = nearest(*x)),
            None => out.iter_mut().take(part.cols()).enumerate().for_each(|(p, out)| *out = nearest(part.get(i, p))),
        }
    }
}

/// An instruction set that code can be compiled for.
pub trait Rounds: Isa {
    /// What `f` does, with the vectors of this instruction set where the compiler makes any.
    fn wide<R>(self, f: impl FnOnce() -> R) -> R;
}

impl<I: Simd> Rounds for I {
    #[inline(always)]
    fn wide<R>(self, f: impl FnOnce() -> R) -> R {
        self.vectorize(f)
    }
}

/// Rounding has the vectors of the target itself.
#[cfg(target_arch = "aarch64")]
impl Rounds for crate::isa::SveBf16 {
    #[inline(always)]
    fn wide<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
}
