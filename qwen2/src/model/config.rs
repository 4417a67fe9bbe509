//! The hyperparameters of a Qwen2 model, checked one by one and against each other.
//! Nothing is assumed: a key that the computation needs and the file lacks is an error.

use serde::Serialize;

use crate::error::Error;
use crate::gguf::{Gguf, GgufError, Value, shown};

/// No width or count of a real model comes near this; products of two of them stay far below 2^63.
const LIMIT: u64 = 1 << 24;

/// Shape and constants of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// The model's name, from the file or its maker.
    pub name: String,
    /// Number of transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of one head.
    pub head_dim: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Longest context the model was made for, in tokens.
    pub context: usize,
    /// Added to the mean square in RMS norms.
    pub rms_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f64,
}

impl Config {
    /// Reads the hyperparameters; `vocab` is the length of the token list.
    ///
    /// # Errors
    /// Another architecture, a missing key, a key of the wrong type, a value that cannot be.
    pub fn from_gguf(file: &Gguf, vocab: usize) -> Result<Self, Error> {
        check_architecture(file)?;
        let count = |key: &str| bounded(key, file.uint(key)?);
        let hidden = count("qwen2.embedding_length")?;
        let heads = count("qwen2.attention.head_count")?;
        let kv_heads = count("qwen2.attention.head_count_kv")?;
        if heads % kv_heads != 0 {
            let why = "the number of query heads is not a multiple of it";
            return Err(wrong("qwen2.attention.head_count_kv", kv_heads, why));
        }
        let head_dim = match file.find_uint("qwen2.attention.key_length")? {
            Some(length) => bounded("qwen2.attention.key_length", length)?,
            None if hidden % heads == 0 => hidden / heads,
            None => return Err(wrong("qwen2.attention.head_count", heads, "it does not divide the embedding length")),
        };
        if file.find_uint("qwen2.attention.value_length")?.is_some_and(|length| length != head_dim as u64) {
            return Err(wrong("qwen2.attention.value_length", "another number", "keys and values must be equally long"));
        }
        if head_dim % 2 != 0 {
            return Err(wrong("qwen2.attention.head_count", heads, "heads of odd length cannot be rotated"));
        }
        check_rope(file, head_dim)?;
        let rms_eps = file.float("qwen2.attention.layer_norm_rms_epsilon")?;
        if !(rms_eps > 0.0 && rms_eps < 1.0) {
            return Err(wrong("qwen2.attention.layer_norm_rms_epsilon", rms_eps, "it must lie between 0 and 1"));
        }
        let rope_base = file.float("qwen2.rope.freq_base")?;
        if !(rope_base > 1.0 && rope_base < 1e12) {
            return Err(wrong("qwen2.rope.freq_base", rope_base, "it must lie between 1 and 1e12"));
        }
        let context = file.uint("qwen2.context_length")?;
        if context == 0 || context > u64::from(u32::MAX) {
            return Err(wrong("qwen2.context_length", context, "it must lie between 1 and 2^32 - 1"));
        }
        Ok(Self {
            name: file.string("general.name").map_or_else(|_| "unnamed".to_owned(), shown),
            layers: count("qwen2.block_count")?,
            hidden,
            ffn: count("qwen2.feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            vocab,
            context: context as usize,
            rms_eps: rms_eps as f32,
            rope_base,
        })
    }

    /// Width of all query heads together.
    pub fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads, or all value heads, together.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Bytes that one token occupies in the KV cache.
    pub fn kv_bytes_per_token(&self) -> u64 {
        (2 * self.layers * self.kv_dim() * size_of::<f32>()) as u64
    }

    /// Multiply-adds of the linear layers for one token, without the head.
    pub fn macs_per_token(&self) -> u64 {
        let attention = self.hidden * (2 * self.q_dim() + 2 * self.kv_dim());
        (self.layers * (attention + 3 * self.hidden * self.ffn)) as u64
    }
}

/// Refuses a file whose model is not a Qwen2.
///
/// # Errors
/// [`Error::Architecture`], or the key is missing.
pub(crate) fn check_architecture(file: &Gguf) -> Result<(), Error> {
    match file.string("general.architecture")? {
        "qwen2" => Ok(()),
        other => Err(Error::Architecture(shown(other))),
    }
}

/// Variants of RoPE that this engine does not compute must not be taken for the plain one.
fn check_rope(file: &Gguf, head_dim: usize) -> Result<(), Error> {
    let key = "qwen2.rope.scaling.type";
    match file.get(key) {
        None => {}
        Some(Value::String(kind)) if kind == "none" => {}
        Some(Value::String(kind)) => return Err(wrong(key, shown(kind), "scaled RoPE is not supported")),
        Some(_) => return Err(wrong(key, "not a string", "scaled RoPE is not supported")),
    }
    let key = "qwen2.rope.dimension_count";
    match file.find_uint(key)? {
        Some(dims) if dims != head_dim as u64 => Err(wrong(key, dims, "heads that are rotated in part are not supported")),
        _ => Ok(()),
    }
}

fn bounded(key: &str, value: u64) -> Result<usize, Error> {
    if (1..=LIMIT).contains(&value) { Ok(value as usize) } else { Err(wrong(key, value, "it must lie between 1 and 2^24")) }
}

fn wrong(key: &str, value: impl ToString, why: &'static str) -> Error {
    Error::Hyperparameter { key: key.to_owned(), value: value.to_string(), why }
}

/// The id at `key`, if the key is there, as long as it names a token.
///
/// # Errors
/// [`Error::TokenId`], or the value is not an integer.
pub(crate) fn token_id(file: &Gguf, key: &str, vocab: usize) -> Result<Option<u32>, Error> {
    let id: Option<u64> = file.find_uint(key).map_err(|e: GgufError| Error::from(e))?;
    match id {
        Some(id) if id >= vocab as u64 => Err(Error::TokenId { id, vocab }),
        other => Ok(other.map(|id| id as u32)),
    }
}
