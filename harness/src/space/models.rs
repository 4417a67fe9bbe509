//! The models whose own shapes can be swept: one table.

use super::shape::{Shape, Spec};
use kiln_kernels::registry::Op;

/// The extents of a Qwen2 model that decide the shapes of its work.
#[derive(Debug)]
pub struct Model {
    /// What it is called after `model:`.
    pub name: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Columns of the queries of all heads.
    pub q: usize,
    /// Columns of the keys (or values) of all heads.
    pub kv: usize,
    /// Columns of a head.
    pub head: usize,
    /// Width of the feed-forward network.
    pub ffn: usize,
    /// Tokens that the head scores.
    pub vocab: usize,
}

/// Every model that is known.
pub const MODELS: &[Model] = &[
    Model { name: "embedded", hidden: 256, layers: 4, q: 256, kv: 128, head: 64, ffn: 768, vocab: 4096 },
    Model { name: "qwen2.5-0.5b", hidden: 896, layers: 24, q: 896, kv: 128, head: 64, ffn: 4864, vocab: 151_936 },
    Model { name: "qwen2.5-1.5b", hidden: 1536, layers: 28, q: 1536, kv: 256, head: 128, ffn: 8960, vocab: 151_936 },
];

/// Rows of the products that are swept: a decoded token, a few, a short and a long prompt.
const TOKENS: [usize; 4] = [1, 4, 16, 128];

/// Tokens that attention, and softmax, are swept over.
const CONTEXT: usize = 1024;

impl Model {
    /// (N, K) of each product by a linear layer, the head last, without repetitions.
    pub fn linears(&self) -> Vec<(usize, usize)> {
        self.calls().into_iter().map(|call| call.0).collect()
    }

    /// (N, K) of each product by a linear layer, the head last, without repetitions, and how often one pass multiplies by such. What has
    /// the same input is one: queries, keys and values, and the gate and what it opens, as the engine stacks them.
    pub fn calls(&self) -> Vec<((usize, usize), usize)> {
        let &Model { hidden, layers, q, kv, ffn, vocab, .. } = self;
        let mut all: Vec<((usize, usize), usize)> = Vec::new();
        let of_layer = [((q + 2 * kv, hidden), 1), ((hidden, q), 1), ((2 * ffn, hidden), 1), ((hidden, ffn), 1)];
        for (linear, times) in of_layer.map(|(linear, times)| (linear, times * layers)).into_iter().chain([((vocab, hidden), 1)]) {
            match all.iter_mut().find(|call| call.0 == linear) {
                Some(call) => call.1 += times,
                None => all.push((linear, times)),
            }
        }
        all
    }
}

/// The model of that name.
///
/// # Errors
/// One line with the names that are known.
pub fn find(name: &str) -> Result<&'static Model, String> {
    MODELS.iter().find(|m| m.name == name).ok_or_else(|| {
        let known: Vec<_> = MODELS.iter().map(|m| m.name).collect();
        format!("unknown model '{name}'; known are {}", known.join(", "))
    })
}

/// The shapes that a model gives an operation. Weights come packed. The head is multiplied for the
/// last position alone, so it has one row.
pub(super) fn specs(model: &Model, op: Op) -> Vec<Spec> {
    let rows = |cols: usize| TOKENS.map(|rows| Spec { shape: Shape::Rows { rows, cols }, packed: false });
    match op {
        Op::Gemm => {
            let product = |m, (n, k)| Spec { shape: Shape::Product { m, n, k }, packed: true };
            let linears = model.linears();
            let head = linears.last().copied();
            TOKENS.iter().flat_map(|m| linears.iter().filter(move |l| *m == 1 || Some(**l) != head).map(move |l| product(*m, *l))).collect()
        }
        Op::SiluMul | Op::SiluMulQuantise => rows(model.ffn).to_vec(),
        Op::Rope => rows(model.q + model.kv).to_vec(),
        Op::Softmax => rows(CONTEXT).to_vec(),
        Op::Attention => [16, 128].map(|tokens| attention(model, tokens)).to_vec(),
        Op::AttentionDecode => vec![attention(model, 1)],
        Op::ArgMax | Op::TopK => vec![Spec { shape: Shape::Rows { rows: 1, cols: model.vocab }, packed: false }],
        Op::F16ToF32 | Op::F32ToF16 | Op::Bf16ToF32 | Op::F32ToBf16 => [rows(model.kv), rows(model.hidden)].concat(),
        Op::RmsNorm | Op::LayerNorm | Op::AddRmsNorm | Op::RmsNormQuantise | Op::Quantise | Op::Dequantise => rows(model.hidden).to_vec(),
    }
}

/// Attention of so many tokens at the end of a context of [`CONTEXT`].
fn attention(model: &Model, tokens: usize) -> Spec {
    let &Model { q, kv, head, .. } = model;
    Spec { shape: Shape::Attention { tokens, context: CONTEXT, heads: q / head, kv_heads: kv / head, dim: head }, packed: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_model_has_its_four_products_a_layer_and_a_head_of_one_row() {
        let specs = specs(find("embedded").expect("a model"), Op::Gemm);
        let heads: Vec<_> = specs.iter().filter(|s| matches!(s.shape, Shape::Product { n: 4096, .. })).collect();
        assert_eq!(heads.len(), 1);
        assert!(specs.iter().any(|s| s.shape == Shape::Product { m: 128, n: 1536, k: 256 }));
        assert!(specs.iter().any(|s| s.shape == Shape::Product { m: 16, n: 256, k: 768 }));
        let calls = find("embedded").expect("a model").calls();
        assert_eq!(calls, [((512, 256), 4), ((256, 256), 4), ((1536, 256), 4), ((256, 768), 4), ((4096, 256), 1)]);
        // The head at one M, the others at four.
        assert_eq!(specs.len(), 1 + 4 * 4);
    }
}
