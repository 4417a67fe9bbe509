//! SVE gates: a row as one loop in `asm!`, `U` vectors a round, then predicated single ones.

use super::body::{ADJACENT, Silu, SiluQuantise};
use super::{SiluMulOp, SiluMulQuantiseOp};
use crate::format::{SPAN, q8_0};
use crate::isa::math::sve::{EXP, exp_text, rounds_text};
use crate::isa::{Sve, sve_asm};
use crate::mat::{Mat, MatMut};
use crate::quantise::PIECE;
use crate::quantise::sve::quantise;
use crate::row::Body;

impl<const U: usize> Body<SiluMulOp> for Silu<Sve, U> {
    fn run(&self, (gate, up, mut y): (Mat<'_, f32>, Mat<'_, f32>, MatMut<'_, f32>)) {
        for r in 0..y.rows() {
            silu_mul::<U>(self.0, gate.row(r).expect(ADJACENT), up.row(r).expect(ADJACENT), y.row_mut(r));
        }
    }
}

impl<const U: usize> Body<SiluMulQuantiseOp> for SiluQuantise<Sve, U> {
    /// A piece of the row is gated at a time, and quantised out of the nearest cache.
    fn run(&self, (gate, up, mut y): (Mat<'_, f32>, Mat<'_, f32>, MatMut<'_, q8_0::Block>)) {
        let mut piece = [0.0; PIECE];
        for r in 0..y.rows() {
            let (gate, up) = (gate.row(r).expect(ADJACENT), up.row(r).expect(ADJACENT));
            let parts = gate.chunks(PIECE).zip(up.chunks(PIECE)).zip(y.row_mut(r).chunks_mut(PIECE / SPAN));
            for ((gate, up), y) in parts {
                let piece = &mut piece[..gate.len()];
                silu_mul::<2>(self.0, gate, up, piece);
                quantise::<U>(self.0, piece, y);
            }
        }
    }
}

/// y = gate / (1 + e^−gate) · up.
#[inline(always)]
fn silu_mul<const U: usize>(isa: Sve, gate: &[f32], up: &[f32], y: &mut [f32]) {
    const { assert!(U >= 1 && U <= 4, "three vectors for each of four below those of the exponential function") };
    let n = y.len();
    let (gate, up) = (&gate[..n], &up[..n]);
    let round = U * isa.lanes();
    // SAFETY: `isa` proves SVE. The rounds touch `n / round * round` elements from the start of each slice, the
    // predicated tail the rest; all of them hold n. `EXP` has the twelve constants that are loaded. The text leaves no
    // assembler macro behind.
    unsafe {
        sve_asm!(
            [
                ".altmacro",
                exp_text!(),
                r"
                .macro kiln_silu gate, up, power, pred
                    ld1w {{z\gate\().s}}, \pred/z, [{gate}, #\gate, mul vl]
                    ld1w {{z\up\().s}}, \pred/z, [{up}, #\gate, mul vl]
                    fneg z\power\().s, p0/m, z\gate\().s
                    kiln_exp \power
                    fadd z\power\().s, p0/m, z\power\().s, #1.0
                    fdiv z\gate\().s, p0/m, z\gate\().s, z\power\().s
                    fmul z\gate\().s, z\gate\().s, z\up\().s
                    st1w {{z\gate\().s}}, \pred, [{y}, #\gate, mul vl]
                .endm
                .macro kiln_each vec, pred
                    kiln_silu \vec, %(4 + \vec), %(8 + \vec), \pred
                .endm
                .macro kiln_next count
                    addvl {gate}, {gate}, #\count
                    addvl {up}, {up}, #\count
                    addvl {y}, {y}, #\count
                .endm
                    kiln_exp_ready
                ",
                rounds_text!(),
                r"
                .purgem kiln_silu
                .purgem kiln_constant
                .purgem kiln_exp_ready
                .purgem kiln_exp
                .noaltmacro
                ",
            ],
            gate = inout(reg) gate.as_ptr() => _,
            up = inout(reg) up.as_ptr() => _,
            y = inout(reg) y.as_mut_ptr() => _,
            rounds = inout(reg) n / round => _,
            rest = inout(reg) n % round => _,
            exp = in(reg) EXP.as_ptr(),
            u = const U,
        );
    }
}
