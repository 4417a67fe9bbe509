//! The conformance grid: every registered kernel against its oracle, on the shapes and values
//! where kernels go wrong.
//!
//! Shapes are relative to the kernel's own tile; outputs start as NaN; operands end (or begin) at
//! memory that must not be touched, which the caller's [`Arena`] provides; padding between rows
//! must survive. It compares and counts; it never prints and never times.

mod attention;
mod gemm;
mod rows;
mod scaled;
mod values;

use crate::gemm::AnyGemm;
use crate::registry::{Entry, Kernel};
use core::ops::DerefMut;

/// Which end of a buffer lies against forbidden memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// The first element.
    Start,
    /// The last element.
    End,
}

/// Hands out operands whose surroundings must not be touched.
pub trait Arena {
    /// A buffer; dropping it may verify its surroundings.
    type Buffer<T: Copy + 'static>: DerefMut<Target = [T]>;

    /// `len` elements of value `fill`.
    fn buffer<T: Copy + 'static>(&self, len: usize, fill: T, flush: Flush) -> Self::Buffer<T>;
}

/// What the grid found for one kernel.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Cases run.
    pub cases: usize,
    /// A line for each case that failed.
    pub failures: Vec<String>,
    /// The largest error seen, as a fraction of its tolerance.
    pub worst: f64,
}

impl Outcome {
    /// Whether every case passed, and there was at least one.
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.cases > 0
    }

    /// Counts a case; `check` gives the error as a fraction of the tolerance, or what is wrong.
    fn case(&mut self, label: impl FnOnce() -> String, result: Result<f64, String>) {
        self.cases += 1;
        match result {
            Ok(error) => self.worst = self.worst.max(error),
            Err(what) => self.failures.push(format!("{}: {what}", label())),
        }
    }
}

/// Runs the grid; `None` when this CPU cannot run the kernel.
pub fn run<A: Arena>(entry: &Entry, arena: &A) -> Option<Outcome> {
    let mut out = Outcome::default();
    match (entry.make)()? {
        Kernel::Gemm(any) => {
            crate::with_gemm!(any, k => gemm::grid(&k, arena, &mut out));
            if let AnyGemm::S8(k) = any {
                scaled::grid(&k, arena, &mut out);
            }
        }
        Kernel::Attention(k) => attention::grid(&k, arena, &mut out),
        Kernel::AttentionDecode(k) => attention::grid(&k, arena, &mut out),
        kernel => {
            if let Some(rows) = kernel.rows() {
                rows::grid(rows, arena, &mut out);
            }
        }
    }
    Some(out)
}

/// The error of `got` as a fraction of `tolerance`, or a message. Where the exact value is not
/// finite (or beyond f32), `got` must be the same kind of not finite.
fn compare(got: impl Into<f64>, want: f64, tolerance: f64) -> Result<f64, String> {
    let (got, want32) = (got.into(), want as f32);
    if !want32.is_finite() {
        let same = if want32.is_nan() { got.is_nan() } else { got == f64::from(want32) };
        return if same { Ok(0.0) } else { Err(format!("{got:e} instead of {want32:e}")) };
    }
    let error = (got - want).abs();
    if error <= tolerance {
        Ok(error / tolerance)
    } else {
        Err(format!("{got:e} instead of {want:e}, off by {error:e}, allowed {tolerance:e}"))
    }
}

/// The worst of many comparisons, or the first failure with its position.
fn worst(results: impl Iterator<Item = Result<f64, String>>) -> Result<f64, String> {
    let mut worst = 0.0f64;
    for (i, r) in results.enumerate() {
        worst = worst.max(r.map_err(|e| format!("element {i}: {e}"))?);
    }
    Ok(worst)
}
