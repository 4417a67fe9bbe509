//! One product on several threads: C is split in two dimensions, each part computed by the loops that
//! one thread uses.
//!
//! Threads form groups. A group has a run of column panels of its own; its members share out the rows.
//! They pack the group's block of B together and wait for one another once a block, since two blocks
//! take turns; each packs its own rows of A. So B is packed once, A once for each group, and every part
//! of C is written by one thread in an order that does not depend on the others: results are the same
//! from run to run.

use super::product::Product;
use super::{Block, Blocking, Gemm, Geometry, PackedB, finish_empty};
use crate::mat::{Mat, MatMut};
use crate::team::{Barrier, Workers};
use core::ops::Range;

/// How C is shared out: `rows` × `cols` threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Split {
    /// Members of a group: parts of the rows.
    pub rows: usize,
    /// Groups: parts of the columns.
    pub cols: usize,
}

/// Threads that one product can use.
pub const MOST_THREADS: usize = 64;

/// Multiply-adds that take as long as packing an element, about: what makes duplicated packing count.
const PACKING: usize = 16;

impl Split {
    /// The split with the least work for the busiest thread: whole tiles, and what it must pack.
    pub fn analytical(threads: usize, tile: Geometry, m: usize, n: usize, b_is_packed: bool) -> Split {
        let threads = threads.clamp(1, MOST_THREADS);
        let (strips, panels) = (m.div_ceil(tile.mr).max(1), n.div_ceil(tile.nr).max(1));
        let cost = |s: &Split| {
            let (rows, cols) = (strips.div_ceil(s.rows) * tile.mr, panels.div_ceil(s.cols) * tile.nr);
            let packed = rows + if b_is_packed { 0 } else { cols.div_ceil(s.rows) };
            (rows * cols + PACKING * packed, s.cols)
        };
        let all = (1..=threads).filter(|r| threads.is_multiple_of(*r)).map(|rows| Split { rows, cols: threads / rows });
        all.min_by_key(cost).unwrap_or(Split { rows: 1, cols: threads })
    }

    /// Threads that it uses.
    pub fn threads(&self) -> usize {
        self.rows * self.cols
    }
}

/// A right operand as it is given to a product.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a, B> {
    /// As it is: packed on the way.
    Plain(Mat<'a, B>),
    /// Packed before.
    Packed(PackedB<'a>),
}

impl<B: Copy> Right<'_, B> {
    fn is_packed(&self) -> bool {
        matches!(self, Right::Packed(_))
    }
}

/// Part `index` of `parts` of `extent`, cut at multiples of `unit`; as even as they can be.
fn part(extent: usize, unit: usize, parts: usize, index: usize) -> Range<usize> {
    let units = extent.div_ceil(unit);
    let at = |i: usize| (units * i / parts * unit).min(extent);
    at(index)..at(index + 1)
}

impl<P: Product> Gemm<P> {
    /// Words of workspace that [`Gemm::run_parallel`] needs.
    pub fn parallel_workspace_len(&self, blocking: &Blocking, split: Split, b_is_packed: bool, (m, n, k): (usize, usize, usize)) -> usize {
        let own = self.packed_workspace_len(blocking, m, k);
        split.threads() * own + if b_is_packed { 0 } else { split.cols * 2 * self.shared_block(blocking, split, n, k) }
    }

    /// Words of one of the two blocks of B that a group shares.
    fn shared_block(&self, blocking: &Blocking, split: Split, n: usize, k: usize) -> usize {
        let blocks = self.blocks(blocking);
        let widest = n.div_ceil(self.nr()).div_ceil(split.cols) * self.nr();
        self.geometry.panels(blocks.nc.min(widest), blocks.kc.min(k))
    }

    /// As [`Gemm::run`] and [`Gemm::run_packed`], on `split.threads()` threads of `workers`.
    ///
    /// # Panics
    /// If the shapes do not fit each other, B is packed for another layout, `ws` is shorter than
    /// [`Gemm::parallel_workspace_len`], or there are fewer workers than the split asks for.
    #[allow(clippy::too_many_arguments)]
    pub fn run_parallel(
        &self,
        a: Mat<'_, P::A>,
        right: Right<'_, P::B>,
        c: MatMut<'_, P::C>,
        accumulate: bool,
        blocking: &Blocking,
        split: Split,
        workers: &dyn Workers,
        ws: &mut [u32],
    ) {
        let (m, n, k) = match &right {
            Right::Plain(b) => super::check_shapes(a.rows(), a.cols(), (b.rows(), b.cols()), P::B_DEPTH, &c),
            Right::Packed(b) => {
                self.check_layout(b);
                super::check_shapes(a.rows(), a.cols(), (b.k(), b.n()), 1, &c)
            }
        };
        if k == 0 {
            return finish_empty(c, accumulate);
        }
        let threads = split.threads();
        assert!((1..=MOST_THREADS.min(workers.count())).contains(&threads), "{threads} threads asked for, {} there", workers.count());
        let needed = self.parallel_workspace_len(blocking, split, right.is_packed(), (m, n, k));
        let own = self.packed_workspace_len(blocking, m, k);
        let (mine, shared) = ws[..needed].split_at_mut(threads * own);
        let mine = MatMut::new(mine, threads, own, own).grid([&|i| i..i + 1, &|_| 0..own], (threads, 1));
        let block = if right.is_packed() { 0 } else { self.shared_block(blocking, split, n, k) };
        let shared = Shared::new(shared, block);
        let c = c.grid([&|i| part(m, self.mr(), split.rows, i), &|j| part(n, self.nr(), split.cols, j)], (split.rows, split.cols));
        let barriers: [Barrier; MOST_THREADS] = core::array::from_fn(|_| Barrier::new(split.rows));
        workers.run(&|worker| {
            if worker >= threads {
                return;
            }
            let (row, group) = (worker % split.rows, worker / split.rows);
            let (Some(c), Some(mut own)) = (c.take(row, group), mine.take(worker, 0)) else { return };
            let rows = part(m, self.mr(), split.rows, row);
            let columns = part(n, self.nr(), split.cols, group);
            let member =
                Member { row, rows: split.rows, barrier: &barriers[group], blocks: [shared.block(2 * group), shared.block(2 * group + 1)] };
            self.member(a.block(rows.start, 0, rows.len(), k), right, columns, c, accumulate, blocking, &member, own.row_mut(0));
        });
    }

    /// What one thread does: its rows against its group's columns.
    #[allow(clippy::too_many_arguments)]
    fn member(
        &self,
        a: Mat<'_, P::A>,
        right: Right<'_, P::B>,
        columns: Range<usize>,
        mut c: MatMut<'_, P::C>,
        accumulate: bool,
        blocking: &Blocking,
        member: &Member<'_>,
        ws: &mut [u32],
    ) {
        let blocks = self.blocks(blocking);
        let (k, n) = (a.cols(), columns.len());
        let mut turn = 0;
        for jc in (0..n).step_by(blocks.nc) {
            let n_block = blocks.nc.min(n - jc);
            for pc in (0..k).step_by(blocks.kc) {
                let depth = blocks.kc.min(k - pc);
                let (panels, from) = match right {
                    Right::Packed(b) => (b.columns(columns.start + jc, columns.start + jc + n_block), pc),
                    Right::Plain(b) => {
                        let b = b.block(pc / P::B_DEPTH, columns.start + jc, depth.div_ceil(P::B_DEPTH), n_block);
                        (self.packed_b(self.pack_together(b, depth, member, turn), depth, n_block), 0)
                    }
                };
                turn += 1;
                let block = Block { panels, from, depth: pc..pc + depth, accumulate: accumulate || pc > 0, mc: blocks.mc };
                self.row_blocks(a, block, c.block_or_empty(jc, n_block), ws);
            }
        }
    }

    /// Packs this member's share of a block, and waits until the others have packed theirs.
    fn pack_together<'a>(&self, b: Mat<'_, P::B>, depth: usize, member: &Member<'a>, turn: usize) -> &'a [u32] {
        let n = b.cols();
        let mine = part(n, self.nr(), member.rows, member.row);
        let shared = member.blocks[turn % 2];
        let at = |column: usize| self.geometry.panels(column, depth);
        if !mine.is_empty() {
            // SAFETY: the members' parts do not overlap. Whoever read this block two turns ago did so before
            // it came to the barrier of the turn between, which this thread has passed.
            let out = unsafe { shared.part(at(mine.start)..at(mine.end)) };
            self.micro.pack_b(b.block(0, mine.start, b.rows(), mine.len()).transposed(), out);
        }
        member.barrier.wait();
        // SAFETY: all parts were written before the barrier, and the next to write to this block does so
        // after the barrier of the next turn, which this thread comes to when it has finished reading.
        unsafe { shared.whole(at(n)) }
    }
}

/// One thread's place in its group.
struct Member<'a> {
    row: usize,
    rows: usize,
    barrier: &'a Barrier,
    blocks: [SharedBlock<'a>; 2],
}

/// The blocks of B of all groups, as one workspace.
struct Shared<'a> {
    start: *mut u32,
    words: usize,
    block: usize,
    life: core::marker::PhantomData<&'a mut [u32]>,
}

// SAFETY: it hands out pointers alone; those who use them say why they may.
unsafe impl Sync for Shared<'_> {}

/// One block that a group writes together and reads together, in turns that its barrier keeps apart.
#[derive(Clone, Copy)]
struct SharedBlock<'a> {
    start: *mut u32,
    words: usize,
    life: core::marker::PhantomData<&'a mut [u32]>,
}

impl<'a> Shared<'a> {
    fn new(words: &'a mut [u32], block: usize) -> Shared<'a> {
        Shared { start: words.as_mut_ptr(), words: words.len(), block, life: core::marker::PhantomData }
    }

    /// Block `index`; an empty one where there is none.
    fn block(&self, index: usize) -> SharedBlock<'a> {
        let start = index * self.block;
        let words = if start + self.block <= self.words { self.block } else { 0 };
        let start = if words > 0 {
            // SAFETY: start + block ≤ words, so this lies inside the workspace.
            unsafe { self.start.add(start) }
        } else {
            self.start
        };
        SharedBlock { start, words, life: core::marker::PhantomData }
    }
}

impl<'a> SharedBlock<'a> {
    /// Some of its words, to be written.
    ///
    /// # Safety
    /// Nobody else may use these words until the group has met at its barrier.
    unsafe fn part(self, range: Range<usize>) -> &'a mut [u32] {
        assert!(range.start <= range.end && range.end <= self.words, "words {range:?} of {}", self.words);
        // SAFETY: inside of the block by the assert; exclusive by the caller's word.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Its first words, to be read.
    ///
    /// # Safety
    /// Nobody may write to them until the group has met at its barrier again.
    unsafe fn whole(self, words: usize) -> &'a [u32] {
        assert!(words <= self.words, "{words} words of {}", self.words);
        // SAFETY: inside of the block by the assert; shared by the caller's word.
        unsafe { core::slice::from_raw_parts(self.start, words) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TILE: Geometry = Geometry { mr: 8, nr: 32, step: 1, a_head: 0, a_words: 8, b_words: 32 };

    #[test]
    fn parts_are_whole_units_and_cover_everything() {
        for extent in [0, 1, 7, 8, 9, 100, 1152] {
            for parts in 1..7 {
                let all: Vec<_> = (0..parts).map(|i| part(extent, 8, parts, i)).collect();
                assert_eq!((all[0].start, all[parts - 1].end), (0, extent));
                assert!(all.windows(2).all(|w| w[0].end == w[1].start && (w[0].end % 8 == 0 || w[0].end == extent)));
            }
        }
    }

    #[test]
    fn rows_are_split_when_there_are_many_and_columns_when_there_are_few() {
        assert_eq!(Split::analytical(2, TILE, 1024, 1024, false), Split { rows: 2, cols: 1 });
        assert_eq!(Split::analytical(2, TILE, 1, 4096, true), Split { rows: 1, cols: 2 });
        assert_eq!(Split::analytical(4, TILE, 8, 4096, true), Split { rows: 1, cols: 4 });
        assert_eq!(Split::analytical(1, TILE, 100, 100, false).threads(), 1);
    }
}
