//! SVE norms: each pass over the row is one loop in `asm!`, `U` vectors a round with an accumulator each, then
//! predicated single ones.

use super::body::{Layer, Rms, rms_scale, row};
use super::fused::{AddRms, RmsQuantise};
use super::{AddNorm, AddRmsNormOp, LayerNormOp, Norm, NormQuantise, RmsNormOp, RmsNormQuantiseOp};
use crate::format::SPAN;
use crate::isa::math::sve::{fold_text, rounds_text};
use crate::isa::{Sve, sve_asm};
use crate::quantise::PIECE;
use crate::quantise::sve::quantise;
use crate::row::Body;

impl<const U: usize> Body<RmsNormOp> for Rms<Sve, U, 1, 0, 0> {
    fn run(&self, Norm { x, weight, eps, mut y }: Norm<'_>) {
        for r in 0..x.rows() {
            let x = row(x, r);
            let scale = rms_scale(reduce::<U, true>(self.0, x, 0.0), x.len(), eps);
            scale_shift::<U, false>(self.0, x, (0.0, scale), (weight, &[]), y.row_mut(r));
        }
    }
}

impl<const U: usize> Body<LayerNormOp> for Layer<Sve, U, 1, 0, 0> {
    /// The variance is taken about the mean in a second pass: one pass over x² would cancel.
    fn run(&self, (Norm { x, weight, eps, mut y }, bias): (Norm<'_>, &[f32])) {
        for r in 0..x.rows() {
            let x = row(x, r);
            let mean = reduce::<U, false>(self.0, x, 0.0) / x.len() as f32;
            let scale = rms_scale(reduce::<U, true>(self.0, x, mean), x.len(), eps);
            scale_shift::<U, true>(self.0, x, (mean, scale), (weight, bias), y.row_mut(r));
        }
    }
}

impl<const U: usize> Body<AddRmsNormOp> for AddRms<Sve, U, 0> {
    fn run(&self, AddNorm { mut x, delta, weight, eps, mut y }: AddNorm<'_>) {
        for r in 0..x.rows() {
            let x = x.row_mut(r);
            let scale = rms_scale(add::<U>(self.0, x, row(delta, r)), x.len(), eps);
            scale_shift::<U, false>(self.0, x, (0.0, scale), (weight, &[]), y.row_mut(r));
        }
    }
}

impl<const U: usize> Body<RmsNormQuantiseOp> for RmsQuantise<Sve, U> {
    /// A piece of the row is normed at a time, and quantised out of the nearest cache.
    fn run(&self, NormQuantise { x, weight, eps, mut y }: NormQuantise<'_>) {
        let mut piece = [0.0; PIECE];
        for r in 0..x.rows() {
            let x = row(x, r);
            let scale = rms_scale(reduce::<4, true>(self.0, x, 0.0), x.len(), eps);
            let parts = x.chunks(PIECE).zip(weight.chunks(PIECE)).zip(y.row_mut(r).chunks_mut(PIECE / SPAN));
            for ((x, weight), y) in parts {
                let piece = &mut piece[..x.len()];
                scale_shift::<4, false>(self.0, x, (0.0, scale), (weight, &[]), piece);
                quantise::<U>(self.0, piece, y);
            }
        }
    }
}

/// Σ x, or Σ (x − centre)².
#[inline(always)]
fn reduce<const U: usize, const SQUARES: bool>(isa: Sve, x: &[f32], centre: f32) -> f32 {
    const { assert!(U >= 1 && U <= 8, "eight vectors of the row beside eight accumulators") };
    let round = U * isa.lanes();
    let total: u32;
    // SAFETY: `isa` proves SVE. The rounds read `x.len() / round * round` elements from the start of `x`, the
    // predicated tail the rest; nothing is written. The text leaves no assembler macro behind.
    unsafe {
        sve_asm!(
            [
                r"
                .altmacro
                .macro kiln_start acc
                    mov z\acc\().s, #0
                .endm
                .macro kiln_term vec, acc, pred
                    ld1w {{z\vec\().s}}, \pred/z, [{x}, #\vec, mul vl]
                    .if {squares}
                        fsub z\vec\().s, z\vec\().s, z31.s
                        fmla z\acc\().s, \pred/m, z\vec\().s, z\vec\().s
                    .else
                        fadd z\acc\().s, \pred/m, z\acc\().s, z\vec\().s
                    .endif
                .endm
                .macro kiln_each vec, pred
                    kiln_term \vec, %(8 + \vec), \pred
                .endm
                .macro kiln_next count
                    addvl {x}, {x}, #\count
                .endm
                .macro kiln_total acc
                    fadd z8.s, z8.s, z\acc\().s
                .endm
                    mov z31.s, {centre:w}
                ",
                fold_text!(),
                r"
                    faddv s8, p0, z8.s
                    fmov {total:w}, s8
                .purgem kiln_term
                .noaltmacro
                ",
            ],
            x = inout(reg) x.as_ptr() => _,
            rounds = inout(reg) x.len() / round => _,
            rest = inout(reg) x.len() % round => _,
            centre = in(reg) centre.to_bits(),
            total = lateout(reg) total,
            u = const U,
            squares = const SQUARES as usize,
        );
    }
    f32::from_bits(total)
}

/// x ← x + delta; the sum of squares of that.
#[inline(always)]
fn add<const U: usize>(isa: Sve, x: &mut [f32], delta: &[f32]) -> f32 {
    const { assert!(U >= 1 && U <= 8, "eight vectors of the row beside eight accumulators") };
    let n = x.len();
    let delta = &delta[..n];
    let round = U * isa.lanes();
    let total: u32;
    // SAFETY: `isa` proves SVE. The rounds touch `n / round * round` elements from the start of both slices, the
    // predicated tail the rest; both hold n. The text leaves no assembler macro behind.
    unsafe {
        sve_asm!(
            [
                r"
                .altmacro
                .macro kiln_start acc
                    mov z\acc\().s, #0
                .endm
                .macro kiln_term vec, acc, delta, pred
                    ld1w {{z\vec\().s}}, \pred/z, [{x}, #\vec, mul vl]
                    ld1w {{z\delta\().s}}, \pred/z, [{delta}, #\vec, mul vl]
                    fadd z\vec\().s, z\vec\().s, z\delta\().s
                    st1w {{z\vec\().s}}, \pred, [{x}, #\vec, mul vl]
                    fmla z\acc\().s, \pred/m, z\vec\().s, z\vec\().s
                .endm
                .macro kiln_each vec, pred
                    kiln_term \vec, %(8 + \vec), %(16 + \vec), \pred
                .endm
                .macro kiln_next count
                    addvl {x}, {x}, #\count
                    addvl {delta}, {delta}, #\count
                .endm
                .macro kiln_total acc
                    fadd z8.s, z8.s, z\acc\().s
                .endm
                ",
                fold_text!(),
                r"
                    faddv s8, p0, z8.s
                    fmov {total:w}, s8
                .purgem kiln_term
                .noaltmacro
                ",
            ],
            x = inout(reg) x.as_mut_ptr() => _,
            delta = inout(reg) delta.as_ptr() => _,
            rounds = inout(reg) n / round => _,
            rest = inout(reg) n % round => _,
            total = lateout(reg) total,
            u = const U,
        );
    }
    f32::from_bits(total)
}

/// y = (x − centre) · scale · weight, and + bias if `BIAS`; else `bias` is not looked at.
#[inline(always)]
fn scale_shift<const U: usize, const BIAS: bool>(
    isa: Sve,
    x: &[f32],
    (centre, scale): (f32, f32),
    (weight, bias): (&[f32], &[f32]),
    y: &mut [f32],
) {
    const { assert!(U >= 1 && U <= 8, "three vectors for each of eight") };
    let n = x.len();
    let (weight, y) = (&weight[..n], &mut y[..n]);
    let bias = if BIAS { &bias[..n] } else { bias };
    let round = U * isa.lanes();
    // SAFETY: `isa` proves SVE. The rounds touch `n / round * round` elements from the start of each slice, the
    // predicated tail the rest; x, weight, y and, where it is read, bias hold n by the slicing above. The text leaves
    // no assembler macro behind.
    unsafe {
        sve_asm!(
            [
                r"
                .altmacro
                .macro kiln_element vec, weight, bias, pred
                    ld1w {{z\vec\().s}}, \pred/z, [{x}, #\vec, mul vl]
                    ld1w {{z\weight\().s}}, \pred/z, [{weight}, #\vec, mul vl]
                    fsub z\vec\().s, z\vec\().s, z31.s
                    fmul z\vec\().s, z\vec\().s, z30.s
                    .if {with_bias}
                        ld1w {{z\bias\().s}}, \pred/z, [{bias}, #\vec, mul vl]
                        fmad z\vec\().s, p0/m, z\weight\().s, z\bias\().s
                    .else
                        fmul z\vec\().s, z\vec\().s, z\weight\().s
                    .endif
                    st1w {{z\vec\().s}}, \pred, [{y}, #\vec, mul vl]
                .endm
                .macro kiln_each vec, pred
                    kiln_element \vec, %(8 + \vec), %(16 + \vec), \pred
                .endm
                .macro kiln_next count
                    addvl {x}, {x}, #\count
                    addvl {weight}, {weight}, #\count
                    .if {with_bias}
                        addvl {bias}, {bias}, #\count
                    .endif
                    addvl {y}, {y}, #\count
                .endm
                    mov z31.s, {centre:w}
                    mov z30.s, {scale:w}
                ",
                rounds_text!(),
                r"
                .purgem kiln_element
                .noaltmacro
                ",
            ],
            x = inout(reg) x.as_ptr() => _,
            weight = inout(reg) weight.as_ptr() => _,
            bias = inout(reg) bias.as_ptr() => _,
            y = inout(reg) y.as_mut_ptr() => _,
            rounds = inout(reg) n / round => _,
            rest = inout(reg) n % round => _,
            centre = in(reg) centre.to_bits(),
            scale = in(reg) scale.to_bits(),
            u = const U,
            with_bias = const BIAS as usize,
        );
    }
}
