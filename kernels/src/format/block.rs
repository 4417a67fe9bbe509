//! What all block formats have in common: unsigned quants of a few bits, and a scale (sometimes a minimum
//! too) for each span of them.

use super::Format;
use bytemuck::{Pod, Zeroable};
use half::f16;

/// Depths that kernels treat together, and activations share a scale over.
pub const SPAN: usize = 32;

/// A block of weights as it lies in a GGUF file.
///
/// The weight at depth `i` is `scale · factor · (quant − OFFSET) + minimum · minimum_factor`, where the
/// factors are those of the part of the block that `i` lies in. Weights are finite: quantising makes them
/// so, and who reads a file must refuse others.
pub trait Block: Pod + Send + Sync {
    /// Which one.
    const FORMAT: Format;
    /// What it is called where rows of activations have one scale each.
    const ROWS: Format;
    /// Weights in a block: [`SPAN`], or 256 of a block whose parts have factors.
    const DEPTH: usize;
    /// Bits of a quant: 4, 5, 6 or 8.
    const BITS: usize;
    /// What is taken from a quant.
    const OFFSET: i32;
    /// Parts of a span that have a factor of their own: 1, or 2.
    const PARTS: usize = 1;
    /// It has minimums.
    const MINIMUM: bool = false;

    /// The scale of the block.
    fn scale(&self) -> f16;
    /// What [`Block::minimum_factor`] multiplies; added, not subtracted.
    fn minimum(&self) -> f16 {
        f16::ZERO
    }
    /// The whole number by which part `part` of the block multiplies the scale.
    fn factor(&self, part: usize) -> i8 {
        let _ = part;
        1
    }
    /// The whole number by which span `span` of the block multiplies the minimum.
    fn minimum_factor(&self, span: usize) -> i8 {
        let _ = span;
        1
    }
    /// The quants of a span.
    fn quants(&self, span: usize) -> [u8; SPAN];

    /// The block nearest to [`Block::DEPTH`] values, in the arithmetic of ggml's reference, save that a
    /// scale saturates where it would not be finite.
    fn quantise(x: &[f32]) -> Self;

    /// The weight at depth `at`, exactly.
    fn value(&self, at: usize) -> f64 {
        let [product, minimum] = self.terms(at);
        product + minimum
    }

    /// What is added to make the weight at depth `at`: kernels add them apart.
    fn terms(&self, at: usize) -> [f64; 2] {
        let quant = i32::from(self.quants(at / SPAN)[at % SPAN]) - Self::OFFSET;
        let factor = f64::from(self.factor(at / (SPAN / Self::PARTS)));
        let minimum = if Self::MINIMUM { f64::from(self.minimum()) * f64::from(self.minimum_factor(at / SPAN)) } else { 0.0 };
        [f64::from(self.scale()) * factor * f64::from(quant), minimum]
    }

    /// All weights as f32, bit for bit those of ggml's reference: each is exact but for one rounding.
    ///
    /// # Panics
    /// Unless `out` has [`Block::DEPTH`] elements.
    fn dequantise(&self, out: &mut [f32]) {
        assert_eq!(out.len(), Self::DEPTH, "a block holds {} weights", Self::DEPTH);
        for (span, out) in out.chunks_exact_mut(SPAN).enumerate() {
            let quants = self.quants(span);
            let minimum = f32::from(self.minimum()) * f32::from(self.minimum_factor(span));
            for (i, (x, quant)) in out.iter_mut().zip(quants).enumerate() {
                let scale = f32::from(self.scale()) * f32::from(self.factor(span * Self::PARTS + i * Self::PARTS / SPAN));
                *x = scale * (i32::from(quant) - Self::OFFSET) as f32;
                // Adding a zero would lose the sign of another one.
                if Self::MINIMUM {
                    *x += minimum;
                }
            }
        }
    }
}

/// Weights of a block whose parts have factors.
pub(super) const LONG: usize = 256;

/// The half nearest to `x`, the largest finite one where there is none.
pub(super) fn finite(x: f32) -> f16 {
    f16::from_f32(x.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

/// 1 / `x`, or 0.
pub(super) fn inverse(x: f32) -> f32 {
    let inverse = 1.0 / x;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The nearest whole number, the even one of two.
pub(super) fn nearest(x: f32) -> i32 {
    x.round_ties_even() as i32
}

/// The value of the largest magnitude, the first of several.
pub(super) fn extreme(x: &[f32]) -> f32 {
    x.iter().fold(0.0f32, |most, x| if x.abs() > most.abs() { *x } else { most })
}

/// The least and the largest value.
pub(super) fn range(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::MAX, f32::MIN), |(least, most), x| (least.min(*x), most.max(*x)))
}

/// Depths 0…15 are in the lower halves of the bytes, 16…31 in the upper ones.
pub(super) fn nibbles(bytes: &[u8; SPAN / 2]) -> [u8; SPAN] {
    core::array::from_fn(|i| bytes[i % 16] >> (i / 16 * 4) & 0x0f)
}

/// The lower four bits of quants, as [`nibbles`] reads them.
pub(super) fn with_nibbles(quants: &[u8; SPAN]) -> [u8; SPAN / 2] {
    core::array::from_fn(|i| quants[i] & 0x0f | quants[i + 16] << 4)
}

/// Quants with the bit of each depth as their fifth.
pub(super) fn fifth_bits(low: [u8; SPAN], high: [u8; SPAN / 8]) -> [u8; SPAN] {
    core::array::from_fn(|i| low[i] | (high[i / 8] >> (i % 8) & 1) << 4)
}

/// The fifth bits of quants, as [`fifth_bits`] reads them.
pub(super) fn with_fifth_bits(quants: &[u8; SPAN]) -> [u8; SPAN / 8] {
    core::array::from_fn(|i| (0..8).fold(0, |bits, bit| bits | (quants[8 * i + bit] >> 4) << bit))
}

/// A span of a long block: even spans in the lower halves of 32 bytes, odd ones in the upper ones.
pub(super) fn nibble_span(bytes: &[u8; LONG / 2], span: usize) -> [u8; SPAN] {
    core::array::from_fn(|i| bytes[span / 2 * SPAN + i] >> (span % 2 * 4) & 0x0f)
}

/// The lower four bits of quants, as [`nibble_span`] reads them.
pub(super) fn with_nibble_spans(quants: &[u8; LONG]) -> [u8; LONG / 2] {
    core::array::from_fn(|i| {
        let first = i / SPAN * 2 * SPAN + i % SPAN;
        quants[first] & 0x0f | quants[first + SPAN] << 4
    })
}

/// Eight pairs of numbers of 6 bits: four in six bits each of four bytes, the rest in four bits of one byte
/// and the upper two of another.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(transparent)]
pub struct SixBits(pub [u8; 12]);

impl SixBits {
    /// The first number of a pair.
    pub fn scale(&self, pair: usize) -> i8 {
        let q = &self.0;
        (if pair < 4 { q[pair] & 63 } else { q[pair + 4] & 0x0f | (q[pair - 4] >> 6) << 4 }).cast_signed()
    }

    /// The second number of a pair.
    pub fn minimum(&self, pair: usize) -> i8 {
        let q = &self.0;
        (if pair < 4 { q[pair + 4] & 63 } else { q[pair + 4] >> 4 | (q[pair] >> 6) << 4 }).cast_signed()
    }

    /// Pairs of numbers below 64.
    fn new(pairs: [[u8; 2]; 8]) -> SixBits {
        let mut q = [0; 12];
        for (i, [scale, minimum]) in pairs.into_iter().enumerate() {
            if i < 4 {
                q[i] |= scale;
                q[i + 4] |= minimum;
            } else {
                q[i + 4] = scale & 0x0f | minimum << 4;
                q[i - 4] |= scale >> 4 << 6;
                q[i] |= minimum >> 4 << 6;
            }
        }
        SixBits(q)
    }
}

/// A long block whose spans have scales and minimums.
pub(super) struct Affine {
    pub(super) d: f16,
    pub(super) dmin: f16,
    pub(super) factors: SixBits,
    pub(super) quants: [u8; LONG],
}

/// ggml's way to one with quants up to `MOST`: scales are searched for in `steps` steps from `from` on.
pub(super) fn affine<const MOST: i32>(x: &[f32], from: f32, steps: u8) -> Affine {
    let mut quants = [0; LONG];
    let (mut scales, mut minimums) = ([0.0f32; LONG / SPAN], [0.0f32; LONG / SPAN]);
    for (span, (x, quants)) in x.chunks_exact(SPAN).zip(quants.chunks_exact_mut(SPAN)).enumerate() {
        (scales[span], minimums[span]) = affine_span(x, quants, MOST, from, steps);
    }
    let (scale, minimum) = (scales.iter().fold(0.0f32, |m, x| m.max(*x)), minimums.iter().fold(0.0f32, |m, x| m.max(*x)));
    let to_factor = |most: f32, x: f32| if most > 0.0 { nearest(63.0 / most * x).min(63) as u8 } else { 0 };
    let factors = SixBits::new(core::array::from_fn(|i| [to_factor(scale, scales[i]), to_factor(minimum, minimums[i])]));
    let (d, dmin) = (finite(scale / 63.0), finite(minimum / 63.0));
    for (i, quant) in quants.iter_mut().enumerate() {
        let d = f32::from(d) * f32::from(factors.scale(i / SPAN));
        if d != 0.0 {
            let minimum = f32::from(dmin) * f32::from(factors.minimum(i / SPAN));
            *quant = nearest((x[i] + minimum) / d).clamp(0, MOST) as u8;
        }
    }
    Affine { d, dmin, factors, quants }
}

/// Scale and minimum (to be subtracted) of a span with the least weighted square error; its quants.
fn affine_span(x: &[f32], quants: &mut [u8], most: i32, from: f32, steps: u8) -> (f32, f32) {
    let mean = (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32).sqrt();
    let weights = || x.iter().map(|x| mean + x.abs());
    let (least, largest) = range(x);
    let mut minimum = least.min(0.0);
    if largest == minimum {
        quants.fill(0);
        return (0.0, -minimum);
    }
    let (sum_w, sum_x) = weights().zip(x).fold((0.0, 0.0), |(w, s), (weight, x)| (w + weight, s + weight * x));
    let quant = |inverse: f32, minimum: f32, x: f32| nearest(inverse * (x - minimum)).clamp(0, most);
    let error = |scale: f32, minimum: f32, quants: &[u8]| {
        let each = weights().zip(x).zip(quants).map(|((w, x), q)| w * (scale * f32::from(*q) + minimum - x).powi(2));
        each.sum::<f32>()
    };
    let first = most as f32 / (largest - minimum);
    quants.iter_mut().zip(x).for_each(|(q, x)| *q = quant(first, minimum, *x) as u8);
    let mut scale = 1.0 / first;
    let mut best = error(scale, minimum, quants);
    let mut tried = [0u8; SPAN];
    for step in 0..=steps {
        // From the best minimum so far, not from the least value: that is how ggml goes on.
        let inverse = (from + 0.1 * f32::from(step) + most as f32) / (largest - minimum);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0f32, 0.0f32, 0.0f32);
        for ((w, x), q) in weights().zip(x).zip(&mut tried) {
            *q = quant(inverse, minimum, *x) as u8;
            let l = f32::from(*q);
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut this_minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if this_minimum > 0.0 {
                (this_minimum, this_scale) = (0.0, sum_xl / sum_l2);
            }
            let this = error(this_scale, this_minimum, &tried);
            if this < best {
                quants.copy_from_slice(&tried[..x.len()]);
                (best, scale, minimum) = (this, this_scale, this_minimum);
            }
        }
    }
    (scale, -minimum)
}

/// ggml's way to the scale of a part with quants of −32…31 (here plus 32), the best of several.
pub(super) fn symmetric(x: &[f32], quants: &mut [u8]) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < 1e-15 {
        quants.fill(0);
        return 0.0;
    }
    let attempt = |inverse: f32| {
        let (mut sum_xl, mut sum_l2) = (0.0f32, 0.0f32);
        for x in x {
            let l = nearest(inverse * x).clamp(-32, 31) as f32;
            sum_xl += x * x * x * l;
            sum_l2 += x * x * l * l;
        }
        (sum_xl, sum_l2)
    };
    let mut inverse = -32.0 / extreme;
    let (sum_xl, sum_l2) = attempt(inverse);
    let mut scale = if sum_l2 > 0.0 { sum_xl / sum_l2 } else { 0.0 };
    let mut best = scale * sum_xl;
    for step in (-9i8..=9).filter(|step| *step != 0) {
        let this = -(32.0 + 0.1 * f32::from(step)) / extreme;
        let (sum_xl, sum_l2) = attempt(this);
        if sum_l2 > 0.0 && sum_xl * sum_xl > best * sum_l2 {
            (inverse, scale) = (this, sum_xl / sum_l2);
            best = scale * sum_xl;
        }
    }
    quants.iter_mut().zip(x).for_each(|(q, x)| *q = (nearest(inverse * x).clamp(-32, 31) + 32) as u8);
    scale
}
