//! The generic body for one token, over an ISA token: vectors of keys while they are scored, vectors of dimensions while
//! their values are summed, so that each of them is loaded from memory once for `H` heads of a group. `V` vectors are in
//! registers for each head; `T` keys are scored before their values are summed.
//!
//! With `A` above 0, a tile's values are asked for while its keys are scored, and the next tile's keys while values are
//! summed: where they come out of memory.
//!
//! A task is some of the context of one head of keys. Its results are partial: the largest score, the sum of powers and
//! the weighed values of each query head. The caller's thread merges them, always in the same order.

use super::cache::{Cached, PANEL};
use super::online::{AtMost, LEAST, LINE, aligned, common, scale, take};
use super::{Body, Decode, Mask, Operands, Shape, attention_kernel, threads};
use crate::isa::ask;
use crate::isa::math::Math;
use crate::mat::{MatMut, Queue};
use crate::team::Workers;
use core::ops::Range;

attention_kernel! {
    /// Attention of one token, `H` heads by `V` vectors in registers, `T` keys at a time.
    Token<H, V, T, A>: Decode
}

/// Heads at a time, at most.
const MOST_HEADS: usize = 8;

/// How a call is cut.
struct Plan {
    /// Parts of the context.
    parts: usize,
    /// Keys of a part, but for the last.
    keys: usize,
    /// Elements of a part's results: largest scores and sums of the heads of a group, then their weighed values.
    partial: usize,
    /// Elements of a thread's workspace.
    len: usize,
}

impl<I: Math, E: Cached, const H: usize, const V: usize, const T: usize, const A: usize> Token<I, E, H, V, T, A> {
    const FITS: () = {
        let keys = V * I::LANES;
        assert!(H >= 1 && H <= MOST_HEADS && T.is_multiple_of(PANEL) && T.is_multiple_of(keys));
        assert!(PANEL.is_multiple_of(keys) || keys.is_multiple_of(PANEL));
    };

    fn plan(shape: Shape, threads: usize) -> Plan {
        // Heads of keys by parts are a multiple of the threads, where there are tiles enough.
        let wanted = threads / common(threads, shape.kv_heads);
        let keys = shape.context.div_ceil(wanted).next_multiple_of(T).max(T);
        let group = shape.group();
        let partial = (group * (2 + shape.dim)).next_multiple_of(LINE);
        // Queries, scores, and sums lane by lane.
        let all = [shape.dim * group, T * group, I::LANES * group];
        let len = all.iter().map(|len| len.next_multiple_of(LINE)).sum();
        Plan { parts: shape.context.div_ceil(keys), keys, partial, len }
    }
}

impl<I: Math, E: Cached, const H: usize, const V: usize, const T: usize, const A: usize> Body for Token<I, E, H, V, T, A> {
    fn workspace_len(&self, shape: Shape, threads: usize) -> usize {
        let plan = Self::plan(shape, threads);
        // There are never more parts than threads.
        threads * (shape.kv_heads * plan.partial + plan.len) + LINE
    }

    fn run(&self, operands: Operands<'_>, mut out: MatMut<'_, f32>, workers: &dyn Workers, workspace: &mut [f32]) {
        const { Self::FITS };
        let mut shape = operands.shape;
        shape.context = operands.mask.seen(0, shape.context);
        let (group, dim) = (shape.group(), shape.dim);
        let threads = threads(workers, (2 * shape.heads * dim).saturating_mul(shape.context));
        let plan = Self::plan(shape, threads);
        let mut rest = aligned(workspace);
        let partial = take(&mut rest, plan.parts * shape.kv_heads * plan.partial);
        let scratch = Queue::new(MatMut::new(rest, threads, plan.len, plan.len), (1, plan.len));
        let tasks = MatMut::new(partial, plan.parts * shape.kv_heads, plan.partial, plan.partial.max(1));
        let tasks = Queue::new(tasks, (1, plan.partial));
        workers.share(threads, &|_| {
            let Some((_, mut scratch)) = scratch.next() else { return };
            while let Some(((task, _), mut partial)) = tasks.next() {
                let (head, first) = (task / plan.parts, task % plan.parts * plan.keys);
                let task = Task { operands, head, keys: first..shape.context.min(first + plan.keys) };
                task.run::<I, E, H, V, T, A>(self.0, partial.row_mut(0), scratch.row_mut(0));
            }
        });
        for (head, out) in out.row_mut(0).chunks_exact_mut(group * dim).enumerate() {
            let parts = &partial[head * plan.parts * plan.partial..][..plan.parts * plan.partial];
            for (h, out) in out.chunks_exact_mut(dim).enumerate() {
                merge(parts.chunks_exact(plan.partial), (h, group), out);
            }
        }
    }
}

/// The result of head `h` of a group from its parts.
fn merge<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone, (h, group): (usize, usize), out: &mut [f32]) {
    let dim = out.len();
    let most = parts.clone().map(|part| part[h]).fold(LEAST, f32::max);
    let weight = |part: &[f32]| (part[h] - most).exp2();
    let sum: f32 = parts.clone().map(|part| weight(part) * part[group + h]).sum();
    out.fill(0.0);
    if sum == 0.0 {
        // Nothing was seen.
        return;
    }
    for part in parts {
        let by = weight(part) / sum;
        for (out, x) in out.iter_mut().zip(&part[2 * group + h * dim..][..dim]) {
            *out += by * x;
        }
    }
}

/// Some of the context of one head of keys.
struct Task<'a> {
    operands: Operands<'a>,
    head: usize,
    keys: Range<usize>,
}

/// What is known of some heads that are served together.
struct Few<'a> {
    /// Queries, dimension by dimension.
    q: &'a [f32],
    /// Of each head.
    scores: &'a mut [f32],
    /// The largest score so far, of each head.
    most: &'a mut [f32],
    /// Sums so far, of each head lane by lane.
    sums: &'a mut [f32],
    /// Weighed values so far, of each head.
    o: &'a mut [f32],
}

/// A tile of keys and values.
struct Tile<'a, E: Cached> {
    keys: &'a [E::Keys],
    values: &'a [E::Value],
    /// What is added to scores.
    added: Option<&'a [f32]>,
    dim: usize,
    count: usize,
}

impl Task<'_> {
    fn run<I: Math, E: Cached, const H: usize, const V: usize, const T: usize, const A: usize>(
        &self,
        isa: I,
        partial: &mut [f32],
        mut workspace: &mut [f32],
    ) {
        let Operands { shape, kv, mask, .. } = self.operands;
        let (dim, group) = (shape.dim, shape.group());
        let q = take(&mut workspace, (dim * group).next_multiple_of(LINE));
        let scores = take(&mut workspace, (T * group).next_multiple_of(LINE));
        let sums = take(&mut workspace, I::LANES * group);
        let (most, rest) = partial.split_at_mut(group);
        let (sum, o) = rest.split_at_mut(group);
        most.fill(LEAST);
        sums.fill(0.0);
        o.fill(0.0);
        let by = scale(dim);
        for few in (0..group).step_by(H) {
            let heads = H.min(group - few);
            for h in 0..heads {
                let query = self.operands.query(0, self.head * group + few + h);
                for (q, x) in q[few * dim..].chunks_mut(heads).zip(query) {
                    q[h] = x * by;
                }
            }
        }
        let (keys, values) = kv.head::<E>(self.head);
        let spans = dim / E::SPAN;
        for key in self.keys.clone().step_by(T) {
            let count = T.min(self.keys.end - key);
            let added = match mask {
                Mask::Added(mask) => Some(&mask.row(0).expect("rows are adjacent, as `run` asserts")[key..key + count]),
                _ => None,
            };
            let tile = Tile::<E> {
                keys: &keys[key / PANEL * spans..][..count.div_ceil(PANEL) * spans],
                values: &values[key * spans..][..count * spans],
                added,
                dim,
                count,
            };
            for few in (0..group).step_by(H) {
                let heads = H.min(group - few);
                let few = Few {
                    q: &q[few * dim..][..heads * dim],
                    scores: &mut scores[few * T..][..heads * T],
                    most: &mut most[few..][..heads],
                    sums: &mut sums[few * I::LANES..][..heads * I::LANES],
                    o: &mut o[few * dim..][..heads * dim],
                };
                match heads {
                    1 if AtMost::<1, H>::YES => few.tile::<I, E, 1, V, T, A>(isa, &tile),
                    2 if AtMost::<2, H>::YES => few.tile::<I, E, 2, V, T, A>(isa, &tile),
                    3 if AtMost::<3, H>::YES => few.tile::<I, E, 3, V, T, A>(isa, &tile),
                    4 if AtMost::<4, H>::YES => few.tile::<I, E, 4, V, T, A>(isa, &tile),
                    5 if AtMost::<5, H>::YES => few.tile::<I, E, 5, V, T, A>(isa, &tile),
                    6 if AtMost::<6, H>::YES => few.tile::<I, E, 6, V, T, A>(isa, &tile),
                    7 if AtMost::<7, H>::YES => few.tile::<I, E, 7, V, T, A>(isa, &tile),
                    _ => few.tile::<I, E, H, V, T, A>(isa, &tile),
                }
            }
        }
        for (sum, sums) in sum.iter_mut().zip(sums.chunks_exact(I::LANES)) {
            *sum = sums.iter().sum();
        }
    }
}

impl Few<'_> {
    /// Adds what a tile of keys and values gives. A function of its own for each number of heads, which kernels share.
    #[inline(never)]
    fn tile<I: Math, E: Cached, const N: usize, const V: usize, const T: usize, const A: usize>(self, isa: I, tile: &Tile<'_, E>) {
        isa.vectorize(
            #[inline(always)]
            || {
                let (q, _) = self.q.as_chunks::<N>();
                score::<I, E, N, V, T, A>(isa, tile, q, self.scores);
                let mut by = [0.0; N];
                let heads = self.scores.chunks_exact_mut(T).zip(self.sums.chunks_exact_mut(I::LANES)).zip(self.most);
                for (((scores, sums), most), by) in heads.zip(&mut by) {
                    *by = powers(isa, tile.added, &mut scores[..tile.count], most, sums);
                }
                let p = self.scores.as_chunks::<T>().0.first_chunk().expect("scores of each head");
                let mut at = 0;
                while at + V * I::LANES <= tile.dim {
                    weigh::<I, E, N, V, T, A>(isa, tile, at, p, by, self.o);
                    at += V * I::LANES;
                }
                while at + I::LANES <= tile.dim {
                    weigh::<I, E, N, 1, T, A>(isa, tile, at, p, by, self.o);
                    at += I::LANES;
                }
                if at < tile.dim {
                    weigh_end::<I, E, N, T>(isa, tile, at, p, by, self.o);
                }
            },
        );
    }
}

/// Scores of the keys of a tile, `T` apart for each head.
#[inline(always)]
fn score<I: Math, E: Cached, const N: usize, const V: usize, const T: usize, const A: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    q: &[[f32; N]],
    scores: &mut [f32],
) {
    let mut key = 0;
    // Vectors of the last keys may lie beyond the last panel.
    while (key + V * I::LANES).next_multiple_of(PANEL) <= tile.count.next_multiple_of(PANEL) {
        score_some::<I, E, N, V, T, A>(isa, tile, key, q, scores);
        key += V * I::LANES;
    }
    while key < tile.count {
        score_some::<I, E, N, 1, T, A>(isa, tile, key, q, scores);
        key += I::LANES;
    }
}

#[inline(always)]
fn score_some<I: Math, E: Cached, const N: usize, const V: usize, const T: usize, const A: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    key: usize,
    q: &[[f32; N]],
    scores: &mut [f32],
) {
    let spans = tile.dim / E::SPAN;
    // The panel of each vector.
    let mut panels: [&[E::Keys]; V] = [&[]; V];
    for (v, panel) in panels.iter_mut().enumerate() {
        *panel = &tile.keys[(key + v * I::LANES) / PANEL * spans..][..spans];
    }
    let first = key % PANEL;
    let mut acc = [[isa.splat(0.0); V]; N];
    for (s, q) in q.chunks_exact(E::SPAN).enumerate().take(spans) {
        let mut scales = [isa.splat(1.0); V];
        if A > 0 {
            // Of the first vectors' panels; there are as many bytes of values as of keys.
            for v in (0..V).step_by((PANEL / I::LANES).max(1)) {
                let at = ((key + v * I::LANES) / PANEL * spans + s) * size_of::<E::Keys>();
                ask_for(tile.values.as_ptr().cast::<u8>().wrapping_add(at), size_of::<E::Keys>());
            }
        }
        for v in 0..V {
            scales[v] = E::scales(isa, &panels[v][s], (first + v * I::LANES) % PANEL);
        }
        for (line, q) in q.iter().enumerate() {
            let mut b = [isa.splat(0.0); V];
            for v in 0..V {
                b[v] = E::key(isa, &panels[v][s], line, (first + v * I::LANES) % PANEL, scales[v]);
            }
            isa.rank1(&mut acc, q, b);
        }
    }
    for h in 0..N {
        for v in 0..V {
            isa.store(acc[h][v], &mut scores[h * T + key + v * I::LANES..]);
        }
    }
}

/// Scores of one head become powers, less the largest so far; the factor of what was summed before.
#[inline(always)]
fn powers<I: Math>(isa: I, added: Option<&[f32]>, scores: &mut [f32], most: &mut f32, sums: &mut [f32]) -> f32 {
    if let Some(added) = added {
        let by = isa.splat(core::f32::consts::LOG2_E);
        for (x, added) in scores.chunks_mut(I::LANES).zip(added.chunks(I::LANES)) {
            isa.store_partial(isa.fma(isa.load_partial(added), by, isa.load_partial(x)), x);
        }
    }
    let mut largest = isa.splat(*most);
    let (whole, rest) = scores.split_at(scores.len() / I::LANES * I::LANES);
    for x in whole.chunks_exact(I::LANES) {
        largest = isa.max(largest, isa.load(x));
    }
    if !rest.is_empty() {
        largest = isa.max(largest, isa.load_or(rest, LEAST));
    }
    let before = *most;
    *most = isa.largest(largest);
    let most = isa.splat(*most);
    let by = isa.exp2(isa.sub(isa.splat(before), most));
    let mut sum = isa.mul(by, isa.load(sums));
    let (whole, rest) = scores.split_at_mut(scores.len() / I::LANES * I::LANES);
    for x in whole.chunks_exact_mut(I::LANES) {
        let p = isa.exp2(isa.sub(isa.load(x), most));
        sum = isa.add(sum, p);
        isa.store(p, x);
    }
    if !rest.is_empty() {
        let p = isa.exp2(isa.sub(isa.load_or(rest, f32::NEG_INFINITY), most));
        sum = isa.add(sum, p);
        isa.store_partial(p, rest);
    }
    isa.store(sum, sums);
    let mut first = [0.0; crate::isa::MAX_LANES];
    isa.store(by, &mut first);
    first[0]
}

/// Asks for the lines of the cache that hold so many bytes, wherever they are.
#[inline(always)]
fn ask_for(at: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        ask(at.wrapping_add(line));
    }
}

/// `V` vectors of results from dimension `at` on, scaled by `by`, more the values weighed with `p`.
#[inline(always)]
fn weigh<I: Math, E: Cached, const N: usize, const V: usize, const T: usize, const A: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    at: usize,
    p: &[[f32; T]; N],
    by: [f32; N],
    o: &mut [f32],
) {
    let mut acc = [[isa.splat(0.0); V]; N];
    for h in 0..N {
        for v in 0..V {
            acc[h][v] = isa.mul(isa.splat(by[h]), isa.load(&o[h * tile.dim + at + v * I::LANES..]));
        }
    }
    let next = tile.keys.as_ptr().wrapping_add(T / PANEL * (tile.dim / E::SPAN)).cast::<u8>();
    for (k, value) in (0..T).zip(tile.values.chunks_exact(tile.dim / E::SPAN)) {
        if A > 0 {
            let at = (k * tile.dim + at) / E::SPAN * size_of::<E::Value>();
            ask_for(next.wrapping_add(at), V * I::LANES * size_of::<E::Value>() / E::SPAN);
        }
        let mut b = [isa.splat(0.0); V];
        for (v, b) in b.iter_mut().enumerate() {
            *b = E::value(isa, value, at + v * I::LANES);
        }
        let mut a = [0.0; N];
        for h in 0..N {
            a[h] = p[h][k];
        }
        isa.rank1(&mut acc, &a, b);
    }
    for h in 0..N {
        for v in 0..V {
            isa.store(acc[h][v], &mut o[h * tile.dim + at + v * I::LANES..]);
        }
    }
}

/// The same of the dimensions from `at` on, which are no whole vector.
#[inline(always)]
fn weigh_end<I: Math, E: Cached, const N: usize, const T: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    at: usize,
    p: &[[f32; T]; N],
    by: [f32; N],
    o: &mut [f32],
) {
    let mut acc = [[isa.splat(0.0); 1]; N];
    for h in 0..N {
        acc[h][0] = isa.mul(isa.splat(by[h]), isa.load_partial(&o[h * tile.dim + at..(h + 1) * tile.dim]));
    }
    for (k, value) in (0..T).zip(tile.values.chunks_exact(tile.dim / E::SPAN)) {
        let b = E::value_end(isa, value, at);
        let mut a = [0.0; N];
        for h in 0..N {
            a[h] = p[h][k];
        }
        isa.rank1(&mut acc, &a, [b]);
    }
    for h in 0..N {
        isa.store_partial(acc[h][0], &mut o[h * tile.dim + at..(h + 1) * tile.dim]);
    }
}
