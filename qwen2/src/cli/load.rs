//! Options that name a model, and loading it.

use std::path::PathBuf;

use qwen2::baked::Format;
use qwen2::graph::DEFAULT_CACHE;
use qwen2::model::Model;
use qwen2::{EMBEDDED_NAME, Error, ModelFile, Tokenizer, baked, threads};

use super::Failure;
use super::progress::Progress;

/// Which model.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// GGUF file, or folder with config.json, tokenizer.json and safetensors; without it the small model inside this binary
    #[arg(short, long, value_name = "FILE|DIR")]
    pub(super) model: Option<PathBuf>,
}

/// What to compute with.
#[derive(Debug, clap::Args)]
pub(super) struct ComputeArgs {
    /// Threads [default: one per physical core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Profile to use, of those in this binary [default: the best this CPU can run]
    #[arg(long, value_name = "NAME")]
    tuned: Option<String>,
}

/// How keys and values are kept.
#[derive(Debug, clap::Args)]
pub(super) struct CacheArgs {
    /// Type of the keys that are kept: f32, f16, bf16, q8_0
    #[arg(long, value_name = "TYPE", default_value = DEFAULT_CACHE.name())]
    cache_type_k: String,
    /// Type of the values that are kept, which must be that of the keys
    #[arg(long, value_name = "TYPE")]
    cache_type_v: Option<String>,
}

impl CacheArgs {
    /// The format of both.
    pub(super) fn format(&self) -> Result<Format, Failure> {
        const KNOWN: [Format; 4] = [Format::F32, Format::F16, Format::Bf16, Format::Q8_0];
        if self.cache_type_v.as_ref().is_some_and(|values| *values != self.cache_type_k) {
            return Err(
                Error::Usage("keys and values are kept in one type; give --cache-type-v the value of --cache-type-k".to_owned()).into()
            );
        }
        let format = KNOWN.into_iter().find(|format| format.name() == self.cache_type_k);
        let known = || KNOWN.map(|format| format.name()).join(", ");
        Ok(format.ok_or_else(|| Error::Usage(format!("'{}' is no type of a cache; known are {}", self.cache_type_k, known())))?)
    }
}

/// A model, its tokenizer and its name.
pub(super) struct Loaded {
    pub(super) name: String,
    pub(super) tokenizer: Tokenizer,
    pub(super) model: Model,
    /// The file's chat template, if it has one.
    pub(super) template: Option<String>,
}

impl FileArgs {
    /// The model's name for messages.
    pub(super) fn name(&self) -> String {
        self.model.as_ref().map_or_else(|| EMBEDDED_NAME.to_owned(), |path| path.display().to_string())
    }

    /// Opens the file or folder, without its tensors' data.
    pub(super) fn open(&self) -> Result<ModelFile, Failure> {
        match &self.model {
            Some(path) => ModelFile::open(path),
            None => qwen2::embedded().map(ModelFile::from),
        }
        .map_err(Failure::about(&self.name()))
    }

    /// Loads all of it.
    pub(super) fn load(&self, compute: &ComputeArgs) -> Result<Loaded, Failure> {
        let ops = compute.ops()?;
        let mut file = self.open()?;
        let name = self.name();
        let tokenizer = file.tokenizer().map_err(Failure::about(&name))?;
        let template = file.chat_template().map_err(Failure::about(&name))?;
        let mut progress = Progress::new("loading");
        let model = file
            .model(tokenizer.len(), ops, compute.threads(), &mut |done, total| progress.set(done, total))
            .map_err(Failure::about(&name))?;
        threads::settle(compute.threads());
        Ok(Loaded { name, tokenizer, model, template })
    }
}

impl ComputeArgs {
    /// The kernels.
    pub(super) fn ops(&self) -> Result<qwen2::baked::Ops, Failure> {
        Ok(baked::select(self.tuned.as_deref())?)
    }

    /// The number of threads.
    pub(super) fn threads(&self) -> usize {
        self.threads.map_or_else(threads::physical_cores, usize::from)
    }
}
