//! Matrix products: C ← A·B or C += A·B for any M, N, K from 0, in the formats of [`product`].
//!
//! The five-loop blocking of Goto and van de Geijn ("Anatomy of high-performance matrix
//! multiplication", 2008) around a register-tiled micro-kernel. Blocking, packing and edges are
//! here, once, for every micro-kernel: a micro-kernel only ever sees whole tiles. With β = 0 the
//! output is written and never read. Several threads share one product in `parallel`; the threads
//! themselves are the caller's.

mod batch;
mod block;
mod block_pack;
#[cfg(target_arch = "aarch64")]
mod block_pairs;
#[cfg(target_arch = "aarch64")]
mod block_pairs_asm;
mod block_weights;
mod blocking;
mod direct;
mod dot;
mod linear;
mod list;
mod loops;
mod micro;
mod mmla;
mod once;
mod operands;
mod pack;
mod parallel;
pub mod product;
mod rounded;
mod scaled;
#[cfg(target_arch = "aarch64")]
mod sve;
mod weights;

pub use batch::{Products, RightBatch};
pub use blocking::{Blocking, Caches, Order};
pub use linear::{Arithmetic, Linear, LinearKernel, for_rows_of_f32};
pub use list::*;
pub use micro::Geometry;
pub use operands::{Operands, Right};
pub use pack::PackedB;
pub use parallel::{MOST_THREADS, Split};
pub use scaled::Scales;

use crate::format::SPAN;
use crate::mat::{Mat, MatMut};
use crate::registry::Meta;
use direct::Few;
use loops::Room;
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
    order: Order,
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
        let needed = self.packed_b_len(b.rows() * P::B_DEPTH, b.cols());
        assert!(out.len() >= needed, "{} words for a packed operand of {needed}", out.len());
        self.micro.pack_b(b.transposed(), out);
    }

    /// What [`Gemm::pack_b`] wrote, as an operand.
    ///
    /// # Panics
    /// If there are fewer than [`Gemm::packed_b_len`] words.
    pub fn packed_b<'a>(&self, words: &'a [u32], k: usize, n: usize) -> PackedB<'a> {
        PackedB::new(words, k, n, self.geometry, self.meta.layout)
    }

    /// The blocking that the [analytical model](Blocking::analytical) has for it: what stays in the first cache is a panel as
    /// tiles take it.
    pub fn blocking(&self, caches: Caches) -> Blocking {
        let step = self.geometry.step;
        let unpacked = if step < SPAN { self.micro.unpacked_len(step) } else { 0 };
        Blocking::of_unpacked(self.geometry, self.geometry.b_words.max(unpacked), caches)
    }

    fn blocks(&self, blocking: &Blocking) -> Blocks {
        // A block begins at a step of the kernel and at an element of B.
        let granule = self.geometry.step.max(P::B_DEPTH);
        debug_assert!(granule.is_multiple_of(self.geometry.step) && granule.is_multiple_of(P::B_DEPTH));
        Blocks {
            kc: blocking.kc.clamp(1, Blocking::MOST).next_multiple_of(granule),
            mc: blocking.mc.clamp(1, Blocking::MOST).next_multiple_of(self.geometry.mr),
            nc: blocking.nc.clamp(1, Blocking::MOST).next_multiple_of(self.geometry.nr),
            order: blocking.order,
        }
    }

    /// The blocking of a product with `m` rows. A packed panel that meets one strip alone is read once: then its
    /// whole depth is, so that weights are read in the order in which they lie and C is written once. Unpacked
    /// panels are to stay in the first cache.
    fn fit(&self, blocking: &Blocking, m: usize, b_is_packed: bool) -> Blocking {
        let once = b_is_packed && m <= self.geometry.mr && self.micro.unpacked_len(1) == 0;
        Blocking { kc: if once { Blocking::WHOLE } else { blocking.kc }, ..*blocking }
    }

    /// Words of workspace that [`Gemm::run_parallel`] needs for a product of M × N × K or of fewer rows, and
    /// [`Gemm::run`] with [`Split::ALONE`].
    pub fn workspace_len(&self, blocking: &Blocking, split: Split, b_is_packed: bool, (m, n, k): (usize, usize, usize)) -> usize {
        let fewer = m.min(self.geometry.mr);
        let most = self.own_len(blocking, m, k).max(self.own_len(&self.fit(blocking, fewer, b_is_packed), fewer, k));
        let own = split.threads() * most;
        own + if b_is_packed { 0 } else { split.cols * split.turns() * self.block_len(blocking, split, n, k) }
    }

    /// Words that each thread needs for itself: a tile at the edge of C, an unpacked panel, and a block of A.
    fn own_len(&self, blocking: &Blocking, m: usize, k: usize) -> usize {
        let Blocks { kc, mc, .. } = self.blocks(blocking);
        const { assert!(size_of::<P::C>() == size_of::<u32>()) };
        let depth = kc.min(k);
        self.geometry.mr * self.geometry.nr + self.micro.unpacked_len(depth) + self.geometry.strips(mc.min(m), depth)
    }

    /// Words of a block of B that is packed on the way.
    fn block_len(&self, blocking: &Blocking, split: Split, n: usize, k: usize) -> usize {
        let Blocks { kc, nc, .. } = self.blocks(blocking);
        let widest = n.div_ceil(self.nr()).div_ceil(split.cols) * self.nr();
        self.geometry.panels(nc.min(widest), kc.min(k))
    }

    /// The product on the calling thread; what is not packed is packed block by block into `ws`.
    ///
    /// # Panics
    /// If the shapes do not fit each other, B is packed for another layout, or `ws` is shorter than
    /// [`Gemm::workspace_len`].
    pub fn run(&self, operands: Operands<'_, P::A, P::B, P::C>, blocking: &Blocking, ws: &mut [u32]) {
        let (m, ..) = self.check(&operands);
        if let Some(few) = self.few(operands.a, &operands.b) {
            return self.direct(operands, few);
        }
        let operands = self.cut_edge(operands, |edge| self.direct(edge, Few::Columns));
        let blocking = self.fit(blocking, m, operands.b.is_packed());
        self.blocked(operands, &blocking, ws);
    }

    /// As [`Gemm::run`], of operands that fit one another, with that very blocking.
    fn blocked(&self, operands: Operands<'_, P::A, P::B, P::C>, blocking: &Blocking, ws: &mut [u32]) {
        let (m, k) = (operands.a.rows(), operands.a.cols());
        let (own, block) = ws.split_at_mut(self.own_len(blocking, m, k));
        self.tiles(operands, self.blocks(blocking), Room::Own(block), own);
    }

    /// What one thread does: the tiles of its part, into C.
    fn tiles(&self, operands: Operands<'_, P::A, P::B, P::C>, blocks: Blocks, room: Room<'_>, own: &mut [u32]) {
        let Operands { a, b, mut c, accumulate } = operands;
        if a.cols() == 0 {
            return finish_empty(c, accumulate);
        }
        let (Geometry { mr, nr, .. }, narrow) = (self.geometry, self.micro.narrow());
        let (edge, strips) = own.split_at_mut(mr * nr);
        let edge: &mut [P::C] = bytemuck::cast_slice_mut(edge);
        self.loops((a, b), blocks, room, strips, |strip, panel, at| {
            let accumulate = accumulate || !at.first;
            let mut tile = c.block(at.row, at.col, at.rows, at.cols);
            let width = if at.cols <= narrow { narrow } else { nr };
            if at.rows == mr && at.cols == width {
                self.micro.tile(strip, panel, tile, accumulate);
            } else {
                self.micro.tile(strip, panel, MatMut::new(edge, mr, width, nr), false);
                copy_edge(edge, nr, &mut tile, accumulate);
            }
        });
    }
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

    /// As [`Gemm::blocking`].
    pub fn blocking(&self, caches: Caches) -> Blocking {
        with_gemm!(self, gemm => gemm.blocking(caches))
    }
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
