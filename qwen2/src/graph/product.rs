//! Linear layers on the model's team: each runs the kernel, the blocking and the split that the profile chose for its
//! number of rows.

use crate::baked::{MOST_THREADS, Mat, MatMut, Operands, Split, Workers};

use crate::error::{Error, zeroed};
use crate::model::{Linear, Model};
use crate::threads;

/// The workspace of products, of all threads together.
#[derive(Debug)]
pub(super) struct Product {
    workspace: Vec<u32>,
}

impl Product {
    /// A workspace large enough for every matrix of `model` with up to `rows` rows.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub(super) fn new(model: &Model, rows: usize) -> Result<Self, Error> {
        let config = model.config();
        let depth = config.hidden.max(config.ffn).max(config.q_dim());
        let widest = Split { rows: 1, cols: model.team().count().min(MOST_THREADS) };
        let choices = model.ops().gemm.iter();
        let len = choices.map(|choice| choice.kernel.workspace_len(&choice.blocking, widest, true, (rows, 0, depth))).max().unwrap_or(0);
        Ok(Self { workspace: zeroed(len, "workspace")? })
    }

    /// `out <- x · W`, or `out <- out + x · W` when `accumulate`. `x` has rows of `linear.inputs()`, `out` as many of
    /// `linear.outputs()`.
    pub(super) fn linear(&mut self, model: &Model, linear: &Linear, x: &[f32], out: &mut [f32], accumulate: bool) {
        let (inputs, outputs) = (linear.inputs(), linear.outputs());
        let rows = x.len() / inputs;
        let choice = model.ops().gemm_for(rows);
        let (kernel, team) = (choice.kernel, model.team());
        // A baked split is for as many threads as were measured; fewer may be worth it here, or more there.
        let threads = threads::worth(team, rows * inputs * outputs, usize::MAX);
        let baked = choice.split.filter(|split| split.threads() == threads);
        let split = baked.unwrap_or_else(|| Split::analytical(threads, kernel.geometry(), rows, outputs, true));
        let (a, c) = (Mat::new(x, rows, inputs, inputs), MatMut::new(out, rows, outputs, outputs));
        let operands = Operands::new(a, model.weights().panels(linear), c).accumulate(accumulate);
        kernel.run_parallel(operands, &choice.blocking, split, team, &mut self.workspace);
    }
}
