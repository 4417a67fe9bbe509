//! The crate `matrixmultiply`, compiled into this binary.
//!
//! The crate reads its number of threads from the environment, once a process. So that one run can
//! compare several numbers, it is used without its threads, and C is split here into a run of rows
//! for each thread of a pool that is pinned as ours is.

use super::{Peer, System};
use crate::measure::operands::Operands;
use crate::measure::{clock, runner};
use crate::space::Shape;
use kiln_kernels::format::Format;
use rayon::prelude::*;

/// The crate `matrixmultiply`.
pub(super) const PEER: Peer = Peer {
    name: "matrixmultiply",
    formats: &[Format::F32],
    ops: &[],
    install: "nothing: it is compiled in",
    open: |_| Ok(Box::new(Crate { pool: None })),
};

struct Crate {
    pool: Option<rayon::ThreadPool>,
}

impl System for Crate {
    fn version(&self) -> Option<String> {
        Some(env!("KILN_PEER_MATRIXMULTIPLY").into())
    }

    fn prepare(&mut self, operands: &Operands) -> anyhow::Result<()> {
        self.pool = Some(runner::pool(operands.inputs.problem.threads)?);
        Ok(())
    }

    fn sample(&mut self, operands: &mut Operands, calls: usize) -> anyhow::Result<f64> {
        let problem = operands.inputs.problem;
        let (Shape::Product { m, n, k }, Some(pool)) = (problem.shape, &self.pool) else { anyhow::bail!("it was not made ready") };
        let Operands { inputs, outputs } = operands;
        let (a, w, c) = (inputs.left_values(0), inputs.weights(), outputs[0].floats.get_mut());
        let share = m.div_ceil(problem.threads);
        Ok(pool.install(|| {
            clock::sample(calls, || match problem.threads {
                1 => product(a, w, c, (n, k)),
                _ => c.par_chunks_mut(share * n).zip(a.par_chunks(share * k)).for_each(|(c, a)| product(a, w, c, (n, k))),
            })
        }))
    }
}

/// C ← A·Wᵀ for all the rows that C has.
fn product(a: &[f32], w: &[f32], c: &mut [f32], (n, k): (usize, usize)) {
    let m = c.len() / n;
    assert!(a.len() >= m * k && w.len() >= n * k, "operands of another shape");
    let (n_stride, k_stride) = (n as isize, k as isize);
    // SAFETY: A is M × K, W is N × K and C is M × N, row-major and without gaps, as was just asserted; C
    // is borrowed mutably, so it overlaps neither.
    unsafe {
        ::matrixmultiply::sgemm(m, k, n, 1.0, a.as_ptr(), k_stride, 1, w.as_ptr(), 1, k_stride, 0.0, c.as_mut_ptr(), n_stride, 1);
    }
}
