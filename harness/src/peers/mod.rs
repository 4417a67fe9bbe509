//! The systems that ours is compared with: one table, [`PEERS`], and one trait, [`System`], by which
//! each of them, ours too, is made ready, checked and timed.
//!
//! Of a product all compute C ← A·Wᵀ with A as M × K and W as N × K, both row-major, which is how a linear layer
//! keeps its weights; each packs what it likes within the call, unless ours is asked to pack before. Operands
//! lie in memory as f32 values that the compared [`Format`] has exactly; a system of a narrower format
//! converts them once, before anything is timed. Of an operation on rows all take the very operands, as bytes, and
//! leave the rows that are compared where ours does. Nothing here decides whose turn it is: that is for
//! [`crate::compare`].

mod armpl;
mod blis;
mod cblas;
mod child;
mod copy;
pub mod format;
#[cfg(feature = "peers")]
mod gemm;
#[cfg(feature = "peers")]
mod matrixmultiply;
mod mkl;
mod numpy;
mod openblas;
mod ours;
mod parts;
mod python;
mod read;
mod torch;

pub use ours::{Choice, Chosen, Kiln, NAME};
pub use read::{READ, Read};

use crate::measure::operands::Operands;
use crate::measure::spot;
use crate::space::{Problem, Shape};
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use std::fmt;

/// What systems are compared at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// The operation.
    pub op: Op,
    /// The format of its operands.
    pub format: Format,
}

impl fmt::Display for Task {
    /// The format of a product, what is done with rows, and of attention both.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            Op::Gemm => self.format.fmt(f),
            op if op.is_rows() => op.fmt(f),
            op => write!(f, "{} {op}", self.format),
        }
    }
}

/// A system that multiplies matrices, works on rows or attends.
pub trait System {
    /// Which version and build it is, if it says so.
    fn version(&self) -> Option<String> {
        None
    }

    /// The kernel that it will run, if it says so.
    fn chosen(&self) -> Option<&Chosen> {
        None
    }

    /// The process that it runs in, if that is not this one.
    fn process(&self) -> Option<u32> {
        None
    }

    /// Whether it computes nothing and shows what the machine allows.
    fn is_limit(&self) -> bool {
        false
    }

    /// How many times as far off as ours it may be at what is no product.
    fn leeway(&self, _: &Problem) -> f64 {
        1.0
    }

    /// Makes it ready for the problem of these operands and its number of threads.
    ///
    /// # Errors
    /// If it cannot be.
    fn prepare(&mut self, operands: &Operands) -> anyhow::Result<()>;

    /// Makes `calls` calls, one after another, and tells nanoseconds per call.
    ///
    /// # Errors
    /// If the system fails.
    fn sample(&mut self, operands: &mut Operands, calls: usize) -> anyhow::Result<f64>;

    /// Bytes of weights that a call reads in packed form, if it does so.
    fn bytes(&self) -> Option<usize> {
        None
    }

    /// How far its answer is from the oracle's, as a fraction of what `format` allows. It has been made ready
    /// and nothing else.
    ///
    /// # Errors
    /// If the system fails or is wrong.
    fn error(&mut self, operands: &mut Operands, format: Format) -> anyhow::Result<f64> {
        let shape = operands.inputs.problem.shape;
        let error = match shape {
            Shape::Product { .. } => {
                let at = spot::places(shape);
                let got = self.elements(operands, &at)?;
                spot::elements(&operands.inputs, &at, &got, |k, want| format::tolerance(format, k, want))
            }
            Shape::Rows { .. } | Shape::Attention { .. } => {
                let before = spot::Before::of(operands);
                self.rows(operands)?;
                spot::check(&operands.inputs, &before, &operands.outputs[0], self.leeway(&operands.inputs.problem))
            }
        };
        error.map_err(|why| anyhow::anyhow!("wrong: {why}"))
    }

    /// Makes one call of an operation on rows on the first set of operands, what it only writes being spoilt, and leaves
    /// its answer in the outputs: at least the [rows](spot::rows_of) that are compared.
    ///
    /// # Errors
    /// If the system fails.
    fn rows(&mut self, operands: &mut Operands) -> anyhow::Result<()> {
        operands.spoil();
        self.sample(operands, 1).map(drop)
    }

    /// Makes one call on a fresh output and returns the elements of it at these rows and columns.
    ///
    /// # Errors
    /// If the system fails.
    fn elements(&mut self, operands: &mut Operands, at: &[(usize, usize)]) -> anyhow::Result<Vec<f64>> {
        operands.outputs[0].floats.get_mut().fill(f32::NAN);
        self.sample(operands, 1)?;
        let Shape::Product { n, .. } = operands.inputs.problem.shape else { return Ok(Vec::new()) };
        Ok(at.iter().map(|(i, j)| f64::from(operands.outputs[0].floats.get()[i * n + j])).collect())
    }
}

/// A system other than ours.
#[derive(Debug)]
pub struct Peer {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// The formats of products that it is compared in.
    pub formats: &'static [Format],
    /// The other operations that it is compared at; products in there do not count.
    pub ops: &'static [Op],
    /// How it is had, for who lacks it.
    pub install: &'static str,
    /// Finds it on this machine, or says why not.
    open: Opener,
}

/// Finds a system on this machine.
type Opener = fn(Task) -> anyhow::Result<Box<dyn System>>;

/// Every peer. A new one is its file and its line here.
pub const PEERS: &[Peer] = &[
    openblas::PEER,
    blis::PEER,
    mkl::PEER,
    armpl::PEER,
    torch::PEER,
    numpy::PEER,
    #[cfg(feature = "peers")]
    gemm::PEER,
    #[cfg(feature = "peers")]
    matrixmultiply::PEER,
    parts::PEER,
    copy::PEER,
];

impl Peer {
    /// Whether it is compared at that.
    pub fn has(&self, task: Task) -> bool {
        if task.op == Op::Gemm { self.formats.contains(&task.format) } else { self.ops.contains(&task.op) }
    }
}

/// A peer that was found.
pub struct Found {
    /// Its line in the table.
    pub peer: &'static Peer,
    /// The system.
    pub system: Box<dyn System>,
}

/// The peer of that name.
///
/// # Errors
/// If there is none; the message names those that are known.
pub fn by_name(name: &str) -> Result<&'static Peer, String> {
    PEERS.iter().find(|p| p.name == name).ok_or_else(|| {
        let known: Vec<_> = PEERS.iter().map(|p| p.name).collect();
        format!("unknown peer; known are {}", known.join(" "))
    })
}

/// Opens the peers that were asked for by name.
///
/// # Errors
/// If one of them is not compared at that or is not installed; the message says how it is had.
pub fn named(peers: &[&'static Peer], task: Task) -> anyhow::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for peer in peers {
        anyhow::ensure!(peer.has(task), "{} is not compared in {task}: {}", peer.name, that_have(task));
        if found.iter().all(|f| f.peer.name != peer.name) {
            let system = (peer.open)(task).map_err(|why| anyhow::anyhow!("{}", missing(peer, &why)))?;
            found.push(Found { peer, system });
        }
    }
    Ok(found)
}

/// Opens every peer for that which is installed, and says of the others how they are had.
pub fn installed(task: Task) -> (Vec<Found>, Vec<String>) {
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    for peer in PEERS.iter().filter(|p| p.has(task)) {
        match (peer.open)(task) {
            Ok(system) => found.push(Found { peer, system }),
            Err(why) => notes.push(missing(peer, &why)),
        }
    }
    (found, notes)
}

fn missing(peer: &Peer, why: &anyhow::Error) -> String {
    format!("{} is not here ({why:#}); it is had by: {}", peer.name, peer.install)
}

fn that_have(task: Task) -> String {
    let names: Vec<_> = PEERS.iter().filter(|p| p.has(task)).map(|p| p.name).collect();
    if names.is_empty() { "no other system is, leave --peers out".into() } else { format!("choose among {}", names.join(" ")) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::measure::operands::Room;
    use crate::space::{Problem, Temperature};
    use std::collections::BTreeSet;

    /// Products of f32.
    const GEMM: Task = Task { op: Op::Gemm, format: Format::F32 };
    const ROOM: Room = Room { last_cache: 1 << 20, memory: 1 << 30 };

    /// Operands of an operation on rows.
    pub(crate) fn row_operands(op: Op, shape: &str, threads: usize) -> Operands {
        let shape = shape.parse().expect("a shape");
        let problem = Problem { op, format: op.format(), shape, packed: false, threads, operands: Temperature::Hot };
        Operands::new(&problem, ROOM, 5).expect("operands")
    }

    /// Operands of attention, on one thread.
    pub(crate) fn attention_operands(op: Op, shape: &str, format: Format) -> Operands {
        let shape = shape.parse().expect("a shape");
        let problem = Problem { op, format, shape, packed: false, threads: 1, operands: Temperature::Hot };
        Operands::new(&problem, ROOM, 5).expect("operands")
    }

    /// Operands of a product.
    pub(crate) fn operands(shape: &str, threads: usize, format: Format) -> Operands {
        let problem = Problem {
            op: Op::Gemm,
            format: format::stored(format),
            shape: shape.parse().expect("a shape"),
            packed: true,
            threads,
            operands: Temperature::Hot,
        };
        let mut operands = Operands::new(&problem, ROOM, 5).expect("operands");
        if !format.is_blocks() {
            operands.replace(|x| format::nearest(format, x));
        }
        operands
    }

    /// Makes a system ready for operands and compares its answer with the oracle.
    pub(crate) fn verified(system: &mut dyn System, operands: &mut Operands, format: Format) -> Result<f64, String> {
        system.prepare(operands).map_err(|e| e.to_string())?;
        system.error(operands, format).map_err(|e| e.to_string())
    }

    #[test]
    fn names_are_unique_and_everyone_can_be_had() {
        let names: BTreeSet<_> = PEERS.iter().map(|p| p.name).collect();
        assert_eq!(names.len(), PEERS.len());
        assert!(PEERS.iter().all(|p| p.formats.len() + p.ops.len() > 0 && !p.install.is_empty()));
        assert!(by_name("goto").is_err_and(|e| e.contains("openblas")));
        let refused = |peer, task| named(&[peer], task).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused(&openblas::PEER, Task { format: Format::S8, ..GEMM }).contains("torch"));
        assert!(refused(&openblas::PEER, Task { op: Op::Softmax, ..GEMM }).ends_with("choose among torch numpy copy"));
        assert!(refused(&copy::PEER, GEMM).contains("openblas"));
    }

    #[test]
    fn every_operation_on_rows_has_its_limit() {
        for op in Op::ALL {
            let bytes = !matches!(op, Op::Gemm | Op::Attention);
            assert_eq!(copy::PEER.has(Task { op: *op, format: op.format() }), bytes, "{op}");
        }
    }

    #[test]
    fn every_peer_that_is_installed_gives_the_oracles_answer() {
        let (found, notes) = installed(GEMM);
        assert_eq!(found.len() + notes.len(), PEERS.iter().filter(|p| p.has(GEMM)).count());
        for Found { peer, mut system } in found {
            for (shape, threads) in [("1x1x1", 1), ("33x70x41", 1), ("64x48x80", 2), ("5x200x3", 2), ("129x31x64", 1)] {
                let mut operands = operands(shape, threads, Format::F32);
                let worst = verified(system.as_mut(), &mut operands, Format::F32);
                assert!(worst.as_ref().is_ok_and(|w| *w <= 1.0), "{} at {shape}, {threads} threads: {worst:?}", peer.name);
                assert!(system.sample(&mut operands, 3).is_ok_and(|ns| ns > 0.0), "{}", peer.name);
            }
        }
    }

    #[test]
    fn every_peer_that_is_installed_gives_the_oracles_answer_for_rows() {
        for peer in PEERS.iter().filter(|p| !p.ops.is_empty()) {
            let ops = || peer.ops.iter().copied().filter(|op| op.is_rows());
            let first = ops().next().expect("an operation on rows");
            // One is enough for all, as of problems that follow one another.
            let Ok(mut system) = (peer.open)(Task { op: first, format: first.format() }) else { continue };
            for op in ops() {
                for (shape, threads) in [("1x1", 1), ("5x128", 1), ("3x65", 2), ("9x896", 2), ("2x5000", 1)] {
                    let mut operands = row_operands(op, shape, threads);
                    let worst = verified(system.as_mut(), &mut operands, op.format());
                    assert!(worst.as_ref().is_ok_and(|w| *w <= 1.0), "{} for {op} at {shape}, {threads} threads: {worst:?}", peer.name);
                    assert!(system.sample(&mut operands, 3).is_ok_and(|ns| ns > 0.0), "{}", peer.name);
                }
            }
        }
    }
}
