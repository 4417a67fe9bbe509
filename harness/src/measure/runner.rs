//! One candidate at work on a problem's operands: what a timed call does, and whether it did it right.
//!
//! Threads are a team pinned one to a CPU; products are split over them in two dimensions as the candidate
//! says, row operations by rows. Candidates that differ in their wait policy share the threads, so that no one's
//! threads spin while another one is timed. Packing weights happens before anything is timed.

use super::fault::{self, Fault};
use super::operands::{Buffer, Input, Inputs, Operands, Output};
use super::panels::Panels;
use super::spot;
use super::statistics::Random;
use crate::machine::timing;
use crate::space::{Candidate, Problem, Shape};
use kiln_kernels::attention::{self, Handle, Mask, Operation};
use kiln_kernels::gemm::product::Product;
use kiln_kernels::gemm::{self, Blocking, Gemm, Right, Split};
use kiln_kernels::mat::{Mat, MatMut};
use kiln_kernels::registry::Kernel;
use kiln_kernels::row::{Access, Data, Extent, Operand, Rows};
use kiln_kernels::team::{DEFAULT_SPIN, Team, Workers};
use kiln_kernels::with_gemm;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A thread pinned to the first CPU; measuring happens inside of it, so that the caller's thread stays free.
///
/// # Errors
/// If the thread cannot be started.
pub fn pinned() -> anyhow::Result<rayon::ThreadPool> {
    pool(1)
}

/// A pool of `threads` threads, each pinned to a CPU of its own, for libraries that bring no threads.
///
/// # Errors
/// If the threads cannot be started.
pub fn pool(threads: usize) -> anyhow::Result<rayon::ThreadPool> {
    // Before any thread is pinned: threads that are started by a pinned one begin on its CPU.
    timing::cpus();
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(pin)
        .build()
        .map_err(|e| anyhow::anyhow!("cannot start {threads} threads: {e}"))
}

/// Pins the calling thread to the CPU of that number among those that may be used; beyond them it stays
/// unpinned.
fn pin(index: usize) {
    if let Some(cpu) = timing::cpus().get(index) {
        core_affinity::set_for_current(*cpu);
    }
}

/// The team of `threads` threads, of which the caller is the first and the others are pinned to the CPUs
/// after the first. There is one of each size, started when it is first asked for.
///
/// # Errors
/// If the threads cannot be started.
pub fn team(threads: usize) -> anyhow::Result<Arc<Team>> {
    static TEAMS: Mutex<BTreeMap<usize, Arc<Team>>> = Mutex::new(BTreeMap::new());
    let mut teams = TEAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(team) = teams.get(&threads) {
        return Ok(Arc::clone(team));
    }
    let team = Team::new(threads, DEFAULT_SPIN, pin).map_err(|e| anyhow::anyhow!("cannot start {threads} threads: {e}"))?;
    Ok(Arc::clone(teams.entry(threads).or_insert(Arc::new(team))))
}

/// What values are drawn from that a verified call updates.
const VERIFIED: u64 = 17;

/// A candidate with what it needs beside the operands.
pub struct Runner {
    kernel: Kernel,
    blocking: Blocking,
    /// The packed right operands; none, if they are packed within each call.
    panels: Arc<Panels>,
    workspace: Buffer<u32>,
    split: Split,
    spin: u32,
    team: Arc<Team>,
    /// The operands of an operation on rows: described once, and not within a call that is timed.
    rows: Vec<Operand>,
    next: usize,
    /// It is broken on purpose.
    fault: Option<Fault>,
}

impl Runner {
    /// Packs and allocates what `candidate` needs.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn new(candidate: &Candidate, operands: &Operands) -> anyhow::Result<Runner> {
        Runner::with(candidate, operands, operands.inputs.problem.packed, &mut Random::new(1))
    }

    /// As [`Runner::new`], at a place in memory that is drawn.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn placed(candidate: &Candidate, operands: &Operands, random: &mut Random) -> anyhow::Result<Runner> {
        Runner::with(candidate, operands, operands.inputs.problem.packed, random)
    }

    /// As [`Runner::new`], but weights are packed within each call, as libraries without a packed form
    /// of them have to.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn packing_each_call(candidate: &Candidate, operands: &Operands) -> anyhow::Result<Runner> {
        Runner::with(candidate, operands, false, &mut Random::new(1))
    }

    fn with(candidate: &Candidate, operands: &Operands, packed: bool, random: &mut Random) -> anyhow::Result<Runner> {
        let blocking = candidate.blocking.unwrap_or(Blocking::new(1, 1, 1));
        let Problem { shape, threads, .. } = operands.inputs.problem;
        let mut runner = Runner {
            kernel: candidate.kernel,
            blocking,
            panels: Arc::new(Panels::new(0, 0, random)?),
            workspace: Buffer::new(0, random)?,
            split: Split::ALONE,
            spin: candidate.spin.unwrap_or(DEFAULT_SPIN),
            team: team(threads)?,
            rows: candidate.kernel.rows().map(Rows::operands).unwrap_or_default(),
            next: 0,
            fault: fault::of(candidate.entry.meta.name)?,
        };
        if let Shape::Attention { tokens, context, heads, kv_heads, dim } = shape {
            let shape = attention::Shape { tokens, context, heads, kv_heads, dim };
            let len = match candidate.kernel {
                Kernel::Attention(kernel) => kernel.workspace_len(shape, threads),
                Kernel::AttentionDecode(kernel) => kernel.workspace_len(shape, threads),
                _ => 0,
            };
            runner.workspace = Buffer::new(len, random)?;
        }
        let (Kernel::Gemm(any), Shape::Product { m, n, k }) = (candidate.kernel, shape) else { return Ok(runner) };
        with_gemm!(any, gemm => {
            if packed {
                let mut panels = Panels::new(operands.outputs.len(), gemm.packed_b_len(k, n), random)?;
                // Of one matrix: sets have none of their own where weights are packed.
                panels.fill(|words| gemm.pack_b(right(&gemm, &operands.inputs, 0), words));
                runner.panels = Arc::new(panels);
            }
            let fitting = candidate.split.filter(|s| s.threads() == threads);
            runner.split = fitting.unwrap_or_else(|| Split::analytical(threads, gemm.geometry(), m, n, packed));
            runner.workspace = Buffer::new(gemm.workspace_len(&blocking, runner.split, packed, (m, n, k)), random)?;
        });
        Ok(runner)
    }

    /// The packed right operands.
    pub fn panels(&self) -> &Arc<Panels> {
        &self.panels
    }

    /// How it shares products out.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Turns that its threads spin for between calls.
    pub fn spin(&self) -> u32 {
        self.spin
    }

    /// One call on the next set of operands.
    pub fn call(&mut self, operands: &mut Operands) {
        let index = self.next;
        self.next = (index + 1) % operands.outputs.len();
        self.call_on(index, operands);
    }

    fn call_on(&mut self, index: usize, operands: &mut Operands) {
        let Operands { inputs, outputs } = operands;
        let output = &mut outputs[index];
        self.team.set_spin(self.spin);
        match (self.kernel, inputs.problem.shape) {
            (Kernel::Gemm(any), Shape::Product { m, n, k }) => with_gemm!(any, gemm => {
                let packed = self.panels.get(index).map(|words| gemm.packed_b(words, k, n));
                let right = packed.map_or_else(|| Right::Plain(right(&gemm, inputs, index)), Right::Packed);
                let c = MatMut::new(bytemuck::cast_slice_mut(output.floats.get_mut()), m, n, n);
                gemm.run_parallel(gemm::Operands::new(left(&gemm, inputs, index), right, c), &self.blocking, self.split, &*self.team, self.workspace.get_mut());
            }),
            (kernel, Shape::Rows { rows, cols }) => {
                if let Some(kernel) = kernel.rows() {
                    over_rows((kernel, &self.rows), &inputs.sets[index], output, (rows, cols), &self.team);
                }
            }
            (Kernel::Attention(kernel), Shape::Attention { .. }) => {
                attend(&kernel, inputs, index, output, &self.team, self.workspace.get_mut())
            }
            (Kernel::AttentionDecode(kernel), Shape::Attention { .. }) => {
                attend(&kernel, inputs, index, output, &self.team, self.workspace.get_mut());
            }
            (_, Shape::Product { .. } | Shape::Attention { .. }) => {}
        }
    }

    /// One call on the first set of operands, whose outputs are spoilt before.
    pub fn call_first(&mut self, operands: &mut Operands) {
        operands.spoil();
        self.call_on(0, operands);
    }

    /// Makes one call on fresh outputs and compares elements of it with the oracle: the error as a
    /// fraction of its tolerance.
    ///
    /// # Errors
    /// What is wrong, if an element is off.
    pub fn verify(&mut self, operands: &mut Operands) -> Result<f64, String> {
        // What calls before this one left in place tells nothing.
        operands.renew(VERIFIED);
        let before = spot::Before::of(operands);
        self.call_first(operands);
        if let Some(fault) = self.fault {
            fault.strike(operands);
        }
        spot::check(&operands.inputs, &before, &operands.outputs[0], 1.0)
    }
}

/// The left operand of a set in the kernel's format.
fn left<'a, P: Product>(_: &Gemm<P>, inputs: &'a Inputs, set: usize) -> Mat<'a, P::A> {
    inputs.left::<P>(set)
}

/// The right operand of a set in the kernel's format.
fn right<'a, P: Product>(_: &Gemm<P>, inputs: &'a Inputs, set: usize) -> Mat<'a, P::B> {
    inputs.right::<P>(set)
}

/// Attention, causal, of the last tokens of the context.
fn attend<O: Operation>(kernel: &Handle<O>, inputs: &Inputs, set: usize, output: &mut Output, team: &Team, workspace: &mut [u32]) {
    let Shape::Attention { tokens, context, heads, dim, .. } = inputs.problem.shape else { return };
    let (Some(kv), Some(queries)) = (inputs.kv(set), inputs.sets[set].rows.first()) else { return };
    let width = heads * dim;
    let queries = Mat::new(bytemuck::cast_slice(queries.get()), tokens, width, width);
    let out = MatMut::new(bytemuck::cast_slice_mut(output.rows[0].get_mut()), tokens, width, width);
    let mask = Mask::Causal { first: context - tokens };
    kernel.run(queries, &kv, (context, mask), out, team, bytemuck::cast_slice_mut(workspace));
}

/// One call of an operation on the rows of a set of operands, which the team shares out.
pub fn call_rows(kernel: (&dyn Rows, &[Operand]), Operands { inputs, outputs }: &mut Operands, set: usize, team: &Team) {
    if let Shape::Rows { rows, cols } = inputs.problem.shape {
        over_rows(kernel, &inputs.sets[set], &mut outputs[set], (rows, cols), team);
    }
}

/// An operation on rows, which the team shares out.
fn over_rows((kernel, operands): (&dyn Rows, &[Operand]), input: &Input, output: &mut Output, (rows, cols): (usize, usize), team: &Team) {
    let threads = team.count().min(rows);
    if threads == 1 {
        let read = input.rows.iter().map(Buffer::get).collect();
        let write = output.rows.iter_mut().map(Buffer::get_mut).collect();
        return kernel.call(&mut Data { rows, cols, first: 0, read, write });
    }
    let part = |thread: usize| rows * thread / threads..rows * (thread + 1) / threads;
    // Of each operand the bytes of one thread's rows, or all where rows share it.
    let bytes = |operand: &Operand, rows: Range<usize>| {
        let row = operand.row_bytes(cols);
        if operand.extent == Extent::Shared { 0..row } else { rows.start * row..rows.end * row }
    };
    let (read, written): (Vec<&Operand>, Vec<&Operand>) = operands.iter().partition(|o| o.access == Access::Read);
    let mut rest: Vec<&mut [u8]> = output.rows.iter_mut().map(Buffer::get_mut).collect();
    let mut shares = Vec::new();
    for thread in 0..threads {
        let mine = part(thread);
        let mut write = Vec::new();
        rest = rest
            .into_iter()
            .zip(&written)
            .map(|(bytes_left, operand)| {
                let (mine, others) = bytes_left.split_at_mut(bytes(operand, mine.clone()).len());
                write.push(mine);
                others
            })
            .collect();
        let read = read.iter().zip(&input.rows).map(|(o, buffer)| &buffer.get()[bytes(o, mine.clone())]).collect();
        shares.push(Mutex::new(Data { rows: mine.len(), cols, first: mine.start, read, write }));
    }
    team.share(threads, &|thread| kernel.call(&mut shares[thread].lock().unwrap_or_else(PoisonError::into_inner)));
}

#[cfg(test)]
mod tests {
    use super::super::operands::Room;
    use super::*;
    use crate::space::{Blockings, Temperature, candidates};
    use kiln_kernels::attention::Layout;
    use kiln_kernels::format::Format;
    use kiln_kernels::gemm::Caches;
    use kiln_kernels::registry::{self, Op};

    #[test]
    fn a_team_that_a_pinned_thread_starts_has_a_cpu_for_each_member() {
        let pool = pinned().expect("a thread");
        let cpus = timing::cpus().len().min(3);
        let seen = Mutex::new(std::collections::BTreeSet::new());
        pool.install(|| {
            let team = team(cpus).expect("threads");
            team.run(cpus, &|_| {
                let mine = core_affinity::get_core_ids().unwrap_or_default();
                seen.lock().expect("no panic").extend(mine.iter().map(|cpu| cpu.id));
            });
        });
        assert_eq!(seen.into_inner().expect("no panic").len(), cpus);
    }

    #[test]
    fn every_way_of_running_gives_the_oracles_answer() {
        let room = Room { last_cache: 64 << 10, memory: 1 << 30 };
        let caches = Caches { l1: 32 << 10, l2: 512 << 10, l3: 0 };
        let entries: Vec<_> = registry::all().collect();
        let products = Format::ALL.iter().map(|f| (Op::Gemm, *f, "33x70x41"));
        let rows = Op::ALL.iter().filter(|op| op.is_rows()).flat_map(|op| [(*op, op.format(), "5x128"), (*op, op.format(), "3x65")]);
        let cached = Layout::FORMATS.into_iter().flat_map(|f| [(Op::Attention, f, "5x33x4x2x64"), (Op::AttentionDecode, f, "1x33x4x2x64")]);
        for (op, format, shape) in products.chain(rows).chain(cached) {
            for (threads, packed, operands) in
                [(1, false, Temperature::Hot), (2, true, Temperature::Cold), (3, false, Temperature::Cold), (2, false, Temperature::Hot)]
            {
                let packed = packed && op == Op::Gemm;
                let problem = Problem { op, format, shape: shape.parse().expect("a shape"), packed, threads, operands };
                // Every blocking, split and spin at one of the problems.
                let which = if format == Format::F32 && threads == 3 { Blockings::Near } else { Blockings::Analytical };
                let (all, _) = candidates(&problem, &entries, which, caches).expect("candidates");
                let mut operands = Operands::new(&problem, room, 7).expect("operands");
                pinned().expect("a thread").install(|| {
                    for c in &all {
                        let mut runner = Runner::new(c, &operands).expect("a runner");
                        assert!(op != Op::Gemm || runner.split().threads() == threads && c.split.is_none_or(|s| s == runner.split()));
                        assert_eq!(runner.spin(), c.spin.unwrap_or(DEFAULT_SPIN));
                        let worst = runner.verify(&mut operands).unwrap_or_else(|e| panic!("{}: {e}", c.entry.meta.name));
                        assert!(worst <= 1.0);
                        let calls = if op == Op::Rope { 2000 } else { 3 };
                        (0..calls).for_each(|_| runner.call(&mut operands));
                        // Calls in place have changed what they read.
                        runner.verify(&mut operands).unwrap_or_else(|e| panic!("{}, later: {e}", c.entry.meta.name));
                    }
                });
            }
        }
    }
}
