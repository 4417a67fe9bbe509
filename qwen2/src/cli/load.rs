//! Options that name a model, and loading it.

use std::path::PathBuf;

use qwen2::gguf::Gguf;
use qwen2::model::Model;
use qwen2::{EMBEDDED_NAME, Tokenizer, baked, threads};

use super::Failure;
use super::progress::Progress;

/// Which model.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// GGUF file; without it the small model inside this binary
    #[arg(short, long, value_name = "FILE")]
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
    profile: Option<String>,
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

    /// Opens the file, without its tensors' data.
    pub(super) fn open(&self) -> Result<Gguf, Failure> {
        match &self.model {
            Some(path) => Gguf::open(path),
            None => qwen2::embedded(),
        }
        .map_err(Failure::about(&self.name()))
    }

    /// Loads all of it.
    pub(super) fn load(&self, compute: &ComputeArgs) -> Result<Loaded, Failure> {
        let ops = compute.ops()?;
        let mut file = self.open()?;
        let name = self.name();
        let tokenizer = Tokenizer::from_gguf(&mut file).map_err(Failure::about(&name))?;
        let template = file.string("tokenizer.chat_template").ok().map(str::to_owned);
        let mut progress = Progress::new("loading");
        let model = Model::from_gguf(&file, tokenizer.len(), ops, compute.threads(), &mut |done, total| progress.set(done, total))
            .map_err(Failure::about(&name))?;
        threads::settle(compute.threads());
        Ok(Loaded { name, tokenizer, model, template })
    }
}

impl ComputeArgs {
    /// The kernels.
    pub(super) fn ops(&self) -> Result<qwen2::baked::Ops, Failure> {
        Ok(baked::select(self.profile.as_deref())?)
    }

    /// The number of threads.
    pub(super) fn threads(&self) -> usize {
        self.threads.map_or_else(threads::physical_cores, usize::from)
    }
}
