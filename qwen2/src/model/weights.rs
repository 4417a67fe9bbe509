//! A model's weights in the form the engine computes with: matrices packed once into the panels of the baked GEMM,
//! vectors as they are.
//!
//! Loading has two steps. [`Plan::new`] names every tensor of a Qwen2 model, in this one place, and checks that it
//! is there in the right shape; [`Plan::pack`] then does the work. So a bad file is refused before any work is done.

use crate::baked::{Ops, PackedB, Pages, Team};

use super::config::Config;
use super::linear::Linear;
use super::source::{Rows, Source, Stack};
use crate::error::{Error, zeroed};

/// One transformer layer. Matrices that read the same input lie in one [`Linear`].
#[derive(Debug)]
pub struct Layer {
    /// Norm before attention.
    pub attn_norm: Vec<f32>,
    /// Queries, keys, values: `hidden` → `q_dim + 2 kv_dim`.
    pub qkv: Linear,
    /// What is added to them.
    pub qkv_bias: Vec<f32>,
    /// Attention's output: `q_dim` → `hidden`.
    pub attn_output: Linear,
    /// Norm before the feed-forward layer.
    pub ffn_norm: Vec<f32>,
    /// Gate, then up: `hidden` → `2 ffn`.
    pub gate_up: Linear,
    /// Down: `ffn` → `hidden`.
    pub down: Linear,
}

/// All weights of a model.
#[derive(Debug)]
pub struct Weights {
    /// The layers in order.
    pub layers: Vec<Layer>,
    /// The norm before the head.
    pub output_norm: Vec<f32>,
    /// `hidden` → `vocab`. When the model is tied, embeddings are read out of it.
    pub head: Linear,
    /// Embedding rows of a model that is not tied: `vocab` × `hidden`.
    pub embedding: Option<Vec<f32>>,
    /// The words of all packed matrices, on huge pages where the system gives them.
    memory: Pages<u32>,
}

impl Weights {
    /// The panels of one of its matrices.
    pub fn panels(&self, linear: &Linear) -> PackedB<'_> {
        linear.panels(&self.memory)
    }

    /// The share of the packed matrices that lies on huge pages; `None` if the system does not say.
    pub fn huge_share(&self) -> Option<f64> {
        self.memory.huge_share()
    }

    /// Writes the embedding of token `id`, which must be below the vocabulary's size, into `out`.
    pub fn embed(&self, id: u32, out: &mut [f32]) {
        let id = id as usize;
        match &self.embedding {
            Some(rows) => out.copy_from_slice(&rows[id * out.len()..(id + 1) * out.len()]),
            None => self.head.row(&self.memory, id, out),
        }
    }
}

/// Told how far loading is: matrices done, matrices in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// A matrix found and checked, not yet read.
struct Matrix<'a> {
    name: String,
    rows: Box<dyn Rows + 'a>,
}

struct LayerPlan<'a> {
    attn_norm: Vec<f32>,
    qkv: Matrix<'a>,
    qkv_bias: Vec<f32>,
    attn_output: Matrix<'a>,
    ffn_norm: Vec<f32>,
    gate_up: Matrix<'a>,
    down: Matrix<'a>,
}

/// All tensors of a model, found and checked, none but the vectors read.
pub struct Plan<'a> {
    layers: Vec<LayerPlan<'a>>,
    output_norm: Vec<f32>,
    head: Matrix<'a>,
    embedding: Option<Matrix<'a>>,
}

/// Bytes that a loaded model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Packed matrices of the layers.
    pub layers: u64,
    /// The packed head; a tied model reads its embeddings out of it.
    pub head: u64,
    /// Embedding rows kept beside the head, when the model is not tied.
    pub embedding: u64,
    /// Norm weights and biases.
    pub vectors: u64,
}

impl<'a> Plan<'a> {
    /// Looks up every tensor that a model of shape `config` needs.
    ///
    /// # Errors
    /// A tensor is missing or has the wrong shape, a vector is not finite.
    pub fn new(source: &'a dyn Source, config: &Config, ops: &Ops) -> Result<Self, Error> {
        let Config { hidden, ffn, vocab, .. } = *config;
        let matrix =
            |name: String, rows, cols| -> Result<Matrix<'a>, Error> { Ok(Matrix { rows: source.matrix(&name, rows, cols)?, name }) };
        // Not sized by the layer count, which is believed only as far as there are tensors for it.
        let mut layers = Vec::new();
        for index in 0..config.layers {
            let name = |part: &str| format!("blk.{index}.{part}");
            let vector = |part: &str, len| source.vector(ops, &name(part), len);
            let attn_norm = vector("attn_norm.weight", hidden)?;
            let (qkv, qkv_bias) = plan_qkv(source, config, ops, &name)?;
            layers.push(LayerPlan {
                attn_norm,
                qkv,
                qkv_bias,
                attn_output: matrix(name("attn_output.weight"), hidden, config.q_dim())?,
                ffn_norm: vector("ffn_norm.weight", hidden)?,
                gate_up: stack(vec![matrix(name("ffn_gate.weight"), ffn, hidden)?, matrix(name("ffn_up.weight"), ffn, hidden)?]),
                down: matrix(name("ffn_down.weight"), hidden, ffn)?,
            });
        }
        let output_norm = source.vector(ops, "output_norm.weight", hidden)?;
        let table = matrix("token_embd.weight".to_owned(), vocab, hidden)?;
        let (head, embedding) =
            if source.has("output.weight") { (matrix("output.weight".to_owned(), vocab, hidden)?, Some(table)) } else { (table, None) };
        Ok(Self { layers, output_norm, head, embedding })
    }

    /// Number of weights, tied ones once.
    pub fn parameters(&self) -> u64 {
        let size = |matrix: &Matrix<'_>| matrix.rows.rows() * matrix.rows.cols();
        let mut sum = self.output_norm.len() + size(&self.head) + self.embedding.as_ref().map_or(0, size);
        for layer in &self.layers {
            sum += [&layer.qkv, &layer.attn_output, &layer.gate_up, &layer.down].map(size).iter().sum::<usize>();
            sum += layer.attn_norm.len() + layer.ffn_norm.len() + layer.qkv_bias.len();
        }
        sum as u64
    }

    /// What [`pack`](Self::pack) will take.
    pub fn memory(&self, ops: &Ops) -> Memory {
        let packed = |matrix: &Matrix<'_>| (Linear::words(ops, &*matrix.rows) * size_of::<u32>()) as u64;
        let mut memory = Memory {
            layers: 0,
            head: packed(&self.head),
            embedding: self.embedding.as_ref().map_or(0, |table| (table.rows.rows() * table.rows.cols() * size_of::<f32>()) as u64),
            vectors: size_of_val(self.output_norm.as_slice()) as u64,
        };
        for layer in &self.layers {
            memory.layers += [&layer.qkv, &layer.attn_output, &layer.gate_up, &layer.down].map(packed).iter().sum::<u64>();
            memory.vectors +=
                [&layer.qkv_bias, &layer.attn_norm, &layer.ffn_norm].map(|v| size_of_val(v.as_slice()) as u64).iter().sum::<u64>();
        }
        memory
    }

    /// Reads and packs all matrices on the threads of `team`.
    ///
    /// # Errors
    /// A weight is not finite, or memory does not suffice.
    pub fn pack(self, ops: &Ops, team: &Team, progress: Progress<'_>) -> Result<Weights, Error> {
        let total = 4 * self.layers.len() as u64 + 1;
        let Memory { layers, head, .. } = self.memory(ops);
        let (bytes, what) = (layers + head, "the packed weights");
        let words = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<u32>();
        let mut memory = Pages::zeroed(words).map_err(|_| Error::Memory { what, bytes })?;
        let (mut at, mut done) = (0, 0);
        let mut pack = |matrix: Matrix<'_>| {
            let linear = Linear::pack(ops, team, &*matrix.rows, &matrix.name, &mut memory, at)?;
            at += Linear::words(ops, &*matrix.rows);
            done += 1;
            progress(done, total);
            Ok::<_, Error>(linear)
        };
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            layers.push(Layer {
                attn_norm: layer.attn_norm,
                qkv: pack(layer.qkv)?,
                qkv_bias: layer.qkv_bias,
                attn_output: pack(layer.attn_output)?,
                ffn_norm: layer.ffn_norm,
                gate_up: pack(layer.gate_up)?,
                down: pack(layer.down)?,
            });
        }
        let head = pack(self.head)?;
        let embedding = self.embedding.map(|table| read_all(ops, &table)).transpose()?;
        Ok(Weights { layers, output_norm: self.output_norm, head, embedding, memory })
    }
}

/// Queries, keys and values, and their bias: one fused tensor of each, or three.
fn plan_qkv<'a>(
    source: &'a dyn Source,
    config: &Config,
    ops: &Ops,
    name: &dyn Fn(&str) -> String,
) -> Result<(Matrix<'a>, Vec<f32>), Error> {
    let (q, kv, hidden) = (config.q_dim(), config.kv_dim(), config.hidden);
    let fused = [("attn_qkv", q + 2 * kv)];
    let separate = [("attn_q", q), ("attn_k", kv), ("attn_v", kv)];
    let parts: &[(&str, usize)] = if source.has(&name("attn_qkv.weight")) { &fused } else { &separate };
    let mut matrices = Vec::new();
    let mut bias = Vec::new();
    for &(part, rows) in parts {
        let weight = name(&format!("{part}.weight"));
        matrices.push(Matrix { rows: source.matrix(&weight, rows, hidden)?, name: weight });
        bias.extend(source.vector(ops, &name(&format!("{part}.bias")), rows)?);
    }
    Ok((stack(matrices), bias))
}

/// Matrices with the same input, as one.
fn stack(parts: Vec<Matrix<'_>>) -> Matrix<'_> {
    let (names, rows): (Vec<_>, Vec<_>) = parts.into_iter().map(|part| (part.name, part.rows)).unzip();
    Matrix { name: names.join("' or '"), rows: Box::new(Stack(rows)) }
}

fn read_all(ops: &Ops, table: &Matrix<'_>) -> Result<Vec<f32>, Error> {
    let mut out = zeroed(table.rows.rows() * table.rows.cols(), "the embedding")?;
    if table.rows.fill(ops, 0, &mut out) { Ok(out) } else { Err(Error::NotFinite(table.name.clone())) }
}
