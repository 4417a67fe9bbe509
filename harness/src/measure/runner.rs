//! One candidate at work on a problem's operands: what a timed call does, and whether it did it right.
//!
//! Threads are a pool pinned one to a CPU; products are split over them by columns, row operations by
//! rows. Packing weights happens before anything is timed.

use super::operands::{Buffer, Inputs, Operands, Output};
use super::spot;
use super::statistics::Random;
use crate::machine::timing;
use crate::space::{Candidate, Shape};
use kiln_kernels::gemm::{Blocking, Gemm, PackedB};
use kiln_kernels::mat::{Mat, MatMut};
use kiln_kernels::registry::Kernel;
use rayon::prelude::*;

/// The ε of norms, as Qwen2 has it.
pub const EPS: f32 = 1e-6;

/// A pool of `threads` threads, each pinned to a CPU of its own; measuring happens inside of it, so
/// that the caller's thread stays free. Threads beyond the CPUs there are stay unpinned.
///
/// # Errors
/// If the threads cannot be started.
pub fn pool(threads: usize) -> anyhow::Result<rayon::ThreadPool> {
    let cpus = timing::cpus();
    let pin = move |index: usize| {
        if let Some(cpu) = cpus.get(index) {
            core_affinity::set_for_current(*cpu);
        }
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(pin)
        .build()
        .map_err(|e| anyhow::anyhow!("cannot start {threads} threads: {e}"))
}

/// A candidate with what it needs beside the operands.
pub struct Runner {
    kernel: Kernel,
    blocking: Blocking,
    /// The packed right operand of each set.
    panels: Vec<Buffer<f32>>,
    /// One for each thread.
    workspaces: Vec<Buffer<f32>>,
    next: usize,
}

impl Runner {
    /// Packs and allocates what `candidate` needs.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn new(candidate: &Candidate, operands: &Operands) -> anyhow::Result<Runner> {
        let mut runner = Runner::packing_each_call(candidate, operands)?;
        let (Kernel::Gemm(gemm), Shape::Product { n, k, .. }) = (candidate.kernel, operands.inputs.problem.shape) else {
            return Ok(runner);
        };
        let random = &mut Random::new(operands.inputs.problem.threads as u64);
        if operands.inputs.problem.packed {
            for set in 0..operands.outputs.len() {
                let mut panels = Buffer::new(gemm.packed_b_len(k, n), random)?;
                gemm.pack_b(operands.inputs.right(set), panels.get_mut());
                runner.panels.push(panels);
            }
        }
        Ok(runner)
    }

    /// As [`Runner::new`], but weights are packed within each call, as libraries without a packed form
    /// of them have to.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn packing_each_call(candidate: &Candidate, operands: &Operands) -> anyhow::Result<Runner> {
        let blocking = candidate.blocking.unwrap_or(Blocking { kc: 1, mc: 1, nc: 1 });
        let mut runner = Runner { kernel: candidate.kernel, blocking, panels: Vec::new(), workspaces: Vec::new(), next: 0 };
        let (Kernel::Gemm(gemm), Shape::Product { m, n, k }) = (candidate.kernel, operands.inputs.problem.shape) else { return Ok(runner) };
        let random = &mut Random::new(operands.inputs.problem.threads as u64);
        let len = gemm.packed_workspace_len(&blocking, m, k).max(gemm.workspace_len(&blocking, m, n, k));
        for _ in 0..operands.inputs.problem.threads {
            runner.workspaces.push(Buffer::new(len, random)?);
        }
        Ok(runner)
    }

    /// One call on the next set of operands. Must run inside of the [`pool`] for several threads.
    pub fn call(&mut self, operands: &mut Operands) {
        let index = self.next;
        self.next = (index + 1) % operands.outputs.len();
        self.call_on(index, operands);
    }

    fn call_on(&mut self, index: usize, operands: &mut Operands) {
        let Operands { inputs, outputs } = operands;
        let output = &mut outputs[index];
        let threads = inputs.problem.threads;
        match (self.kernel, inputs.problem.shape) {
            (Kernel::Gemm(gemm), Shape::Product { m, n, k }) => {
                let packed = self.panels.get(index).map(|p| PackedB::new(p.get(), k, n, gemm.nr()));
                let right = packed.map_or_else(|| Right::Plain(inputs.right(index)), Right::Packed);
                let product = Product { gemm, a: inputs.left(index), right, blocking: self.blocking };
                product.run(MatMut::new(output.floats.get_mut(), m, n, n), threads, &mut self.workspaces);
            }
            (Kernel::Gemm(_), Shape::Rows { .. }) | (_, Shape::Product { .. }) => {}
            (kernel, Shape::Rows { rows, cols }) => {
                let share = rows.div_ceil(threads) * cols;
                over_rows(kernel, inputs, index, output, cols, share.max(1), threads);
            }
        }
    }

    /// Makes one call on fresh outputs and compares elements of it with the oracle: the error as a
    /// fraction of its tolerance.
    ///
    /// # Errors
    /// What is wrong, if an element is off.
    pub fn verify(&mut self, operands: &mut Operands) -> Result<f64, String> {
        operands.outputs[0].floats.get_mut().fill(f32::NAN);
        operands.outputs[0].halves.get_mut().fill(u16::MAX);
        self.call_on(0, operands);
        spot::check(&operands.inputs, &operands.outputs[0])
    }
}

/// A right operand as it is given to a product.
#[derive(Clone, Copy)]
enum Right<'a> {
    Plain(Mat<'a, f32>),
    Packed(PackedB<'a>),
}

#[derive(Clone, Copy)]
struct Product<'a> {
    gemm: Gemm,
    a: Mat<'a, f32>,
    right: Right<'a>,
    blocking: Blocking,
}

impl Product<'_> {
    /// Splits C into one run of whole panels for each thread.
    fn run(self, c: MatMut<'_, f32>, threads: usize, workspaces: &mut [Buffer<f32>]) {
        if threads <= 1 {
            let n = c.cols();
            return self.columns(0, n, c, workspaces[0].get_mut());
        }
        let n = c.cols();
        let share = n.div_ceil(self.gemm.nr()).div_ceil(threads) * self.gemm.nr();
        rayon::scope(|scope| {
            let mut rest = c;
            let mut from = 0;
            for workspace in workspaces {
                let cols = share.min(rest.cols());
                if cols == 0 {
                    break;
                }
                let (mine, others) = rest.split_cols(cols);
                rest = others;
                scope.spawn(move |_| self.columns(from, cols, mine, workspace.get_mut()));
                from += cols;
            }
        });
    }

    fn columns(self, from: usize, cols: usize, c: MatMut<'_, f32>, workspace: &mut [f32]) {
        match self.right {
            Right::Plain(b) => {
                let b = b.block(0, from, b.rows(), cols);
                self.gemm.run(self.a, b, c, false, &self.blocking, workspace);
            }
            Right::Packed(b) => self.gemm.run_packed(self.a, b.columns(from, from + cols), c, false, &self.blocking, workspace),
        }
    }
}

/// A row operation over all rows; `share` is the number of elements of a thread's rows.
fn over_rows(kernel: Kernel, inputs: &Inputs, set: usize, output: &mut Output, cols: usize, share: usize, threads: usize) {
    let (weight, bias) = (inputs.weight.get(), inputs.bias.get());
    let (x, halves) = (inputs.rows(set), inputs.sets[set].halves.get());
    match kernel {
        Kernel::RmsNorm(k) => split(x, output.floats.get_mut(), cols, share, threads, |x, y| k.run(x, weight, EPS, y)),
        Kernel::LayerNorm(k) => split(x, output.floats.get_mut(), cols, share, threads, |x, y| k.run(x, weight, bias, EPS, y)),
        Kernel::F16ToF32(k) => split(halves, output.floats.get_mut(), cols, share, threads, |x, y| k.run(x, y)),
        Kernel::F32ToF16(k) => split(x, output.halves.get_mut(), cols, share, threads, |x, y| k.run(x, y)),
        Kernel::Gemm(_) => {}
    }
}

fn split<X: Sync, Y: Send>(x: &[X], y: &mut [Y], cols: usize, share: usize, threads: usize, row: impl Fn(&[X], &mut [Y]) + Sync) {
    let some = |x: &[X], y: &mut [Y]| x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)).for_each(|(x, y)| row(x, y));
    if threads <= 1 {
        return some(x, y);
    }
    x.par_chunks(share).zip(y.par_chunks_mut(share)).with_max_len(1).for_each(|(x, y)| some(x, y));
}

#[cfg(test)]
mod tests {
    use super::super::operands::Room;
    use super::*;
    use crate::space::{Blockings, Problem, Temperature, candidates};
    use kiln_kernels::gemm::Caches;
    use kiln_kernels::registry::{self, Op};

    #[test]
    fn every_way_of_running_gives_the_oracles_answer() {
        let room = Room { last_cache: 64 << 10, memory: 1 << 30 };
        let caches = Caches { l1: 32 << 10, l2: 512 << 10, l3: 0 };
        let entries: Vec<_> = registry::all().collect();
        for (op, shape) in
            [(Op::Gemm, "33x70x41"), (Op::RmsNorm, "5x100"), (Op::LayerNorm, "3x65"), (Op::F16ToF32, "2x33"), (Op::F32ToF16, "7x31")]
        {
            for (threads, packed, operands) in
                [(1, false, Temperature::Hot), (2, true, Temperature::Cold), (3, false, Temperature::Cold), (2, false, Temperature::Hot)]
            {
                let packed = packed && op == Op::Gemm;
                let problem = Problem { op, shape: shape.parse().expect("a shape"), packed, threads, operands };
                let (all, _) = candidates(&problem, &entries, Blockings::Analytical, caches).expect("candidates");
                let mut operands = Operands::new(&problem, room, 7).expect("operands");
                pool(threads).expect("a pool").install(|| {
                    for c in &all {
                        let mut runner = Runner::new(c, &operands).expect("a runner");
                        let worst = runner.verify(&mut operands).unwrap_or_else(|e| panic!("{}: {e}", c.entry.meta.name));
                        assert!(worst <= 1.0);
                        (0..3).for_each(|_| runner.call(&mut operands));
                    }
                });
            }
        }
    }
}
