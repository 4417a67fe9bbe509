//! SVE rotations: a head as one loop in `asm!`, `U` vectors of each half a round, then predicated single ones.

use super::body::Turn;
use super::{RopeOp, Rotation};
use crate::isa::math::sve::rounds_text;
use crate::isa::{Sve, sve_asm};
use crate::row::Body;

impl<const U: usize> Body<RopeOp> for Turn<Sve, U> {
    fn run(&self, Rotation { mut x, bias, angles }: Rotation<'_>) {
        let dim = angles.cols();
        if dim == 0 {
            return;
        }
        for r in 0..x.rows() {
            let angles = angles.row(r).expect("rows of adjacent elements");
            let heads = x.row_mut(r).chunks_exact_mut(dim);
            if bias.is_empty() {
                heads.for_each(|head| turn::<U, false>(self.0, head, &[], angles));
            } else {
                heads.zip(bias.chunks_exact(dim)).for_each(|(head, bias)| turn::<U, true>(self.0, head, bias, angles));
            }
        }
    }
}

/// Turns a head, and adds `bias` to it before if `BIAS`; else `bias` is not looked at.
#[inline(always)]
fn turn<const U: usize, const BIAS: bool>(isa: Sve, head: &mut [f32], bias: &[f32], angles: &[f32]) {
    const { assert!(U >= 1 && U <= 4, "six vectors for each of four") };
    let half = head.len() / 2;
    let (cos, sin) = angles[..2 * half].split_at(half);
    let (low, high) = head[..2 * half].split_at_mut(half);
    let (bias_low, bias_high) = if BIAS { bias[..2 * half].split_at(half) } else { (bias, bias) };
    let round = U * isa.lanes();
    // SAFETY: `isa` proves SVE. The rounds touch `half / round * round` elements from the start of each half, the
    // predicated tail the rest; low, high, cos, sin and, where they are read, both halves of the bias hold `half` by
    // the splits above. The text leaves no assembler macro behind.
    unsafe {
        sve_asm!(
            [
                r"
                .altmacro
                .macro kiln_turn low, high, cos, sin, to_low, to_high, pred
                    ld1w {{z\low\().s}}, \pred/z, [{low}, #\low, mul vl]
                    ld1w {{z\high\().s}}, \pred/z, [{high}, #\low, mul vl]
                    .if {with_bias}
                        ld1w {{z\to_low\().s}}, \pred/z, [{bias_low}, #\low, mul vl]
                        ld1w {{z\to_high\().s}}, \pred/z, [{bias_high}, #\low, mul vl]
                        fadd z\low\().s, z\low\().s, z\to_low\().s
                        fadd z\high\().s, z\high\().s, z\to_high\().s
                    .endif
                    ld1w {{z\cos\().s}}, \pred/z, [{cos}, #\low, mul vl]
                    ld1w {{z\sin\().s}}, \pred/z, [{sin}, #\low, mul vl]
                    fmul z\to_low\().s, z\low\().s, z\cos\().s
                    fmul z\to_high\().s, z\high\().s, z\cos\().s
                    fmls z\to_low\().s, p0/m, z\high\().s, z\sin\().s
                    fmla z\to_high\().s, p0/m, z\low\().s, z\sin\().s
                    st1w {{z\to_low\().s}}, \pred, [{low}, #\low, mul vl]
                    st1w {{z\to_high\().s}}, \pred, [{high}, #\low, mul vl]
                .endm
                .macro kiln_each vec, pred
                    kiln_turn \vec, %(4 + \vec), %(8 + \vec), %(12 + \vec), %(16 + \vec), %(20 + \vec), \pred
                .endm
                .macro kiln_next count
                    addvl {low}, {low}, #\count
                    addvl {high}, {high}, #\count
                    addvl {cos}, {cos}, #\count
                    addvl {sin}, {sin}, #\count
                    .if {with_bias}
                        addvl {bias_low}, {bias_low}, #\count
                        addvl {bias_high}, {bias_high}, #\count
                    .endif
                .endm
                ",
                rounds_text!(),
                r"
                .purgem kiln_turn
                .noaltmacro
                ",
            ],
            low = inout(reg) low.as_mut_ptr() => _,
            high = inout(reg) high.as_mut_ptr() => _,
            cos = inout(reg) cos.as_ptr() => _,
            sin = inout(reg) sin.as_ptr() => _,
            bias_low = inout(reg) bias_low.as_ptr() => _,
            bias_high = inout(reg) bias_high.as_ptr() => _,
            rounds = inout(reg) half / round => _,
            rest = inout(reg) half % round => _,
            u = const U,
            with_bias = const BIAS as usize,
        );
    }
}
