//! An f64 oracle per operation: what the exact result is, written as plainly as it can be.

use crate::format::{Format, bf16, f16};
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

/// Column `j` of B, each element of which stands for [`Product::B_DEPTH`] depths, of which the first `depth` count: of each
/// its value and what bounds the rounding of it.
pub fn column<P: Product>(b: Mat<'_, P::B>, j: usize, depth: usize) -> Vec<(f64, f64)> {
    let of = |p: usize| {
        let (b, at) = (&b.get(p / P::B_DEPTH, j), p % P::B_DEPTH);
        (P::b_value(b, at), P::b_magnitude(b, at))
    };
    (0..depth).map(of).collect()
}

/// A [`row()`] of A times a [`column()`] of B.
pub fn dot(a: &[f64], b: &[(f64, f64)]) -> Dot {
    a.iter().zip(b).fold(Dot { value: 0.0, magnitude: 0.0 }, |sum, (a, (value, magnitude))| Dot {
        value: sum.value + a * value,
        magnitude: sum.magnitude + a.abs() * magnitude,
    })
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

/// A result and how far from it a kernel may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// The exact one.
    pub value: f64,
    /// The largest error.
    pub tolerance: f64,
}

impl Expected {
    /// Only that.
    pub fn exactly(value: f64) -> Expected {
        Expected { value, tolerance: 0.0 }
    }

    /// That, with so much leeway, and what numbers below the normal ones may lose.
    pub fn within(value: f64, tolerance: f64) -> Expected {
        Expected { value, tolerance: tolerance + f64::from(f32::MIN_POSITIVE) }
    }
}

/// The element of a plain format nearest to `x`.
pub fn nearest(format: Format, x: f32) -> f32 {
    match format {
        Format::F16 => f16::to_f32(f16::from_f32(x)),
        Format::Bf16 => bf16::to_f32(bf16::from_f32(x)),
        _ => x,
    }
}

/// silu(gate) · up, as far from it as an exponential of [`crate::isa::math::EXP_ULPS`] may be.
pub fn silu_mul(gate: &[f32], up: &[f32]) -> Vec<Expected> {
    let one = |(gate, up): (&f32, &f32)| {
        let (gate, up) = (f64::from(*gate), f64::from(*up));
        let value = gate / (1.0 + (-gate).exp()) * up;
        // The exponential and four operations; beyond e^88 a gate is no longer told from 0.
        let cut = if gate < -87.0 { 1e-35 * gate.abs() * up.abs() } else { 0.0 };
        Expected::within(value, 6.0 * f64::from(f32::EPSILON) * value.abs() + cut + f64::from(f32::MIN_POSITIVE) * up.abs())
    };
    gate.iter().zip(up).map(one).collect()
}

/// A row of heads with its bias added, turned by the cosines and sines of half a head each.
pub fn rope(x: &[f32], bias: &[f32], angles: &[f32]) -> Vec<Expected> {
    let half = angles.len() / 2;
    let mut out: Vec<Expected> = x.iter().map(|x| Expected::exactly(f64::from(*x))).collect();
    if half == 0 {
        return out;
    }
    for h in 0..x.len() / (2 * half) {
        for i in 0..half {
            let (low, high) = (h * 2 * half + i, h * 2 * half + half + i);
            let (a, b) = (f64::from(x[low] + bias[low]), f64::from(x[high] + bias[high]));
            let (cos, sin) = (f64::from(angles[i]), f64::from(angles[half + i]));
            let of = |p: f64, q: f64| Expected::within(p + q, 3.0 * f64::from(f32::EPSILON) * (p.abs() + q.abs()));
            out[low] = of(a * cos, -b * sin);
            out[high] = of(b * cos, a * sin);
        }
    }
    out
}

/// The softmax of `scale` times the first `seen` elements; the others become 0.
pub fn softmax(x: &[f32], scale: f32, seen: usize) -> Vec<Expected> {
    let scaled: Vec<f64> = x[..seen].iter().map(|x| f64::from(*x * scale)).collect();
    let most = scaled.iter().fold(f64::NEG_INFINITY, |most, x| if x.is_nan() || *x > most { *x } else { most });
    let powers: Vec<f64> = scaled.iter().map(|x| (x - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    let one = |(power, x): (f64, &f64)| {
        let value = power / sum;
        // The argument errs by an ulp of the larger of what is subtracted, the sum by one for each that is added in
        // turn, and powers below the normal numbers are 0.
        let argument = (x.abs() + most.abs()).min(200.0 + most.abs()) * f64::from(f32::EPSILON);
        let relative = argument + (8.0 + (seen as f64).sqrt()) * f64::from(f32::EPSILON);
        Expected::within(value, value * relative + f64::from(f32::MIN_POSITIVE))
    };
    let hidden = x[seen..].iter().map(|_| Expected::exactly(0.0));
    powers.into_iter().zip(&scaled).map(one).chain(hidden).collect()
}

/// Attention of one query to keys, whose values it weighs; `added` is what each score is changed by, −∞ where it is
/// hidden.
pub fn attention(q: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], added: impl Fn(usize) -> f64) -> Vec<Expected> {
    let (eps, by) = (f64::from(f32::EPSILON), 1.0 / (q.len() as f64).sqrt());
    let (mut scores, mut error, mut most) = (Vec::with_capacity(keys.len()), 0.0f64, f64::NEG_INFINITY);
    for (at, key) in keys.iter().enumerate() {
        let (mut sum, mut magnitude) = (0.0, 0.0);
        for (q, k) in q.iter().zip(key) {
            let product = f64::from(*q) * f64::from(*k);
            sum += product;
            magnitude += product.abs();
        }
        let score = sum * by + added(at);
        if score > f64::NEG_INFINITY {
            // Scaling the query, a rounding for each product that is added, adding the mask and taking the largest away.
            error = error.max(((q.len() as f64 + 3.0) * magnitude * by + 2.0 * added(at).abs()) * eps);
            most = most.max(score);
        }
        scores.push(score);
    }
    let mut out = vec![Expected::exactly(0.0); q.len()];
    if most == f64::NEG_INFINITY {
        return out;
    }
    let powers: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    // Weights and their sum both err by what scores do, by the exponential and by rescaling, and by a rounding for each
    // that is added.
    let relative = 2.0 * error + 2.0 * (keys.len() as f64 + 8.0) * eps;
    for (i, out) in out.iter_mut().enumerate() {
        let (mut value, mut magnitude) = (0.0, 0.0);
        for (power, v) in powers.iter().zip(values) {
            value += power / sum * f64::from(v[i]);
            magnitude += power / sum * f64::from(v[i]).abs();
        }
        *out = Expected::within(value, relative * magnitude);
    }
    out
}

/// Where the `count` largest are, largest first and of equal ones the first first; NaN is larger than any number.
pub fn largest(x: &[f32], count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..x.len()).collect();
    all.sort_by(|a, b| {
        let (a, b) = (x[*a], x[*b]);
        b.partial_cmp(&a).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
    });
    all.truncate(count);
    all
}
