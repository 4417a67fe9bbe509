//! A Qwen2 inference engine whose linear layers, norms and conversions run kernels that were chosen by measurement
//! for the CPU at hand.
//!
//! The way of a text: [`gguf`] reads a model file, or [`hf`] a folder with [`safetensors`], and believes none of it;
//! [`ModelFile`] is either; [`tokenizer`] turns text into tokens; [`model`] packs the weights for the [`baked`]
//! kernels; [`graph`] computes logits and keeps keys and values; [`sampler`] and [`generate`](mod@generate) make
//! tokens of them. [`mod@quantize`] makes smaller model files. The crate sees kernels through [`baked`] alone, and never
//! panics for what a file or a user says: that is an [`Error`].
//!
//! ```
//! use qwen2::{Tokenizer, baked, embedded, generate, graph, model::Model, sampler::Sampler};
//!
//! let mut file = embedded()?;
//! let tokenizer = Tokenizer::from_gguf(&mut file)?;
//! let model = Model::from_gguf(&file, tokenizer.len(), baked::select(None)?, 1, &mut |_, _| {})?;
//! let prompt = tokenizer.encode("The borrow checker")?;
//! let mut session = graph::Session::new(&model, prompt.len() + 8, graph::DEFAULT_CHUNK)?;
//! let mut sampler = Sampler::new(Default::default(), tokenizer.padding())?;
//! let text = generate::generate(&mut session, &prompt, 8, tokenizer.stops(), &mut sampler, |_| Ok(()))?;
//! assert!(!tokenizer.decode(&text.tokens).is_empty());
//! # Ok::<(), qwen2::Error>(())
//! ```

pub mod baked;
pub mod chat;
mod data;
mod error;
pub mod eval;
mod file;
pub mod generate;
pub mod gguf;
pub mod graph;
pub mod hf;
pub mod lookup;
pub mod memory;
pub mod model;
pub mod perplexity;
pub mod quantize;
pub mod safetensors;
pub mod sampler;
pub mod text;
pub mod threads;
pub mod tokenizer;

pub use error::Error;
pub use file::ModelFile;
pub use tokenizer::Tokenizer;

/// The name shown for the model that is part of the program.
pub const EMBEDDED_NAME: &str = "rustdoc (embedded)";

static EMBEDDED: &[u8] = include_bytes!("../data/rustdoc-q8_0.gguf");

/// Opens the small model that is part of the program; `data/ORIGIN.md` says where it comes from.
///
/// # Errors
/// None in a sound build.
pub fn embedded() -> Result<gguf::Gguf, Error> {
    Ok(gguf::Gguf::from_static(EMBEDDED)?)
}
