//! A model as a user names it: a GGUF file, or a folder as Hugging Face lays it out. What is asked of either is asked
//! here; the readers know nothing of each other.

use std::path::Path;

use crate::baked::Ops;
use crate::error::Error;
use crate::gguf::{Gguf, TensorInfo};
use crate::hf::Folder;
use crate::model::{Config, FileSource, Model, Progress, check_architecture, folder_vocab};
use crate::tokenizer::Tokenizer;

/// An opened model: everything but its tensors' data has been read and checked.
#[derive(Debug)]
pub enum ModelFile {
    /// One GGUF file.
    Gguf(Gguf),
    /// A folder.
    Folder(Folder),
}

impl From<Gguf> for ModelFile {
    fn from(file: Gguf) -> Self {
        Self::Gguf(file)
    }
}

impl From<Folder> for ModelFile {
    fn from(folder: Folder) -> Self {
        Self::Folder(folder)
    }
}

impl ModelFile {
    /// Opens what is at `path`.
    ///
    /// # Errors
    /// As [`Gguf::open`] and, of a folder, [`Folder::open`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.is_dir() { Folder::open(path).map(Self::Folder) } else { Gguf::open(path).map(Self::Gguf) }
    }

    /// Builds the tokenizer. Long lists are taken out of a GGUF file, so it can be asked for only once.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf`] and [`Tokenizer::from_folder`].
    pub fn tokenizer(&mut self) -> Result<Tokenizer, Error> {
        match self {
            Self::Gguf(file) => Tokenizer::from_gguf(file),
            Self::Folder(folder) => Tokenizer::from_folder(folder),
        }
    }

    /// Number of tokens of the vocabulary, as the tokenizer has it or, of a folder, as its configuration says.
    ///
    /// # Errors
    /// It is not a Qwen2 model, or does not say.
    pub fn vocab(&self) -> Result<usize, Error> {
        match self {
            Self::Gguf(file) => {
                check_architecture(file)?;
                Ok(file.strings("tokenizer.ggml.tokens")?.len())
            }
            Self::Folder(folder) => folder_vocab(folder),
        }
    }

    /// The hyperparameters; `vocab` is the tokenizer's number of tokens.
    ///
    /// # Errors
    /// As [`Config::from_gguf`] and [`Config::from_folder`].
    pub fn config(&self, vocab: usize) -> Result<Config, Error> {
        match self {
            Self::Gguf(file) => Config::from_gguf(file, vocab),
            Self::Folder(folder) => Config::from_folder(folder),
        }
    }

    /// Loads the weights; `vocab` is the tokenizer's number of tokens, and `threads` threads load and later compute.
    ///
    /// # Errors
    /// As [`Model::from_gguf`] and [`Model::from_folder`].
    pub fn model(&self, vocab: usize, ops: Ops, threads: usize, progress: Progress<'_>) -> Result<Model, Error> {
        match self {
            Self::Gguf(file) => Model::from_gguf(file, vocab, ops, threads, progress),
            Self::Folder(folder) => Model::from_folder(folder, ops, threads, progress),
        }
    }

    /// What gives out the tensors by GGUF's names.
    ///
    /// # Errors
    /// As [`FileSource::of_folder`].
    pub fn source(&self) -> Result<FileSource<'_>, Error> {
        match self {
            Self::Gguf(file) => Ok(FileSource::of_gguf(file)),
            Self::Folder(folder) => FileSource::of_folder(folder),
        }
    }

    /// All tensors, by the names that the file or folder has for them.
    pub fn tensors(&self) -> &[TensorInfo] {
        match self {
            Self::Gguf(file) => file.tensors(),
            Self::Folder(folder) => folder.tensors(),
        }
    }

    /// Length in bytes of what holds the weights.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Gguf(file) => file.file_len() as u64,
            Self::Folder(folder) => folder.weight_bytes(),
        }
    }

    /// What it is, in a few words.
    pub fn container(&self) -> String {
        match self {
            Self::Gguf(file) => format!("GGUF v{}", file.version()),
            Self::Folder(folder) => match folder.shard_count() {
                0 => "folder without weights".to_owned(),
                1 => "folder with safetensors".to_owned(),
                count => format!("folder with safetensors in {count} shards"),
            },
        }
    }

    /// The template that chats are written by, if the model has one.
    ///
    /// # Errors
    /// It is not text, or a folder's file cannot be read.
    pub fn chat_template(&self) -> Result<Option<String>, Error> {
        let key = "tokenizer.chat_template";
        match self {
            Self::Gguf(file) if file.get(key).is_none() => Ok(None),
            Self::Gguf(file) => Ok(Some(file.string(key)?.to_owned())),
            Self::Folder(folder) => folder.chat_template(),
        }
    }
}
