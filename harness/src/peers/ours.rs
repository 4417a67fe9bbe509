//! Ours, as one system among others: the kernel that the profile of this CPU chooses, of products with its blocking,
//! or those that were asked for, run by the laboratory's own [`Runner`].

use super::read::Shared;
use super::{System, Task, format};
use crate::filter;
use crate::machine::Machine;
use crate::measure::clock;
use crate::measure::operands::{Operands, Room};
use crate::measure::runner::{self, Runner};
use crate::space::{self, Candidate, Shape};
use crate::sweep::room;
use anyhow::Context;
use kiln_kernels::format::Format;
use kiln_kernels::gemm::Caches;
use kiln_kernels::registry::{self, Kernel, Meta, Op};
use kiln_profiles::lookup;
use kiln_profiles::schema::{BlockSizes, Choice as Tuning, Parts, Tuned};
use serde::Serialize;
use std::sync::Arc;

/// Our name in results.
pub const NAME: &str = "kiln";

/// What is to be run instead of what the profile says.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// A kernel, by name.
    pub kernel: Option<String>,
    /// Block sizes.
    pub blocking: Option<BlockSizes>,
    /// Weights are packed before, as an engine does it, and not within each call; blocks of weights always
    /// are.
    pub packed: bool,
    /// A split, for problems on as many threads as it is for.
    pub split: Option<Parts>,
    /// Turns that threads spin for between calls.
    pub spin: Option<u32>,
}

/// What is run, and who said so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chosen {
    /// The kernel.
    pub kernel: &'static str,
    /// Its blocking, of products.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocking: Option<BlockSizes>,
    /// How it is shared out, on several threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Parts>,
    /// Turns that threads spin for between calls, on several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spin: Option<u32>,
    /// Who chose it: the profile of a CPU, the generic one, or the command line.
    pub by: String,
}

/// Our kernels for one operation and format.
pub struct Kiln {
    choice: Choice,
    task: Task,
    caches: Caches,
    room: Room,
    /// The profile of this CPU, if there is one.
    profile: Option<(String, Tuned)>,
    ready: Option<Ready>,
    shared: Shared,
}

/// What one problem needs.
struct Ready {
    chosen: Chosen,
    runner: Runner,
    /// The operands in the format, where they do not lie in it already.
    own: Option<Operands>,
    pool: rayon::ThreadPool,
}

impl Kiln {
    /// Our kernels for an operation and format.
    ///
    /// # Errors
    /// If there are none, or the one that was asked for cannot run here.
    pub fn new(task: Task, choice: Choice, machine: &Machine) -> anyhow::Result<Kiln> {
        let Task { op, format } = task;
        let mine = |meta: &Meta| meta.op == op && meta.format == format;
        anyhow::ensure!(
            registry::all().any(|e| mine(e.meta) && e.meta.isa.runs_here()),
            "kiln has no {format} {op} for this CPU yet, so there is nothing to compare: 'kiln list --op {op}' shows what there is"
        );
        if let Some(name) = &choice.kernel {
            let meta = filter::by_name(name)?.meta;
            anyhow::ensure!(mine(meta), "{name} is no kernel for {op} in {format}");
            anyhow::ensure!(meta.isa.runs_here(), "{name} needs {}, which this CPU does not have", meta.isa);
        }
        // A profile that is known and not tuned yet, or not there any more, leaves the generic one.
        let tuned = |name: &String| Some((name.clone(), lookup::tuned(lookup::default_root(), name).ok()?.0));
        let profile = machine.profile.as_ref().and_then(tuned);
        Ok(Kiln { choice, task, caches: space::caches(machine), room: room(machine), profile, ready: None, shared: Shared::default() })
    }

    /// Where its packed weights are found once it is ready.
    pub fn packed_weights(&self) -> Shared {
        Shared::clone(&self.shared)
    }

    /// What the profile of this CPU says, if it says anything.
    fn tuned(&self, shape: Shape) -> Option<(&Tuning, String)> {
        let (name, tuned) = self.profile.as_ref()?;
        let (op, format) = (self.task.op.name(), self.task.format.name());
        let mut here = tuned.variants.iter().filter(|v| v.runs_here());
        let choice = match shape {
            Shape::Product { m, .. } => here.find_map(|v| v.product(op, format, m)),
            Shape::Rows { .. } | Shape::Attention { .. } => here.find_map(|v| v.choice(op, format, shape.class())),
        };
        // Kernels come and go: one that is gone is no choice.
        choice.filter(|c| filter::by_name(&c.kernel).is_ok()).map(|c| (c, format!("profile {name}, tier {}", c.tier)))
    }

    /// The kernel for a shape, of products with its blocking, and who said so.
    ///
    /// # Errors
    /// If no profile has a choice that runs here.
    pub fn candidate(&self, shape: Shape) -> anyhow::Result<(Candidate, Chosen)> {
        let Task { op, format } = self.task;
        let (mut split, mut spin) = (self.choice.split, self.choice.spin);
        let (name, blocking, by) = match (&self.choice.kernel, self.tuned(shape)) {
            (Some(name), _) => (name.as_str(), None, "the command line".into()),
            (None, Some((choice, by))) => {
                (split, spin) = (split.or(choice.split), spin.or(choice.spin));
                (choice.kernel.as_str(), choice.blocking, by)
            }
            (None, None) => (space::default_kernel(op, format, shape.class())?, None, "the default for CPUs without a profile".into()),
        };
        let entry = filter::by_name(name)?;
        let kernel = (entry.make)().with_context(|| format!("{name} does not run on this CPU"))?;
        let usual = Candidate { spin, ..Candidate::usual(entry, kernel) };
        let chosen = Chosen { kernel: entry.meta.name, blocking: None, split: None, spin: None, by };
        let Kernel::Gemm(gemm) = kernel else { return Ok((usual, chosen)) };
        let blocking = self.choice.blocking.or(blocking).unwrap_or_else(|| gemm.blocking(self.caches).into());
        let tile = (gemm.geometry().mr, gemm.geometry().nr);
        let candidate = Candidate { tile, blocking: Some(blocking.into()), split: split.map(Into::into), ..usual };
        Ok((candidate, Chosen { blocking: Some(blocking), ..chosen }))
    }
}

impl System for Kiln {
    fn version(&self) -> Option<String> {
        Some(format!("kiln {}", env!("CARGO_PKG_VERSION")))
    }

    fn chosen(&self) -> Option<&Chosen> {
        self.ready.as_ref().map(|r| &r.chosen)
    }

    fn prepare(&mut self, operands: &Operands) -> anyhow::Result<()> {
        self.ready = None;
        let problem = operands.inputs.problem;
        let (candidate, mut chosen) = self.candidate(problem.shape)?;
        let Task { op, format } = self.task;
        let own = if problem.format == format { None } else { Some(operands.converted(format, self.room, |x| format::unit(format, x))?) };
        let packed = self.choice.packed || format.is_blocks();
        let operands = own.as_ref().unwrap_or(operands);
        let runner = if packed { Runner::new(&candidate, operands)? } else { Runner::packing_each_call(&candidate, operands)? };
        self.shared.replace(Some(Arc::clone(runner.panels())));
        if op == Op::Gemm && problem.threads > 1 {
            (chosen.split, chosen.spin) = (Some(runner.split().into()), Some(runner.spin()));
        }
        self.ready = Some(Ready { chosen, runner, own, pool: runner::pinned()? });
        Ok(())
    }

    fn sample(&mut self, operands: &mut Operands, calls: usize) -> anyhow::Result<f64> {
        let Some(Ready { runner, own, pool, .. }) = &mut self.ready else { anyhow::bail!("it was not made ready") };
        let operands = own.as_mut().unwrap_or(operands);
        Ok(pool.install(|| clock::sample(calls, || runner.call(operands))))
    }

    fn bytes(&self) -> Option<usize> {
        self.ready.as_ref().map(|r| r.runner.panels()).filter(|p| p.count() > 0).map(|p| p.bytes())
    }

    fn elements(&mut self, operands: &mut Operands, at: &[(usize, usize)]) -> anyhow::Result<Vec<f64>> {
        let Shape::Product { n, .. } = operands.inputs.problem.shape else { return Ok(Vec::new()) };
        let Some(Ready { runner, own, pool, .. }) = &mut self.ready else { anyhow::bail!("it was not made ready") };
        let operands = own.as_mut().unwrap_or(operands);
        pool.install(|| runner.call_first(operands));
        let output = operands.outputs[0].floats.get();
        let value = |x: f32| if self.task.format == Format::S8 { f64::from(x.to_bits().cast_signed()) } else { f64::from(x) };
        Ok(at.iter().map(|(i, j)| value(output[i * n + j])).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{operands, row_operands, verified};
    use super::*;
    use kiln_kernels::gemm::Blocking;

    const GEMM: Task = Task { op: Op::Gemm, format: Format::F32 };

    fn kernel(name: &str) -> Choice {
        Choice { kernel: Some(name.into()), ..Choice::default() }
    }

    #[test]
    fn ours_is_right_with_every_way_of_choosing() {
        let machine = Machine::detect();
        let blocking = Some(Blocking::new(24, 16, 40).into());
        let scalar = registry::all().find(|e| e.meta.op == Op::Gemm && e.meta.name.contains("scalar")).expect("a kernel").meta.name;
        let split = Some(Parts { rows: 1, cols: 2 });
        for choice in [
            Choice::default(),
            Choice { blocking, packed: true, ..Choice::default() },
            Choice { split, spin: Some(0), ..Choice::default() },
            kernel(scalar),
        ] {
            let mut ours = Kiln::new(GEMM, choice.clone(), &machine).expect("f32 is there");
            for (shape, threads) in [("1x33x65", 1), ("50x70x41", 2)] {
                let worst = verified(&mut ours, &mut operands(shape, threads, Format::F32), Format::F32);
                assert!(worst.as_ref().is_ok_and(|w| *w <= 1.0), "{choice:?} at {shape}: {worst:?}");
                let chosen = ours.chosen().expect("a choice");
                assert_eq!((chosen.split.map_or(1, Parts::threads), chosen.spin.is_some()), (threads, threads > 1));
                assert!(threads == 1 || choice.split.is_none() || (chosen.split, chosen.spin) == (choice.split, choice.spin));
                assert!(
                    choice.kernel.as_ref().is_none_or(|k| k == chosen.kernel)
                        && (choice.blocking.is_none() || choice.blocking == chosen.blocking)
                );
            }
        }
    }

    #[test]
    fn ours_is_right_in_every_format() {
        let machine = Machine::detect();
        for format in Op::Gemm.formats() {
            let mut ours = Kiln::new(Task { op: Op::Gemm, format }, Choice::default(), &machine).expect("kernels");
            // As deep as a block of any format.
            for (shape, threads) in [("1x33x256", 1), ("50x70x256", 2)] {
                let worst = verified(&mut ours, &mut operands(shape, threads, format), format);
                assert!(worst.as_ref().is_ok_and(|w| *w <= 1.0), "{format} at {shape}: {worst:?}");
            }
        }
    }

    #[test]
    fn ours_is_right_at_every_operation_on_rows() {
        let machine = Machine::detect();
        for op in Op::ALL.iter().copied().filter(|op| op.is_rows()) {
            let format = op.format();
            let scalar = registry::all().find(|e| e.meta.op == op && e.meta.format == format && e.meta.name.contains("scalar"));
            for choice in [Choice::default(), kernel(scalar.expect("a kernel").meta.name)] {
                let mut ours = Kiln::new(Task { op, format }, choice.clone(), &machine).expect("kernels");
                for (shape, threads) in [("5x128", 1), ("3x65", 2)] {
                    let worst = verified(&mut ours, &mut row_operands(op, shape, threads), format);
                    assert!(worst.as_ref().is_ok_and(|w| *w <= 1.0), "{op}, {choice:?} at {shape}: {worst:?}");
                    let chosen = ours.chosen().expect("a choice");
                    assert!(chosen.blocking.is_none() && choice.kernel.as_ref().is_none_or(|k| k == chosen.kernel));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let machine = Machine::detect();
        let refusal = |choice| Kiln::new(GEMM, choice, &machine).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refusal(kernel("gemm_f32_none")).contains("unknown kernel"));
        let norm = registry::all().find(|e| e.meta.op == Op::RmsNorm).expect("a kernel").meta.name;
        assert!(refusal(kernel(norm)).contains("no kernel for gemm"));
    }
}
