//! What can go wrong between a file and its tokens, as one type. Every message is one line that says what is
//! wrong and, where it is not plain, what to do; all of these are bad input, never a bug in the engine.

use std::path::PathBuf;

use crate::gguf::GgufError;
use crate::safetensors::SafetensorsError;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read '{}': {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write '{}': {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Recorded predictions are no such, or not those of this vocabulary.
    #[error("'{}' is no baseline to compare with: {why}", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The path names a device or a pipe, or a folder where a file should be.
    #[error("'{}' is not a regular file; give a .gguf file or a model folder", .0.display())]
    NotAFile(PathBuf),
    /// The path names a folder that holds no model.
    #[error("'{}' is a folder without config.json; give a .gguf file or the folder of a Hugging Face model", .0.display())]
    NotAModel(PathBuf),
    /// The file's container is malformed.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A file of weights in a model folder is malformed.
    #[error("{file}: {source}")]
    Safetensors {
        /// The file's name.
        file: String,
        /// Its defect.
        source: SafetensorsError,
    },
    /// Another file in a model folder is malformed, incomplete or contradicts itself.
    #[error("{file}: {why}")]
    Folder {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file holds another kind of model.
    #[error("the model's architecture is '{0}'; only qwen2 is supported")]
    Architecture(String),
    /// A hyperparameter is out of range or contradicts another.
    #[error("hyperparameter '{key}' is {value}: {why}")]
    Hyperparameter {
        /// The key.
        key: String,
        /// What the file says.
        value: String,
        /// Why that cannot be.
        why: &'static str,
    },
    /// A tensor that the model needs is absent.
    #[error("tensor '{0}' is missing; the file is incomplete (a vocabulary-only file can be used with 'tokenize' and 'info' alone)")]
    MissingTensor(String),
    /// A tensor that no part of a Qwen2 model uses.
    #[error("tensor '{0}' has no place in a qwen2 model with these hyperparameters")]
    UnusedTensor(String),
    /// A tensor contradicts the hyperparameters.
    #[error("tensor '{name}' is {found}, but the hyperparameters demand {expected}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape, as rows x columns.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// A weight or a block's scale is infinite or not a number.
    #[error("tensor '{0}' holds a value that is not finite; the file is damaged")]
    NotFinite(String),
    /// A tensor cannot be stored as it was asked for.
    #[error("tensor '{name}' cannot be quantised: {why}")]
    Unquantisable {
        /// The tensor.
        name: String,
        /// Why.
        why: String,
    },
    /// The bytes of a tensor could not be read.
    #[error("cannot read tensor '{name}': {source}")]
    Unreadable {
        /// The tensor.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The tokenizer's lists are inconsistent or of another kind.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A token id does not exist.
    #[error("token id {id} does not exist: the vocabulary has {vocab} tokens")]
    TokenId {
        /// The id.
        id: u64,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// More tokens than the model or the session has room for.
    #[error("{needed} tokens do not fit the {what} of {limit}; shorten the prompt or ask for fewer tokens")]
    Context {
        /// Tokens asked for.
        needed: usize,
        /// What they do not fit.
        what: &'static str,
        /// How many it holds.
        limit: usize,
    },
    /// Nothing to continue from.
    #[error("the prompt is empty; give at least one token")]
    EmptyPrompt,
    /// The machine has too little memory.
    #[error("no memory for {what} ({bytes} bytes)")]
    Memory {
        /// What it was for.
        what: &'static str,
        /// How much was asked for.
        bytes: u64,
    },
    /// What is asked for is more than the process may take.
    #[error(
        "{sum} = {needed}, but {limit} leaves {room}; shorten the context (-c), keep it in a smaller type (--cache-type-k q8_0), or take a smaller model"
    )]
    TooLarge {
        /// What is to be allocated.
        sum: String,
        /// All of it.
        needed: String,
        /// What is left.
        room: String,
        /// By whose limit.
        limit: String,
    },
    /// Text given to the program is not UTF-8.
    #[error("{what} is not UTF-8 (byte {at}); convert it first")]
    NotUtf8 {
        /// Which text.
        what: String,
        /// Offset of the first bad byte.
        at: usize,
    },
    /// The model answered with nothing that can be sampled.
    #[error("the model's logits are not finite; its weights are unusable")]
    NoLogits,
    /// A chat template cannot be used.
    #[error("the chat template: {0}")]
    Template(String),
    /// A line of a file of questions is not one.
    #[error("'{}', line {line}: {why}", path.display())]
    Question {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// An option's value makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No baked profile runs here, or not the one asked for.
    #[error("{0}")]
    Profile(String),
    /// The thread pool could not be started.
    #[error("cannot start {threads} threads: {why}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// Why.
        why: String,
    },
    /// The answer could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

/// A zeroed vector of `len` elements, or an error where there is no memory for it.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn zeroed<T: Copy + Default>(len: usize, what: &'static str) -> Result<Vec<T>, Error> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    // Asks first, since the request below aborts where it fails; that one gets pages which are zero already.
    let mut asked = Vec::<T>::new();
    asked.try_reserve_exact(len).map_err(|_| Error::Memory { what, bytes })?;
    drop(std::hint::black_box(asked));
    Ok(vec![T::default(); len])
}
