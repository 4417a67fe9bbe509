//! Matrix products: C ← A·B or C += A·B for any M, N, K from 0, in the formats of [`product`].
//!
//! The five-loop blocking of Goto and van de Geijn ("Anatomy of high-performance matrix
//! multiplication", 2008) around a register-tiled micro-kernel. Blocking, packing and edges are
//! here, once, for every micro-kernel: a micro-kernel only ever sees whole tiles. With β = 0 the
//! output is written and never read. Several threads share one product in `parallel`; the threads
//! themselves are the caller's.

mod block;
mod block_mmla;
mod block_pack;
mod block_weights;
mod blocking;
mod dot;
mod list;
mod micro;
mod mmla;
mod pack;
mod parallel;
pub mod product;
#[cfg(target_arch = "aarch64")]
mod sve;

pub use blocking::{Blocking, Caches};
pub use list::*;
pub use micro::Geometry;
pub use pack::PackedB;
pub use parallel::{MOST_THREADS, Right, Split};

use crate::mat::{Mat, MatMut};
use crate::registry::Meta;
use core::ops::Range;
use micro::MicroKernel;
use product::{Output, Product, Single};

/// A handle to one micro-kernel; it exists only where the CPU can run it.
#[derive(Clone, Copy)]
pub struct Gemm<P: Product = Single> {
    meta: &'static Meta,
    geometry: Geometry,
    micro: &'static dyn MicroKernel<P>,
}

impl<P: Product> core::fmt::Debug for Gemm<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Gemm").field(&self.meta.name).finish()
    }
}

/// Cache blocking for one product, made fit for a kernel.
#[derive(Clone, Copy)]
struct Blocks {
    kc: usize,
    mc: usize,
    nc: usize,
}

impl<P: Product> Gemm<P> {
    /// What the registry says of it.
    pub fn meta(&self) -> &'static Meta {
        self.meta
    }

    /// How its packed operands are laid out.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Rows of its tile.
    pub fn mr(&self) -> usize {
        self.geometry.mr
    }

    /// Columns of its tile, in elements; on SVE this depends on the vector length.
    pub fn nr(&self) -> usize {
        self.geometry.nr
    }

    /// Words of a packed `k` × `n` right operand.
    pub fn packed_b_len(&self, k: usize, n: usize) -> usize {
        self.geometry.panels(n, k)
    }

    /// Packs a K × N operand (rows of [`Product::B_DEPTH`] depths each) into panels of [`Gemm::nr`]
    /// columns, each contiguous over the whole depth, the last padded with zeros. Weights stored as
    /// [out = N, in = K] come in as a transposed view.
    ///
    /// # Panics
    /// If `out` is shorter than [`Gemm::packed_b_len`].
    pub fn pack_b(&self, b: Mat<'_, P::B>, out: &mut [u32]) {
        self.micro.pack_b(b.transposed(), out);
    }

    /// What [`Gemm::pack_b`] wrote, as an operand.
    ///
    /// # Panics
    /// If there are fewer than [`Gemm::packed_b_len`] words.
    pub fn packed_b<'a>(&self, words: &'a [u32], k: usize, n: usize) -> PackedB<'a> {
        PackedB::new(words, k, n, self.geometry)
    }

    fn blocks(&self, blocking: &Blocking) -> Blocks {
        // A block begins at a step of the kernel and at an element of B.
        let granule = self.geometry.step.max(P::B_DEPTH);
        debug_assert!(granule.is_multiple_of(self.geometry.step) && granule.is_multiple_of(P::B_DEPTH));
        Blocks {
            kc: blocking.kc.max(1).next_multiple_of(granule),
            mc: blocking.mc.max(1).next_multiple_of(self.geometry.mr),
            nc: blocking.nc.max(1).next_multiple_of(self.geometry.nr),
        }
    }

    /// Words of workspace that [`Gemm::run`] needs.
    pub fn workspace_len(&self, blocking: &Blocking, m: usize, n: usize, k: usize) -> usize {
        let Blocks { kc, nc, .. } = self.blocks(blocking);
        self.packed_workspace_len(blocking, m, k) + self.geometry.panels(nc.min(n), kc.min(k))
    }

    /// Words of workspace that [`Gemm::run_packed`] needs.
    pub fn packed_workspace_len(&self, blocking: &Blocking, m: usize, k: usize) -> usize {
        let Blocks { kc, mc, .. } = self.blocks(blocking);
        const { assert!(size_of::<P::C>() == size_of::<u32>()) };
        let depth = kc.min(k);
        self.geometry.mr * self.geometry.nr + self.micro.unpacked_len(depth) + self.geometry.strips(mc.min(m), depth)
    }

    /// C (M × N) ← A (M × K) · B (K × N), or C += A·B when `accumulate`; both operands are packed
    /// block by block into `ws`.
    ///
    /// # Panics
    /// If the shapes do not fit each other or `ws` is shorter than [`Gemm::workspace_len`].
    pub fn run(&self, a: Mat<'_, P::A>, b: Mat<'_, P::B>, mut c: MatMut<'_, P::C>, accumulate: bool, blocking: &Blocking, ws: &mut [u32]) {
        let (_, n, k) = check_shapes(a.rows(), a.cols(), (b.rows(), b.cols()), P::B_DEPTH, &c);
        if k == 0 {
            return finish_empty(c, accumulate);
        }
        let blocks = self.blocks(blocking);
        let (ws_b, ws) = ws.split_at_mut(self.geometry.panels(blocks.nc.min(n), blocks.kc.min(k)));
        for jc in (0..n).step_by(blocks.nc) {
            let n_block = blocks.nc.min(n - jc);
            for pc in (0..k).step_by(blocks.kc) {
                let depth = blocks.kc.min(k - pc);
                self.pack_b(b.block(pc / P::B_DEPTH, jc, depth.div_ceil(P::B_DEPTH), n_block), ws_b);
                let panels = self.packed_b(ws_b, depth, n_block);
                let block = Block { panels, from: 0, depth: pc..pc + depth, accumulate: accumulate || pc > 0, mc: blocks.mc };
                self.row_blocks(a, block, c.block_or_empty(jc, n_block), ws);
            }
        }
    }

    /// As [`Gemm::run`], with B packed before by [`Gemm::pack_b`] of a kernel with the same layout.
    ///
    /// # Panics
    /// If the shapes do not fit each other, `b` is laid out otherwise, or `ws` is shorter than
    /// [`Gemm::packed_workspace_len`].
    pub fn run_packed(
        &self,
        a: Mat<'_, P::A>,
        b: PackedB<'_>,
        mut c: MatMut<'_, P::C>,
        accumulate: bool,
        blocking: &Blocking,
        ws: &mut [u32],
    ) {
        let (_, n, k) = check_shapes(a.rows(), a.cols(), (b.k(), b.n()), 1, &c);
        self.check_layout(&b);
        if k == 0 {
            return finish_empty(c, accumulate);
        }
        let blocks = self.blocks(blocking);
        for jc in (0..n).step_by(blocks.nc) {
            let n_block = blocks.nc.min(n - jc);
            let panels = b.columns(jc, jc + n_block);
            for pc in (0..k).step_by(blocks.kc) {
                let depth = blocks.kc.min(k - pc);
                let block = Block { panels, from: pc, depth: pc..pc + depth, accumulate: accumulate || pc > 0, mc: blocks.mc };
                self.row_blocks(a, block, c.block_or_empty(jc, n_block), ws);
            }
        }
    }

    fn check_layout(&self, b: &PackedB<'_>) {
        let (theirs, ours) = (b.geometry(), self.geometry);
        let same = (theirs.nr, theirs.step, theirs.b_words) == (ours.nr, ours.step, ours.b_words);
        assert!(same, "B is packed for another layout than that of {}", self.meta.name);
    }

    /// The three inner loops: rows `a` (M × K) against a block of B.
    fn row_blocks(&self, a: Mat<'_, P::A>, b: Block<'_>, mut c: MatMut<'_, P::C>, ws: &mut [u32]) {
        let (m, n, depth) = (a.rows(), b.panels.n(), b.depth.len());
        let Geometry { mr, nr, .. } = self.geometry;
        let (edge, ws) = ws.split_at_mut(mr * nr);
        let edge: &mut [P::C] = bytemuck::cast_slice_mut(edge);
        let (unpacked, ws_a) = ws.split_at_mut(self.micro.unpacked_len(depth));
        for ic in (0..m).step_by(b.mc) {
            let m_block = b.mc.min(m - ic);
            self.micro.pack_rows(a.block(ic, 0, m_block, a.cols()), b.depth.clone(), ws_a);
            for (jp, j) in (0..n).step_by(nr).enumerate() {
                let packed = b.panels.panel(jp, b.from, depth);
                let panel = if unpacked.is_empty() { packed } else { self.micro.unpack(packed, unpacked) };
                let cols = nr.min(n - j);
                for (i, strip) in (0..m_block).step_by(mr).zip(ws_a.chunks_exact(self.geometry.strip(depth))) {
                    let rows = mr.min(m_block - i);
                    let mut tile = c.block(ic + i, j, rows, cols);
                    if rows == mr && cols == nr {
                        self.micro.tile(strip, panel, tile, b.accumulate);
                    } else {
                        self.micro.tile(strip, panel, MatMut::new(edge, mr, nr, nr), false);
                        copy_edge(edge, nr, &mut tile, b.accumulate);
                    }
                }
            }
        }
    }
}

/// A block of packed B as the inner loops see it.
struct Block<'a> {
    panels: PackedB<'a>,
    /// The depth of `panels` that the block begins at.
    from: usize,
    /// Where it lies in the depth of A.
    depth: Range<usize>,
    accumulate: bool,
    mc: usize,
}

macro_rules! define_any {
    ($($format:ident $name:literal $kind:ident $type:ident $doc:literal;)+) => {
        /// A matrix product kernel of any format.
        #[derive(Clone, Copy, Debug)]
        pub enum AnyGemm {
            $(#[doc = $doc] $format(Gemm<crate::product_of!($kind $type)>),)+
        }

        $(impl From<Gemm<crate::product_of!($kind $type)>> for AnyGemm {
            fn from(gemm: Gemm<crate::product_of!($kind $type)>) -> AnyGemm {
                AnyGemm::$format(gemm)
            }
        })+
    };
}
crate::with_formats!([define_any]);

/// `with_gemm!(any, gemm => expression)`: the expression with the handle, whatever its format.
#[macro_export]
macro_rules! with_gemm {
    ($any:expr, $gemm:ident => $body:expr) => {
        $crate::with_formats!([$crate::with_gemm] @match ($any) $gemm ($body))
    };
    (@match ($any:expr) $gemm:ident ($body:expr) $($format:ident $name:literal $kind:ident $type:ident $doc:literal;)+) => {
        match $any {
            $($crate::gemm::AnyGemm::$format($gemm) => $body,)+
        }
    };
}

impl AnyGemm {
    /// What the registry says of it.
    pub fn meta(&self) -> &'static Meta {
        with_gemm!(self, gemm => gemm.meta())
    }

    /// How its packed operands are laid out.
    pub fn geometry(&self) -> Geometry {
        with_gemm!(self, gemm => gemm.geometry())
    }
}

fn check_shapes<C: Copy>(m: usize, a_k: usize, (b_rows, n): (usize, usize), b_depth: usize, c: &MatMut<'_, C>) -> (usize, usize, usize) {
    assert_eq!(a_k.div_ceil(b_depth), b_rows, "A has {a_k} columns, B {b_rows} rows of depth {b_depth}");
    assert_eq!((c.rows(), c.cols()), (m, n), "C has another shape than A·B");
    (m, n, a_k)
}

/// A product over nothing is zero.
fn finish_empty<C: Output>(mut c: MatMut<'_, C>, accumulate: bool) {
    if !accumulate {
        c.fill(C::ZERO);
    }
}

/// The part of a whole tile that lies inside C.
fn copy_edge<C: Output>(edge: &[C], nr: usize, tile: &mut MatMut<'_, C>, accumulate: bool) {
    for (i, src) in edge.chunks_exact(nr).take(tile.rows()).enumerate() {
        for (dst, src) in tile.row_mut(i).iter_mut().zip(src) {
            *dst = if accumulate { dst.plus(*src) } else { *src };
        }
    }
}

impl<C: Copy> MatMut<'_, C> {
    /// Columns `from..from + cols`, also of a matrix without rows.
    fn block_or_empty(&mut self, from: usize, cols: usize) -> MatMut<'_, C> {
        self.reborrow().split_cols(from).1.split_cols(cols).0
    }
}
