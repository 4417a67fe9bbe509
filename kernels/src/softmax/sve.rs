//! SVE softmax in three passes over a row, each one loop in `asm!`, `U` vectors a round, then predicated single ones.

use super::SoftmaxOp;
use super::Visible;
use super::body::Three;
use crate::isa::math::sve::{EXP, exp_text, fold_text, rounds_text};
use crate::isa::{Sve, sve_asm};
use crate::mat::MatMut;
use crate::row::Body;

impl<const U: usize> Body<SoftmaxOp> for Three<Sve, U, 1, 0> {
    fn run(&self, (mut x, scale, visible): (MatMut<'_, f32>, f32, Visible)) {
        let isa = self.0;
        for r in 0..x.rows() {
            let cols = x.cols();
            let (seen, hidden) = x.row_mut(r).split_at_mut(visible.count(r, cols));
            hidden.fill(0.0);
            let most = largest::<U, true>(isa, seen, scale);
            let sum = powers::<U>(isa, seen, (scale, most));
            multiply::<U>(isa, seen, 1.0 / sum);
        }
    }
}

/// The largest of x · scale, or of x where it is not `SCALED`; NaN, if one is.
#[inline(always)]
pub(crate) fn largest<const U: usize, const SCALED: bool>(isa: Sve, x: &[f32], scale: f32) -> f32 {
    const { assert!(U >= 1 && U <= 8, "eight vectors of the row beside eight accumulators") };
    let round = U * isa.lanes();
    let most: u32;
    // SAFETY: `isa` proves SVE. The rounds read `x.len() / round * round` elements from the start of `x`, the
    // predicated tail the rest; nothing is written. The text leaves no assembler macro behind.
    unsafe {
        sve_asm!(
            [
                r"
                .altmacro
                .macro kiln_start acc
                    mov z\acc\().s, {least:w}
                .endm
                .macro kiln_larger vec, acc, pred
                    ld1w {{z\vec\().s}}, \pred/z, [{x}, #\vec, mul vl]
                    .if {scaled}
                    fmul z\vec\().s, z\vec\().s, z31.s
                    .endif
                    fmax z\acc\().s, \pred/m, z\acc\().s, z\vec\().s
                .endm
                .macro kiln_each vec, pred
                    kiln_larger \vec, %(8 + \vec), \pred
                .endm
                .macro kiln_next count
                    addvl {x}, {x}, #\count
                .endm
                .macro kiln_total acc
                    fmax z8.s, p0/m, z8.s, z\acc\().s
                .endm
                    mov z31.s, {scale:w}
                ",
                fold_text!(),
                r"
                    fmaxv s8, p0, z8.s
                    fmov {most:w}, s8
                .purgem kiln_larger
                .noaltmacro
                ",
            ],
            x = inout(reg) x.as_ptr() => _,
            rounds = inout(reg) x.len() / round => _,
            rest = inout(reg) x.len() % round => _,
            scale = in(reg) scale.to_bits(),
            least = in(reg) f32::NEG_INFINITY.to_bits(),
            most = lateout(reg) most,
            u = const U,
            scaled = const SCALED as usize,
        );
    }
    f32::from_bits(most)
}

/// x ← e^(x · scale − most); the sum of that.
#[inline(always)]
fn powers<const U: usize>(isa: Sve, x: &mut [f32], (scale, most): (f32, f32)) -> f32 {
    const { assert!(U >= 1 && U <= 4, "four vectors of the row, four accumulators and two numbers") };
    let round = U * isa.lanes();
    let sum: u32;
    // SAFETY: `isa` proves SVE. The rounds read and write `x.len() / round * round` elements from the start of `x`,
    // the predicated tail the rest. `EXP` has the twelve constants that are loaded. The text leaves no assembler macro
    // behind.
    unsafe {
        sve_asm!(
            [
                ".altmacro",
                exp_text!(),
                r"
                .macro kiln_start acc
                    mov z\acc\().s, #0
                .endm
                .macro kiln_power vec, acc, pred
                    ld1w {{z\vec\().s}}, \pred/z, [{x}, #\vec, mul vl]
                    fmul z\vec\().s, z\vec\().s, z6.s
                    fsub z\vec\().s, z\vec\().s, z7.s
                    kiln_exp \vec
                    st1w {{z\vec\().s}}, \pred, [{x}, #\vec, mul vl]
                    fadd z\acc\().s, \pred/m, z\acc\().s, z\vec\().s
                .endm
                .macro kiln_each vec, pred
                    kiln_power \vec, %(8 + \vec), \pred
                .endm
                .macro kiln_next count
                    addvl {x}, {x}, #\count
                .endm
                .macro kiln_total acc
                    fadd z8.s, z8.s, z\acc\().s
                .endm
                    mov z6.s, {scale:w}
                    mov z7.s, {most:w}
                    kiln_exp_ready
                ",
                fold_text!(),
                r"
                    faddv s8, p0, z8.s
                    fmov {sum:w}, s8
                .purgem kiln_power
                .purgem kiln_constant
                .purgem kiln_exp_ready
                .purgem kiln_exp
                .noaltmacro
                ",
            ],
            x = inout(reg) x.as_mut_ptr() => _,
            rounds = inout(reg) x.len() / round => _,
            rest = inout(reg) x.len() % round => _,
            scale = in(reg) scale.to_bits(),
            most = in(reg) most.to_bits(),
            exp = in(reg) EXP.as_ptr(),
            sum = lateout(reg) sum,
            u = const U,
        );
    }
    f32::from_bits(sum)
}

/// x ← x · by.
#[inline(always)]
fn multiply<const U: usize>(isa: Sve, x: &mut [f32], by: f32) {
    const { assert!(U >= 1 && U <= 8, "the offset of a load reaches seven vectors") };
    let round = U * isa.lanes();
    // SAFETY: `isa` proves SVE. The rounds read and write `x.len() / round * round` elements from the start of `x`,
    // the predicated tail the rest. The text leaves no assembler macro behind.
    unsafe {
        sve_asm!(
            [
                r"
                .altmacro
                .macro kiln_each vec, pred
                    ld1w {{z\vec\().s}}, \pred/z, [{x}, #\vec, mul vl]
                    fmul z\vec\().s, z\vec\().s, z31.s
                    st1w {{z\vec\().s}}, \pred, [{x}, #\vec, mul vl]
                .endm
                .macro kiln_next count
                    addvl {x}, {x}, #\count
                .endm
                    mov z31.s, {by:w}
                ",
                rounds_text!(),
                ".noaltmacro",
            ],
            x = inout(reg) x.as_mut_ptr() => _,
            rounds = inout(reg) x.len() / round => _,
            rest = inout(reg) x.len() % round => _,
            by = in(reg) by.to_bits(),
            u = const U,
        );
    }
}
