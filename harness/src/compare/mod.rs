//! Our kernels beside other libraries, in one run on the same operands.
//!
//! Every system is first held against the oracle at each problem; one that is wrong, or that fails,
//! ends the comparison. Then all take turns in rounds, each with the idle policy that it is shipped
//! with: before a turn everyone is at rest, and a system wakes up by calls that nobody times.
//! What the machine can do at most is measured before and after each problem.

pub mod baseline;
mod plots;
mod quiet;
mod rates;
mod rounds;

pub use rates::{Rate, Row, Size};

use crate::guard;
use crate::machine::peak::{Peak, peaks};
use crate::machine::timing::Plan;
use crate::machine::{Machine, lock};
use crate::measure::clock::Effort;
use crate::measure::noise;
use crate::measure::operands::{self, Operands, Room};
use crate::peers::{self, Choice, Found, Kiln, Peer, System, Task, format};
use crate::progress::Progress;
use crate::space::{Problem, Shape, Temperature};
use crate::sweep::room;
use kiln_kernels::format::Format;
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::Op;
use rates::{About, Figures};
use rounds::Player;
use serde::Serialize;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// The operation, and the format of its operands.
    pub task: Task,
    /// The problems' extents.
    pub shapes: Vec<Shape>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// With whom; `None`: with all that are installed.
    pub peers: Option<Vec<&'static Peer>>,
    /// What ours is to run.
    pub choice: Choice,
    /// Whether operands are the same each time, or rotate through more than the last cache holds. Of products, other
    /// systems keep theirs in one place, and so are only compared hot.
    pub operands: Temperature,
    /// Whether reading the packed weights of ours is a system too.
    pub read: bool,
    /// How thoroughly to measure.
    pub effort: Effort,
}

/// All of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The key of the machine.
    pub machine: String,
    /// The operation.
    #[serde(serialize_with = "name")]
    pub op: Op,
    /// The format's name.
    pub format: &'static str,
    /// The smallest relative difference that pairs of this session can show.
    pub noise_floor: f64,
    /// How often a system was still busy when the next one's turn came.
    pub restless: usize,
    /// One for each system at each problem, ours first.
    pub rows: Vec<Row>,
}

fn name<S: serde::Serializer>(op: &Op, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(op.name())
}

/// A system failed or gave a wrong answer: not what was asked for is at fault, but what was found.
#[derive(Debug, thiserror::Error)]
#[error("{system} at {shape}, {threads} thread(s): {why}")]
pub struct Failed {
    system: &'static str,
    shape: Shape,
    threads: usize,
    why: String,
}

/// A system and its name.
struct Named {
    name: &'static str,
    system: Box<dyn System>,
}

/// Compares.
///
/// # Errors
/// Bad input, before anything is measured; [`Failed`] if a system is wrong or gives up.
pub fn run(options: &Options, machine: &Machine) -> anyhow::Result<Comparison> {
    machine.allow_timing(&options.threads)?;
    let room = room(machine);
    let problem = |threads: &usize, shape: &Shape| problem(options.task, *shape, *threads, options.operands);
    let problems: Vec<Problem> = options.threads.iter().flat_map(|t| options.shapes.iter().map(move |s| problem(t, s))).collect();
    problems.iter().try_for_each(|p| operands::fits(p, room))?;
    let ours = Kiln::new(options.task, options.choice.clone(), machine)?;
    let first = problems.first().copied().ok_or_else(|| anyhow::anyhow!("no shape and number of threads given"))?;
    let (candidate, _) = ours.candidate(first.shape)?;
    // Of a kernel that was asked for, the peak of its own instructions is the one to come near to.
    let isa = options.choice.kernel.is_some().then_some(candidate.entry.meta.isa);
    let read = options.read.then(|| Named { name: peers::READ, system: Box::new(peers::Read::new(ours.packed_weights())) });
    let mut systems = vec![Named { name: peers::NAME, system: Box::new(ours) }];
    systems.extend(read);
    systems.extend(find(options)?.into_iter().map(|f| Named { name: f.peer.name, system: f.system }));

    let _machine = lock::machine(|note| eprintln!("note: {note}"))?;
    let progress = Progress::new(problems.len() as u64 * STEPS, "comparing");
    progress.at("noise floor");
    let noise_floor = noise::floor(&Problem { format: options.task.format, ..first }, &candidate, room, &options.effort)?;
    let mut session = Session { options, room, isa, progress, peak: None, restless: 0 };
    let mut rows = Vec::new();
    for problem in &problems {
        rows.extend(session.compare(problem, &mut systems)?);
    }
    let Session { restless, .. } = session;
    Ok(Comparison { machine: machine.key().into(), op: options.task.op, format: options.task.format.name(), noise_floor, restless, rows })
}

/// The peers that were asked for, or all that there are; then what is missing is noted.
fn find(options: &Options) -> anyhow::Result<Vec<Found>> {
    let alone = options.operands == Temperature::Cold && options.task.op == Op::Gemm;
    match &options.peers {
        Some(named) if !named.is_empty() && alone => {
            anyhow::bail!("other systems keep their weights in one place: leave --peers out to measure ours with cold operands")
        }
        Some(named) => peers::named(named, options.task),
        None if alone => Ok(Vec::new()),
        None => {
            let (found, missing) = peers::installed(options.task);
            missing.iter().for_each(|m| eprintln!("note: {m}"));
            Ok(found)
        }
    }
}

/// Rows and caches in their own formats; of products the weights as a linear layer keeps them.
fn problem(Task { op, format }: Task, shape: Shape, threads: usize, operands: Temperature) -> Problem {
    let product = op == Op::Gemm;
    Problem { op, format: if product { format::stored(format) } else { format }, shape, packed: product, threads, operands }
}

/// Steps of progress at a problem.
const STEPS: u64 = 100;

/// What lasts from problem to problem.
struct Session<'a> {
    options: &'a Options,
    room: Room,
    /// The instruction set whose peak counts, if not the best.
    isa: Option<IsaId>,
    progress: Progress,
    /// The last peak that was measured, and for how many threads.
    peak: Option<Peak>,
    restless: usize,
}

impl Session<'_> {
    /// All systems at one problem.
    fn compare(&mut self, problem: &Problem, systems: &mut [Named]) -> anyhow::Result<Vec<Row>> {
        let Options { task: Task { op, format }, effort, .. } = *self.options;
        let effort = &effort;
        let what = format!("{}, {} thread(s)", problem.shape, problem.threads);
        self.progress.at(what.clone());
        let before = match self.peak.take() {
            Some(peak) if peak.threads == problem.threads => Some(peak),
            _ => self.measure_peak(problem.threads),
        };
        let seed = problem.shape.size() as u64;
        let mut operands = Operands::new(problem, self.room, seed)?;
        if op == Op::Gemm && !format.is_blocks() {
            operands.replace(|x| format::nearest(format, x));
        }

        let (mut abouts, mut errors, mut players) = (Vec::new(), Vec::new(), Vec::new());
        let failed = |system, why| Failed { system, shape: problem.shape, threads: problem.threads, why };
        for Named { name, system } in systems.iter_mut() {
            self.progress.at(format!("{what}: verifying {name}"));
            operands.renew(seed);
            let verified = verify(name, system.as_mut(), &mut operands, format);
            errors.push(verified.map_err(|why| failed(name, why))?);
            abouts.push(About {
                system: name,
                limit: system.is_limit(),
                version: system.version(),
                kernel: system.chosen().cloned(),
                bytes: system.bytes(),
            });
            let player = Player::new(system.as_mut(), &mut operands, effort);
            players.push(player.map_err(|why| failed(name, format!("{why:#}")))?);
        }
        self.progress.at(what);
        let mut done = 0;
        let played = rounds::play(&mut players, &mut operands, effort, |share| {
            let now = (share * STEPS as f64) as u64;
            self.progress.advance(now - done);
            done = now;
        });
        let rounds = played.map_err(|rounds::Interrupted { player, why }| failed(abouts[player].system, format!("{why:#}")))?;
        self.progress.advance(STEPS - done);
        self.restless += rounds.restless;

        self.peak = self.measure_peak(problem.threads);
        // The machine may be slower for a while: what it managed at best is the limit.
        let peak = before.iter().chain(&self.peak).map(Peak::gflops).reduce(f64::max);
        let figures = Figures { problem, ours: &rounds.ns[0], peak };
        let all = abouts.into_iter().zip(errors).zip(&rounds.ns).enumerate();
        let row = |(index, ((about, error), ns)): (usize, ((About, f64), &Vec<f64>))| figures.row(about, error, ns, index == 0);
        Ok(all.filter_map(row).collect())
    }

    /// The most multiply-adds of the format, of attention always in f32; `None` where no loop for it is known, and where bytes
    /// are the limit, which is a system then.
    fn measure_peak(&self, threads: usize) -> Option<Peak> {
        let Task { op, format } = self.options.task;
        let arithmetic = match op {
            Op::Gemm => format.arithmetic(),
            Op::Attention => Format::F32.arithmetic(),
            _ => return None,
        };
        self.progress.at(format!("peak of {threads} thread(s)"));
        let all = peaks(Some(arithmetic), &[threads], &Plan::QUICK, |_| {});
        let all = all.into_iter().filter(|p| self.isa.is_none_or(|isa| p.isa == isa.to_string()));
        all.max_by(|a, b| a.flops.median.total_cmp(&b.flops.median))
    }
}

/// Makes a system ready and compares its answer with the oracle: the error as a fraction of its tolerance.
fn verify(name: &'static str, system: &mut dyn System, operands: &mut Operands, format: Format) -> Result<f64, String> {
    let error = guard::watch(name, || system.prepare(operands).and_then(|()| system.error(operands, format)));
    error.map_err(|why| format!("{why:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system that tells nothing.
    pub(super) fn about(system: &'static str) -> About {
        About { system, limit: false, version: None, kernel: None, bytes: None }
    }

    /// A row of each system at a shape on two threads, ours being `kiln`.
    pub(super) fn rows(shape: &str, systems: &[About]) -> Vec<Row> {
        let shape: Shape = shape.parse().expect("a shape");
        let op = if shape.flops().is_some() { Op::Gemm } else { Op::Softmax };
        let problem = problem(Task { op, format: Format::F32 }, shape, 2, Temperature::Hot);
        let figures = Figures { problem: &problem, ours: &[10.0], peak: shape.flops().map(|_| 99.0) };
        systems.iter().map(|about| figures.row(about.clone(), 0.0, &[20.0], about.system == "kiln").expect("a row")).collect()
    }

    /// A comparison with those rows.
    pub(super) fn comparison(op: Op, rows: Vec<Row>) -> Comparison {
        Comparison { machine: "m".into(), op, format: "f32", noise_floor: 0.0, restless: 0, rows }
    }

    #[test]
    fn weights_lie_packed_and_rows_in_their_formats() {
        let of = |op, format, shape: &str| problem(Task { op, format }, shape.parse().expect("a shape"), 1, Temperature::Hot);
        let product = of(Op::Gemm, Format::Bf16, "2x3x4");
        assert_eq!((product.format, product.packed), (Format::F32, true));
        let rows = of(Op::Bf16ToF32, Format::Bf16, "2x3");
        assert_eq!((rows.format, rows.packed), (Format::Bf16, false));
        let document = serde_json::to_value(comparison(Op::Softmax, Vec::new())).expect("JSON");
        assert_eq!(document["op"], "softmax");
    }
}
