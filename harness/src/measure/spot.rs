//! The last check before a clock is read: the very call that is to be timed, with its shape, blocking
//! and threads, compared with the oracle at scattered elements.

use super::operands::{Buffer, Inputs, Operands, Output};
use super::statistics::Random;
use crate::space::Shape;
use kiln_kernels::gemm::product::{Output as _, Product};
use kiln_kernels::reference::{self, Dot};
use kiln_kernels::row::{Access, Extent, Operand};
use kiln_kernels::with_product;

/// Elements of a product that are compared.
const ELEMENTS: usize = 24;
/// Rows of a row operation that are compared.
const ROWS: usize = 4;
/// The places are the same each time.
const SEED: u64 = 99;

/// Compares elements of the first set's output, which held those rows `before`: the worst error as a fraction of its tolerance,
/// which for what is no product is `leeway` times that of ours.
///
/// # Errors
/// What is wrong, if an element is off.
pub fn check(inputs: &Inputs, before: &Before, output: &Output, leeway: f64) -> Result<f64, String> {
    match inputs.problem.shape {
        Shape::Product { .. } => with_product!(inputs.problem.format, P => check_product::<P>(inputs, output)),
        Shape::Rows { rows, cols } => check_rows(inputs, before, output, (rows, cols), leeway),
        Shape::Attention { .. } => check_attention(inputs, output, leeway),
    }
}

fn check_product<P: Product>(inputs: &Inputs, output: &Output) -> Result<f64, String> {
    let Shape::Product { n, .. } = inputs.problem.shape else { return Ok(0.0) };
    let at = places(inputs.problem.shape);
    let all: &[P::C] = bytemuck::cast_slice(output.floats.get());
    let got: Vec<f64> = at.iter().map(|(i, j)| all[i * n + j].value()).collect();
    compare::<P>(inputs, &at, &got, |k, want| P::C::tolerance(k, want.magnitude))
}

/// The elements of a product that are compared: row and column of each. Of rows there are none.
pub fn places(shape: Shape) -> Vec<(usize, usize)> {
    let Shape::Product { m, n, .. } = shape else { return Vec::new() };
    let random = &mut Random::new(SEED);
    // The corners first: that is where edges go wrong.
    let corners = (0..4).map(|turn| ((turn & 1) * (m - 1), (turn >> 1) * (n - 1)));
    corners.chain((4..ELEMENTS).map(|_| (random.below(m), random.below(n)))).collect()
}

/// Compares elements `got` of a product of the first set at those places with the oracle: the worst error
/// as a fraction of its tolerance, which `tolerance` tells from the depth and the exact result.
///
/// # Errors
/// What is wrong, if an element is off or missing.
pub fn elements(inputs: &Inputs, at: &[(usize, usize)], got: &[f64], tolerance: impl Fn(usize, Dot) -> f64) -> Result<f64, String> {
    with_product!(inputs.problem.format, P => compare::<P>(inputs, at, got, tolerance))
}

fn compare<P: Product>(inputs: &Inputs, at: &[(usize, usize)], got: &[f64], tolerance: impl Fn(usize, Dot) -> f64) -> Result<f64, String> {
    if at.len() != got.len() {
        return Err(format!("{} elements instead of {}", got.len(), at.len()));
    }
    let (a, b) = (inputs.left::<P>(0), inputs.right::<P>(0));
    at.iter().zip(got).try_fold(0.0f64, |worst, (&(i, j), got)| {
        let want = reference::dot(&reference::row::<P>(a, i), &reference::column::<P>(b, j, a.cols()));
        Ok(worst.max(off(*got, want.value, tolerance(a.cols(), want), (i, j))?))
    })
}

/// What f32 arithmetic may be off by: γ(k+2) of the sum of magnitudes (Higham 2002, section 3.1).
pub fn rounding(k: usize, want: Dot) -> f64 {
    f32::tolerance(k, want.magnitude)
}

/// The rows of an operation on rows that are compared.
pub fn rows_of(rows: usize) -> impl Iterator<Item = usize> {
    let mut random = Random::new(SEED);
    (0..ROWS).map(move |turn| if turn == 0 { rows - 1 } else { random.below(rows) })
}

/// What those rows held before a call, where it is written over.
pub struct Before(Vec<Vec<Vec<f32>>>);

impl Before {
    /// Of operands as they are.
    pub fn of(operands: &Operands) -> Before {
        let problem = operands.inputs.problem;
        let Shape::Rows { rows, cols } = problem.shape else { return Before(Vec::new()) };
        let all = problem.op.operands(problem.format).unwrap_or_default();
        let written: Vec<&Operand> = all.iter().filter(|o| o.access != Access::Read).collect();
        Before(rows_of(rows).map(|row| values(&written, &operands.outputs[0].rows, row, cols)).collect())
    }
}

/// A row of each operand.
fn values(operands: &[&Operand], buffers: &[Buffer<u8>], row: usize, cols: usize) -> Vec<Vec<f32>> {
    let one = |(operand, buffer): (&&Operand, &Buffer<u8>)| {
        let bytes = operand.row_bytes(cols);
        let row = if operand.extent == Extent::Shared { 0 } else { row };
        operand.decode(&buffer.get()[row * bytes..][..bytes], cols)
    };
    operands.iter().zip(buffers).map(one).collect()
}

fn check_rows(inputs: &Inputs, Before(before): &Before, output: &Output, (rows, cols): (usize, usize), leeway: f64) -> Result<f64, String> {
    let problem = inputs.problem;
    let all = problem.op.operands(problem.format).unwrap_or_default();
    let (read, written): (Vec<&Operand>, Vec<&Operand>) = all.iter().partition(|o| o.access == Access::Read);
    let mut worst = 0.0f64;
    for (row, before) in rows_of(rows).zip(before) {
        let want = problem.op.expected(problem.format, &values(&read, &inputs.sets[0].rows, row, cols), before, row).unwrap_or_default();
        for (got, want) in values(&written, &output.rows, row, cols).iter().zip(want) {
            if got.len() != want.len() {
                return Err(format!("{} elements instead of {}", got.len(), want.len()));
            }
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                worst = worst.max(off(f64::from(*got), want.value, leeway * want.tolerance, (row, i))?);
            }
        }
    }
    Ok(worst)
}

/// The tokens of attention that are compared, and of each a head.
pub fn heads_of(tokens: usize, heads: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut random = Random::new(SEED);
    (0..ROWS).map(move |turn| if turn == 0 { (tokens - 1, heads - 1) } else { (random.below(tokens), random.below(heads)) })
}

fn check_attention(inputs: &Inputs, output: &Output, leeway: f64) -> Result<f64, String> {
    let Shape::Attention { tokens, context, heads, kv_heads, dim } = inputs.problem.shape else { return Ok(0.0) };
    let (Some(kv), Some(queries)) = (inputs.kv(0), inputs.sets[0].rows.first()) else { return Ok(0.0) };
    let queries: &[f32] = bytemuck::cast_slice(queries.get());
    let got: &[f32] = bytemuck::cast_slice(output.rows[0].get());
    let mut worst = 0.0f64;
    for (token, head) in heads_of(tokens, heads) {
        let seen = context - tokens + token + 1;
        let (keys, values): (Vec<_>, Vec<_>) = (0..seen).map(|position| kv.token(head / (heads / kv_heads), position)).unzip();
        let at = (token * heads + head) * dim;
        let want = reference::attention(&queries[at..][..dim], &keys, &values, |_| 0.0);
        for (i, (got, want)) in got[at..].iter().zip(want).enumerate() {
            worst = worst.max(off(f64::from(*got), want.value, leeway * want.tolerance, (token, head * dim + i))?);
        }
    }
    Ok(worst)
}

fn off(got: f64, want: f64, tolerance: f64, (i, j): (usize, usize)) -> Result<f64, String> {
    let error = (got - want).abs();
    if error == 0.0 {
        return Ok(0.0);
    }
    let tolerance = tolerance + f64::from(f32::MIN_POSITIVE);
    // Written so that a NaN fails.
    if error <= tolerance { Ok(error / tolerance) } else { Err(format!("element ({i}, {j}) is {got:e} instead of {want:e}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_or_a_large_error_fails() {
        assert!(off(f64::NAN, 1.0, 0.1, (0, 0)).is_err());
        assert!(off(1.2, 1.0, 0.1, (0, 0)).is_err());
        assert_eq!(off(1.0, 1.0, 0.0, (0, 0)), Ok(0.0));
        assert!(off(1.05, 1.0, 0.1, (0, 0)).is_ok_and(|e| e > 0.0 && e < 1.0));
    }
}
