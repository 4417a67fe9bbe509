//! Matrix products: C ← A·B or C += A·B for any M, N, K from 0.
//!
//! The five-loop blocking of Goto and van de Geijn ("Anatomy of high-performance matrix
//! multiplication", 2008) around a register-tiled micro-kernel. Blocking, packing and edges are
//! here, once, for every micro-kernel: a micro-kernel only ever sees whole tiles. With β = 0 the
//! output is written and never read. Nothing here spawns threads: callers split C by columns.

mod blocking;
mod list;
mod micro;
mod pack;
#[cfg(target_arch = "aarch64")]
mod sve;

pub use blocking::{Blocking, Caches};
#[cfg(feature = "sweep")]
pub(crate) use list::ENTRIES;
pub use micro::F32;
pub use pack::PackedB;

use crate::mat::{Mat, MatMut};
use crate::registry::Meta;
use micro::MicroKernel;
use pack::strips_len;

/// A handle to one micro-kernel; it exists only where the CPU can run it.
#[derive(Clone, Copy)]
pub struct Gemm {
    meta: &'static Meta,
    mr: usize,
    nr: usize,
    micro: &'static dyn MicroKernel,
}

impl core::fmt::Debug for Gemm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Gemm").field(&self.meta.name).finish()
    }
}

impl Gemm {
    /// What the registry says of it.
    pub fn meta(&self) -> &'static Meta {
        self.meta
    }

    /// Rows of its tile.
    pub fn mr(&self) -> usize {
        self.mr
    }

    /// Columns of its tile, in elements; on SVE this depends on the vector length.
    pub fn nr(&self) -> usize {
        self.nr
    }

    /// f32 elements of a packed `k` × `n` right operand.
    pub fn packed_b_len(&self, k: usize, n: usize) -> usize {
        strips_len(self.nr, n, k)
    }

    /// Packs a K × N operand into panels of [`Gemm::nr`] columns, each K × NR and contiguous, the
    /// last padded with zeros. Weights stored as [out = N, in = K] come in as a transposed view.
    ///
    /// # Panics
    /// If `out` is shorter than [`Gemm::packed_b_len`].
    pub fn pack_b(&self, b: Mat<'_, f32>, out: &mut [f32]) {
        self.micro.pack_b(b.transposed(), out);
    }

    /// f32 elements of workspace that [`Gemm::run`] needs.
    pub fn workspace_len(&self, blocking: &Blocking, m: usize, n: usize, k: usize) -> usize {
        let nc = blocking.nc(self.nr).min(n);
        self.packed_workspace_len(blocking, m, k) + strips_len(self.nr, nc, blocking.kc().min(k))
    }

    /// f32 elements of workspace that [`Gemm::run_packed`] needs.
    pub fn packed_workspace_len(&self, blocking: &Blocking, m: usize, k: usize) -> usize {
        let mc = blocking.mc(self.mr).min(m);
        strips_len(self.mr, mc, blocking.kc().min(k)) + self.mr * self.nr
    }

    /// C (M × N) ← A (M × K) · B (K × N), or C += A·B when `accumulate`; both operands are packed
    /// block by block into `ws`.
    ///
    /// # Panics
    /// If the shapes do not fit each other or `ws` is shorter than [`Gemm::workspace_len`].
    pub fn run(&self, a: Mat<'_, f32>, b: Mat<'_, f32>, mut c: MatMut<'_, f32>, accumulate: bool, blocking: &Blocking, ws: &mut [f32]) {
        let (m, n, k) = check_shapes(&a, (b.rows(), b.cols()), &c);
        if k == 0 {
            return finish_empty(c, accumulate);
        }
        let (kc, nc) = (blocking.kc(), blocking.nc(self.nr));
        let (ws_b, ws) = ws.split_at_mut(strips_len(self.nr, nc.min(n), kc.min(k)));
        for jc in (0..n).step_by(nc) {
            let n_block = nc.min(n - jc);
            for pc in (0..k).step_by(kc) {
                let depth = kc.min(k - pc);
                self.pack_b(b.block(pc, jc, depth, n_block), ws_b);
                let panels = PackedB::new(ws_b, depth, n_block, self.nr);
                self.row_blocks(a.block(0, pc, m, depth), panels, 0, c.block_or_empty(jc, n_block), accumulate || pc > 0, blocking, ws);
            }
        }
    }

    /// As [`Gemm::run`], with B packed before by [`Gemm::pack_b`] of a kernel with the same NR.
    ///
    /// # Panics
    /// If the shapes do not fit each other, `b` has another panel width, or `ws` is shorter than
    /// [`Gemm::packed_workspace_len`].
    pub fn run_packed(
        &self,
        a: Mat<'_, f32>,
        b: PackedB<'_>,
        mut c: MatMut<'_, f32>,
        accumulate: bool,
        blocking: &Blocking,
        ws: &mut [f32],
    ) {
        let (m, n, k) = check_shapes(&a, (b.k(), b.n()), &c);
        assert_eq!(b.nr(), self.nr, "B is packed for another panel width than {} has", self.meta.name);
        if k == 0 {
            return finish_empty(c, accumulate);
        }
        let (kc, nc) = (blocking.kc(), blocking.nc(self.nr));
        for jc in (0..n).step_by(nc) {
            let n_block = nc.min(n - jc);
            let panels = b.columns(jc, jc + n_block);
            for pc in (0..k).step_by(kc) {
                let depth = kc.min(k - pc);
                self.row_blocks(a.block(0, pc, m, depth), panels, pc, c.block_or_empty(jc, n_block), accumulate || pc > 0, blocking, ws);
            }
        }
    }

    /// The three inner loops: rows `a` (M × depth) against `panels` from depth `from` on.
    #[allow(clippy::too_many_arguments)]
    fn row_blocks(
        &self,
        a: Mat<'_, f32>,
        panels: PackedB<'_>,
        from: usize,
        mut c: MatMut<'_, f32>,
        accumulate: bool,
        blocking: &Blocking,
        ws: &mut [f32],
    ) {
        let (m, n, depth) = (a.rows(), panels.n(), a.cols());
        let (mr, nr, mc) = (self.mr, self.nr, blocking.mc(self.mr));
        let (edge, ws_a) = ws.split_at_mut(mr * nr);
        for ic in (0..m).step_by(mc) {
            let m_block = mc.min(m - ic);
            self.micro.pack_a(a.block(ic, 0, m_block, depth), ws_a);
            for (jp, j) in (0..n).step_by(nr).enumerate() {
                let b = panels.panel(jp, from, depth);
                let cols = nr.min(n - j);
                for (i, a) in (0..m_block).step_by(mr).zip(ws_a.chunks_exact(mr * depth)) {
                    let rows = mr.min(m_block - i);
                    let mut tile = c.block(ic + i, j, rows, cols);
                    if rows == mr && cols == nr {
                        self.micro.tile(a, b, tile, accumulate);
                    } else {
                        self.micro.tile(a, b, MatMut::new(edge, mr, nr, nr), false);
                        copy_edge(edge, nr, &mut tile, accumulate);
                    }
                }
            }
        }
    }
}

fn check_shapes(a: &Mat<'_, f32>, (k, n): (usize, usize), c: &MatMut<'_, f32>) -> (usize, usize, usize) {
    assert_eq!(a.cols(), k, "A has {} columns, B {k} rows", a.cols());
    assert_eq!((c.rows(), c.cols()), (a.rows(), n), "C has another shape than A·B");
    (a.rows(), n, k)
}

/// A product over nothing is zero.
fn finish_empty(mut c: MatMut<'_, f32>, accumulate: bool) {
    if !accumulate {
        c.fill(0.0);
    }
}

/// The part of a whole tile that lies inside C.
fn copy_edge(edge: &[f32], nr: usize, tile: &mut MatMut<'_, f32>, accumulate: bool) {
    for (i, src) in edge.chunks_exact(nr).take(tile.rows()).enumerate() {
        for (dst, src) in tile.row_mut(i).iter_mut().zip(src) {
            *dst = if accumulate { *dst + src } else { *src };
        }
    }
}

impl<'a> MatMut<'a, f32> {
    /// Columns `from..from + cols`, also of a matrix without rows.
    fn block_or_empty(&mut self, from: usize, cols: usize) -> MatMut<'_, f32> {
        self.reborrow().split_cols(from).1.split_cols(cols).0
    }
}
