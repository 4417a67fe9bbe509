//! The key-value cache of all layers, and attention over it by the baked kernels. Causal: a token sees itself and what
//! came before.

use super::profile::Work;
use crate::baked::{Attention, AttentionDecode, Format, Kv, Layout, Mask, Mat, MatMut, Ops, Shape, Team, Workers};
use crate::error::{Error, zeroed};
use crate::model::Config;

/// Keys and values of all layers, and the workspace of attention.
#[derive(Debug)]
pub(super) struct Cache {
    /// For each layer the pieces of its heads, one after another.
    keys: Vec<u32>,
    values: Vec<u32>,
    /// How those of one head lie.
    layout: Layout,
    kv_heads: usize,
    many: Attention,
    one: AttentionDecode,
    /// Whether tokens are attended for one by one though they come together.
    singly: bool,
    workspace: Vec<f32>,
}

impl Cache {
    /// Room for `capacity` tokens stored in `format`, of which up to `chunk` are attended for at a time, on the threads of `team`.
    ///
    /// # Errors
    /// [`Error::Memory`], or [`Error::Profile`] when there is no kernel for such a cache.
    pub(super) fn new(config: &Config, ops: &Ops, team: &Team, format: Format, capacity: usize, chunk: usize) -> Result<Self, Error> {
        let lacking = || {
            Error::Profile(format!("profile '{}' has no kernel for attention to a cache of {format}; ask for another type", ops.profile))
        };
        let (many, one) = ops.attention_to(format).ok_or_else(lacking)?;
        let layout = layout(config, format, capacity)?;
        let what = "the key-value cache; ask for fewer tokens";
        let heads = config.layers.saturating_mul(config.kv_heads);
        let room = |words: usize| zeroed(heads.saturating_mul(words), what);
        let shape = |tokens| Shape { tokens, context: capacity, heads: config.heads, kv_heads: config.kv_heads, dim: config.head_dim };
        let needed = many.workspace_len(shape(chunk), team.count()).max(one.workspace_len(shape(1), team.count()));
        Ok(Self {
            keys: room(layout.key_words())?,
            values: room(layout.value_words())?,
            layout,
            kv_heads: config.kv_heads,
            many,
            one,
            singly: false,
            workspace: zeroed(needed, "the workspace of attention")?,
        })
    }

    /// Bytes of the keys and values of `capacity` tokens in `format`.
    ///
    /// # Errors
    /// As [`layout`].
    pub(super) fn bytes(config: &Config, format: Format, capacity: usize) -> Result<u64, Error> {
        let layout = layout(config, format, capacity)?;
        let heads = config.layers.saturating_mul(config.kv_heads) as u64;
        Ok(heads.saturating_mul(((layout.key_words() + layout.value_words()) * size_of::<u32>()) as u64))
    }

    /// How they are stored.
    pub(super) fn format(&self) -> Format {
        self.layout.format()
    }

    /// Number of tokens there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.layout.capacity()
    }

    /// From now on tokens that come together are attended for one by one, or no longer.
    pub(super) fn singly(&mut self, singly: bool) {
        self.singly = singly;
    }

    /// Stores one token's keys and values, each `kv_heads * head_dim` long, at `position` of `layer`.
    pub(super) fn store(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let (layout, dim) = (self.layout, self.layout.dim());
        let (key_words, value_words) = (layout.key_words(), layout.value_words());
        for (head, (key, value)) in keys.chunks_exact(dim).zip(values.chunks_exact(dim)).enumerate() {
            let at = layer * self.kv_heads + head;
            let pieces = (&mut self.keys[at * key_words..][..key_words], &mut self.values[at * value_words..][..value_words]);
            layout.store(pieces, position, key, value);
        }
    }

    /// Attends for the tokens from `position` on, whose rotated queries are the rows of `queries`; rows of `out` receive
    /// the results.
    pub(super) fn attend(&mut self, team: &Team, (layer, position): (usize, usize), queries: Mat<'_, f32>, mut out: MatMut<'_, f32>) {
        let heads = self.kv_heads;
        let (key_words, value_words) = (heads * self.layout.key_words(), heads * self.layout.value_words());
        let (keys, values) = (&self.keys[layer * key_words..][..key_words], &self.values[layer * value_words..][..value_words]);
        let kv = Kv::new(self.layout, heads, keys, values);
        let (context, mask) = (position + queries.rows(), Mask::Causal { first: position });
        if queries.rows() == 1 || self.singly {
            for row in 0..queries.rows() {
                let (query, out) = (queries.block(row, 0, 1, queries.cols()), out.block(row, 0, 1, queries.cols()));
                let seen = (position + row + 1, Mask::Causal { first: position + row });
                self.one.run(query, &kv, seen, out, team, &mut self.workspace);
            }
        } else {
            self.many.run(queries, &kv, (context, mask), out, team, &mut self.workspace);
        }
    }

    /// What attention must do for `rows` tokens from `position` on, whose queries are `width` wide.
    pub(super) fn work(&self, position: usize, rows: usize, width: usize) -> Work {
        // Each token sees those before it and itself: two multiply-adds a key for each element of its queries.
        let seen = rows * position + rows * (rows + 1) / 2;
        let cache = (self.layout.key_words() + self.layout.value_words()) * self.kv_heads * size_of::<u32>();
        let kernel = if rows == 1 { self.one.meta() } else { self.many.meta() };
        Work {
            bytes: (cache * (position + rows) / self.capacity().max(1) + 2 * rows * width * size_of::<f32>()) as u64,
            ops: (4 * seen * width) as u64,
            arithmetic: Some(Format::F32),
            kernel: kernel.name.to_owned(),
        }
    }
}

/// How the keys and values of one head lie.
///
/// # Errors
/// [`Error::Usage`] when heads are no whole blocks of the format.
fn layout(config: &Config, format: Format, capacity: usize) -> Result<Layout, Error> {
    if !config.head_dim.is_multiple_of(format.depth()) {
        let why = format!("heads of {} elements are no whole blocks of {format}; ask for another type of cache", config.head_dim);
        return Err(Error::Usage(why));
    }
    Ok(Layout::new(format, capacity, config.head_dim))
}
