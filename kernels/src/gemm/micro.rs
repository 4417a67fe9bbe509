//! The micro-kernel: an MR × (NV vectors) tile of C held in registers over the whole depth.
//!
//! One generic body over the ISA token; `asm!` ISAs have a body of their own beside it. No edges,
//! no blocking, no packing policy here.

use super::Gemm;
use super::pack::pack_strips;
use crate::isa::{Isa, Simd};
use crate::mat::{Mat, MatMut};
use crate::registry::{Kernel, Registered};

/// The f32 micro-kernel of `MR` rows by `NV` vectors, its depth loop unrolled `KU` times.
#[derive(Clone, Copy, Debug)]
pub struct F32<I, const MR: usize, const NV: usize, const KU: usize>(pub(super) I);

/// What the blocking loops ask of a micro-kernel.
pub trait MicroKernel: Send + Sync {
    /// C (MR × NR) ← or += A panel (`[k][MR]`) · B panel (`[k][NR]`).
    fn tile(&self, a: &[f32], b: &[f32], c: MatMut<'_, f32>, accumulate: bool);
    /// Rows of `a` (M × K) into strips `[k][MR]`, zero-padded.
    fn pack_a(&self, a: Mat<'_, f32>, out: &mut [f32]);
    /// Rows of `bt` (N × K, the transposed B) into strips `[k][NR]`, zero-padded.
    fn pack_b(&self, bt: Mat<'_, f32>, out: &mut [f32]);
    /// NR in elements.
    fn nr(&self) -> usize;
}

impl<I: Isa, const MR: usize, const NV: usize, const KU: usize> F32<I, MR, NV, KU>
where
    Self: Registered + MicroKernel,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<Gemm> {
        let kernel = F32(I::detect()?);
        // A zero-sized token: leaking it allocates nothing and gives the proof a 'static home.
        let micro: &'static dyn MicroKernel = Box::leak(Box::new(kernel));
        Some(Gemm { meta: Self::META, mr: MR, nr: micro.nr(), micro })
    }

    /// [`Self::handle`] for the registry.
    #[cfg_attr(not(feature = "sweep"), allow(dead_code))]
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(Kernel::Gemm)
    }
}

impl<I: Simd, const MR: usize, const NV: usize, const KU: usize> MicroKernel for F32<I, MR, NV, KU> {
    fn tile(&self, a: &[f32], b: &[f32], mut c: MatMut<'_, f32>, accumulate: bool) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || tile::<I, MR, NV, KU>(isa, a, b, &mut c, accumulate),
        );
    }

    fn pack_a(&self, a: Mat<'_, f32>, out: &mut [f32]) {
        pack_strips(MR, a, out);
    }

    fn pack_b(&self, bt: Mat<'_, f32>, out: &mut [f32]) {
        pack_strips(NV * I::LANES, bt, out);
    }

    fn nr(&self) -> usize {
        NV * I::LANES
    }
}

#[inline(always)]
fn tile<I: Simd, const MR: usize, const NV: usize, const KU: usize>(
    isa: I,
    a: &[f32],
    b: &[f32],
    c: &mut MatMut<'_, f32>,
    accumulate: bool,
) {
    let (a, b) = (a.as_chunks::<MR>().0, I::vectors(b).as_chunks::<NV>().0);
    let (a_main, a_rest) = a.as_chunks::<KU>();
    let (b_main, b_rest) = b.as_chunks::<KU>();
    let mut acc = [[isa.splat(0.0); NV]; MR];
    for i in 0..MR {
        isa.prefetch(&c.row_mut(i)[..NV * I::LANES]);
    }
    for (a, b) in a_main.iter().zip(b_main) {
        // Written out, because the compiler's own unroller gives up on bodies this large.
        macro_rules! steps {
            ($($u:literal)*) => {
                $(if $u < KU {
                    isa.rank1(&mut acc, &a[$u], &b[$u]);
                })*
            };
        }
        const { assert!(KU <= 8) };
        steps!(0 1 2 3 4 5 6 7);
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        isa.rank1(&mut acc, a, b);
    }
    for (i, acc) in acc.iter().enumerate() {
        let row = c.row_mut(i);
        for (j, v) in acc.iter().enumerate() {
            let out = &mut row[j * I::LANES..][..I::LANES];
            let v = if accumulate { isa.add(isa.load(out), *v) } else { *v };
            isa.store(v, out);
        }
    }
}
