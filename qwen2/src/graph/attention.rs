//! Attention over the key-value cache. Query heads that share a key-value head are served together, so that each
//! key and each value is loaded once for all of them. Causal: a token sees itself and what came before.

use std::ops::Range;

use super::math::{dot, softmax};
use crate::baked::Team;
use crate::error::{Error, zeroed};
use crate::model::Config;
use crate::threads;

/// Elements of a value that are summed in registers at a time.
const LANES: usize = 16;

/// Keys and values of all layers, f32: per layer and key-value head, `capacity` rows of `head_dim`.
#[derive(Debug)]
pub(super) struct Cache {
    keys: Vec<f32>,
    values: Vec<f32>,
    capacity: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Cache {
    /// Room for `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub(super) fn new(config: &Config, capacity: usize) -> Result<Self, Error> {
        let len = capacity.saturating_mul(config.layers * config.kv_dim());
        let what = "the key-value cache; ask for fewer tokens";
        Ok(Self { keys: zeroed(len, what)?, values: zeroed(len, what)?, capacity, kv_heads: config.kv_heads, head_dim: config.head_dim })
    }

    /// Number of tokens there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Stores one token's keys and values, each `kv_heads * head_dim` long, at `position` of `layer`.
    pub(super) fn store(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let dim = self.head_dim;
        for (head, (key, value)) in keys.chunks_exact(dim).zip(values.chunks_exact(dim)).enumerate() {
            let at = ((layer * self.kv_heads + head) * self.capacity + position) * dim;
            self.keys[at..at + dim].copy_from_slice(key);
            self.values[at..at + dim].copy_from_slice(value);
        }
    }

    /// Keys and values of the first `count` tokens for one head.
    fn rows(&self, layer: usize, head: usize, count: usize) -> (&[f32], &[f32]) {
        let at = (layer * self.kv_heads + head) * self.capacity * self.head_dim;
        let range = at..at + count * self.head_dim;
        (&self.keys[range.clone()], &self.values[range])
    }
}

/// Attends for the tokens from `position` on. Row `t` of `qkv` begins with the queries of token `position + t`, already
/// rotated, and is `stride` long; row `t` of `out` (`q_dim` wide) receives the result.
pub(super) fn attend(
    team: &Team,
    (cache, config): (&Cache, &Config),
    (layer, position): (usize, usize),
    (qkv, stride): (&[f32], usize),
    out: &mut [f32],
) {
    let dim = config.head_dim;
    let group = config.heads / config.kv_heads * dim;
    let scale = 1.0 / (dim as f32).sqrt();
    // One task per token and key-value head: pieces of `out` in its own order.
    let tasks = out.len() / group;
    // Keys that are met up to a task; each costs a product of `group` elements, and so does its value.
    let met = |task: usize| {
        let (token, more) = (task / config.kv_heads, task % config.kv_heads);
        let before = token * position + token * (token + 1) / 2;
        before * config.kv_heads + more * (position + token + 1)
    };
    let threads = threads::worth(team, 2 * group * met(tasks), tasks);
    let cut = |thread| cut(tasks, threads, met, thread);
    threads::share_rows(team, threads, (out, group), cut, |tasks, mut out| {
        let mut scores = Vec::new();
        for (at, task) in tasks.enumerate() {
            let (token, kv_head) = (task / config.kv_heads, task % config.kv_heads);
            let seen = position + token + 1;
            let (keys, values) = cache.rows(layer, kv_head, seen);
            let queries = &qkv[token * stride + kv_head * group..][..group];
            scores.resize(group / dim * seen, 0.0);
            for (at, key) in keys.chunks_exact(dim).enumerate() {
                for (head, query) in queries.chunks_exact(dim).enumerate() {
                    scores[head * seen + at] = dot(query, key) * scale;
                }
            }
            for (scores, out) in scores.chunks_exact_mut(seen).zip(out.row_mut(at).chunks_exact_mut(dim)) {
                softmax(scores);
                weigh(scores, values, out);
            }
        }
    });
}

/// The tasks of a thread, so that all have as much to do: later tokens see more keys. `met` gives the work of all
/// tasks before one.
fn cut(tasks: usize, threads: usize, met: impl Fn(usize) -> usize, thread: usize) -> Range<usize> {
    let at = |thread: usize| {
        let wanted = met(tasks) * thread / threads;
        let (mut low, mut high) = (0, tasks);
        while low < high {
            let middle = low.midpoint(high);
            if met(middle) < wanted { low = middle + 1 } else { high = middle }
        }
        low
    };
    at(thread)..at(thread + 1)
}

/// `out <- sum over rows of weights[row] * values[row]`, with rows as wide as `out`.
fn weigh(weights: &[f32], values: &[f32], out: &mut [f32]) {
    let dim = out.len();
    let mut column = 0;
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    for block in blocks {
        let mut lanes = [0.0; LANES];
        for (&weight, row) in weights.iter().zip(values.chunks_exact(dim)) {
            for (lane, value) in lanes.iter_mut().zip(&row[column..column + LANES]) {
                *lane += weight * value;
            }
        }
        *block = lanes;
        column += LANES;
    }
    for (offset, out) in rest.iter_mut().enumerate() {
        *out = weights.iter().zip(values.chunks_exact(dim)).map(|(weight, row)| weight * row[column + offset]).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_get_as_much_to_do_and_every_task_once() {
        for (tasks, threads, position) in [(0, 1, 0), (1, 1, 5), (512, 2, 0), (512, 7, 100), (3, 3, 0)] {
            let met = |task: usize| task * position + task * (task + 1) / 2;
            let runs: Vec<_> = (0..threads).map(|thread| cut(tasks, threads, met, thread)).collect();
            assert_eq!((runs[0].start, runs[threads - 1].end), (0, tasks));
            assert!(runs.windows(2).all(|w| w[0].end == w[1].start));
            let most = runs.iter().map(|run| met(run.end) - met(run.start)).max().unwrap();
            assert!(most <= met(tasks) / threads + position + tasks, "{runs:?}");
        }
    }

    #[test]
    fn weighing_takes_any_width() {
        for dim in [2, 16, 18, 48] {
            let values: Vec<f32> = (0..3 * dim).map(|i| i as f32).collect();
            let mut out = vec![f32::NAN; dim];
            weigh(&[1.0, 0.5, -2.0], &values, &mut out);
            for (i, got) in out.iter().enumerate() {
                let want = values[i] + 0.5 * values[dim + i] - 2.0 * values[2 * dim + i];
                assert_eq!(*got, want);
            }
        }
    }
}
