//! A model's weights in the form the engine computes with: matrices packed once into the panels of the baked kernels,
//! vectors as they are.
//!
//! Loading has two steps. [`Plan::new`] names every tensor of a Qwen2 model, in this one place, and checks that it
//! is there in the right shape; [`Plan::pack`] then does the work. So a bad file is refused before any work is done.

use std::collections::BTreeSet;

use crate::baked::{Format, Ops, Pages, Team};

use super::config::Config;
use super::linear::{Linear, Matrix, Part};
use super::source::{Source, Stack};
use crate::error::Error;

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
    /// The embeddings of a model that is not tied, packed as if they were a head.
    pub embedding: Option<Linear>,
    /// The words of all packed matrices, on huge pages where the system gives them.
    memory: Pages<u32>,
}

impl Weights {
    /// The words of all packed matrices.
    pub fn memory(&self) -> &[u32] {
        &self.memory
    }

    /// The share of the packed matrices that lies on huge pages; `None` if the system does not say.
    pub fn huge_share(&self) -> Option<f64> {
        self.memory.huge_share()
    }

    /// The formats of the products that it takes part in.
    pub(crate) fn formats(&self) -> BTreeSet<Format> {
        let layers = self.layers.iter().flat_map(|layer| [&layer.qkv, &layer.attn_output, &layer.gate_up, &layer.down]);
        layers.chain([&self.head]).chain(&self.embedding).flat_map(Linear::parts).map(Part::format).collect()
    }

    /// The matrix that embeddings are rows of.
    pub fn embeddings(&self) -> &Linear {
        self.embedding.as_ref().unwrap_or(&self.head)
    }
}

/// Told how far loading is: matrices done, matrices in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

struct LayerPlan<'a> {
    attn_norm: Vec<f32>,
    qkv: Vec<Matrix<'a>>,
    qkv_bias: Vec<f32>,
    attn_output: Vec<Matrix<'a>>,
    ffn_norm: Vec<f32>,
    gate_up: Vec<Matrix<'a>>,
    down: Vec<Matrix<'a>>,
}

impl<'a> LayerPlan<'a> {
    /// Its linear layers, each with the matrices that it consists of.
    fn linears(&self) -> [&[Matrix<'a>]; 4] {
        [&self.qkv, &self.attn_output, &self.gate_up, &self.down]
    }

    /// Its vectors.
    fn vectors(&self) -> [&[f32]; 3] {
        [&self.attn_norm, &self.ffn_norm, &self.qkv_bias]
    }
}

/// All tensors of a model, found and checked, none but the vectors read.
pub struct Plan<'a> {
    layers: Vec<LayerPlan<'a>>,
    output_norm: Vec<f32>,
    head: Vec<Matrix<'a>>,
    embedding: Option<Vec<Matrix<'a>>>,
}

/// Bytes that a loaded model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Packed matrices of the layers.
    pub layers: u64,
    /// The packed head; a tied model reads its embeddings out of it.
    pub head: u64,
    /// The packed embeddings, when the model is not tied.
    pub embedding: u64,
    /// Norm weights and biases.
    pub vectors: u64,
}

impl Memory {
    /// All of it.
    pub fn total(self) -> u64 {
        self.layers + self.head + self.embedding + self.vectors
    }
}

impl<'a> Plan<'a> {
    /// Looks up every tensor that a model of shape `config` needs.
    ///
    /// # Errors
    /// A tensor is missing or has the wrong shape, a vector is not finite.
    pub fn new(source: &'a dyn Source, config: &Config, ops: &Ops) -> Result<Self, Error> {
        let Config { hidden, ffn, vocab, .. } = *config;
        let matrix = |name: String, rows, cols| -> Result<Vec<Matrix<'a>>, Error> {
            Ok(vec![Matrix { rows: source.matrix(&name, rows, cols)?, name }])
        };
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
                gate_up: stack(
                    [matrix(name("ffn_gate.weight"), ffn, hidden)?, matrix(name("ffn_up.weight"), ffn, hidden)?].into_iter().flatten(),
                ),
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
        let matrices: usize = self.linears().flatten().map(size).sum();
        let vectors: usize = self.layers.iter().flat_map(LayerPlan::vectors).map(<[f32]>::len).sum();
        (matrices + vectors + self.output_norm.len()) as u64
    }

    /// All linear layers, each with the matrices that it consists of, in the order in which they are packed.
    fn linears(&self) -> impl Iterator<Item = &[Matrix<'a>]> {
        self.layers.iter().flat_map(LayerPlan::linears).chain([self.head.as_slice()]).chain(self.embedding.as_deref())
    }

    /// What [`pack`](Self::pack) will take.
    pub fn memory(&self, ops: &Ops) -> Memory {
        let packed = |matrices: &[Matrix<'_>]| matrices.iter().map(|matrix| (matrix.words(ops) * size_of::<u32>()) as u64).sum::<u64>();
        let vectors = self.layers.iter().flat_map(LayerPlan::vectors).chain([self.output_norm.as_slice()]);
        Memory {
            layers: self.layers.iter().flat_map(LayerPlan::linears).map(packed).sum(),
            head: packed(&self.head),
            embedding: self.embedding.as_deref().map_or(0, packed),
            vectors: vectors.map(|vector| size_of_val(vector) as u64).sum(),
        }
    }

    /// Reads and packs all matrices on the threads of `team`.
    ///
    /// # Errors
    /// A weight is not finite, or memory does not suffice.
    pub fn pack(self, ops: &Ops, team: &Team, progress: Progress<'_>) -> Result<Weights, Error> {
        let total = self.linears().count() as u64;
        let Memory { layers, head, embedding, .. } = self.memory(ops);
        let (bytes, what) = (layers + head + embedding, "the packed weights");
        let words = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<u32>();
        let mut memory = Pages::zeroed(words).map_err(|_| Error::Memory { what, bytes })?;
        let (mut at, mut done) = (0, 0);
        let mut pack = |matrices: Vec<Matrix<'_>>| {
            let linear = Linear::pack(ops, team, &matrices, &mut memory, at)?;
            at += matrices.iter().map(|matrix| matrix.words(ops)).sum::<usize>();
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
        let embedding = self.embedding.map(pack).transpose()?;
        Ok(Weights { layers, output_norm: self.output_norm, head, embedding, memory })
    }
}

/// Queries, keys and values, and their bias: one fused tensor of each, or three.
fn plan_qkv<'a>(
    source: &'a dyn Source,
    config: &Config,
    ops: &Ops,
    name: &dyn Fn(&str) -> String,
) -> Result<(Vec<Matrix<'a>>, Vec<f32>), Error> {
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

/// Matrices with the same input, as one where neighbours are stored alike.
fn stack<'a>(parts: impl IntoIterator<Item = Matrix<'a>>) -> Vec<Matrix<'a>> {
    let mut runs: Vec<Vec<Matrix<'a>>> = Vec::new();
    for part in parts {
        match runs.last_mut() {
            Some(run) if run[0].rows.format() == part.rows.format() => run.push(part),
            _ => runs.push(vec![part]),
        }
    }
    let merge = |run: Vec<Matrix<'a>>| {
        let (names, rows): (Vec<_>, Vec<_>) = run.into_iter().map(|part| (part.name, part.rows)).unzip();
        Matrix { name: names.join("' or '"), rows: Box::new(Stack(rows)) }
    };
    runs.into_iter().map(merge).collect()
}
