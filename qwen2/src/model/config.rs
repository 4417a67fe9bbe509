//! The hyperparameters of a Qwen2 model, checked one by one and against each other.
//! Nothing is assumed: a key that the computation needs and the file lacks is an error.

use serde::Serialize;

use crate::error::Error;
use crate::gguf::{Gguf, GgufError, Value, shown};
use crate::hf::Folder;
use crate::hf::json::{Document, Json};

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

/// What hyperparameters are called.
struct Keys {
    hidden: &'static str,
    layers: &'static str,
    ffn: &'static str,
    heads: &'static str,
    kv_heads: &'static str,
    head_dim: &'static str,
    context: &'static str,
    rms_eps: &'static str,
    rope_base: &'static str,
}

const GGUF_KEYS: Keys = Keys {
    hidden: "qwen2.embedding_length",
    layers: "qwen2.block_count",
    ffn: "qwen2.feed_forward_length",
    heads: "qwen2.attention.head_count",
    kv_heads: "qwen2.attention.head_count_kv",
    head_dim: "qwen2.attention.key_length",
    context: "qwen2.context_length",
    rms_eps: "qwen2.attention.layer_norm_rms_epsilon",
    rope_base: "qwen2.rope.freq_base",
};

const FOLDER_KEYS: Keys = Keys {
    hidden: "hidden_size",
    layers: "num_hidden_layers",
    ffn: "intermediate_size",
    heads: "num_attention_heads",
    kv_heads: "num_key_value_heads",
    head_dim: "head_dim",
    context: "max_position_embeddings",
    rms_eps: "rms_norm_eps",
    rope_base: "rope_theta",
};

/// What hyperparameters are read from.
trait Hyperparameters {
    fn find_uint(&self, key: &str) -> Result<Option<u64>, Error>;
    fn uint(&self, key: &str) -> Result<u64, Error>;
    fn float(&self, key: &str) -> Result<f64, Error>;
}

impl Hyperparameters for Gguf {
    fn find_uint(&self, key: &str) -> Result<Option<u64>, Error> {
        Ok(Gguf::find_uint(self, key)?)
    }

    fn uint(&self, key: &str) -> Result<u64, Error> {
        Ok(Gguf::uint(self, key)?)
    }

    fn float(&self, key: &str) -> Result<f64, Error> {
        Ok(Gguf::float(self, key)?)
    }
}

impl Hyperparameters for Document {
    fn find_uint(&self, key: &str) -> Result<Option<u64>, Error> {
        Document::find_uint(self, key)
    }

    fn uint(&self, key: &str) -> Result<u64, Error> {
        self.need(key)?;
        Document::find_uint(self, key)?.ok_or_else(|| self.wrong(format!("'{key}' is missing")))
    }

    fn float(&self, key: &str) -> Result<f64, Error> {
        let number = |value: &Json| self.number(key, value);
        let own = self.get(key).map(number).transpose()?;
        // Where newer writers have it.
        let nested = self.get("rope_parameters").filter(|_| key == FOLDER_KEYS.rope_base).and_then(|rope| rope.get(key));
        let nested = nested.map(number).transpose()?;
        match (own, nested) {
            (Some(one), Some(other)) if one != other => {
                Err(self.wrong(format!("'{key}' is {one} by itself and {other} in 'rope_parameters'")))
            }
            (one, other) => one.or(other).map_or_else(|| self.need(key).and_then(number), Ok),
        }
    }
}

impl Config {
    /// Reads the hyperparameters; `vocab` is the length of the token list.
    ///
    /// # Errors
    /// Another architecture, a missing key, a key of the wrong type, a value that cannot be.
    pub fn from_gguf(file: &Gguf, vocab: usize) -> Result<Self, Error> {
        check_architecture(file)?;
        let config = Self::read(file, &GGUF_KEYS, file.string("general.name").map_or_else(|_| "unnamed".to_owned(), shown), vocab)?;
        if file.find_uint("qwen2.attention.value_length")?.is_some_and(|length| length != config.head_dim as u64) {
            return Err(wrong("qwen2.attention.value_length", "another number", "keys and values must be equally long"));
        }
        check_rope(file, config.head_dim)?;
        Ok(config)
    }

    /// Reads the hyperparameters out of a folder's `config.json`.
    ///
    /// # Errors
    /// Another architecture, a missing key, a key of the wrong type, a value that cannot be, a variant of the
    /// computation that this engine does not have.
    pub fn from_folder(folder: &Folder) -> Result<Self, Error> {
        let document = folder.config();
        let vocab = folder_vocab(folder)?;
        check_variants(document)?;
        Self::read(document, &FOLDER_KEYS, folder.name(), vocab)
    }

    fn read(file: &dyn Hyperparameters, keys: &Keys, name: String, vocab: usize) -> Result<Self, Error> {
        let count = |key: &str| bounded(key, file.uint(key)?);
        let (hidden, heads, kv_heads) = (count(keys.hidden)?, count(keys.heads)?, count(keys.kv_heads)?);
        if heads % kv_heads != 0 {
            return Err(wrong(keys.kv_heads, kv_heads, "the number of query heads is not a multiple of it"));
        }
        let head_dim = match file.find_uint(keys.head_dim)? {
            Some(length) => bounded(keys.head_dim, length)?,
            None if hidden % heads == 0 => hidden / heads,
            None => return Err(wrong(keys.heads, heads, "it does not divide the embedding length")),
        };
        if head_dim % 2 != 0 {
            return Err(wrong(keys.heads, heads, "heads of odd length cannot be rotated"));
        }
        let rms_eps = file.float(keys.rms_eps)?;
        if !(rms_eps > 0.0 && rms_eps < 1.0) {
            return Err(wrong(keys.rms_eps, rms_eps, "it must lie between 0 and 1"));
        }
        let rope_base = file.float(keys.rope_base)?;
        if !(rope_base > 1.0 && rope_base < 1e12) {
            return Err(wrong(keys.rope_base, rope_base, "it must lie between 1 and 1e12"));
        }
        let context = file.uint(keys.context)?;
        if context == 0 || context > u64::from(u32::MAX) {
            return Err(wrong(keys.context, context, "it must lie between 1 and 2^32 - 1"));
        }
        let (layers, ffn) = (count(keys.layers)?, count(keys.ffn)?);
        let context = context as usize;
        Ok(Self { name, layers, hidden, ffn, heads, kv_heads, head_dim, vocab, context, rms_eps: rms_eps as f32, rope_base })
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

/// The size of a folder's vocabulary, which may be more than its tokenizer has tokens.
///
/// # Errors
/// Another architecture, or the size is missing or cannot be.
pub(crate) fn folder_vocab(folder: &Folder) -> Result<usize, Error> {
    let document = folder.config();
    let key = "model_type";
    match document.need(key)? {
        Json::String(kind) if kind == "qwen2" => {}
        Json::String(kind) => return Err(Error::Architecture(shown(kind))),
        other => return Err(document.mistyped(key, other, "a string")),
    }
    bounded("vocab_size", Hyperparameters::uint(document, "vocab_size")?)
}

/// Whether a folder's embeddings are its head as well. They are not unless it says so, as to transformers.
pub(super) fn tied(folder: &Folder) -> Result<bool, Error> {
    folder.config().flag("tie_word_embeddings")
}

/// Variants of the computation that this engine does not have must not be taken for the plain one.
fn check_variants(config: &Document) -> Result<(), Error> {
    if config.flag("use_sliding_window")? {
        return Err(wrong("use_sliding_window", "true", "attention within a window is not supported"));
    }
    if let Some(layers) = config.get("layer_types") {
        let Json::Array(kinds) = layers else { return Err(config.mistyped("layer_types", layers, "an array")) };
        if kinds.iter().any(|kind| kind.as_str() != Some("full_attention")) {
            return Err(wrong("layer_types", "not 'full_attention' throughout", "attention within a window is not supported"));
        }
    }
    if let Some(other) = config.find_str("hidden_act")?.filter(|kind| *kind != "silu") {
        return Err(wrong("hidden_act", shown(other), "only silu is supported"));
    }
    if config.get("quantization_config").is_some() {
        return Err(wrong("quantization_config", "there", "quantised folders are not supported; take the unquantised one or a .gguf file"));
    }
    for place in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = config.get(place) else { continue };
        if !matches!(rope, Json::Object(_)) {
            return Err(config.mistyped(place, rope, "an object"));
        }
        for key in ["rope_type", "type"] {
            match rope.get(key) {
                None => {}
                Some(Json::String(kind)) if kind == "default" || kind == "none" => {}
                Some(Json::String(kind)) => return Err(wrong(place, shown(kind), "scaled RoPE is not supported")),
                Some(other) => return Err(config.mistyped(key, other, "a string")),
            }
        }
    }
    let (key, nested) = ("partial_rotary_factor", config.get("rope_parameters"));
    for factor in [config.get(key), nested.and_then(|rope| rope.get(key))].into_iter().flatten() {
        if config.number(key, factor)? != 1.0 {
            return Err(wrong(key, "not 1", "heads that are rotated in part are not supported"));
        }
    }
    Ok(())
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
