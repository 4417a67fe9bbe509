//! An f64 oracle per operation: what the exact result is, written as plainly as it can be.

use crate::gemm::product::Product;
use crate::mat::Mat;

/// A product and what bounds its rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dot {
    /// Σ aᵢ·bᵢ.
    pub value: f64,
    /// Σ |aᵢ·bᵢ|.
    pub magnitude: f64,
}

/// Row `i` of A as the product takes it.
pub fn row<P: Product>(a: Mat<'_, P::A>, i: usize) -> Vec<f64> {
    P::a_values(&(0..a.cols()).map(|p| a.get(i, p)).collect::<Vec<_>>())
}

/// A [`row`] of A times column `j` of B, each element of which stands for [`Product::B_DEPTH`] depths.
pub fn dot<P: Product>(a: &[f64], b: Mat<'_, P::B>, j: usize) -> Dot {
    let mut out = Dot { value: 0.0, magnitude: 0.0 };
    for (p, a) in a.iter().enumerate() {
        let (b, at) = (&b.get(p / P::B_DEPTH, j), p % P::B_DEPTH);
        out.value += a * P::b_value(b, at);
        out.magnitude += a.abs() * P::b_magnitude(b, at);
    }
    out
}

/// RMS norm of a row.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
    let mean = x.iter().map(|v| (*v as f64).powi(2)).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + eps as f64).sqrt();
    x.iter().zip(weight).map(|(x, w)| *x as f64 * scale * *w as f64).collect()
}

/// Mean and 1 / √(variance + ε) of a row.
pub fn moments(x: &[f32], eps: f32) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|v| *v as f64).sum::<f64>() / n;
    let variance = x.iter().map(|v| (*v as f64 - mean).powi(2)).sum::<f64>() / n;
    (mean, 1.0 / (variance + eps as f64).sqrt())
}

/// Layer norm of a row.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> Vec<f64> {
    let (mean, scale) = moments(x, eps);
    x.iter().zip(weight).zip(bias).map(|((x, w), b)| (*x as f64 - mean) * scale * *w as f64 + *b as f64).collect()
}
