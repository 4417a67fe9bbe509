//! One product on several threads: C is split in two dimensions, each part computed by the loops that
//! one thread uses.
//!
//! Threads form groups. A group has a run of column panels of its own; its members share out the rows.
//! They pack the group's block of B together and wait for one another once a block, since two blocks
//! take turns; each packs its own rows of A. So B is packed once, A once for each group, and every part
//! of C is written by one thread in an order that does not depend on the others: results are the same
//! from run to run.

use super::direct::Few;
use super::loops::Room;
use super::product::Product;
use super::{Blocking, Gemm, Geometry, Operands};
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
        let cost = |s: &Split| (s.cost(tile, (m, n), if b_is_packed { None } else { Some(s.rows) }), s.cols);
        Split::all(threads).min_by_key(cost).unwrap_or(Split::ALONE)
    }

    /// How each of `count` products of M × N is cut, so that the busiest of `threads` threads has least to
    /// do: not at all, if there are enough of them. Parts are packed apart.
    pub(super) fn in_batch(threads: usize, count: usize, tile: Geometry, (m, n): (usize, usize), b_is_packed: bool) -> Split {
        let cost = |s: &Split| {
            let parts = (count * s.threads()).div_ceil(threads);
            (parts * s.cost(tile, (m, n), if b_is_packed { None } else { Some(1) }), s.threads(), s.cols)
        };
        (1..=threads.clamp(1, MOST_THREADS)).flat_map(Split::all).min_by_key(cost).unwrap_or(Split::ALONE)
    }

    /// Every way to share a product out over `threads` threads.
    pub fn all(threads: usize) -> impl Iterator<Item = Split> {
        let threads = threads.clamp(1, MOST_THREADS);
        (1..=threads).filter(move |rows| threads.is_multiple_of(*rows)).map(move |rows| Split { rows, cols: threads / rows })
    }

    /// What the busiest part costs, in multiply-adds at each depth; B is packed on the way by so many
    /// threads together.
    fn cost(&self, tile: Geometry, (m, n): (usize, usize), packers: Option<usize>) -> usize {
        let (strips, panels) = (m.div_ceil(tile.mr).max(1), n.div_ceil(tile.nr).max(1));
        let (rows, cols) = (strips.div_ceil(self.rows) * tile.mr, panels.div_ceil(self.cols) * tile.nr);
        rows * cols + PACKING * (rows + packers.map_or(0, |packers| cols.div_ceil(packers)))
    }

    /// The calling thread does all.
    pub const ALONE: Split = Split { rows: 1, cols: 1 };

    /// Threads that it uses.
    pub fn threads(&self) -> usize {
        self.rows * self.cols
    }

    /// Blocks of B that take turns: while some of a group still read one, others pack the next.
    pub(super) fn turns(&self) -> usize {
        if self.rows > 1 { 2 } else { 1 }
    }
}

/// Part `index` of `parts` of `extent`, cut at multiples of `unit`; as even as they can be.
pub(super) fn part(extent: usize, unit: usize, parts: usize, index: usize) -> Range<usize> {
    let units = extent.div_ceil(unit);
    let at = |i: usize| (units * i / parts * unit).min(extent);
    at(index)..at(index + 1)
}

/// One thread's share of a product.
pub(super) struct Share<'a, A, B, C> {
    /// Its part of the operands.
    pub(super) operands: Operands<'a, A, B, C>,
    /// The row and the column at which it begins.
    pub(super) at: (usize, usize),
    /// Where its blocks of B are packed into.
    pub(super) room: Room<'a>,
    /// Words of its own.
    pub(super) own: &'a mut [u32],
}

impl<P: Product> Gemm<P> {
    /// As [`Gemm::run`], on `split.threads()` threads of `workers`.
    ///
    /// # Panics
    /// If the shapes do not fit each other, B is packed for another layout, `ws` is shorter than
    /// [`Gemm::workspace_len`], or there are fewer workers than the split asks for.
    pub fn run_parallel(
        &self,
        operands: Operands<'_, P::A, P::B, P::C>,
        blocking: &Blocking,
        split: Split,
        workers: &dyn Workers,
        ws: &mut [u32],
    ) {
        let (m, _, k) = self.check(&operands);
        if let Some(few) = self.few(operands.a, &operands.b) {
            return self.direct_parallel(operands, few, split, workers);
        }
        let operands = self.cut_edge(operands, |edge| self.direct_parallel(edge, Few::Columns, split, workers));
        let blocking = &self.fit(blocking, m, operands.b.is_packed());
        let blocks = self.blocks(blocking);
        self.share_out(operands, blocking, (split, workers), (ws, self.own_len(blocking, m, k)), |share| {
            self.tiles(share.operands, blocks, share.room, share.own);
        });
    }

    /// Calls `work` on each thread of the split with its share of operands that fit one another; each
    /// has `own` words of the workspace for itself. One thread is the caller: no worker is woken.
    pub(super) fn share_out<C: Copy + Send>(
        &self,
        operands: Operands<'_, P::A, P::B, C>,
        blocking: &Blocking,
        (split, workers): (Split, &dyn Workers),
        (ws, own): (&mut [u32], usize),
        work: impl Fn(Share<'_, P::A, P::B, C>) + Sync,
    ) {
        if split == Split::ALONE {
            let (own, block) = ws.split_at_mut(own);
            return work(Share { operands, at: (0, 0), room: Room::Own(block), own });
        }
        let Operands { a, b, c, accumulate } = operands;
        let (m, n, k) = (a.rows(), c.cols(), a.cols());
        let threads = split.threads();
        assert!((1..=MOST_THREADS.min(workers.count())).contains(&threads), "{threads} threads asked for, {} there", workers.count());
        let block = if b.is_packed() { 0 } else { self.block_len(blocking, split, n, k) };
        let (mine, shared) = ws[..threads * own + split.cols * split.turns() * block].split_at_mut(threads * own);
        let mine = MatMut::new(mine, threads, own, own).grid([&|i| i..i + 1, &|_| 0..own], (threads, 1));
        let shared = Shared::new(shared, block);
        let rows = |i| part(m, self.mr(), split.rows, i);
        let columns = |j| part(n, self.nr(), split.cols, j);
        let c = c.grid([&rows, &columns], (split.rows, split.cols));
        let barriers: [Barrier; MOST_THREADS] = core::array::from_fn(|_| Barrier::new(split.rows));
        // Members of a group wait for one another where they pack together.
        let independent = b.is_packed() || split.rows == 1;
        let share = |worker: usize| {
            let (row, group) = (worker % split.rows, worker / split.rows);
            let (Some(c), Some(mut own)) = (c.take(row, group), mine.take(worker, 0)) else { return };
            let (rows, columns) = (rows(row), columns(group));
            // Its whole group has nothing to do: nobody waits for it.
            if columns.is_empty() {
                return;
            }
            let a = a.block(rows.start, 0, rows.len(), k);
            let b = b.columns(columns.clone());
            let turns = split.turns();
            let blocks = [shared.block(turns * group), shared.block(turns * group + turns - 1)];
            let member = Member { row, rows: split.rows, barrier: &barriers[group], blocks, turn: 0 };
            let operands = Operands { a, b, c, accumulate };
            work(Share { operands, at: (rows.start, columns.start), room: Room::Group(member), own: own.row_mut(0) });
        };
        if independent { workers.share(threads, &share) } else { workers.run(threads, &share) }
    }

    /// Packs this member's share of a block, and waits until the others have packed theirs.
    pub(super) fn pack_together<'r>(&self, b: Mat<'_, P::B>, depth: usize, member: &'r mut Member<'_>) -> &'r [u32] {
        let n = b.cols();
        let mine = part(n, self.nr(), member.rows, member.row);
        let shared = member.blocks[member.turn % 2];
        member.turn += 1;
        let at = |column: usize| self.geometry.panels(column, depth);
        if !mine.is_empty() {
            // SAFETY: the members' parts do not overlap. Whoever read this block two turns ago did so before
            // it came to the barrier of the turn between, which this thread has passed; a member without
            // others, for which both blocks are one, read it itself.
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
pub(super) struct Member<'a> {
    row: usize,
    rows: usize,
    barrier: &'a Barrier,
    blocks: [SharedBlock<'a>; 2],
    /// Blocks that it has packed.
    turn: usize,
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
