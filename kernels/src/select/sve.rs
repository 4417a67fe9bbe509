//! SVE selection: the largest element of a block is one loop in `asm!`, `U` vectors a round, then predicated single
//! ones. What becomes of it is the same on every instruction set.

use super::body::{Few, First, few, first};
use super::{ArgMaxOp, TopKOp};
use crate::isa::math::sve::fold_text;
use crate::isa::{Sve, sve_asm};
use crate::mat::Mat;
use crate::row::Body;

impl<const U: usize> Body<ArgMaxOp> for First<Sve, U> {
    fn run(&self, (x, at): (Mat<'_, f32>, &mut [u32])) {
        for (r, at) in at.iter_mut().enumerate() {
            let x = x.row(r).expect("rows of adjacent elements");
            *at = first(x, BLOCK, |block, least| holds_more::<U>(self.0, block, least)) as u32;
        }
    }
}

impl<const U: usize> Body<TopKOp> for Few<Sve, U> {
    fn run(&self, (x, values, at): (&[f32], &mut [f32], &mut [u32])) {
        few(x, (values, at), SMALL, |block, least| holds_more::<U>(self.0, block, least));
    }
}

/// Elements of a block in which the largest is looked for.
const BLOCK: usize = 512;
/// The same, where several are.
const SMALL: usize = 128;

/// Whether an element is above `least`, or NaN.
fn holds_more<const U: usize>(isa: Sve, block: &[f32], least: f32) -> bool {
    let most = largest::<U>(isa, block);
    most > least || most.is_nan()
}

/// The largest element; NaN, if one is.
fn largest<const U: usize>(isa: Sve, x: &[f32]) -> f32 {
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
            least = in(reg) f32::NEG_INFINITY.to_bits(),
            most = lateout(reg) most,
            u = const U,
        );
    }
    f32::from_bits(most)
}
