//! 16-bit weights that stay narrow in memory and are widened where they meet rows of f32, which need no widening: in
//! registers, where a weight meets few rows, or a panel at a time, into the first cache, for all strips that it meets.

#[cfg(feature = "sweep")]
use super::AnyGemm;
use super::Gemm;
use super::dot::{Fma, Narrow, narrow};
use super::micro::{Geometry, MicroKernel, Tile, handle};
use super::product::{BFloatWeights, HalfWeights, Product, Single};
use crate::isa::{Isa, Simd};
use crate::mat::{Mat, MatMut};
#[cfg(feature = "sweep")]
use crate::registry::Kernel;
use crate::registry::Registered;
use core::marker::PhantomData;

impl Narrow for HalfWeights {
    #[inline(always)]
    fn widen(a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn load<I: Simd>(isa: I, b: &[u16]) -> I::F32 {
        isa.load_f16(b)
    }
}

impl Narrow for BFloatWeights {
    #[inline(always)]
    fn widen(a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn load<I: Simd>(isa: I, b: &[u16]) -> I::F32 {
        isa.load_bf16(b)
    }
}

/// The micro-kernel `K` of f32 × f32 for weights as `P` has them, a panel of which is widened before it is multiplied.
/// Panels are packed as those of the tiles that widen in registers.
#[derive(Clone, Copy, Debug)]
pub struct Unpacked<K, P>(K, PhantomData<P>);

/// The tile that it multiplies with.
type Wide<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Fma<I>, MR, NV, KU>;

impl<I: Isa, P: Product, const MR: usize, const NV: usize, const KU: usize> Unpacked<Wide<I, MR, NV, KU>, P>
where
    Self: Registered + MicroKernel<P>,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<Gemm<P>> {
        I::detect().map(|isa| handle(Self(Tile(isa), PhantomData)))
    }
}

#[cfg(feature = "sweep")]
impl<I: Isa, P: Product, const MR: usize, const NV: usize, const KU: usize> Unpacked<Wide<I, MR, NV, KU>, P>
where
    Self: Registered + MicroKernel<P>,
    AnyGemm: From<Gemm<P>>,
{
    /// [`Self::handle`] for the registry.
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(|gemm| Kernel::Gemm(gemm.into()))
    }
}

impl<I: Simd, P: Narrow + Product<A = f32>, const MR: usize, const NV: usize, const KU: usize> MicroKernel<P>
    for Unpacked<Wide<I, MR, NV, KU>, P>
where
    Wide<I, MR, NV, KU>: MicroKernel<Single>,
{
    fn geometry(&self) -> Geometry {
        let wide = self.0.geometry();
        Geometry { b_words: wide.b_words * size_of::<P::B>() / size_of::<f32>(), ..wide }
    }

    fn narrow(&self) -> usize {
        self.0.narrow()
    }

    fn tile(&self, a: &[u32], b: &[u32], c: MatMut<'_, f32>, accumulate: bool) {
        self.0.tile(a, b, c, accumulate);
    }

    fn pack_a(&self, a: Mat<'_, f32>, out: &mut [u32]) {
        self.0.pack_a(a, out);
    }

    fn pack_b(&self, bt: Mat<'_, P::B>, out: &mut [u32]) {
        self.0.0.vectorize(
            #[inline(always)]
            || narrow::<P>(NV * I::LANES, bt, out),
        );
    }

    fn unpacked_len(&self, depth: usize) -> usize {
        depth * NV * I::LANES
    }

    /// As many depths as `panel` has, if there is room for more.
    fn unpack<'a>(&self, panel: &[u32], out: &'a mut [u32]) -> &'a [u32] {
        let isa = self.0.0;
        let halves: &[u16] = bytemuck::cast_slice(panel);
        let out = &mut out[..halves.len()];
        isa.vectorize(
            #[inline(always)]
            || {
                let wide: &mut [f32] = bytemuck::cast_slice_mut(out);
                for (halves, wide) in I::halves(halves).iter().zip(wide.chunks_exact_mut(I::LANES)) {
                    isa.store(P::load(isa, halves.as_ref()), wide);
                }
            },
        );
        out
    }
}
