//! Linear layers on the model's team: each runs the kernel, the blocking and the split that the profile chose for its
//! shape: by its number of rows, and by a table over rows, outputs and inputs where there is one.

use crate::baked::{Blocking, MOST_THREADS, Mat, MatMut, Operands, Split, Workers};

use super::profile::Work;
use crate::error::{Error, zeroed};
use crate::model::{Linear, Model, Part};
use crate::threads;

/// The workspace of products, of all threads together.
#[derive(Debug)]
pub(super) struct Product {
    workspace: Vec<u32>,
    /// Whether rows get the bits that each would get alone.
    singly: bool,
}

/// Rows that may be multiplied together as if each was alone.
pub(super) const MOST_SINGLY: usize = 64;

/// `blocking` as it is for one row: kernels of one layout sum alike, but for where the depth is cut, and one row's is not.
fn as_alone(blocking: Blocking) -> Blocking {
    Blocking { kc: Blocking::WHOLE, ..blocking }
}

impl Product {
    /// A workspace large enough for every matrix of `model` with up to `rows` rows.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub(super) fn new(model: &Model, rows: usize) -> Result<Self, Error> {
        let config = model.config();
        let depth = config.hidden.max(config.ffn).max(config.q_dim());
        let threads = model.team().count().min(MOST_THREADS);
        let formats = model.weights().formats();
        let choices = model.ops().gemm.iter().filter(|products| formats.contains(&products.format)).flat_map(|products| &products.choices);
        let len = choices.flat_map(|choice| choice.all().map(move |run| (run, rows.min(choice.m_max)))).map(|(run, rows)| {
            let needed = |blocking, rows| run.kernel.workspace_len(&blocking, threads, rows, depth);
            needed(run.blocking, rows).max(needed(as_alone(run.blocking), rows.min(MOST_SINGLY)))
        });
        Ok(Self { workspace: zeroed(len.max().unwrap_or(0), "workspace")?, singly: false })
    }

    /// From now on up to [`MOST_SINGLY`] rows get the bits that each would get alone, or no longer.
    pub(super) fn singly(&mut self, singly: bool) {
        self.singly = singly;
    }

    /// `out <- x · W`, or `out <- out + x · W` when `accumulate`. `x` has rows of `linear.inputs()`, `out` as many of
    /// `linear.outputs()`.
    pub(super) fn linear(&mut self, model: &Model, linear: &Linear, x: &[f32], out: &mut [f32], accumulate: bool) {
        let (inputs, width) = (linear.inputs(), linear.outputs());
        let rows = x.len() / inputs;
        let (a, mut out) = (Mat::new(x, rows, inputs, inputs), MatMut::new(out, rows, width, width));
        for part in linear.parts() {
            let outputs = part.outputs();
            let run = part.products(model.ops()).for_rows(rows).at((rows, outputs.len(), inputs));
            let (kernel, team) = (run.kernel, model.team());
            // A baked split is for as many threads as were measured; fewer may be worth it here, or more there.
            let threads = threads::worth(team, rows * inputs * outputs.len(), usize::MAX);
            let baked = run.split.filter(|split| split.threads() == threads);
            let split = baked.unwrap_or_else(|| Split::analytical(threads, kernel.geometry(), rows, outputs.len(), true));
            let c = out.block(0, outputs.start, rows, outputs.len());
            let weights = part.panels(model.weights().memory());
            let blocking = if self.singly { as_alone(run.blocking) } else { run.blocking };
            kernel.run(Operands { a, weights, c, accumulate, blocking }, split, team, &mut self.workspace);
        }
    }
}

/// What a linear layer must do for `rows` rows.
pub(super) fn work(model: &Model, linear: &Linear, rows: usize) -> Work {
    let (inputs, outputs) = (linear.inputs(), linear.outputs());
    let kernel = |part: &Part| part.products(model.ops()).for_rows(rows).at((rows, part.outputs().len(), inputs)).kernel.meta().name;
    let kernels: Vec<&str> = linear.parts().iter().map(kernel).collect();
    Work {
        bytes: (linear.bytes() + rows * (inputs + outputs) * size_of::<f32>()) as u64,
        ops: 2 * (rows * inputs * outputs) as u64,
        arithmetic: linear.parts().first().map(|part| part.format().arithmetic()),
        kernel: kernels.join(" "),
    }
}
