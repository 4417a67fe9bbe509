//! The generic body for many tokens, over an ISA token: lanes are pairs of a token and a head of its group, so that
//! nothing is ever summed across lanes. `V` vectors of lanes are a block; of scores, and of the results' dimensions, `R`
//! rows of a block are in registers at a time. `T` keys are scored before their values are summed.
//!
//! A task is some tokens of one head of keys. Its blocks take a tile of keys one after another, so that it is widened
//! once for all. Only tiles that cross the diagonal are masked. What a block does with a tile is [`Lanes::tile`]; all
//! else is the same on instruction sets whose vectors have a length that is known here, and on SVE.

use super::cache::{Cached, PANEL};
use super::online::{AtMost, LEAST, LINE, aligned, common, scale, take, transpose};
use super::{Body, Mask, Operands, Prefill, Shape, attention_kernel, threads};
use crate::isa::Simd;
use crate::isa::math::Math;
use crate::mat::{MatMut, Queue};
use crate::team::Workers;
use core::ops::Range;

attention_kernel! {
    /// Attention of many tokens, `R` rows by `V` vectors in registers, `T` keys at a time.
    Tiles<R, V, T>: Prefill
}

/// Blocks that share a widened tile, at least, where there are tokens enough.
const BLOCKS: usize = 4;

/// Tasks for each thread, at least, where there are tokens enough: later tokens have more to do.
const TASKS: usize = 4;

/// How a call is cut.
struct Plan {
    /// Tokens of a task, at most.
    tokens: usize,
    /// Lanes of all blocks of a task.
    lanes: usize,
    /// Elements of a thread's workspace.
    len: usize,
}

/// An instruction set whose lanes are tokens and heads.
pub(super) trait Lanes: Copy + Send + Sync + 'static {
    /// What does all that stands beside [`Lanes::tile`], with vectors that its own are whole multiples of.
    type Beside: Math;
    /// It.
    fn beside(self) -> Self::Beside;
    /// Lanes of a vector.
    fn lanes(self) -> usize;
    /// Adds what a tile of keys and values gives to a block of `V` vectors, whose scores have room for a whole tile.
    fn tile<const R: usize, const V: usize>(self, block: Block<'_>, dim: usize, tile: Widened<'_>, hide: Hide<'_>, scores: &mut [f32]);
}

/// Keys and values of a tile in f32.
pub(super) type Widened<'a> = (&'a [[f32; PANEL]], &'a [f32]);

impl<I: Math> Lanes for I {
    type Beside = I;
    #[inline(always)]
    fn beside(self) -> I {
        self
    }
    #[inline(always)]
    fn lanes(self) -> usize {
        I::LANES
    }
    #[inline(always)]
    fn tile<const R: usize, const V: usize>(self, block: Block<'_>, dim: usize, tile: Widened<'_>, hide: Hide<'_>, scores: &mut [f32]) {
        block.tile::<I, R, V>(self, dim, tile, hide, scores);
    }
}

/// Whether parameters go together: of no use where kernels are not compiled.
struct Fits<const R: usize, const V: usize, const T: usize>;

impl<const R: usize, const V: usize, const T: usize> Fits<R, V, T> {
    const YES: () = assert!(PANEL.is_multiple_of(R) && T.is_multiple_of(PANEL) && V >= 1 && V <= 4);
}

impl Plan {
    /// Of blocks of `V` vectors of so many lanes, and tiles of `T` keys.
    fn new<const V: usize, const T: usize>(lanes_of_vector: usize, shape: Shape, threads: usize) -> Plan {
        let (group, width) = (shape.group(), V * lanes_of_vector);
        // So many tokens fill whole blocks.
        let whole = width / common(width, group);
        let most = (BLOCKS * width).div_ceil(whole * group) * whole;
        let even = if threads > 1 { (shape.tokens * shape.kv_heads).div_ceil(TASKS * threads) } else { usize::MAX };
        let tokens = shape.tokens.min(most).min(even).max(1);
        let lanes = (tokens * group).next_multiple_of(lanes_of_vector);
        // Queries and results of all lanes; their positions, largest scores and sums; a tile's scores and mask, keys
        // and values.
        let all = [2 * shape.dim * lanes, 3 * lanes, 2 * T * width, 2 * T * shape.dim];
        Plan { tokens, lanes, len: all.iter().map(|len| len.next_multiple_of(LINE)).sum::<usize>() + 2 * LINE }
    }
}

impl<I: Lanes, E: Cached, const R: usize, const V: usize, const T: usize> Body for Tiles<I, E, R, V, T> {
    fn workspace_len(&self, shape: Shape, threads: usize) -> usize {
        // More threads never make a task longer.
        threads * Plan::new::<V, T>(self.0.lanes(), shape, threads).len + LINE
    }

    fn run(&self, operands: Operands<'_>, out: MatMut<'_, f32>, workers: &dyn Workers, workspace: &mut [f32]) {
        const { Fits::<R, V, T>::YES };
        let shape = operands.shape;
        let keys = operands.mask.seen(shape.tokens - 1, shape.context);
        let work = (2 * shape.heads * shape.dim * shape.tokens).saturating_mul(keys);
        let threads = threads(workers, work);
        let plan = Plan::new::<V, T>(self.0.lanes(), shape, workers.count());
        let scratch = Queue::new(MatMut::new(aligned(workspace), threads, plan.len, plan.len), (1, plan.len));
        // The last tokens, which have the most to do, come first.
        let tasks = Queue::new(out, (plan.tokens, shape.group() * shape.dim));
        workers.share(threads, &|_| {
            let Some((_, mut scratch)) = scratch.next() else { return };
            while let Some(((block, head), out)) = tasks.next() {
                let first = block * plan.tokens;
                let task = Task { operands, tokens: first..first + out.rows(), head, lanes: plan.lanes };
                self.0.beside().vectorize(
                    #[inline(always)]
                    || task.run::<I, E, R, V, T>(self.0, out, scratch.row_mut(0)),
                );
            }
        });
    }
}

/// Some tokens of one head of keys.
struct Task<'a> {
    operands: Operands<'a>,
    tokens: Range<usize>,
    head: usize,
    lanes: usize,
}

/// What is known of the lanes of a block.
pub(super) struct Block<'a> {
    /// Queries, dimension by dimension.
    pub(super) q: &'a [f32],
    /// Results so far, the same.
    pub(super) o: &'a mut [f32],
    /// Twice the position.
    pub(super) position: &'a [f32],
    /// The largest score so far.
    pub(super) most: &'a mut [f32],
    /// The sum of powers so far.
    pub(super) sum: &'a mut [f32],
}

/// What hides keys in a tile.
#[derive(Clone, Copy)]
pub(super) enum Hide<'a> {
    Nothing,
    /// Keys behind a lane's position; the first key of the tile.
    Later(usize),
    /// What is added, key by key, as exponents of two.
    Added(&'a [f32]),
}

impl Task<'_> {
    /// The token and the head of its group that a lane stands for; lanes beyond the last repeat it.
    #[inline(always)]
    fn lane(&self, lane: usize) -> (usize, usize) {
        let group = self.operands.shape.group();
        let lane = lane.min(self.tokens.len() * group - 1);
        (self.tokens.start + lane / group, lane % group)
    }

    #[inline(always)]
    fn run<I: Lanes, E: Cached, const R: usize, const V: usize, const T: usize>(
        &self,
        isa: I,
        mut out: MatMut<'_, f32>,
        workspace: &mut [f32],
    ) {
        let Operands { shape, kv, mask, .. } = self.operands;
        let (dim, group, width) = (shape.dim, shape.group(), V * isa.lanes());
        let (used, beside) = (self.tokens.len() * group, isa.beside());
        let lanes = used.next_multiple_of(isa.lanes());
        let mut rest = workspace;
        let (q, o) = (take(&mut rest, dim * self.lanes), take(&mut rest, dim * self.lanes));
        let position = take(&mut rest, self.lanes);
        let (most, sum) = (take(&mut rest, self.lanes), take(&mut rest, self.lanes));
        let (scores, added) = (take(&mut rest, T * width), take(&mut rest, T * width));
        let (wide_keys, wide_values) = (take(&mut rest, T * dim), take(&mut rest, T * dim));

        for (lane, position) in position.iter_mut().enumerate().take(lanes) {
            *position = match mask {
                Mask::Causal { first } => 2.0 * (first + self.lane(lane).0) as f32,
                _ => 0.0,
            };
        }
        for lane in (0..lanes).step_by(width) {
            let width = width.min(lanes - lane);
            // Results have no use for their room yet.
            let of = lane * dim..(lane + width) * dim;
            let (q, rows) = (&mut q[of.clone()], &mut o[of]);
            for (l, row) in rows.chunks_exact_mut(dim).enumerate() {
                let (token, head) = self.lane(lane + l);
                scaled(beside, self.operands.query(token, self.head * group + head), scale(dim), row);
            }
            transpose(rows, width, q);
        }
        most.fill(LEAST);
        sum.fill(0.0);
        o.fill(0.0);

        let (keys, values) = kv.head::<E>(self.head);
        let spans = dim / E::SPAN;
        let seen = mask.seen(self.tokens.end - 1, shape.context);
        for key in (0..seen).step_by(T) {
            let tile = T.min(seen - key);
            let keys = &keys[key / PANEL * spans..][..tile.div_ceil(PANEL) * spans];
            let values = &values[key * spans..][..tile * spans];
            let keys = E::plain_keys(keys).unwrap_or_else(
                #[inline(always)]
                || widen_keys::<I::Beside, E>(beside, keys, wide_keys),
            );
            let values = E::plain_values(values).unwrap_or_else(
                #[inline(always)]
                || widen_values::<I::Beside, E>(beside, values, dim, wide_values),
            );
            for lane in (0..lanes).step_by(width) {
                let width = width.min(lanes - lane);
                let (first, last) = (self.lane(lane).0, self.lane(lane + width - 1).0);
                let count = mask.seen(last, shape.context).saturating_sub(key).min(tile);
                if count == 0 {
                    continue;
                }
                let hide = match mask {
                    Mask::Causal { .. } if mask.seen(first, shape.context) < key + count => Hide::Later(key),
                    Mask::Added(mask) => {
                        let rows = &mut scores[..width * count];
                        for (l, row) in rows.chunks_exact_mut(count).enumerate() {
                            let added = mask.row(self.lane(lane + l).0).expect("rows are adjacent, as `run` asserts");
                            scaled(beside, &added[key..key + count], core::f32::consts::LOG2_E, row);
                        }
                        transpose(rows, width, added);
                        Hide::Added(added)
                    }
                    _ => Hide::Nothing,
                };
                let of = lane * dim..(lane + width) * dim;
                let block = Block {
                    q: &q[of.clone()],
                    o: &mut o[of],
                    position: &position[lane..][..width],
                    most: &mut most[lane..][..width],
                    sum: &mut sum[lane..][..width],
                };
                let tile = (keys, &values[..count * dim]);
                match width / isa.lanes() {
                    1 if AtMost::<1, V>::YES => isa.tile::<R, 1>(block, dim, tile, hide, scores),
                    2 if AtMost::<2, V>::YES => isa.tile::<R, 2>(block, dim, tile, hide, scores),
                    3 if AtMost::<3, V>::YES => isa.tile::<R, 3>(block, dim, tile, hide, scores),
                    _ => isa.tile::<R, V>(block, dim, tile, hide, scores),
                }
            }
        }

        for lane in (0..lanes).step_by(width) {
            let width = width.min(lanes - lane);
            let o = &mut o[lane * dim..][..width * dim];
            for at in (0..width).step_by(I::Beside::LANES) {
                // Whoever sees a key has a sum of at least 1; who sees none has results of 0.
                let sum = beside.max(beside.splat(f32::MIN_POSITIVE), beside.load(&sum[lane + at..]));
                let by = beside.div(beside.splat(1.0), sum);
                for row in o.chunks_exact_mut(width) {
                    let row = &mut row[at..][..I::Beside::LANES];
                    beside.store(beside.mul(beside.load(row), by), row);
                }
            }
            // Queries are of no use any more.
            let rows = &mut q[lane * dim..][..width * dim];
            transpose(o, dim, rows);
            for (l, row) in rows.chunks_exact(dim).enumerate().take(used - lane) {
                let (token, head) = self.lane(lane + l);
                out.row_mut(token - self.tokens.start)[head * dim..][..dim].copy_from_slice(row);
            }
        }
    }
}

/// `x` times `by`.
#[inline(always)]
fn scaled<I: Math>(isa: I, x: &[f32], by: f32, out: &mut [f32]) {
    let by = isa.splat(by);
    for (x, out) in x.chunks(I::LANES).zip(out.chunks_mut(I::LANES)) {
        if out.len() == I::LANES {
            isa.store(isa.mul(isa.load(x), by), out);
        } else {
            isa.store_partial(isa.mul(isa.load_partial(x), by), out);
        }
    }
}

/// Keys as f32.
#[inline(always)]
fn widen_keys<'a, I: Math, E: Cached>(isa: I, keys: &[E::Keys], out: &'a mut [f32]) -> &'a [[f32; PANEL]] {
    let out = &mut out.as_chunks_mut::<PANEL>().0[..keys.len() * E::SPAN];
    for (keys, out) in keys.iter().zip(out.chunks_exact_mut(E::SPAN)) {
        for at in (0..PANEL).step_by(I::LANES) {
            let scales = E::scales(isa, keys, at);
            for (line, out) in out.iter_mut().enumerate() {
                isa.store(E::key(isa, keys, line, at, scales), &mut out[at..]);
            }
        }
    }
    out
}

/// Values as f32.
#[inline(always)]
fn widen_values<'a, I: Math, E: Cached>(isa: I, values: &[E::Value], dim: usize, out: &'a mut [f32]) -> &'a [f32] {
    let out = &mut out[..values.len() * E::SPAN];
    for (value, out) in values.chunks_exact(dim / E::SPAN).zip(out.chunks_exact_mut(dim)) {
        let whole = dim / I::LANES * I::LANES;
        for at in (0..whole).step_by(I::LANES) {
            isa.store(E::value(isa, value, at), &mut out[at..]);
        }
        if whole < dim {
            isa.store_partial(E::value_end(isa, value, whole), &mut out[whole..]);
        }
    }
    out
}

impl Block<'_> {
    /// Adds what a tile of keys and values gives. A function of its own, which kernels of all formats share.
    #[inline(never)]
    fn tile<I: Math, const R: usize, const V: usize>(self, isa: I, dim: usize, tile: Widened<'_>, hide: Hide<'_>, scores: &mut [f32]) {
        isa.vectorize(
            #[inline(always)]
            || self.add::<I, R, V>(isa, dim, tile, hide, scores),
        );
    }

    #[inline(always)]
    fn add<I: Math, const R: usize, const V: usize>(
        self,
        isa: I,
        dim: usize,
        (keys, values): Widened<'_>,
        hide: Hide<'_>,
        scores: &mut [f32],
    ) {
        let count = values.len() / dim;
        let (mut most, mut by, mut sum) = ([isa.splat(0.0); V], [isa.splat(0.0); V], [isa.splat(0.0); V]);
        for (v, most) in most.iter_mut().enumerate() {
            *most = isa.load(&self.most[v * I::LANES..]);
        }
        let before = most;
        let scores = &mut scores[..count * V * I::LANES];
        score::<I, R, V>(isa, dim, keys, (self.q, self.position), hide, scores, &mut most);
        for v in 0..V {
            isa.store(most[v], &mut self.most[v * I::LANES..]);
            by[v] = isa.exp2(isa.sub(before[v], most[v]));
            sum[v] = isa.mul(by[v], isa.load(&self.sum[v * I::LANES..]));
        }
        for row in scores.chunks_exact_mut(V * I::LANES) {
            for v in 0..V {
                let x = &mut row[v * I::LANES..][..I::LANES];
                let p = isa.exp2(isa.sub(isa.load(x), most[v]));
                sum[v] = isa.add(sum[v], p);
                isa.store(p, x);
            }
        }
        for (v, sum) in sum.iter().enumerate() {
            isa.store(*sum, &mut self.sum[v * I::LANES..]);
        }
        let mut at = 0;
        while at + R <= dim {
            weigh::<I, R, V>(isa, (values, dim), at, scores, by, self.o);
            at += R;
        }
        while at < dim {
            weigh::<I, 2, V>(isa, (values, dim), at, scores, by, self.o);
            at += 2;
        }
    }
}

/// Scores of as many keys as `scores` has rows, and the largest so far.
#[inline(always)]
fn score<I: Math, const R: usize, const V: usize>(
    isa: I,
    dim: usize,
    keys: &[[f32; PANEL]],
    (q, position): (&[f32], &[f32]),
    hide: Hide<'_>,
    scores: &mut [f32],
    most: &mut [I::F32; V],
) {
    let width = V * I::LANES;
    let q = I::vectors(q).as_chunks::<V>().0;
    for (group, scores) in scores.chunks_mut(R * width).enumerate() {
        let key = group * R;
        let lines = &keys[key / PANEL * dim..][..dim];
        let part = key % PANEL / R;
        let mut acc = [[isa.splat(0.0); V]; R];
        for (line, q) in lines.iter().zip(q) {
            let mut b = [isa.splat(0.0); V];
            for v in 0..V {
                b[v] = isa.load(q[v].as_ref());
            }
            isa.rank1(&mut acc, &line.as_chunks::<R>().0[part], b);
        }
        match hide {
            Hide::Nothing => {}
            Hide::Later(first) => {
                for (r, acc) in acc.iter_mut().enumerate() {
                    let at = isa.splat(2.0 * (first + key + r) as f32);
                    for (v, acc) in acc.iter_mut().enumerate() {
                        // Twice the distance behind is 0 or at least 2, which overflows to −∞.
                        let behind = isa.min(isa.splat(0.0), isa.sub(isa.load(&position[v * I::LANES..]), at));
                        *acc = isa.add(*acc, isa.mul(behind, isa.splat(f32::MAX)));
                    }
                }
            }
            Hide::Added(added) => {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (v, acc) in acc.iter_mut().enumerate() {
                        *acc = isa.add(isa.load(&added[(key + r) * width + v * I::LANES..]), *acc);
                    }
                }
            }
        }
        for (r, scores) in (0..R).zip(scores.chunks_exact_mut(width)) {
            for v in 0..V {
                most[v] = isa.max(most[v], acc[r][v]);
                isa.store(acc[r][v], &mut scores[v * I::LANES..]);
            }
        }
    }
}

/// `R` dimensions of results from `at` on, scaled by `by`, more the values weighed with `scores`.
#[inline(always)]
fn weigh<I: Math, const R: usize, const V: usize>(
    isa: I,
    (values, dim): (&[f32], usize),
    at: usize,
    scores: &[f32],
    by: [I::F32; V],
    o: &mut [f32],
) {
    let width = V * I::LANES;
    let o = &mut o[at * width..][..R * width];
    let mut acc = [[isa.splat(0.0); V]; R];
    for (acc, o) in acc.iter_mut().zip(o.chunks_exact(width)) {
        for v in 0..V {
            acc[v] = isa.mul(by[v], isa.load(&o[v * I::LANES..]));
        }
    }
    for (value, p) in values.chunks_exact(dim).zip(I::vectors(scores).as_chunks::<V>().0) {
        let mut b = [isa.splat(0.0); V];
        for v in 0..V {
            b[v] = isa.load(p[v].as_ref());
        }
        isa.rank1(&mut acc, value[at..].first_chunk().expect("as many dimensions"), b);
    }
    for (acc, o) in acc.iter().zip(o.chunks_exact_mut(width)) {
        for v in 0..V {
            isa.store(acc[v], &mut o[v * I::LANES..]);
        }
    }
}
