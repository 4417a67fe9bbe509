//! The micro-kernel: an MR × (NV vectors) tile of C held in registers over the whole depth.
//!
//! One generic body over [`Dot`], which says what one step of the depth does; `asm!` ISAs have a body
//! of their own beside it. No edges, no blocking, no packing policy here.

use super::direct::{Few, Sides};
use super::dot::{Arithmetic, Dot};
use super::product::{Output, Product};
use super::{AnyGemm, Gemm};
use crate::isa::{Isa, LINE, Simd};
use crate::mat::{Mat, MatMut};
use crate::registry::{Kernel, Registered};
use core::ops::Range;

/// The micro-kernel of `MR` rows by `NV` vectors, its depth loop unrolled `KU` times. What it will read of
/// B `AHEAD` lines of a cache later is asked for, unless that is 0: where weights come out of memory.
#[derive(Clone, Copy, Debug)]
pub struct Tile<D: Arithmetic, const MR: usize, const NV: usize, const KU: usize, const AHEAD: usize = 0>(pub(super) D::Isa);

/// How a micro-kernel's packed operands are laid out, in 32-bit words.
///
/// A strip of A holds MR rows: `a_head` words, then `a_words` for each step of the depth. A panel of B
/// holds NR columns: `b_words` for each step. The last step is padded so that it adds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Rows of a tile.
    pub mr: usize,
    /// Columns of a tile, in elements.
    pub nr: usize,
    /// Depths that are packed together.
    pub step: usize,
    /// Words at the beginning of a strip.
    pub a_head: usize,
    /// Words of a strip for each step.
    pub a_words: usize,
    /// Words of a panel for each step.
    pub b_words: usize,
}

impl Geometry {
    /// Words of all strips for `rows` rows of depth `k`.
    pub fn strips(&self, rows: usize, k: usize) -> usize {
        rows.div_ceil(self.mr) * self.strip(k)
    }

    /// Words of one strip of depth `k`.
    pub fn strip(&self, k: usize) -> usize {
        self.a_head + k.div_ceil(self.step) * self.a_words
    }

    /// Words of all panels for `cols` columns of depth `k`.
    pub fn panels(&self, cols: usize, k: usize) -> usize {
        cols.div_ceil(self.nr) * self.panel(k)
    }

    /// Words of one panel of depth `k`.
    pub fn panel(&self, k: usize) -> usize {
        k.div_ceil(self.step) * self.b_words
    }
}

/// What the blocking loops ask of a micro-kernel.
pub trait MicroKernel<P: Product>: Send + Sync {
    /// The layout of its operands.
    fn geometry(&self) -> Geometry;
    /// The columns that the narrowest tile computes: those at the edge of C cost no more. All of them, where
    /// there is one width.
    fn narrow(&self) -> usize {
        self.geometry().nr
    }
    /// C (MR × NR, or × [`MicroKernel::narrow`]) ← or += strip of A · panel of B, both of the same depth.
    fn tile(&self, a: &[u32], b: &[u32], c: MatMut<'_, P::C>, accumulate: bool);
    /// Rows of `a` (M × K) into strips; every word of `out` that [`Geometry::strips`] counts is written.
    fn pack_a(&self, a: Mat<'_, P::A>, out: &mut [u32]);
    /// As [`MicroKernel::pack_a`], `depth` of rows that are whole: where what becomes of an element depends on
    /// the rest of its row.
    fn pack_rows(&self, a: Mat<'_, P::A>, depth: Range<usize>, out: &mut [u32]) {
        self.pack_a(a.block(0, depth.start, a.rows(), depth.len()), out);
    }
    /// Words that [`MicroKernel::unpack`] needs for a panel of that depth: 0 where [`MicroKernel::tile`] takes
    /// panels as they are.
    fn unpacked_len(&self, depth: usize) -> usize {
        let _ = depth;
        0
    }
    /// A panel as [`MicroKernel::tile`] takes it, in `out`, of as many words as [`MicroKernel::unpacked_len`] says.
    fn unpack<'a>(&self, panel: &[u32], out: &'a mut [u32]) -> &'a [u32] {
        let _ = panel;
        out
    }
    /// Whether there is [`MicroKernel::dots`].
    fn has_dots(&self) -> bool {
        false
    }
    /// C (M × N) ← or += A · Bᵀ from adjacent rows of A and Bᵀ as they lie, where M or N is small. Nothing is done where
    /// [`MicroKernel::has_dots`] says no.
    fn dots(&self, operands: Sides<'_, P>, few: Few, c: MatMut<'_, P::C>, accumulate: bool) {
        let _ = (operands, few, c, accumulate);
    }
    /// Rows of `bt` (N × K in elements of B, the transposed B) into panels.
    fn pack_b(&self, bt: Mat<'_, P::B>, out: &mut [u32]);
}

/// The handle of a micro-kernel. A token is zero-sized: leaking the box allocates nothing and gives the
/// proof a 'static home.
pub(super) fn handle<K: Registered + MicroKernel<P> + 'static, P: Product>(kernel: K) -> Gemm<P> {
    let micro: &'static dyn MicroKernel<P> = Box::leak(Box::new(kernel));
    Gemm { meta: K::META, geometry: micro.geometry(), micro }
}

impl<D: Arithmetic, const MR: usize, const NV: usize, const KU: usize, const AHEAD: usize> Tile<D, MR, NV, KU, AHEAD>
where
    Self: Registered + MicroKernel<D::P>,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<Gemm<D::P>> {
        D::Isa::detect().map(|isa| handle(Self(isa)))
    }
}

#[cfg_attr(not(feature = "sweep"), allow(dead_code))]
impl<D: Arithmetic, const MR: usize, const NV: usize, const KU: usize, const AHEAD: usize> Tile<D, MR, NV, KU, AHEAD>
where
    Self: Registered + MicroKernel<D::P>,
    AnyGemm: From<Gemm<D::P>>,
{
    /// [`Self::handle`] for the registry.
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(|gemm| Kernel::Gemm(gemm.into()))
    }
}

impl<D: Arithmetic, const MR: usize, const NV: usize, const KU: usize, const AHEAD: usize> Tile<D, MR, NV, KU, AHEAD> {
    /// Vectors of the narrowest tile: half, where that is still enough work to hide the latency of multiply-adds.
    const NARROW: usize = if MR > 1 && (NV == 2 || NV == 4) { NV / 2 } else { NV };
}

impl<D: Dot, const MR: usize, const NV: usize, const KU: usize, const AHEAD: usize> MicroKernel<D::P> for Tile<D, MR, NV, KU, AHEAD>
where
    D::Isa: Simd,
{
    fn geometry(&self) -> Geometry {
        let nr = NV * <D::Isa as Simd>::LANES;
        let b_words = NV * size_of::<D::Lanes>() / size_of::<u32>();
        debug_assert_eq!(b_words * size_of::<u32>(), NV * size_of::<D::Lanes>(), "a step of B is whole words");
        Geometry { mr: MR, nr, step: D::STEP, a_head: if D::HEAD { MR } else { 0 }, a_words: MR, b_words }
    }

    fn narrow(&self) -> usize {
        Self::NARROW * <D::Isa as Simd>::LANES
    }

    fn tile(&self, a: &[u32], b: &[u32], mut c: MatMut<'_, <D::P as Product>::C>, accumulate: bool) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || match Self::NARROW {
                1 if NV > 1 && c.cols() == self.narrow() => tile::<D, MR, NV, 1, 1, 0>(isa, a, b, &mut c, accumulate),
                2 if NV > 2 && c.cols() == self.narrow() => tile::<D, MR, NV, 2, 1, 0>(isa, a, b, &mut c, accumulate),
                _ => tile::<D, MR, NV, NV, KU, AHEAD>(isa, a, b, &mut c, accumulate),
            },
        );
    }

    fn pack_a(&self, a: Mat<'_, <D::P as Product>::A>, out: &mut [u32]) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || D::pack_a(isa, MR, a, out),
        );
    }

    fn has_dots(&self) -> bool {
        D::DOTS
    }

    fn dots(&self, operands: Sides<'_, D::P>, few: Few, c: MatMut<'_, <D::P as Product>::C>, accumulate: bool) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || D::dots(isa, operands, few, c, accumulate),
        );
    }

    fn pack_b(&self, bt: Mat<'_, <D::P as Product>::B>, out: &mut [u32]) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || D::pack_b(NV * <D::Isa as Simd>::LANES, bt, out),
        );
    }
}

/// The first `USED` of the `NV` vectors of a tile.
#[inline(always)]
fn tile<D: Dot, const MR: usize, const NV: usize, const USED: usize, const KU: usize, const AHEAD: usize>(
    isa: D::Isa,
    a: &[u32],
    b: &[u32],
    c: &mut MatMut<'_, <D::P as Product>::C>,
    accumulate: bool,
) where
    D::Isa: Simd,
{
    let lanes = <D::Isa as Simd>::LANES;
    // A view of its own, whose extents are known here once: no row is checked again below.
    let mut c = c.reborrow();
    assert!(c.rows() == MR && c.cols() == USED * lanes, "C is not one tile");
    let (head, a) = if D::HEAD { a.split_at(MR) } else { (&[0; MR][..], a) };
    let words = b;
    let (a, b) = (a.as_chunks::<MR>().0, D::vectors(b).as_chunks::<NV>().0);
    let (a_main, a_rest) = a.as_chunks::<KU>();
    let (b_main, b_rest) = b.as_chunks::<KU>();
    let start = |head: u32| <D::P as Product>::C::start(isa, head);
    let mut acc = [[start(0); USED]; MR];
    for i in 0..MR {
        acc[i] = [start(head[i]); USED];
        D::prefetch(isa, &c.row_mut(i)[..USED * lanes]);
    }
    let mut turns = words.chunks_exact(KU * NV * size_of::<D::Lanes>() / size_of::<u32>());
    for (a, b) in a_main.iter().zip(b_main) {
        if AHEAD > 0
            && let Some(words) = turns.next()
        {
            isa.prefetch_ahead(words, AHEAD * LINE, words.len());
        }
        // Written out, because the compiler's own unroller gives up on bodies this large.
        macro_rules! steps {
            ($($u:literal)*) => {
                $(if $u < KU {
                    D::rank1(isa, &mut acc, &a[$u], used(&b[$u]));
                })*
            };
        }
        const { assert!(KU <= 8) };
        steps!(0 1 2 3 4 5 6 7);
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        D::rank1(isa, &mut acc, a, used(b));
    }
    for (i, acc) in acc.iter().enumerate() {
        let row = &mut c.row_mut(i)[..USED * lanes];
        for (j, v) in acc.iter().enumerate() {
            <D::P as Product>::C::put(isa, *v, &mut row[j * lanes..][..lanes], accumulate);
        }
    }
}

/// The vectors at the beginning that are used.
#[inline(always)]
fn used<T, const NV: usize, const USED: usize>(all: &[T; NV]) -> &[T; USED] {
    all.first_chunk().expect("no more vectors are used than there are")
}
