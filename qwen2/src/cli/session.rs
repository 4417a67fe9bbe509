//! Options of a session, named as in llama.cpp: its room, how prompts are cut, how keys and values are kept; and whether all
//! of that fits into memory, which is asked before a long load.

use qwen2::baked::{Format, Ops};
use qwen2::gguf::TensorInfo;
use qwen2::graph::{DEFAULT_CACHE, DEFAULT_CHUNK, Session, needs};
use qwen2::model::{Config, Model};
use qwen2::{Error, ModelFile, memory};

use super::Failure;

/// How a session is to be.
#[derive(Debug, clap::Args)]
pub(super) struct SessionArgs {
    /// Room for tokens, of prompt and answer together [default: as many as are asked for]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ctx_size: Option<u32>,
    #[command(flatten)]
    chunks: ChunkArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// How many tokens of a prompt go through the layers together.
#[derive(Debug, clap::Args)]
pub(super) struct ChunkArgs {
    /// Tokens of a prompt that are handed over together
    #[arg(short, long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Of those, tokens that go through the layers together (-ub)
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CHUNK as u32, value_parser = clap::value_parser!(u32).range(1..))]
    ubatch_size: u32,
}

/// How keys and values are kept.
#[derive(Debug, clap::Args)]
pub(super) struct CacheArgs {
    /// Type of the keys that are kept (-ctk): f32, f16, bf16, q8_0
    #[arg(long, value_name = "TYPE", default_value = DEFAULT_CACHE.name())]
    cache_type_k: String,
    /// Type of the values that are kept (-ctv), which must be that of the keys
    #[arg(long, value_name = "TYPE")]
    cache_type_v: Option<String>,
}

impl ChunkArgs {
    /// Tokens that are handed over together.
    pub(super) fn batch(&self) -> usize {
        self.batch_size as usize
    }

    /// Tokens that go through the layers together.
    pub(super) fn chunk(&self) -> usize {
        self.batch_size.min(self.ubatch_size) as usize
    }
}

impl CacheArgs {
    /// The format of both.
    ///
    /// # Errors
    /// There is no such type, or they are of two.
    pub(super) fn format(&self) -> Result<Format, Error> {
        const KNOWN: [Format; 4] = [Format::F32, Format::F16, Format::Bf16, Format::Q8_0];
        if self.cache_type_v.as_ref().is_some_and(|values| *values != self.cache_type_k) {
            let why = "keys and values are kept in one type; give --cache-type-v the value of --cache-type-k";
            return Err(Error::Usage(why.to_owned()));
        }
        let format = KNOWN.into_iter().find(|format| format.name() == self.cache_type_k);
        let known = || KNOWN.map(|format| format.name()).join(", ");
        format.ok_or_else(|| Error::Usage(format!("'{}' is no type of a cache; known are {}", self.cache_type_k, known())))
    }
}

impl SessionArgs {
    /// Room for tokens in a session that wants `wanted` of them: what was asked for, else that, and never more than the model
    /// was made for unless it was asked for.
    pub(super) fn room(&self, config: &Config, wanted: usize) -> usize {
        self.ctx_size.map_or(wanted.min(config.context), |tokens| tokens as usize)
    }

    /// A session with room for as many tokens as [`room`](Self::room) says.
    ///
    /// # Errors
    /// As [`Session::with_cache`].
    pub(super) fn open<'m>(&self, model: &'m Model, wanted: usize) -> Result<Session<'m>, Error> {
        Session::with_cache(model, self.room(model.config(), wanted), self.chunks.chunk(), self.cache.format()?)
    }

    /// Checks that the options make sense and that a model and its session fit into memory together; weights are counted in
    /// the formats that they are packed in.
    ///
    /// # Errors
    /// [`Error::TooLarge`], or as [`CacheArgs::format`].
    pub(super) fn check(&self, (file, config): (&ModelFile, &Config), ops: &Ops, wanted: usize) -> Result<(), Failure> {
        let packed = |tensor: &TensorInfo| match ops.products_of(tensor.kind.format()).format {
            format if tensor.rank > 1 => (tensor.elements() / format.depth() * format.bytes()) as u64,
            _ => tensor.len as u64,
        };
        let weights: u64 = file.tensors().iter().map(packed).sum();
        let [kept, activations] = needs(config, self.room(config, wanted), self.chunks.chunk(), self.cache.format()?)?;
        Ok(memory::check(&[("weights", weights), kept, activations])?)
    }
}
