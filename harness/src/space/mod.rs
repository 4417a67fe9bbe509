//! What a sweep enumerates: kernels × shapes × threads, each with its blocking, its split over threads and
//! their wait policy, less what cannot win.
//!
//! Static pruning needs no clock: it drops kernels that a wider instruction set supersedes, tiles that would mostly multiply
//! padding or do not fit into registers, blocks that do not fit into caches, and blockings that come to the same thing at a
//! shape. It says what it dropped and why.

mod constraint;
pub mod landscape;
pub mod models;
mod prune;
pub mod shape;
mod vary;

pub use constraint::{Constraint, constrain, refuse_unknown};
pub use shape::{Shape, Spec};
pub use vary::{Blockings, SPINS};

use crate::filter::{by_name, of_this_architecture};
use crate::machine::Machine;
use anyhow::Context;
use kiln_kernels::format::Format;
use kiln_kernels::gemm::{Blocking, Caches, Split};
use kiln_kernels::registry::{Entry, Kernel, Meta, Op};
use kiln_profiles::codegen;
use kiln_profiles::schema::{BlockSizes, Choice, Class, Tuned, Variant};
use prune::Judge;
use serde::{Deserialize, Serialize};

/// Whether operands are in the caches when a call begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Temperature {
    /// The same operands each time.
    Hot,
    /// Operands in rotation over more than twice the last cache.
    Cold,
}

impl Temperature {
    /// What products of a class meet in an engine: weights that were packed before come out of memory where
    /// a call does little but read them.
    pub fn usual(class: Class, packed: bool) -> Temperature {
        if packed && class.reads_weights() { Temperature::Cold } else { Temperature::Hot }
    }

    /// `hot` or `cold`.
    pub fn name(self) -> &'static str {
        match self {
            Temperature::Hot => "hot",
            Temperature::Cold => "cold",
        }
    }
}

/// One problem: everything but the kernel and its blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// The operation.
    pub op: Op,
    /// The format of the operands.
    pub format: Format,
    /// The shape.
    pub shape: Shape,
    /// B is packed beforehand.
    pub packed: bool,
    /// Threads.
    pub threads: usize,
    /// Whether operands are in the caches.
    pub operands: Temperature,
}

impl Problem {
    /// Something that grows with the time of a call: operations, or bytes where none are counted.
    pub fn cost(&self) -> f64 {
        self.shape.flops().unwrap_or_else(|| self.bytes())
    }

    /// Whether this is a problem that one choice serves together with another: alike but for the shape, and that of the same class.
    pub fn is_of_class(&self, other: &Problem) -> bool {
        Problem { shape: other.shape, ..*self } == *other && self.shape.class() == other.shape.class()
    }

    /// Bytes that the algorithm must move: each operand once.
    pub fn bytes(&self) -> f64 {
        self.shape.bytes(self.op, self.format)
    }
}

/// One way to solve a problem.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The kernel.
    pub entry: &'static Entry,
    /// Its handle.
    pub kernel: Kernel,
    /// Rows and columns of its tile; 0 for kernels without one.
    pub tile: (usize, usize),
    /// Its blocking, for matrix products.
    pub blocking: Option<Blocking>,
    /// How it is shared out over threads, for matrix products on several. One for another number of threads
    /// than there are leaves it to be computed, as `None` does.
    pub split: Option<Split>,
    /// Its split is not the one computed for the shape.
    pub split_varied: bool,
    /// Turns that threads spin for between calls, for matrix products on several; `None`: the usual.
    pub spin: Option<u32>,
    /// Blocking, split or spin is not what is computed or usual.
    pub varied: bool,
    /// Whether it is what an untuned build would run.
    pub default: bool,
}

impl Candidate {
    /// A kernel alone: whatever it needs is computed.
    pub fn usual(entry: &'static Entry, kernel: Kernel) -> Candidate {
        let (blocking, split, spin) = (None, None, None);
        Candidate { entry, kernel, tile: (0, 0), blocking, split, split_varied: false, spin, varied: false, default: false }
    }
}

/// What was left out of a sweep before any clock was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Why.
    pub reason: String,
}

/// Whether what an operation does is counted in the bytes that it must move: of all but products, and attention of many
/// tokens, which is made of them. One token attends as fast as keys and values come.
pub const fn is_counted_in_bytes(op: Op) -> bool {
    !matches!(op, Op::Gemm | Op::Attention)
}

/// Data cache sizes of one core, with its share of the last level.
pub fn caches(machine: &Machine) -> Caches {
    let size = |level: u32| machine.cache_bytes(level).map(|b| b as usize);
    let last = machine.caches.iter().find(|c| c.level == 3 && c.holds_data());
    Caches {
        l1: size(1).unwrap_or(32 << 10),
        l2: size(2).unwrap_or(512 << 10),
        l3: last.map_or(0, |c| c.bytes as usize / c.shared_by.max(1) as usize),
    }
}

/// What a build without tuning runs on this CPU: the generic profile's choice, or what completes it.
///
/// # Errors
/// If that profile has none that runs here.
pub fn default_choice(op: Op, format: Format, class: Class) -> anyhow::Result<Choice> {
    let text = match std::env::consts::ARCH {
        "aarch64" => include_str!("../../../profiles/generic-aarch64/tuned.toml"),
        _ => include_str!("../../../profiles/generic-x86_64/tuned.toml"),
    };
    let tuned: Tuned = toml::from_str(text).context("the generic profile cannot be read")?;
    let first = tuned.variants.iter().position(Variant::runs_here);
    let variants = first.map_or(&[][..], |first| &tuned.variants[first..]);
    let built = variants.split_first().map(|(own, later)| codegen::complete(own, later)).unwrap_or_default();
    let is_it = |c: &&Choice| (c.op.as_str(), c.format.as_str(), c.class) == (op.name(), format.name(), class);
    // Products that the engine does not compute have choices too, which no build takes over.
    let kept = || variants.iter().find_map(|v| v.choice(op.name(), format.name(), class));
    built
        .iter()
        .find(is_it)
        .or_else(kept)
        .cloned()
        .with_context(|| format!("the generic profile of {} has no {op} of {format} for {}", tuned.arch, class.name()))
}

/// The name of the kernel that an untuned build runs here: that [choice](default_choice)'s, and for formats that have
/// none the largest tile (for one row: the widest) of the last instruction set in the list that
/// has one.
///
/// # Errors
/// If no kernel for it runs here.
pub fn default_kernel(op: Op, format: Format, class: Class) -> anyhow::Result<&'static str> {
    if let Ok(choice) = default_choice(op, format, class) {
        return Ok(by_name(&choice.kernel)?.meta.name);
    }
    let usable = kiln_kernels::registry::all().map(|e| e.meta).filter(|m| m.op == op && m.format == format && m.isa.runs_here());
    let param = |m: &Meta, name| m.param(name).unwrap_or(0);
    let fits = |m: &&Meta| class.takes_tile(param(m, "MR"));
    let best = usable.filter(fits).max_by_key(|m| (m.isa, param(m, "MR") * param(m, "NV"), m.name));
    best.map(|m| m.name).with_context(|| format!("no kernel for {op} of {format} for {} runs on this CPU", class.name()))
}

/// What a blocking comes to at a shape: no block is larger than the matrix, rounded to whole tiles.
pub fn effective(blocking: BlockSizes, shape: Shape, (mr, nr): (usize, usize)) -> BlockSizes {
    let Shape::Product { m, n, k } = shape else { return blocking };
    let whole = |size: usize, extent: usize, tile: usize| size.max(1).min(extent).next_multiple_of(tile.max(1));
    BlockSizes { kc: blocking.kc.clamp(1, k.max(1)), mc: whole(blocking.mc, m, mr), nc: whole(blocking.nc, n, nr), ..blocking }
}

/// The candidates for a problem among `entries`, the default first, and what was pruned.
///
/// # Errors
/// If no kernel is left.
pub fn candidates(
    problem: &Problem,
    entries: &[&'static Entry],
    blockings: Blockings,
    caches: Caches,
) -> anyhow::Result<(Vec<Candidate>, Vec<Pruned>)> {
    let all = all_candidates(problem, entries, blockings, caches)?;
    let judge = Judge::new(problem, caches, &all);
    let (mut kept, mut pruned) = (Vec::new(), Vec::new());
    for candidate in all {
        match judge.reason(&candidate) {
            Some(reason) => pruned.push(Pruned { kernel: candidate.entry.meta.name, reason: reason.into() }),
            None => kept.push(candidate),
        }
    }
    Ok((kept, pruned))
}

/// The candidates for a problem among `entries`, the default first; nothing is pruned but blockings
/// that come to the same.
///
/// # Errors
/// If none of them runs on this CPU.
pub fn all_candidates(
    problem: &Problem,
    entries: &[&'static Entry],
    blockings: Blockings,
    caches: Caches,
) -> anyhow::Result<Vec<Candidate>> {
    let default = default_kernel(problem.op, problem.format, problem.shape.class()).ok();
    let wanted = |e: &Entry| e.meta.op == problem.op && e.meta.format == problem.format && of_this_architecture(e.meta.isa);
    let mut all = Vec::new();
    for entry in entries.iter().filter(|e| wanted(e)) {
        if let Some(kernel) = (entry.make)() {
            all.extend(vary::vary(entry, kernel, problem, blockings, caches, Some(entry.meta.name) == default));
        }
    }
    // Should time run out, every kernel has been tried with what was computed for it.
    all.sort_by_key(|c| (!c.default, c.varied));
    anyhow::ensure!(!all.is_empty(), "no kernel for {} of {} at {} runs on this CPU", problem.op, problem.format, problem.shape);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_kernels::registry;

    const CACHES: Caches = Caches { l1: 32 << 10, l2: 512 << 10, l3: 16 << 20 };

    fn problem(op: Op, shape: &str) -> Problem {
        Problem { op, format: op.format(), shape: shape.parse().expect("a shape"), packed: false, threads: 1, operands: Temperature::Hot }
    }

    #[test]
    fn the_default_comes_first_and_is_there_once() {
        let entries: Vec<_> = registry::all().collect();
        for (op, shape) in [(Op::Gemm, "512x512x512"), (Op::Gemm, "1x256x768"), (Op::RmsNorm, "128x896"), (Op::F32ToF16, "1x64")] {
            let (kept, _) = candidates(&problem(op, shape), &entries, Blockings::Near, CACHES).expect("candidates");
            assert!(kept[0].default, "{op} {shape}");
            assert_eq!(kept.iter().filter(|c| c.default).count(), 1);
        }
    }

    #[test]
    fn blockings_that_come_to_the_same_are_tried_once() {
        let entries: Vec<_> = registry::all().collect();
        let count = |shape| candidates(&problem(Op::Gemm, shape), &entries, Blockings::Near, CACHES).expect("candidates").0.len();
        assert!(count("48x48x48") < count("2048x2048x2048"));
    }

    #[test]
    fn tiles_of_one_row_are_pruned_for_many_rows() {
        let entries: Vec<_> = registry::all().collect();
        let (kept, pruned) = candidates(&problem(Op::Gemm, "64x512x512"), &entries, Blockings::Analytical, CACHES).expect("candidates");
        assert!(kept.iter().all(|c| c.default || c.tile.0 > 1));
        assert!(pruned.iter().any(|p| p.reason.contains("one row")), "{pruned:?}");
    }

    #[test]
    fn tiles_of_many_rows_are_pruned_for_one_row() {
        let entries: Vec<_> = registry::all().collect();
        let (kept, pruned) = candidates(&problem(Op::Gemm, "1x512x512"), &entries, Blockings::Analytical, CACHES).expect("candidates");
        assert!(kept.iter().all(|c| c.default || c.tile.0 <= 3));
        assert!(pruned.iter().all(|p| !p.reason.is_empty()) && !pruned.is_empty());
    }
}
