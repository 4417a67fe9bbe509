//! A Qwen2 model ready to run: hyperparameters, packed weights, the kernels chosen for this CPU and its threads.
//! It is immutable; what changes while text is made lives in [`Session`](crate::graph::Session).

mod config;
mod linear;
mod source;
mod stored;
mod weights;

use std::fmt;

use crate::baked::{Ops, Team};

pub use config::Config;
pub(crate) use config::{check_architecture, folder_vocab, token_id};
pub use linear::{Linear, Part};
pub(crate) use source::mix;
pub use source::{FileSource, RandomSource, Rows, Source};
pub(crate) use stored::{store, widen};
pub use weights::{Layer, Memory, Plan, Progress, Weights};

use crate::error::Error;
use crate::gguf::{Gguf, TensorType};
use crate::hf::Folder;
use crate::threads;

/// A loaded model.
pub struct Model {
    config: Config,
    weights: Weights,
    memory: Memory,
    parameters: u64,
    ops: Ops,
    team: Team,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("config", &self.config).field("profile", &self.ops.profile).finish_non_exhaustive()
    }
}

impl Model {
    /// Loads the tensors of `file`, whose token list has `vocab` entries; `threads` threads load and later compute.
    ///
    /// # Errors
    /// Hyperparameters or tensors are missing or wrong, memory or threads are not to be had.
    pub fn from_gguf(file: &Gguf, vocab: usize, ops: Ops, threads: usize, progress: Progress<'_>) -> Result<Self, Error> {
        let config = Config::from_gguf(file, vocab)?;
        Self::from_source(&FileSource::of_gguf(file), config, ops, threads, progress)
    }

    /// Loads the tensors of `folder`; `threads` threads load and later compute.
    ///
    /// # Errors
    /// Hyperparameters or tensors are missing or wrong, memory or threads are not to be had.
    pub fn from_folder(folder: &Folder, ops: Ops, threads: usize, progress: Progress<'_>) -> Result<Self, Error> {
        let config = Config::from_folder(folder)?;
        Self::from_source(&FileSource::of_folder(folder)?, config, ops, threads, progress)
    }

    /// Makes a model of shape `config` with random weights stored as `kind`, for timing.
    ///
    /// # Errors
    /// Memory or threads are not to be had.
    pub fn random(config: Config, kind: TensorType, seed: u64, ops: Ops, threads: usize, progress: Progress<'_>) -> Result<Self, Error> {
        let own = ops.clone();
        let source = RandomSource { kind, seed, ops: &own };
        let plan = Plan::new(&source, &config, &ops)?;
        Self::from_plan(plan, config, ops, threads, progress)
    }

    fn from_source(source: &FileSource<'_>, config: Config, ops: Ops, threads: usize, progress: Progress<'_>) -> Result<Self, Error> {
        let plan = Plan::new(source, &config, &ops)?;
        source.check_all_used()?;
        Self::from_plan(plan, config, ops, threads, progress)
    }

    fn from_plan(plan: Plan<'_>, config: Config, ops: Ops, threads: usize, progress: Progress<'_>) -> Result<Self, Error> {
        let team = threads::team(threads, ops.spin())?;
        let (memory, parameters) = (plan.memory(&ops), plan.parameters());
        crate::memory::check(&[("weights", memory.total())])?;
        let weights = plan.pack(&ops, &team, progress)?;
        Ok(Self { config, weights, memory, parameters, ops, team })
    }

    /// The hyperparameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// What the weights take.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// The kernels it computes with.
    pub fn ops(&self) -> &Ops {
        &self.ops
    }

    /// The threads it computes on, of which the caller's is the first.
    pub fn team(&self) -> &Team {
        &self.team
    }
}
