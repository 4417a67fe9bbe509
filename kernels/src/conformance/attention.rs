//! The grid of attention: heads in groups and alone, dimensions that fill vectors and such that do not, contexts and
//! tokens around panels and tiles, every mask, and more threads than one. What lies in the cache behind the context and
//! in the workspace is NaN.

use super::values::Random;
use super::{Arena, Flush, Outcome, compare, worst};
use crate::attention::{Handle, Kv, Layout, Mask, Operation, Shape};
use crate::format::q8_0;
use crate::format::{Block, Format};
use crate::mat::{Mat, MatMut};
use crate::reference;
use crate::team::{Alone, Workers};

const DIMS: [usize; 6] = [2, 16, 18, 48, 64, 128];
const CONTEXTS: [usize; 10] = [1, 2, 15, 16, 17, 63, 64, 65, 130, 300];
const HEADS: [(usize, usize); 5] = [(1, 1), (4, 2), (14, 2), (6, 1), (9, 1)];
const TOKENS: [usize; 7] = [1, 2, 3, 7, 16, 33, 50];

/// Elements of queries times keys that a case may cost: the oracle is slow.
const MOST_WORK: usize = 1 << 16;

/// Three threads that take turns, the last first: what they do does not depend on which is when.
struct Three;

impl Workers for Three {
    fn count(&self) -> usize {
        3
    }
    fn run(&self, threads: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..threads).rev().for_each(job);
    }
}

/// What a case is made of beside its extents.
#[derive(Clone, Copy, Debug)]
struct Case {
    shape: Shape,
    mask: Kind,
    /// How large scores are.
    sharp: f32,
    /// Tokens that there is room for behind the context.
    room: usize,
    threads: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    All,
    /// The last token sees all of the context, or there is so much more behind it, or so much less.
    Causal(isize),
    Added,
    /// Some tokens see nothing.
    Hidden,
}

const KINDS: [Kind; 6] = [Kind::Causal(0), Kind::All, Kind::Added, Kind::Causal(-5), Kind::Hidden, Kind::Causal(9)];

pub(super) fn grid<O: Operation, A: Arena>(kernel: &Handle<O>, arena: &A, out: &mut Outcome) {
    // Every pair of a dimension and a context; the rest comes round in turns of different lengths.
    let mut number = 0;
    for dim in DIMS {
        if kernel.meta().format == Format::Q8_0 && !dim.is_multiple_of(32) {
            continue;
        }
        for context in CONTEXTS {
            let (heads, kv_heads) = HEADS[number % HEADS.len()];
            let most = (MOST_WORK / (heads * context * dim)).max(1);
            let tokens = TOKENS[number % TOKENS.len()].min(most).min(O::MOST_TOKENS);
            let case = Case {
                shape: Shape { tokens, context, heads, kv_heads, dim },
                mask: KINDS[number % KINDS.len()],
                sharp: [1.0, 20.0, 0.0][number / 5 % 3],
                room: [0, 3, 40][number / 2 % 3],
                threads: [1, 1, 3][(number + number / 6) % 3],
            };
            number += 1;
            let result = run(kernel, arena, case, number as u64);
            out.case(|| format!("{case:?}"), result);
        }
    }
    // No keys, and no tokens.
    for (tokens, context) in [(1, 0), (0, 5)] {
        let shape = Shape { tokens, context, heads: 2, kv_heads: 1, dim: 32 };
        let case = Case { shape, mask: Kind::All, sharp: 1.0, room: 1, threads: 1 };
        let result = run(kernel, arena, case, 1);
        out.case(|| format!("{case:?}"), result);
    }
}

/// One call, compared element by element.
fn run<O: Operation, A: Arena>(kernel: &Handle<O>, arena: &A, case: Case, seed: u64) -> Result<f64, String> {
    let Case { shape, .. } = case;
    let Shape { tokens, context, heads, kv_heads, dim } = shape;
    let (format, flush) = (kernel.meta().format, if seed.is_multiple_of(2) { Flush::Start } else { Flush::End });
    let mut random = Random::new(seed);
    let mut fill = |n: usize, by: f32| -> Vec<f32> { (0..n).map(|_| by * random.unit()).collect() };

    // The cache, and what it holds after rounding.
    let layout = Layout::new(format, context + case.room, dim);
    let (key_words, value_words) = (layout.key_words(), layout.value_words());
    let mut stored_keys = arena.buffer(kv_heads * key_words, u32::MAX, flush);
    let mut stored_values = arena.buffer(kv_heads * value_words, u32::MAX, flush);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for head in 0..kv_heads {
        for position in 0..context {
            // Scores rise with the position at first, so that the largest one keeps changing.
            let key = fill(dim, 1.0 + (position.min(100)) as f32 / 100.0);
            let value = fill(dim, 1.0);
            let pieces = (&mut stored_keys[head * key_words..][..key_words], &mut stored_values[head * value_words..][..value_words]);
            layout.store(pieces, position, &key, &value);
            keys.push(rounded(format, &key));
            values.push(rounded(format, &value));
        }
    }
    let kv = Kv::new(layout, kv_heads, &stored_keys, &stored_values);

    let (cols, ld) = (heads * dim, heads * dim + 3);
    let mut q = arena.buffer(tokens.max(1) * ld, f32::NAN, flush);
    for row in q.chunks_exact_mut(ld) {
        row[..cols].copy_from_slice(&fill(cols, case.sharp));
    }
    let mut added = arena.buffer(tokens * context, 0.0f32, flush);
    for (i, x) in added.iter_mut().enumerate() {
        let x0 = fill(1, 4.0)[0];
        let hidden = x0 > 2.0 || (case.mask == Kind::Hidden && (i / context.max(1)).is_multiple_of(3));
        *x = if hidden { f32::NEG_INFINITY } else { x0 };
    }
    let first = match case.mask {
        Kind::Causal(more) => (context as isize - tokens as isize + more).max(0).cast_unsigned(),
        _ => 0,
    };
    let mask = match case.mask {
        Kind::All => Mask::All,
        Kind::Causal(_) => Mask::Causal { first },
        Kind::Added | Kind::Hidden => Mask::Added(Mat::new(&added, tokens, context, context)),
    };

    let mut out = arena.buffer(tokens * ld, f32::NAN, flush);
    let workers: &dyn Workers = if case.threads == 1 { &Alone } else { &Three };
    let mut workspace = arena.buffer(kernel.workspace_len(shape, workers.count()), f32::NAN, flush);
    kernel.run(Mat::new(&q, tokens, cols, ld), &kv, (context, mask), MatMut::new(&mut out, tokens, cols, ld), workers, &mut workspace);

    let mut most = 0.0f64;
    for (token, row) in out.chunks_exact(ld).enumerate() {
        let seen = |key: usize| match case.mask {
            Kind::All => 0.0,
            Kind::Causal(_) if key > first + token => f64::NEG_INFINITY,
            Kind::Causal(_) => 0.0,
            _ => f64::from(added[token * context + key]),
        };
        if !row[cols..].iter().all(|x| x.is_nan()) {
            return Err(format!("token {token}: what lies between rows was written"));
        }
        for (head, got) in row[..cols].chunks_exact(dim).enumerate() {
            let at = head / (heads / kv_heads) * context;
            let query = &q[token * ld + head * dim..][..dim];
            let want = reference::attention(query, &keys[at..][..context], &values[at..][..context], seen);
            let each = got.iter().zip(&want).map(|(got, want)| compare(*got, want.value, want.tolerance));
            most = most.max(worst(each).map_err(|e| format!("token {token}, head {head}, {e}"))?);
        }
    }
    Ok(most)
}

/// What a format keeps of some numbers.
fn rounded(format: Format, x: &[f32]) -> Vec<f32> {
    if format == Format::Q8_0 {
        let blocks = x.chunks_exact(32).map(q8_0::Block::quantise);
        return blocks.flat_map(|block| block.quants.map(|quant| block.d.to_f32() * f32::from(quant))).collect();
    }
    x.iter().map(|x| reference::nearest(format, *x)).collect()
}
