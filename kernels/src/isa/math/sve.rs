//! SVE: texts that loops over rows share, since there are no vectors that functions could be of.
//!
//! Vectors of a round are z0…z7, accumulators z8…z15. All lanes are true in p0; p1 holds the lanes of a tail.

use super::{EXP_MOST, LN_2, POLYNOMIAL, ROUND};
use core::f32::consts::LOG2_E;

/// What [`exp_text!`] keeps in z20…z31, in that order.
#[rustfmt::skip]
pub(crate) static EXP: [f32; 12] = {
    let [c0, c1, c2, c3, c4, c5] = POLYNOMIAL;
    [c5, c4, c3, c2, c1, c0, LN_2[1], LN_2[0], ROUND, LOG2_E, EXP_MOST, -88.0]
};

/// A loop over elements, `u` vectors a round, then single ones.
///
/// Two assembler macros say what it does: `kiln_each vec, pred` with the vector `vec` behind the pointers, of which
/// only the lanes in `pred` may be touched, and `kiln_next count`, which moves the pointers by so many vectors. The
/// operands are `rounds` and the elements that are the `rest`, both overwritten, and `u`. Labels are 2 to 5.
macro_rules! rounds_text {
    () => {
        r"
            ptrue p0.s
            cbz {rounds}, 3f
        2:
            .set .Lkiln_u, 0
            .rept {u}
                kiln_each %(.Lkiln_u), p0
                .set .Lkiln_u, .Lkiln_u + 1
            .endr
            kiln_next {u}
            subs {rounds}, {rounds}, #1
            b.ne 2b
        3:
            whilelo p1.s, xzr, {rest}
            b.none 5f
        4:
            kiln_each 0, p1
            kiln_next 1
            uqdecw {rest}
            whilelo p1.s, xzr, {rest}
            b.any 4b
        5:
        .purgem kiln_each
        .purgem kiln_next
        "
    };
}
pub(crate) use rounds_text;

/// [`rounds_text!`] with `u` accumulators from z8 on, of which z8 is made in the end: `kiln_start acc` makes one ready,
/// `kiln_total acc` adds it to z8.
macro_rules! fold_text {
    () => {
        concat!(
            r"
            .set .Lkiln_u, 0
            .rept {u}
                kiln_start %(8 + .Lkiln_u)
                .set .Lkiln_u, .Lkiln_u + 1
            .endr
            ",
            $crate::isa::math::sve::rounds_text!(),
            r"
            .set .Lkiln_u, 1
            .rept {u} - 1
                kiln_total %(8 + .Lkiln_u)
                .set .Lkiln_u, .Lkiln_u + 1
            .endr
        .purgem kiln_start
        .purgem kiln_total
        "
        )
    };
}
pub(crate) use fold_text;

/// The exponential function as [`super::Math::exp`] has it, bit for bit: `kiln_exp reg` replaces a vector, with p0 all
/// true. It overwrites z16…z19 and reads z20…z31, which `kiln_exp_ready` loads from the operand `exp`, a pointer to
/// [`EXP`]. Both macros are to be purged.
macro_rules! exp_text {
    () => {
        r"
        .macro kiln_constant reg, offset
            ld1rw {{z\reg\().s}}, p0/z, [{exp}, #\offset]
        .endm
        .macro kiln_exp_ready
            ptrue p0.s
            .set .Lkiln_u, 0
            .rept 12
                kiln_constant %(20 + .Lkiln_u), %(4 * .Lkiln_u)
                .set .Lkiln_u, .Lkiln_u + 1
            .endr
        .endm
        .macro kiln_exp reg
            fmin z\reg\().s, p0/m, z\reg\().s, z30.s
            fmax z\reg\().s, p0/m, z\reg\().s, z31.s
            fmul z16.s, z\reg\().s, z29.s
            fadd z16.s, z16.s, z28.s
            fsub z17.s, z16.s, z28.s
            fmla z\reg\().s, p0/m, z17.s, z27.s
            fmla z\reg\().s, p0/m, z17.s, z26.s
            mov z18.d, z25.d
            fmad z18.s, p0/m, z\reg\().s, z24.s
            fmad z18.s, p0/m, z\reg\().s, z23.s
            fmad z18.s, p0/m, z\reg\().s, z22.s
            fmad z18.s, p0/m, z\reg\().s, z21.s
            fmad z18.s, p0/m, z\reg\().s, z20.s
            fmul z19.s, z\reg\().s, z\reg\().s
            fadd z\reg\().s, p0/m, z\reg\().s, #1.0
            fmad z18.s, p0/m, z19.s, z\reg\().s
            add z16.s, z16.s, #127
            lsl z16.s, z16.s, #23
            fmul z\reg\().s, z18.s, z16.s
        .endm
        "
    };
}
pub(crate) use exp_text;
