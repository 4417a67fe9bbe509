//! SVE norms: each pass over the row is one loop in `asm!`, `U` vectors a round with an accumulator
//! each, then predicated single ones.

use super::body::{Layer, LayerBody, Rms, RmsBody};
use crate::isa::{Sve, sve_asm};

impl<const U: usize> RmsBody for Rms<Sve, U> {
    fn row(&self, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
        let mean = reduce::<U, true>(self.0, x, 0.0) / x.len() as f32;
        scale_shift::<U, false>(self.0, x, 0.0, 1.0 / (mean + eps).sqrt(), weight, &[], y);
    }
}

impl<const U: usize> LayerBody for Layer<Sve, U> {
    /// The variance is taken about the mean in a second pass: one pass over x² would cancel.
    fn row(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
        let n = x.len() as f32;
        let mean = reduce::<U, false>(self.0, x, 0.0) / n;
        let variance = reduce::<U, true>(self.0, x, mean) / n;
        scale_shift::<U, true>(self.0, x, mean, 1.0 / (variance + eps).sqrt(), weight, bias, y);
    }
}

/// Σ (x − centre), or of its squares.
fn reduce<const U: usize, const SQUARES: bool>(isa: Sve, x: &[f32], centre: f32) -> f32 {
    const { assert!(U >= 1 && U <= 8, "eight vectors of the row beside eight accumulators") };
    let round = U * isa.lanes();
    let total: u32;
    // SAFETY: `isa` proves SVE. The rounds read `x.len() / round * round` elements from the start
    // of `x`, the predicated tail the rest; nothing is written. The text leaves no assembler macro
    // behind.
    unsafe {
        sve_asm!(
            r"
            .altmacro
            .macro kiln_zero acc
                mov z\acc\().s, #0
            .endm
            .macro kiln_term vec, acc
                ldr z\vec, [{x}, #\vec, mul vl]
                fsub z\vec\().s, z\vec\().s, z31.s
                .if {squares}
                    fmla z\acc\().s, p0/m, z\vec\().s, z\vec\().s
                .else
                    fadd z\acc\().s, z\acc\().s, z\vec\().s
                .endif
            .endm
            .macro kiln_total acc
                fadd z16.s, z16.s, z\acc\().s
            .endm
                ptrue p0.s
                mov z31.s, {centre:w}
                .set .Lkiln_u, 0
                .rept {u}
                    kiln_zero %(16 + .Lkiln_u)
                    .set .Lkiln_u, .Lkiln_u + 1
                .endr
                cbz {rounds}, 3f
            2:
                .set .Lkiln_u, 0
                .rept {u}
                    kiln_term %(.Lkiln_u), %(16 + .Lkiln_u)
                    .set .Lkiln_u, .Lkiln_u + 1
                .endr
                addvl {x}, {x}, #{u}
                subs {rounds}, {rounds}, #1
                b.ne 2b
            3:
                mov {i}, #0
                whilelo p1.s, {i}, {rest}
                b.none 5f
            4:
                ld1w {{z0.s}}, p1/z, [{x}, {i}, lsl #2]
                fsub z0.s, p1/m, z0.s, z31.s
                .if {squares}
                    fmla z16.s, p1/m, z0.s, z0.s
                .else
                    fadd z16.s, p1/m, z16.s, z0.s
                .endif
                incw {i}
                whilelo p1.s, {i}, {rest}
                b.any 4b
            5:
                .set .Lkiln_u, 1
                .rept {u} - 1
                    kiln_total %(16 + .Lkiln_u)
                    .set .Lkiln_u, .Lkiln_u + 1
                .endr
                faddv s16, p0, z16.s
                fmov {total:w}, s16
            .purgem kiln_zero
            .purgem kiln_term
            .purgem kiln_total
            .noaltmacro
            ",
            x = inout(reg) x.as_ptr() => _,
            rounds = inout(reg) x.len() / round => _,
            rest = in(reg) x.len() % round,
            centre = in(reg) centre.to_bits(),
            i = out(reg) _,
            total = lateout(reg) total,
            u = const U,
            squares = const SQUARES as usize,
        );
    }
    f32::from_bits(total)
}

/// y = (x − centre) · scale · weight, and + bias if `BIAS`; else `bias` is not looked at.
fn scale_shift<const U: usize, const BIAS: bool>(
    isa: Sve,
    x: &[f32],
    centre: f32,
    scale: f32,
    weight: &[f32],
    bias: &[f32],
    y: &mut [f32],
) {
    const { assert!(U >= 1 && U <= 8, "three vectors for each of eight") };
    let n = x.len();
    let (weight, y) = (&weight[..n], &mut y[..n]);
    let bias = if BIAS { &bias[..n] } else { bias };
    let round = U * isa.lanes();
    // SAFETY: `isa` proves SVE. The rounds touch `n / round * round` elements from the start of
    // each slice, the predicated tail the rest; x, weight, y and, where it is read, bias hold n by
    // the slicing above. The text leaves no assembler macro behind.
    unsafe {
        sve_asm!(
            r"
            .altmacro
            .macro kiln_element vec, weight, bias
                ldr z\vec, [{x}, #\vec, mul vl]
                ldr z\weight, [{weight}, #\vec, mul vl]
                fsub z\vec\().s, z\vec\().s, z31.s
                fmul z\vec\().s, z\vec\().s, z30.s
                .if {with_bias}
                    ldr z\bias, [{bias}, #\vec, mul vl]
                    fmad z\vec\().s, p0/m, z\weight\().s, z\bias\().s
                .else
                    fmul z\vec\().s, z\vec\().s, z\weight\().s
                .endif
                str z\vec, [{y}, #\vec, mul vl]
            .endm
                ptrue p0.s
                mov z31.s, {centre:w}
                mov z30.s, {scale:w}
                cbz {rounds}, 3f
            2:
                .set .Lkiln_u, 0
                .rept {u}
                    kiln_element %(.Lkiln_u), %(8 + .Lkiln_u), %(16 + .Lkiln_u)
                    .set .Lkiln_u, .Lkiln_u + 1
                .endr
                addvl {x}, {x}, #{u}
                addvl {weight}, {weight}, #{u}
                .if {with_bias}
                    addvl {bias}, {bias}, #{u}
                .endif
                addvl {y}, {y}, #{u}
                subs {rounds}, {rounds}, #1
                b.ne 2b
            3:
                mov {i}, #0
                whilelo p1.s, {i}, {rest}
                b.none 5f
            4:
                ld1w {{z0.s}}, p1/z, [{x}, {i}, lsl #2]
                ld1w {{z8.s}}, p1/z, [{weight}, {i}, lsl #2]
                fsub z0.s, z0.s, z31.s
                fmul z0.s, z0.s, z30.s
                .if {with_bias}
                    ld1w {{z16.s}}, p1/z, [{bias}, {i}, lsl #2]
                    fmad z0.s, p1/m, z8.s, z16.s
                .else
                    fmul z0.s, z0.s, z8.s
                .endif
                st1w {{z0.s}}, p1, [{y}, {i}, lsl #2]
                incw {i}
                whilelo p1.s, {i}, {rest}
                b.any 4b
            5:
            .purgem kiln_element
            .noaltmacro
            ",
            x = inout(reg) x.as_ptr() => _,
            weight = inout(reg) weight.as_ptr() => _,
            bias = inout(reg) bias.as_ptr() => _,
            y = inout(reg) y.as_mut_ptr() => _,
            rounds = inout(reg) n / round => _,
            rest = in(reg) n % round,
            centre = in(reg) centre.to_bits(),
            scale = in(reg) scale.to_bits(),
            i = out(reg) _,
            u = const U,
            with_bias = const BIAS as usize,
        );
    }
}
