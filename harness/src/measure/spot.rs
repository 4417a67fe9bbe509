//! The last check before a clock is read: the very call that is to be timed, with its shape, blocking
//! and threads, compared with the oracle at scattered elements.

use super::operands::{Inputs, Output};
use super::runner::EPS;
use super::statistics::Random;
use crate::space::Shape;
use kiln_kernels::format::f16;
use kiln_kernels::gemm::product::{Output as _, Product};
use kiln_kernels::reference::{self, Dot};
use kiln_kernels::registry::Op;
use kiln_kernels::with_product;

/// Elements of a product that are compared.
const ELEMENTS: usize = 24;
/// Rows of a row operation that are compared.
const ROWS: usize = 4;
/// The places are the same each time.
const SEED: u64 = 99;

/// Compares elements of the first set's output: the worst error as a fraction of its tolerance.
///
/// # Errors
/// What is wrong, if an element is off.
pub fn check(inputs: &Inputs, output: &Output) -> Result<f64, String> {
    match inputs.problem.shape {
        Shape::Product { .. } => with_product!(inputs.problem.format, P => check_product::<P>(inputs, output)),
        Shape::Rows { rows, cols } => {
            let random = &mut Random::new(SEED);
            let mut worst = 0.0f64;
            for turn in 0..ROWS {
                let row = if turn == 0 { rows - 1 } else { random.below(rows) };
                worst = worst.max(check_row(inputs, output, row, row * cols..(row + 1) * cols)?);
            }
            Ok(worst)
        }
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
        let want = reference::dot::<P>(&reference::row::<P>(a, i), b, j);
        Ok(worst.max(off(*got, want.value, tolerance(a.cols(), want), (i, j))?))
    })
}

/// What f32 arithmetic may be off by: γ(k+2) of the sum of magnitudes (Higham 2002, section 3.1).
pub fn rounding(k: usize, want: Dot) -> f64 {
    f32::tolerance(k, want.magnitude)
}

fn check_row(inputs: &Inputs, output: &Output, row: usize, at: std::ops::Range<usize>) -> Result<f64, String> {
    let (weight, bias) = (inputs.weight.get(), inputs.bias.get());
    let n = at.len() as f64;
    let eps = f64::from(f32::EPSILON);
    match inputs.problem.op {
        Op::RmsNorm => {
            let want = reference::rms_norm(&inputs.rows(0)[at.clone()], weight, EPS);
            worst(&output.floats.get()[at], &want, row, |i| (n / 2.0 + 6.0) * eps * want[i].abs())
        }
        Op::LayerNorm => {
            let x = &inputs.rows(0)[at.clone()];
            let want = reference::layer_norm(x, weight, bias, EPS);
            let (_, scale) = reference::moments(x, EPS);
            let magnitude = x.iter().map(|v| f64::from(v.abs())).sum::<f64>() / n;
            let size = |i: usize| (f64::from(x[i].abs()) + magnitude) * scale * f64::from(weight[i].abs()) + f64::from(bias[i].abs());
            worst(&output.floats.get()[at], &want, row, |i| (n + 8.0) * eps * size(i))
        }
        Op::F16ToF32 => {
            let want: Vec<f64> = inputs.sets[0].halves.get()[at.clone()].iter().map(|h| f64::from(f16::to_f32(*h))).collect();
            worst(&output.floats.get()[at], &want, row, |_| 0.0)
        }
        Op::F32ToF16 => {
            let want: Vec<f64> = inputs.rows(0)[at.clone()].iter().map(|x| f64::from(f16::to_f32(f16::from_f32(*x)))).collect();
            let got: Vec<f32> = output.halves.get()[at].iter().map(|h| f16::to_f32(*h)).collect();
            worst(&got, &want, row, |_| 0.0)
        }
        Op::Gemm => Ok(0.0),
    }
}

fn worst(got: &[f32], want: &[f64], row: usize, tolerance: impl Fn(usize) -> f64) -> Result<f64, String> {
    let mut each = got.iter().zip(want).enumerate().map(|(i, (got, want))| off(f64::from(*got), *want, tolerance(i), (row, i)));
    each.try_fold(0.0f64, |worst, error| Ok(worst.max(error?)))
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
