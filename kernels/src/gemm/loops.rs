//! The loops around a micro-kernel, which one thread runs over its part of a product, whatever becomes of
//! the tiles: blocks of B by columns and by depth, blocks of A by rows, then tile by tile. They know
//! neither C nor threads.

use super::parallel::Member;
use super::product::Product;
use super::{Blocks, Gemm, Geometry, Order, PackedB, Right};
use crate::mat::Mat;
use core::ops::Range;

/// Where the blocks of a B that was not packed before are packed into.
pub(super) enum Room<'a> {
    /// The thread's own words.
    Own(&'a mut [u32]),
    /// Words that it shares with a group of others.
    Group(Member<'a>),
}

/// Which tile it is, over which part of the depth.
pub(super) struct Place {
    /// Its first row and column.
    pub(super) row: usize,
    pub(super) col: usize,
    /// Rows and columns that lie inside of C.
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Its panel's number in the block of columns.
    pub(super) panel: usize,
    /// The depth begins, or ends, here.
    pub(super) first: bool,
    pub(super) last: bool,
}

impl<P: Product> Gemm<P> {
    /// Calls `tile` with a strip of A, a panel of B and the place of their tile, for all tiles and depths
    /// (K ≥ 1) of A · B. A tile's depths come in order, all of those of a block of columns before the next.
    pub(super) fn loops(
        &self,
        (a, b): (Mat<'_, P::A>, Right<'_, P::B>),
        blocks: Blocks,
        mut room: Room<'_>,
        strips: &mut [u32],
        mut tile: impl FnMut(&[u32], &[u32], Place),
    ) {
        let (k, n) = (a.cols(), b.cols());
        for jc in (0..n).step_by(blocks.nc) {
            let n_block = blocks.nc.min(n - jc);
            for pc in (0..k).step_by(blocks.kc) {
                let depth = blocks.kc.min(k - pc);
                let (panels, from) = match &b {
                    Right::Packed(b) => (b.columns(jc, jc + n_block), pc),
                    Right::Plain(b) => {
                        let b = b.block(pc / P::B_DEPTH, jc, depth.div_ceil(P::B_DEPTH), n_block);
                        (self.packed_b(self.pack_block(b, depth, &mut room), depth, n_block), 0)
                    }
                };
                self.row_blocks((a, pc..pc + depth), (panels, from), blocks, strips, |strip, panel, place| {
                    tile(strip, panel, Place { col: jc + place.col, first: pc == 0, last: pc + depth == k, ..place });
                });
            }
        }
    }

    fn pack_block<'r>(&self, b: Mat<'_, P::B>, depth: usize, room: &'r mut Room<'_>) -> &'r [u32] {
        match room {
            Room::Own(words) => {
                self.pack_b(b, words);
                &words[..self.geometry.panels(b.cols(), depth)]
            }
            Room::Group(member) => self.pack_together(b, depth, member),
        }
    }

    /// The three inner loops: a depth of rows `a` (M × K) against a block of B that begins at a depth of its panels.
    #[inline(always)]
    fn row_blocks(
        &self,
        (a, depth): (Mat<'_, P::A>, Range<usize>),
        (panels, from): (PackedB<'_>, usize),
        Blocks { mc, order, .. }: Blocks,
        strips: &mut [u32],
        mut tile: impl FnMut(&[u32], &[u32], Place),
    ) {
        let (m, n, length) = (a.rows(), panels.n(), depth.len());
        let Geometry { mr, nr, .. } = self.geometry;
        let (unpacked, strips) = strips.split_at_mut(self.micro.unpacked_len(length));
        for ic in (0..m).step_by(mc) {
            let m_block = mc.min(m - ic);
            self.micro.pack_rows(a.block(ic, 0, m_block, a.cols()), depth.clone(), strips);
            let strips = (0..m_block).step_by(mr).zip(strips.chunks_exact(self.geometry.strip(length)));
            let place = |i: usize, number: usize| {
                let (rows, cols) = (mr.min(m_block - i), nr.min(n - number * nr));
                Place { row: ic + i, col: number * nr, rows, cols, panel: number, first: true, last: true }
            };
            if order == Order::Strips && unpacked.is_empty() {
                for (i, strip) in strips {
                    for number in 0..n.div_ceil(nr) {
                        tile(strip, panels.panel(number, from, length), place(i, number));
                    }
                }
                continue;
            }
            for number in 0..n.div_ceil(nr) {
                let packed = panels.panel(number, from, length);
                let panel = if unpacked.is_empty() { packed } else { self.micro.unpack(packed, unpacked) };
                for (i, strip) in strips.clone() {
                    tile(strip, panel, place(i, number));
                }
            }
        }
    }
}
