//! The crate `gemm`, compiled into this binary with its AVX-512 kernels.

use super::{Peer, System};
use crate::measure::operands::Operands;
use crate::measure::{clock, runner};
use crate::space::Shape;
use ::gemm::Parallelism;
use kiln_kernels::format::Format;

/// The crate `gemm`; its threads are those of a rayon pool that is pinned as ours is.
pub(super) const PEER: Peer = Peer {
    name: "gemm",
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
        Some(env!("KILN_PEER_GEMM").into())
    }

    fn prepare(&mut self, operands: &Operands) -> anyhow::Result<()> {
        self.pool = Some(runner::pool(operands.inputs.problem.threads)?);
        Ok(())
    }

    fn sample(&mut self, operands: &mut Operands, calls: usize) -> anyhow::Result<f64> {
        let problem = operands.inputs.problem;
        let (Shape::Product { m, n, k }, Some(pool)) = (problem.shape, &self.pool) else { anyhow::bail!("it was not made ready") };
        let parallelism = if problem.threads > 1 { Parallelism::Rayon(problem.threads) } else { Parallelism::None };
        let Operands { inputs, outputs } = operands;
        let (a, w, c) = (inputs.left_values(0), inputs.weights(), outputs[0].floats.get_mut());
        assert!(a.len() >= m * k && w.len() >= n * k && c.len() >= m * n, "operands of another shape");
        Ok(pool.install(|| {
            clock::sample(calls, || {
                let (c, a, w) = (c.as_mut_ptr(), a.as_ptr(), w.as_ptr());
                let (n_stride, k_stride) = (n as isize, k as isize);
                // SAFETY: A is M × K, W is N × K and C is M × N, row-major and without gaps, as was just
                // asserted; C is borrowed mutably, so it overlaps neither.
                unsafe {
                    ::gemm::gemm(
                        m,
                        n,
                        k,
                        c,
                        1,
                        n_stride,
                        false,
                        a,
                        1,
                        k_stride,
                        w,
                        k_stride,
                        1,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        parallelism,
                    );
                }
            })
        }))
    }
}
