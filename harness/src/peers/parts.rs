//! The parts of a fused operation, one kernel after another, as a system among the others: what fusing is worth.
//!
//! Of each part the kernel is taken that makes the whole fastest at the problem; what goes from one to the next lies in
//! memory of each thread's own. The part that only adds is a plain loop over the widest vectors.

use super::{Peer, System};
use crate::machine::Machine;
use crate::measure::operands::Operands;
use crate::measure::{clock, runner};
use crate::space::Shape;
use crate::sweep;
use anyhow::Context;
use bytemuck::{cast_slice, cast_slice_mut};
use kiln_kernels::isa::stream;
use kiln_kernels::mat::{Mat, MatMut};
use kiln_kernels::reference::Expected;
use kiln_kernels::registry::{self, Entry, Kernel, Meta, Op};
use kiln_kernels::row::{Data, Extent, Operand, Rows};
use kiln_kernels::team::Team;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// The parts of every operation that has some.
pub(super) const PEER: Peer = Peer {
    name: "parts",
    formats: &[],
    ops: &[Op::AddRmsNorm, Op::RmsNormQuantise, Op::Rope, Op::SiluMulQuantise],
    install: "nothing: it is compiled in",
    open: |_| Ok(Box::new(Parts { ready: None })),
};

/// A sample of a sequence lasts so long, when kernels are chosen.
const SAMPLE: Duration = Duration::from_millis(2);
/// Samples of each, of which the best counts.
const SAMPLES: usize = 5;

/// The parts of an operation.
struct Parts {
    ready: Option<Ready>,
}

struct Ready {
    sequence: Sequence,
    pool: rayon::ThreadPool,
    team: Arc<Team>,
    next: usize,
}

/// Kernels of an operation's parts, in order, which together are one on rows.
struct Sequence {
    op: Op,
    operands: Vec<Operand>,
    kernels: Vec<Part>,
}

/// A kernel, and what the registry says of it.
type Part = (&'static Meta, Kernel);

/// The parts that are kernels; what only adds stands before them.
fn stages(op: Op) -> &'static [Op] {
    match op {
        Op::AddRmsNorm => &[Op::RmsNorm],
        Op::RmsNormQuantise => &[Op::RmsNorm, Op::Quantise],
        Op::Rope => &[Op::Rope],
        Op::SiluMulQuantise => &[Op::SiluMul, Op::Quantise],
        _ => &[],
    }
}

/// The kernels of an operation that run here.
fn kernels(op: Op) -> Vec<Part> {
    let mine = registry::all().filter(|e: &&Entry| e.meta.op == op && e.meta.format == op.format());
    mine.filter_map(|e| Some((e.meta, (e.make)()?))).collect()
}

thread_local! {
    /// What goes from one part to the next.
    static BETWEEN: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Rows for Sequence {
    fn meta(&self) -> &'static Meta {
        self.kernels[0].0
    }

    fn operands(&self) -> Vec<Operand> {
        self.operands.clone()
    }

    fn call(&self, data: &mut Data<'_>) {
        let stage = |index: usize, data: &mut Data<'_>| self.kernels[index].1.rows().into_iter().for_each(|k| k.call(data));
        let (rows, cols, first) = (data.rows, data.cols, data.first);
        match self.op {
            Op::AddRmsNorm => {
                let [x, y] = &mut *data.write else { return };
                stream::add(cast_slice(data.read[0]), cast_slice_mut(x));
                stage(0, &mut Data { rows, cols, first, read: vec![x, data.read[1]], write: vec![y] });
            }
            Op::Rope => {
                // Columns that make up no head stay as they are.
                let dim = Extent::Head.of(cols);
                let heads = cols / dim.max(1) * dim;
                let bias: &[f32] = cast_slice(data.read[0]);
                let x: &mut [f32] = cast_slice_mut(data.write[0]);
                x.chunks_exact_mut(cols.max(1)).for_each(|x| stream::add(&bias[..heads], &mut x[..heads]));
                if let Kernel::Rope(rope) = self.kernels[0].1 {
                    rope.run(MatMut::new(x, rows, heads, cols), &[], Mat::new(cast_slice(data.read[1]), rows, dim, dim));
                }
            }
            _ => BETWEEN.with_borrow_mut(|between| {
                between.resize(rows * cols, 0.0);
                stage(0, &mut Data { rows, cols, first, read: data.read.clone(), write: vec![cast_slice_mut(between)] });
                let [y] = &mut *data.write else { return };
                stage(1, &mut Data { rows, cols, first, read: vec![cast_slice(between)], write: vec![y] });
            }),
        }
    }

    fn expected(&self, read: &[Vec<f32>], before: &[Vec<f32>], row: usize) -> Vec<Vec<Expected>> {
        self.op.expected(self.op.format(), read, before, row).unwrap_or_default()
    }
}

impl Ready {
    fn sample(&mut self, operands: &mut Operands, calls: usize) -> f64 {
        let Ready { sequence, pool, team, next } = self;
        pool.install(|| {
            clock::sample(calls, || {
                runner::call_rows((sequence, &sequence.operands), operands, *next, team);
                *next = (*next + 1) % operands.inputs.sets.len();
            })
        })
    }
}

impl System for Parts {
    fn version(&self) -> Option<String> {
        let names = |r: &Ready| r.sequence.kernels.iter().map(|k| k.0.name).collect::<Vec<_>>().join(", ");
        self.ready.as_ref().map(names)
    }

    fn prepare(&mut self, operands: &Operands) -> anyhow::Result<()> {
        self.ready = None;
        let problem = operands.inputs.problem;
        let op = problem.op;
        // Choosing would leave what is compared in another state.
        let mut own = Operands::new(&problem, sweep::room(&Machine::detect()), 1)?;
        let choices: Vec<Vec<Part>> = stages(op).iter().map(|op| kernels(*op)).collect();
        let first = choices.iter().map(|kernels| kernels.first().copied().context("a part has no kernel here"));
        let sequence = Sequence {
            op,
            operands: op.operands(op.format()).context("it is no operation on rows")?,
            kernels: first.collect::<Result<_, _>>()?,
        };
        anyhow::ensure!(matches!(problem.shape, Shape::Rows { .. }), "{op} is compared at rows");
        let mut ready = Ready { sequence, pool: runner::pinned()?, team: runner::team(problem.threads)?, next: 0 };
        // One part after the other; two rounds, since the best of one may depend on the other.
        for _ in 0..2 {
            for (part, kernels) in choices.iter().enumerate() {
                let mut best = (f64::INFINITY, ready.sequence.kernels[part]);
                for kernel in kernels {
                    ready.sequence.kernels[part] = *kernel;
                    let calls = (SAMPLE.as_nanos() as f64 / ready.sample(&mut own, 1).max(1.0)).clamp(1.0, 1e6) as usize;
                    for _ in 0..SAMPLES {
                        let took = ready.sample(&mut own, calls);
                        if took < best.0 {
                            best = (took, *kernel);
                        }
                    }
                }
                ready.sequence.kernels[part] = best.1;
            }
        }
        self.ready = Some(Ready { next: 0, ..ready });
        Ok(())
    }

    fn sample(&mut self, operands: &mut Operands, calls: usize) -> anyhow::Result<f64> {
        Ok(self.ready.as_mut().context("it was not made ready")?.sample(operands, calls))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{row_operands, verified};
    use super::*;

    #[test]
    fn parts_make_what_the_fused_operation_makes() {
        for op in PEER.ops.iter().copied() {
            for (shape, threads) in [("1x1", 1), ("5x128", 1), ("3x65", 1), ("7x256", 2)] {
                let mut parts = Parts { ready: None };
                let worst = verified(&mut parts, &mut row_operands(op, shape, threads), op.format());
                assert!(worst.as_ref().is_ok_and(|w| *w <= 1.0), "{op} at {shape}: {worst:?}");
                assert!(parts.version().is_some_and(|v| v.split(", ").count() == stages(op).len()));
            }
        }
    }
}
