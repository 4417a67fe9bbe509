//! Where the time of a forward pass goes: the wall clock of each stage of each layer, with the bytes and operations that it
//! must take at least. It never changes what is computed, and costs a branch where it is off.
//!
//! Stages follow one another without a gap: what passes between two marks is the later one's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::baked::Format;

/// A stage of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Rows of the embedding.
    Embedding,
    /// The norm before attention.
    AttnNorm,
    /// Queries, keys and values.
    Qkv,
    /// Bias and rotary positions.
    Rope,
    /// Storing keys and values.
    Store,
    /// Attention.
    Attention,
    /// Its output, added to the residual stream.
    AttnOutput,
    /// The norm before the feed-forward layer.
    FfnNorm,
    /// Gate and up.
    GateUp,
    /// The gate applied.
    Gate,
    /// Down, added to the residual stream.
    Down,
    /// The norm before the head.
    OutputNorm,
    /// Logits.
    Head,
}

impl Stage {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::AttnNorm => "attn_norm",
            Self::Qkv => "qkv",
            Self::Rope => "bias+rope",
            Self::Store => "kv_store",
            Self::Attention => "attention",
            Self::AttnOutput => "attn_output",
            Self::FfnNorm => "ffn_norm",
            Self::GateUp => "gate_up",
            Self::Gate => "silu*mul",
            Self::Down => "down",
            Self::OutputNorm => "output_norm",
            Self::Head => "head",
        }
    }
}

/// What a stage must do at least.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes of weights, of keys and values, and of activations that are read or written once.
    pub bytes: u64,
    /// Operations: a multiply-add counts as two.
    pub ops: u64,
    /// The format of its multiply-adds.
    pub arithmetic: Option<Format>,
    /// The kernel that did it; several are joined.
    pub kernel: String,
}

/// What was counted of a stage.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// How often it ran.
    pub calls: u64,
    /// Wall time.
    pub time: Duration,
    /// What it must have done, all calls together; the kernel is the first one's.
    pub work: Work,
}

/// The layer that a stage belongs to; those before and behind all layers have none.
pub type Place = (Stage, Option<usize>);

/// The profile of a session.
#[derive(Debug, Default)]
pub(super) struct Profile {
    on: bool,
    last: Option<Instant>,
    cells: BTreeMap<Place, Cell>,
}

impl Profile {
    /// Begins to count, or stops.
    pub(super) fn turn(&mut self, on: bool) {
        self.on = on;
    }

    /// What was counted since the last call.
    pub(super) fn take(&mut self) -> BTreeMap<Place, Cell> {
        std::mem::take(&mut self.cells)
    }

    /// A pass begins: time before this is nobody's.
    pub(super) fn begin(&mut self) {
        if self.on {
            self.last = Some(Instant::now());
        }
    }

    /// A stage ends that did `work`.
    #[inline]
    pub(super) fn mark(&mut self, place: Place, work: impl FnOnce() -> Work) {
        if self.on {
            self.note(place, work());
        }
    }

    fn note(&mut self, place: Place, work: Work) {
        let now = Instant::now();
        let cell = self.cells.entry(place).or_default();
        cell.calls += 1;
        cell.time += self.last.map_or(Duration::ZERO, |last| now - last);
        cell.work.bytes += work.bytes;
        cell.work.ops += work.ops;
        if cell.calls == 1 {
            (cell.work.arithmetic, cell.work.kernel) = (work.arithmetic, work.kernel);
        }
        self.last = Some(now);
    }
}
