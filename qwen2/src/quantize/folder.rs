//! A Hugging Face folder as a model to quantise: its tensors under GGUF's names, and metadata as llama.cpp's converter
//! writes it. Nothing is guessed: what the engine needs of a file is written, and read back by the same code.

use std::collections::BTreeMap;

use super::input::{Described, Input};
use crate::error::Error;
use crate::gguf::{Array, Value, ValueType, shown};
use crate::hf::{Folder, names};
use crate::model::{Config, FileSource, Rows};
use crate::tokenizer::{Lists, Role};

/// A folder, its metadata and its tensors.
pub struct FolderInput<'a> {
    folder: &'a Folder,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<Described>,
}

impl<'a> FolderInput<'a> {
    /// Reads all but the weights.
    ///
    /// # Errors
    /// As [`Config::from_folder`], of the tokenizer as [`crate::Tokenizer::from_folder`], and a tensor has no place in a
    /// Qwen2 model.
    pub fn new(folder: &'a Folder) -> Result<Self, Error> {
        let mut metadata = hyperparameters(&Config::from_folder(folder)?);
        metadata.extend(tokenizer(Lists::of_folder(folder)?));
        if let Some(template) = folder.chat_template()? {
            metadata.insert("tokenizer.chat_template".to_owned(), Value::String(template));
        }
        // A tied head that is stored all the same is left out, as it is where such a model runs.
        let skipped = FileSource::of_folder(folder)?.unused_head();
        let mut tensors = Vec::new();
        for tensor in folder.tensors().iter().filter(|tensor| Some(&tensor.name) != skipped.as_ref()) {
            let name = names::of_folder(&tensor.name).ok_or_else(|| Error::UnusedTensor(shown(&tensor.name)))?;
            tensors.push(Described { name, kind: tensor.kind, rank: tensor.rank, rows: tensor.rows, cols: tensor.cols });
        }
        Ok(Self { folder, metadata, tensors })
    }
}

impl Input for FolderInput<'_> {
    fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    fn value_type(&self, key: &str) -> Option<ValueType> {
        let is_count = key.starts_with("qwen2.") || key.ends_with("_token_id");
        (is_count && matches!(self.metadata.get(key), Some(Value::Unsigned(_)))).then_some(ValueType::U32)
    }

    fn tensors(&self) -> Vec<Described> {
        self.tensors.clone()
    }

    fn rows(&self, name: &str) -> Result<Box<dyn Rows + '_>, Error> {
        let tensor = names::of_gguf(name).and_then(|theirs| self.folder.tensor(&theirs));
        Ok(Box::new(tensor.ok_or_else(|| Error::MissingTensor(shown(name)))?))
    }
}

fn hyperparameters(config: &Config) -> BTreeMap<String, Value> {
    let count = |value: usize| Value::Unsigned(value as u64);
    let entries = [
        ("general.architecture", Value::String("qwen2".to_owned())),
        ("general.name", Value::String(config.name.clone())),
        ("general.type", Value::String("model".to_owned())),
        ("qwen2.block_count", count(config.layers)),
        ("qwen2.context_length", count(config.context)),
        ("qwen2.embedding_length", count(config.hidden)),
        ("qwen2.feed_forward_length", count(config.ffn)),
        ("qwen2.attention.head_count", count(config.heads)),
        ("qwen2.attention.head_count_kv", count(config.kv_heads)),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::Float(f64::from(config.rms_eps))),
        ("qwen2.rope.freq_base", Value::Float(config.rope_base)),
    ];
    let mut metadata: BTreeMap<String, Value> = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    if config.hidden != config.q_dim() {
        for key in ["qwen2.attention.key_length", "qwen2.attention.value_length"] {
            metadata.insert(key.to_owned(), count(config.head_dim));
        }
    }
    metadata
}

fn tokenizer(lists: Lists) -> BTreeMap<String, Value> {
    let Lists { tokens, merges, vocab, stops } = lists;
    // Ids that no token has are those of padding.
    let mut texts: Vec<String> = (0..vocab).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![5; vocab];
    for token in tokens {
        let id = token.id as usize;
        types[id] = match token.role {
            Role::Ordinary => 1,
            Role::Control => 3,
            Role::UserDefined => 4,
            Role::Padding => 5,
        };
        texts[id] = token.text;
    }
    let merges = merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect();
    let mut entries = vec![
        ("tokenizer.ggml.model", Value::String("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Value::String("qwen2".to_owned())),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(texts.iter().collect()))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(types))),
        ("tokenizer.ggml.merges", Value::Array(Array::String(merges))),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
    ];
    entries.extend(stops.first().map(|&id| ("tokenizer.ggml.eos_token_id", Value::Unsigned(id.into()))));
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
