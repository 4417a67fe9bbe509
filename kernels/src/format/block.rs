//! What all block formats have in common: unsigned quants of a few bits, and a scale (sometimes a minimum
//! too) for each span of them.

use super::Format;
use bytemuck::Pod;
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
            let minimum = if Self::MINIMUM { f32::from(self.minimum()) * f32::from(self.minimum_factor(span)) } else { 0.0 };
            for (i, (x, quant)) in out.iter_mut().zip(quants).enumerate() {
                let scale = f32::from(self.scale()) * f32::from(self.factor(span * Self::PARTS + i * Self::PARTS / SPAN));
                *x = scale * (i32::from(quant) - Self::OFFSET) as f32 + minimum;
            }
        }
    }
}

/// The half nearest to `x`, the largest finite one where there is none.
pub(super) fn finite(x: f32) -> f16 {
    f16::from_f32(x.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

/// 1 / `x`, or 0.
pub(super) fn inverse(x: f32) -> f32 {
    let inverse = 1.0 / x;
    if inverse.is_finite() { inverse } else { 0.0 }
}
