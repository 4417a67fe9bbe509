//! The forward pass of Qwen2: tokens in, logits out, keys and values kept between calls.
//!
//! Every operation on more than a handful of numbers is a baked kernel's. Activations are f32. A [`Session`] holds
//! everything that changes; its buffers are made once.

mod attention;
mod product;
pub mod profile;
mod rope;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::baked::{Format, Mat, MatMut, Ops};
use crate::error::{Error, zeroed};
use crate::memory::{self, Part};
use crate::model::{Config, Model};
use crate::threads;
use attention::Cache;
use product::{MOST_SINGLY, Product};
use profile::{Cell, Place, Profile, Stage, Work};
use rope::Rope;

/// Tokens that go through the layers together while a prompt is read, unless told otherwise.
pub const DEFAULT_CHUNK: usize = 256;

/// How keys and values are kept unless told otherwise.
pub const DEFAULT_CACHE: Format = Format::F32;

/// Tokens whose logits are computed together where those of many are asked for.
const HEAD_ROWS: usize = 64;

/// What an element takes, in multiply-adds of a product: it decides how many threads rows are worth.
const COST_OF_EMBEDDING: usize = 64;
const COST_OF_NORM: usize = 8;
const COST_OF_ROPE: usize = 8;
const COST_OF_GATE: usize = 32;

/// One text in the making: its position, its key-value cache and the buffers to compute in.
#[derive(Debug)]
pub struct Session<'m> {
    model: &'m Model,
    cache: Cache,
    rope: Rope,
    position: usize,
    buffers: Buffers,
    product: Product,
    profile: Profile,
}

/// Activations of one chunk, row after row.
#[derive(Debug)]
struct Buffers {
    chunk: usize,
    /// The residual stream, `hidden` wide.
    x: Vec<f32>,
    /// A normed copy of it.
    normed: Vec<f32>,
    /// Queries, keys, values.
    qkv: Vec<f32>,
    /// Attention's result, `q_dim` wide.
    attended: Vec<f32>,
    /// Gate and up, `2 ffn` wide.
    gate_up: Vec<f32>,
    /// Their product, `ffn` wide.
    gated: Vec<f32>,
    /// Logits of the last token, or of several where they are asked for.
    logits: Vec<f32>,
}

/// Bytes of the keys and values of `tokens` tokens, kept in the format `cache`.
///
/// # Errors
/// Heads cannot be kept in that format.
pub fn cache_bytes(config: &Config, cache: Format, tokens: usize) -> Result<u64, Error> {
    Cache::bytes(config, cache, tokens)
}

/// What a session of that shape takes: see [`crate::memory::check`].
///
/// # Errors
/// Heads cannot be kept in the format `cache`.
pub fn needs(config: &Config, capacity: usize, chunk: usize, cache: Format) -> Result<[Part<'static>; 2], Error> {
    let chunk = chunk.min(capacity.max(1)) as u64;
    let widths = 2 * config.hidden + 2 * config.q_dim() + 2 * config.kv_dim() + 3 * config.ffn;
    // Packed activations take about as much again as the widest of them.
    let floats =
        chunk.saturating_mul((widths + config.ffn) as u64) + config.vocab as u64 + (capacity as u64).saturating_mul(config.head_dim as u64);
    Ok([("keys and values", cache_bytes(config, cache, capacity)?), ("activations", floats.saturating_mul(size_of::<f32>() as u64))])
}

impl Buffers {
    fn new(config: &Config, chunk: usize) -> Result<Self, Error> {
        let rows = |width: usize| zeroed(chunk.saturating_mul(width), "activations");
        Ok(Self {
            chunk,
            x: rows(config.hidden)?,
            normed: rows(config.hidden)?,
            qkv: rows(config.q_dim() + 2 * config.kv_dim())?,
            attended: rows(config.q_dim())?,
            gate_up: rows(2 * config.ffn)?,
            gated: rows(config.ffn)?,
            logits: zeroed(config.vocab, "logits")?,
        })
    }
}

impl<'m> Session<'m> {
    /// A session with room for `capacity` tokens that reads prompts `chunk` tokens at a time, and keeps keys and values in
    /// [`DEFAULT_CACHE`].
    ///
    /// # Errors
    /// `capacity` exceeds the model's context, `chunk` is 0, or memory does not suffice.
    pub fn new(model: &'m Model, capacity: usize, chunk: usize) -> Result<Self, Error> {
        Self::with_cache(model, capacity, chunk, DEFAULT_CACHE)
    }

    /// As [`new`](Self::new), with keys and values kept in the format `cache`.
    ///
    /// # Errors
    /// As [`new`](Self::new), or there are no kernels for attention to such a cache.
    pub fn with_cache(model: &'m Model, capacity: usize, chunk: usize, cache: Format) -> Result<Self, Error> {
        let config = model.config();
        if capacity > config.context {
            return Err(Error::Context { needed: capacity, what: "model's context", limit: config.context });
        }
        if chunk == 0 {
            return Err(Error::Usage("the batch size must be at least 1".to_owned()));
        }
        let chunk = chunk.min(capacity.max(1));
        memory::check(&needs(config, capacity, chunk, cache)?)?;
        Ok(Self {
            model,
            cache: Cache::new(config, model.ops(), model.team(), cache, capacity, chunk)?,
            rope: Rope::new(config.head_dim, config.rope_base, capacity)?,
            position: 0,
            buffers: Buffers::new(config, chunk)?,
            product: Product::new(model, chunk)?,
            profile: Profile::default(),
        })
    }

    /// The kernels that its model runs.
    pub(crate) fn ops(&self) -> &'m Ops {
        self.model.ops()
    }

    /// How keys and values are kept.
    pub fn cache(&self) -> Format {
        self.cache.format()
    }

    /// Number of tokens read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Number of tokens there is room for.
    pub fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// Begins to count where the time goes, or stops.
    pub fn profile(&mut self, on: bool) {
        self.profile.turn(on);
    }

    /// What was counted since the last call.
    pub fn take_profile(&mut self) -> BTreeMap<Place, Cell> {
        self.profile.take()
    }

    /// Forgets all tokens after the first `position`; those beyond what was read are ignored.
    pub fn rewind(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// Reads `tokens` and returns the logits, one per token of the vocabulary, of what follows the last of them.
    ///
    /// # Errors
    /// No tokens, one that does not exist, or more than there is room for; the session is then as it was.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], Error> {
        self.check(tokens)?;
        let (chunks, last) = (tokens.len().div_ceil(self.buffers.chunk), (tokens.len() - 1) % self.buffers.chunk);
        for (number, chunk) in tokens.chunks(self.buffers.chunk).enumerate() {
            self.layers(chunk, if number + 1 == chunks { last..last + 1 } else { 0..0 });
        }
        self.head(last..last + 1);
        Ok(&self.buffers.logits[..self.model.config().vocab])
    }

    /// Reads `tokens` and calls `each` with the number (of `tokens`) and the logits of what follows each of them, from number
    /// `from` on: of the others no logits are computed.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), or there is no memory for the logits of several tokens.
    pub fn feed_each(&mut self, tokens: &[u32], from: usize, mut each: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        self.check(tokens)?;
        let vocab = self.model.config().vocab;
        let at_a_time = HEAD_ROWS.min(self.buffers.chunk);
        if self.buffers.logits.len() < at_a_time * vocab {
            self.buffers.logits = zeroed(at_a_time * vocab, "logits")?;
        }
        for (number, chunk) in tokens.chunks(self.buffers.chunk).enumerate() {
            let start = number * self.buffers.chunk;
            let mut row = from.saturating_sub(start).min(chunk.len());
            self.layers(chunk, row..chunk.len());
            while row < chunk.len() {
                let rows = row..(row + at_a_time).min(chunk.len());
                self.head(rows.clone());
                rows.clone().zip(self.buffers.logits.chunks_exact(vocab)).for_each(|(row, logits)| each(start + row, logits));
                row = rows.end;
            }
        }
        Ok(())
    }

    /// As [`feed_each`](Self::feed_each) from the first token on, but the bits are those of reading the tokens one by one.
    ///
    /// Norms and the rest give each row the same bits however many there are. Products do where the depth is not cut, and so
    /// it is not here; attention of many tokens sums in another order than that of one, so here it is that of one for each.
    ///
    /// # Errors
    /// As [`feed_each`](Self::feed_each).
    pub fn feed_singly(&mut self, tokens: &[u32], mut each: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        self.check(tokens)?;
        self.singly(true);
        let mut parts = tokens.chunks(MOST_SINGLY).enumerate();
        let fed = parts.try_for_each(|(number, part)| self.feed_each(part, 0, |at, logits| each(number * MOST_SINGLY + at, logits)));
        self.singly(false);
        fed
    }

    fn singly(&mut self, singly: bool) {
        self.cache.singly(singly);
        self.product.singly(singly);
    }

    /// Whether `tokens` can be read next.
    fn check(&self, tokens: &[u32]) -> Result<(), Error> {
        let vocab = self.model.config().vocab;
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::TokenId { id: id.into(), vocab });
        }
        let needed = self.position.saturating_add(tokens.len());
        if needed > self.cache.capacity() {
            return Err(Error::Context { needed, what: "session", limit: self.cache.capacity() });
        }
        Ok(())
    }

    /// Sends one chunk of tokens through all layers. After the last of them only the rows `wanted` of the residual stream are
    /// what they should be: the others' keys and values are all that anything asks for.
    fn layers(&mut self, tokens: &[u32], wanted: Range<usize>) {
        let (config, weights, team, ops) = (self.model.config(), self.model.weights(), self.model.team(), self.model.ops());
        let (rows, hidden, ffn) = (tokens.len(), config.hidden, config.ffn);
        let (q_dim, kv_dim) = (config.q_dim(), config.kv_dim());
        let qkv_dim = q_dim + 2 * kv_dim;
        let Buffers { x, normed, qkv, attended, gate_up, gated, .. } = &mut self.buffers;
        let x = &mut x[..rows * hidden];
        let normed = &mut normed[..rows * hidden];
        let qkv = &mut qkv[..rows * qkv_dim];
        let attended = &mut attended[..rows * q_dim];
        let gate_up = &mut gate_up[..rows * 2 * ffn];
        let gated = &mut gated[..rows * ffn];
        let (model, profile) = (self.model, &mut self.profile);
        // Bytes of so many activations.
        let moved = |elements: usize| (elements * size_of::<f32>()) as u64;
        let by_rows = |elements: usize, kernel: &str| Work { bytes: moved(elements), kernel: kernel.to_owned(), ..Work::default() };

        profile.begin();
        let embeddings = weights.embeddings();
        threads::each_block(team, COST_OF_EMBEDDING, (x, hidden), |range, mut x| {
            let mut workspace = vec![0; embeddings.row_workspace_len(ops)];
            for (row, &id) in tokens[range].iter().enumerate() {
                embeddings.row(ops, weights.memory(), id as usize, x.row_mut(row), &mut workspace);
            }
        });
        profile.mark((Stage::Embedding, None), || by_rows(rows * hidden, "unit vectors"));
        for (index, layer) in weights.layers.iter().enumerate() {
            let at = |stage| (stage, Some(index));
            norm(model, x, &layer.attn_norm, normed);
            profile.mark(at(Stage::AttnNorm), || by_rows(2 * rows * hidden, ops.rms_norm.meta().name));
            self.product.linear(model, &layer.qkv, normed, qkv, false);
            profile.mark(at(Stage::Qkv), || product::work(model, &layer.qkv, rows));
            let (rope, position) = (&self.rope, self.position);
            let (bias, value_bias) = layer.qkv_bias.split_at(q_dim + kv_dim);
            threads::each_block(team, COST_OF_ROPE, (qkv, qkv_dim), |range, mut qkv| {
                let count = range.len();
                let angles = rope.angles(position + range.start, count);
                ops.rope.run(qkv.block(0, 0, count, q_dim + kv_dim), bias, angles);
                for row in 0..count {
                    qkv.row_mut(row)[q_dim + kv_dim..].iter_mut().zip(value_bias).for_each(|(value, bias)| *value += bias);
                }
            });
            profile.mark(at(Stage::Rope), || by_rows(2 * rows * qkv_dim, ops.rope.meta().name));
            for (row, qkv) in qkv.chunks_exact(qkv_dim).enumerate() {
                let (keys, values) = qkv[q_dim..].split_at(kv_dim);
                self.cache.store(index, position + row, keys, values);
            }
            profile.mark(at(Stage::Store), || by_rows(2 * rows * 2 * kv_dim, "plain code"));
            let of_layer = if index + 1 == weights.layers.len() { wanted.clone() } else { 0..rows };
            if of_layer.is_empty() {
                break;
            }
            let (first, rows) = (of_layer.start, of_layer.len());
            let (x, normed) = (&mut x[first * hidden..][..rows * hidden], &mut normed[..rows * hidden]);
            let (attended, gate_up, gated) = (&mut attended[..rows * q_dim], &mut gate_up[..rows * 2 * ffn], &mut gated[..rows * ffn]);
            let queries = Mat::new(qkv, tokens.len(), qkv_dim, qkv_dim).block(first, 0, rows, q_dim);
            self.cache.attend(team, (index, position + first), queries, MatMut::new(attended, rows, q_dim, q_dim));
            profile.mark(at(Stage::Attention), || self.cache.work(position + first, rows, q_dim));
            self.product.linear(model, &layer.attn_output, attended, x, true);
            profile.mark(at(Stage::AttnOutput), || product::work(model, &layer.attn_output, rows));

            norm(model, x, &layer.ffn_norm, normed);
            profile.mark(at(Stage::FfnNorm), || by_rows(2 * rows * hidden, ops.rms_norm.meta().name));
            self.product.linear(model, &layer.gate_up, normed, gate_up, false);
            profile.mark(at(Stage::GateUp), || product::work(model, &layer.gate_up, rows));
            let both = Mat::new(gate_up, rows, 2 * ffn, 2 * ffn);
            threads::each_block(team, COST_OF_GATE, (gated, ffn), |range, gated| {
                let half = |col| both.block(range.start, col, range.len(), ffn);
                ops.silu_mul.run(half(0), half(ffn), gated);
            });
            profile.mark(at(Stage::Gate), || by_rows(3 * rows * ffn, ops.silu_mul.meta().name));
            self.product.linear(model, &layer.down, gated, x, true);
            profile.mark(at(Stage::Down), || product::work(model, &layer.down, rows));
        }
        self.position += rows;
    }

    /// Computes the logits of some rows of the last chunk: the head is far too wide to compute it for all unasked.
    fn head(&mut self, rows: Range<usize>) {
        let (model, hidden, vocab) = (self.model, self.model.config().hidden, self.model.config().vocab);
        let weights = model.weights();
        let Buffers { x, normed, logits, .. } = &mut self.buffers;
        let (normed, logits) = (&mut normed[..rows.len() * hidden], &mut logits[..rows.len() * vocab]);
        norm(model, &x[rows.start * hidden..rows.end * hidden], &weights.output_norm, normed);
        let kernel = || model.ops().rms_norm.meta().name.to_owned();
        let norm = || Work { bytes: (2 * size_of_val(normed)) as u64, kernel: kernel(), ..Work::default() };
        self.profile.mark((Stage::OutputNorm, None), norm);
        self.product.linear(model, &weights.head, normed, logits, false);
        self.profile.mark((Stage::Head, None), || product::work(model, &weights.head, rows.len()));
    }
}

/// RMS norm of every row of `x`, each as long as `weight`.
fn norm(model: &Model, x: &[f32], weight: &[f32], out: &mut [f32]) {
    let eps = model.config().rms_eps;
    let kernel = model.ops().rms_norm;
    let width = weight.len();
    let x = Mat::new(x, x.len() / width, width, width);
    threads::each_block(model.team(), COST_OF_NORM, (out, width), |rows, out| {
        kernel.run(x.block(rows.start, 0, rows.len(), width), weight, eps, out);
    });
}
