//! Options that name a model, and loading it.

use std::path::PathBuf;

use qwen2::baked::{Arithmetic, Ops};
use qwen2::model::{Config, Model};
use qwen2::{EMBEDDED_NAME, Error, ModelFile, Tokenizer, baked, threads};

use super::Failure;
use super::progress::Progress;
use super::session::SessionArgs;

/// Which model.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// GGUF file, or folder with config.json, tokenizer.json and safetensors; without it the small model inside this binary
    #[arg(short, long, value_name = "FILE|DIR")]
    pub(super) model: Option<PathBuf>,
}

/// Which kernels, on how many threads.
#[derive(Debug, clap::Args)]
pub(super) struct KernelArgs {
    /// Threads [default: one per physical core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Profile to use, of those in this binary [default: the best this CPU can run]
    #[arg(long, value_name = "NAME")]
    tuned: Option<String>,
}

/// What to compute a model with.
#[derive(Debug, clap::Args)]
pub(super) struct ComputeArgs {
    #[command(flatten)]
    kernels: KernelArgs,
    /// How activations are multiplied by weights that are floats: f32, or bf16, to which both are rounded: faster where the
    /// CPU has instructions for it, and less exact
    #[arg(long, default_value = Arithmetic::F32.name(), value_parser = arithmetic, value_name = "CLASS")]
    arithmetic: Arithmetic,
}

/// The arithmetic of that name.
fn arithmetic(name: &str) -> Result<Arithmetic, String> {
    let found = Arithmetic::ALL.into_iter().find(|arithmetic| arithmetic.name() == name);
    found.ok_or_else(|| format!("known are {}", Arithmetic::ALL.map(Arithmetic::name).join(", ")))
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
        self.load_checked(compute, |_, _, _| Ok(()))
    }

    /// Loads all of it, if a session for `wanted` tokens fits into memory too.
    pub(super) fn load_for(&self, compute: &ComputeArgs, session: &SessionArgs, wanted: usize) -> Result<Loaded, Failure> {
        self.load_checked(compute, |file, config, ops| session.check((file, config), ops, wanted))
    }

    /// Loads all of it, unless `check` has something against the file and its hyperparameters.
    fn load_checked(
        &self,
        compute: &ComputeArgs,
        check: impl FnOnce(&ModelFile, &Config, &Ops) -> Result<(), Failure>,
    ) -> Result<Loaded, Failure> {
        let ops = compute.ops()?;
        let mut file = self.open()?;
        let name = self.name();
        let tokenizer = file.tokenizer().map_err(Failure::about(&name))?;
        let template = file.chat_template().map_err(Failure::about(&name))?;
        check(&file, &file.config(tokenizer.len()).map_err(Failure::about(&name))?, &ops)?;
        let model = self.weights(&file, tokenizer.len(), ops, compute)?;
        Ok(Loaded { name, tokenizer, model, template })
    }

    /// Loads the weights of `file` alone, for whoever needs no text.
    pub(super) fn load_weights(&self, file: &ModelFile, compute: &ComputeArgs) -> Result<Model, Failure> {
        let vocab = file.vocab().map_err(Failure::about(&self.name()))?;
        self.weights(file, vocab, compute.ops()?, compute)
    }

    fn weights(&self, file: &ModelFile, vocab: usize, ops: Ops, compute: &ComputeArgs) -> Result<Model, Failure> {
        let mut progress = Progress::new("loading");
        let loaded = file.model(vocab, ops, compute.threads(), &mut |done, total| progress.set(done, total));
        let model = loaded.map_err(Failure::about(&self.name()))?;
        threads::settle(compute.threads());
        Ok(model)
    }
}

impl KernelArgs {
    /// The kernels.
    pub(super) fn ops(&self) -> Result<Ops, Failure> {
        Ok(baked::select(self.tuned.as_deref())?)
    }

    /// The number of threads.
    pub(super) fn threads(&self) -> usize {
        self.threads.map_or_else(threads::physical_cores, usize::from)
    }
}

impl ComputeArgs {
    /// The kernels.
    pub(super) fn ops(&self) -> Result<Ops, Failure> {
        let ops = self.kernels.ops()?;
        let (profile, name) = (ops.profile, self.arithmetic.name());
        let none = || Error::Usage(format!("profile '{profile}' has no kernels for {name} arithmetic; leave --arithmetic out"));
        Ok(ops.with_arithmetic(self.arithmetic).ok_or_else(none)?)
    }

    /// The number of threads.
    pub(super) fn threads(&self) -> usize {
        self.kernels.threads()
    }
}
