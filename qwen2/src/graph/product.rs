//! Linear layers on all threads: the packed panels are split by columns, each thread computes its share of every row
//! with the kernel that the profile chose for this number of rows.

use crate::baked::{Mat, MatMut, Operands, Split};

use crate::error::{Error, zeroed};
use crate::model::{Linear, Model};

/// Multiply-adds that a thread must get to be worth waking: they take some ten microseconds, as waking does.
const WORTH_A_THREAD: usize = 1 << 17;

/// Workspaces for products, one per thread.
#[derive(Debug)]
pub(super) struct Product {
    workspaces: Vec<Vec<u32>>,
}

impl Product {
    /// Workspaces large enough for every matrix of `model` with up to `rows` rows.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub(super) fn new(model: &Model, rows: usize) -> Result<Self, Error> {
        let config = model.config();
        let depth = config.hidden.max(config.ffn).max(config.q_dim());
        let choices = model.ops().gemm.iter();
        let len =
            choices.map(|choice| choice.kernel.workspace_len(&choice.blocking, Split::ALONE, true, (rows, 0, depth))).max().unwrap_or(0);
        let workspaces = (0..model.pool().current_num_threads()).map(|_| zeroed(len, "workspace")).collect::<Result<_, _>>()?;
        Ok(Self { workspaces })
    }

    /// `out <- x · W + bias`, or `out <- out + x · W + bias` when `accumulate`. `x` has rows of `linear.inputs()`,
    /// `out` as many of `linear.outputs()`. Must run on the model's pool.
    pub(super) fn linear(&mut self, model: &Model, linear: &Linear, x: &[f32], out: &mut [f32], accumulate: bool) {
        let (inputs, outputs) = (linear.inputs(), linear.outputs());
        let rows = x.len() / inputs;
        let choice = model.ops().gemm_for(rows);
        let (kernel, blocking) = (choice.kernel, choice.blocking);
        let panels = linear.panels();
        let a = Mat::new(x, rows, inputs, inputs);
        let bias = linear.bias();
        let threads = (rows * inputs * outputs / WORTH_A_THREAD).clamp(1, self.workspaces.len());
        let shares = shares(outputs, kernel.nr(), threads);
        let mut rest = MatMut::new(out, rows, outputs, outputs);
        let mut from = 0;
        rayon::scope(|scope| {
            for (to, workspace) in shares.zip(&mut self.workspaces) {
                let (mut mine, others) = rest.split_cols(to - from);
                rest = others;
                let b = panels.columns(from, to);
                let bias = bias.map(|bias| &bias[from..to]);
                from = to;
                let work = move || {
                    // The bias goes in first, and the product on top of it.
                    if let Some(bias) = bias {
                        for row in 0..rows {
                            let row = mine.row_mut(row);
                            if accumulate {
                                row.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
                            } else {
                                row.copy_from_slice(bias);
                            }
                        }
                    }
                    kernel.run(Operands::new(a, b, mine).accumulate(accumulate || bias.is_some()), &blocking, workspace);
                };
                if to == outputs { work() } else { scope.spawn(move |_| work()) }
            }
        });
    }
}

/// Where each thread's share of `columns` ends: whole panels of `nr`, as even as they can be, none empty.
fn shares(columns: usize, nr: usize, threads: usize) -> impl Iterator<Item = usize> {
    let panels = columns.div_ceil(nr);
    let threads = threads.min(panels);
    (1..=threads).map(move |share| (panels * share / threads * nr).min(columns))
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn shares_are_whole_panels_and_cover_all() {
        for columns in [1, 15, 16, 17, 100, 1152] {
            for threads in 1..6 {
                let ends: Vec<usize> = shares(columns, 16, threads).collect();
                assert_eq!(ends.last(), Some(&columns));
                assert!(ends.windows(2).all(|pair| pair[0] < pair[1] && pair[0] % 16 == 0));
                assert!(ends.len() <= threads);
            }
        }
    }
}
