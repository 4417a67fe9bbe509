//! SVE attention of many tokens: what a block does with a tile of keys and values, for any vector length. The two
//! products and the powers between them are each a loop in `asm!`; masks and largest scores, one operation for each
//! score, are left to the compiler. Keys and values are widened by NEON.

use super::cache::PANEL;
use super::prefill::{Block, Hide, Lanes, Widened};
use crate::isa::math::sve::{EXP, exp_text};
use crate::isa::{Isa, Neon, Sve, sve_asm};
use core::f32::consts::LN_2;

impl Lanes for Sve {
    type Beside = Neon;

    fn beside(self) -> Neon {
        Neon::detect().expect("every CPU with SVE has NEON")
    }

    fn lanes(self) -> usize {
        Sve::lanes(self)
    }

    fn tile<const R: usize, const V: usize>(
        self,
        Block { q, o, position, most, sum }: Block<'_>,
        dim: usize,
        (keys, values): Widened<'_>,
        hide: Hide<'_>,
        scores: &mut [f32],
    ) {
        let (count, width) = (values.len() / dim, V * Sve::lanes(self));
        // Keys are scored `R` at a time: those behind the last one lie in its panel, and their scores in the tile's room.
        for key in (0..count).step_by(R) {
            let lines = &keys[key / PANEL * dim..][..dim];
            let scores = &mut scores[key * width..][..R * width];
            outer::<R, V>(self, (&lines.as_flattened()[key % PANEL..], PANEL), (q, width), dim, None, scores);
        }
        let scores = &mut scores[..count * width];
        mask(hide, position, scores);
        // What was summed so far counts as powers of the new largest score.
        let (mut by, mut none) = ([0.0; MOST], [0.0; MOST]);
        let (by, none) = (&mut by[..width], &mut none[..width]);
        by.copy_from_slice(most);
        for row in scores.chunks_exact(width) {
            most.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(*x));
        }
        powers::<V>(self, most, by, none);
        sum.iter_mut().zip(&*by).for_each(|(sum, by)| *sum *= by);
        powers::<V>(self, most, scores, sum);
        let mut at = 0;
        while at + R <= dim {
            outer::<R, V>(self, (&values[at..], dim), (scores, width), count, Some(by), &mut o[at * width..][..R * width]);
            at += R;
        }
        while at < dim {
            outer::<2, V>(self, (&values[at..], dim), (scores, width), count, Some(by), &mut o[at * width..][..2 * width]);
            at += 2;
        }
    }
}

/// The most lanes that a block has: four of the longest vectors.
const MOST: usize = 4 * 64;

/// What hides keys is added to the scores, key by key a row of them.
fn mask(hide: Hide<'_>, position: &[f32], scores: &mut [f32]) {
    match hide {
        Hide::Nothing => {}
        Hide::Later(first) => {
            for (key, row) in (first..).zip(scores.chunks_exact_mut(position.len())) {
                let at = 2.0 * key as f32;
                // Twice the distance behind is 0 or at least 2, which overflows to −∞.
                row.iter_mut().zip(position).for_each(|(x, position)| *x += (position - at).min(0.0) * f32::MAX);
            }
        }
        Hide::Added(added) => scores.iter_mut().zip(added).for_each(|(x, added)| *x += added),
    }
}

/// C (`R` rows of `V` vectors, one after another) ← the sum over `depth` steps of `R` elements of A times `V` vectors of B,
/// whose steps are so many elements apart; more C times `by`, a number for each lane, where there is one.
#[inline(always)]
fn outer<const R: usize, const V: usize>(
    isa: Sve,
    (a, a_step): (&[f32], usize),
    (b, b_step): (&[f32], usize),
    depth: usize,
    by: Option<&[f32]>,
    c: &mut [f32],
) {
    const { assert!(R >= 1 && R <= 16 && V >= 1 && V <= 4 && R * V <= 24, "registers from z8 on, of A z0 to z3, of B z4 to z7") };
    let width = V * isa.lanes();
    assert!(depth == 0 || a.len() >= (depth - 1) * a_step + R && b.len() >= (depth - 1) * b_step + width, "A or B ends early");
    assert!(c.len() == R * width && by.is_none_or(|by| by.len() == width), "C is not one tile");
    // SAFETY: `isa` proves SVE. A step reads `R` elements of A (the predicate of the last four ends there) and `V` vectors
    // of B; there are `depth` of them, which end within both, as asserted. C is read and written as `R` rows of `V`
    // vectors, and `by` read as one, which they are. The text leaves no assembler macro behind.
    unsafe {
        sve_asm!(
            r"
            .altmacro
            .macro kiln_zero acc
                mov z\acc\().s, #0
            .endm
            .macro kiln_scaled acc, index
                ld1w {{z\acc\().s}}, p0/z, [{row}, #\index, mul vl]
                ld1w {{z0.s}}, p0/z, [{by}, #\index, mul vl]
                fmul z\acc\().s, z\acc\().s, z0.s
            .endm
            .macro kiln_store acc, index
                st1w {{z\acc\().s}}, p0, [{row}, #\index, mul vl]
            .endm
            .macro kiln_a reg, group
                .if \group + 1 < {groups}
                    ld1rqw {{z\reg\().s}}, p0/z, [{a}, #16 * \group]
                .else
                    ld1rqw {{z\reg\().s}}, p1/z, [{a}, #16 * \group]
                .endif
            .endm
            .macro kiln_b reg, index
                ld1w {{z\reg\().s}}, p0/z, [{b}, #\index, mul vl]
            .endm
            .macro kiln_multiply acc, vec, group, lane
                fmla z\acc\().s, z\vec\().s, z\group\().s[\lane]
            .endm
                ptrue p0.s
                whilelo p1.s, xzr, {last_group}
                mov {row}, {c}
                cbz {by}, 4f
                .set .Lkiln_r, 0
                .rept {rows}
                    .set .Lkiln_v, 0
                    .rept {vectors}
                        kiln_scaled %(8 + .Lkiln_r * {vectors} + .Lkiln_v), %(.Lkiln_v)
                        .set .Lkiln_v, .Lkiln_v + 1
                    .endr
                    addvl {row}, {row}, #{vectors}
                    .set .Lkiln_r, .Lkiln_r + 1
                .endr
                b 5f
            4:
                .set .Lkiln_r, 0
                .rept {rows} * {vectors}
                    kiln_zero %(8 + .Lkiln_r)
                    .set .Lkiln_r, .Lkiln_r + 1
                .endr
            5:
                cbz {depth}, 3f
            2:
                .set .Lkiln_v, 0
                .rept {vectors}
                    kiln_b %(4 + .Lkiln_v), %(.Lkiln_v)
                    .set .Lkiln_v, .Lkiln_v + 1
                .endr
                .set .Lkiln_r, 0
                .rept {groups}
                    kiln_a %(.Lkiln_r), %(.Lkiln_r)
                    .set .Lkiln_r, .Lkiln_r + 1
                .endr
                .set .Lkiln_r, 0
                .rept {rows}
                    .set .Lkiln_v, 0
                    .rept {vectors}
                        kiln_multiply %(8 + .Lkiln_r * {vectors} + .Lkiln_v), %(4 + .Lkiln_v), %(.Lkiln_r / 4), %(.Lkiln_r & 3)
                        .set .Lkiln_v, .Lkiln_v + 1
                    .endr
                    .set .Lkiln_r, .Lkiln_r + 1
                .endr
                add {a}, {a}, {a_step}, lsl #2
                add {b}, {b}, {b_step}, lsl #2
                subs {depth}, {depth}, #1
                b.ne 2b
            3:
                mov {row}, {c}
                .set .Lkiln_r, 0
                .rept {rows}
                    .set .Lkiln_v, 0
                    .rept {vectors}
                        kiln_store %(8 + .Lkiln_r * {vectors} + .Lkiln_v), %(.Lkiln_v)
                        .set .Lkiln_v, .Lkiln_v + 1
                    .endr
                    addvl {row}, {row}, #{vectors}
                    .set .Lkiln_r, .Lkiln_r + 1
                .endr
            .purgem kiln_zero
            .purgem kiln_scaled
            .purgem kiln_store
            .purgem kiln_a
            .purgem kiln_b
            .purgem kiln_multiply
            .noaltmacro
            ",
            a = inout(reg) a.as_ptr() => _,
            a_step = in(reg) a_step,
            b = inout(reg) b.as_ptr() => _,
            b_step = in(reg) b_step,
            depth = inout(reg) depth => _,
            by = in(reg) by.map_or(core::ptr::null(), <[f32]>::as_ptr),
            c = in(reg) c.as_mut_ptr(),
            row = out(reg) _,
            last_group = in(reg) (R - 1) % 4 + 1,
            rows = const R,
            vectors = const V,
            groups = const R.div_ceil(4),
        );
    }
}

/// x ← 2^(x − most) in rows of `V` vectors; the powers are added to `sum`, lane by lane.
#[inline(always)]
fn powers<const V: usize>(isa: Sve, most: &[f32], x: &mut [f32], sum: &mut [f32]) {
    const { assert!(V >= 1 && V <= 4, "rows in z0 to z3, the largest in z4 to z7, sums in z8 to z11") };
    let width = V * isa.lanes();
    assert!(most.len() == width && sum.len() == width && x.len().is_multiple_of(width), "rows are not of that width");
    // SAFETY: `isa` proves SVE. `most` and `sum` are read, and `sum` written, as `V` vectors, and `x` as so many rows of
    // them, which is what is asserted. `EXP` has the twelve constants that are loaded. The text leaves no assembler macro
    // behind.
    unsafe {
        sve_asm!(
            [
                ".altmacro",
                exp_text!(),
                r"
                .macro kiln_ready most, acc, index
                    ld1w {{z\most\().s}}, p0/z, [{most}, #\index, mul vl]
                    ld1w {{z\acc\().s}}, p0/z, [{sum}, #\index, mul vl]
                .endm
                .macro kiln_power reg, most, acc, index
                    ld1w {{z\reg\().s}}, p0/z, [{x}, #\index, mul vl]
                    fsub z\reg\().s, z\reg\().s, z\most\().s
                    fmul z\reg\().s, z\reg\().s, z12.s
                    kiln_exp \reg
                    st1w {{z\reg\().s}}, p0, [{x}, #\index, mul vl]
                    fadd z\acc\().s, z\acc\().s, z\reg\().s
                .endm
                .macro kiln_store acc, index
                    st1w {{z\acc\().s}}, p0, [{sum}, #\index, mul vl]
                .endm
                    kiln_exp_ready
                    mov z12.s, {ln_2:w}
                    .set .Lkiln_v, 0
                    .rept {vectors}
                        kiln_ready %(4 + .Lkiln_v), %(8 + .Lkiln_v), %(.Lkiln_v)
                        .set .Lkiln_v, .Lkiln_v + 1
                    .endr
                    cbz {rows}, 3f
                2:
                    .set .Lkiln_v, 0
                    .rept {vectors}
                        kiln_power %(.Lkiln_v), %(4 + .Lkiln_v), %(8 + .Lkiln_v), %(.Lkiln_v)
                        .set .Lkiln_v, .Lkiln_v + 1
                    .endr
                    addvl {x}, {x}, #{vectors}
                    subs {rows}, {rows}, #1
                    b.ne 2b
                3:
                    .set .Lkiln_v, 0
                    .rept {vectors}
                        kiln_store %(8 + .Lkiln_v), %(.Lkiln_v)
                        .set .Lkiln_v, .Lkiln_v + 1
                    .endr
                .purgem kiln_ready
                .purgem kiln_power
                .purgem kiln_store
                .purgem kiln_constant
                .purgem kiln_exp_ready
                .purgem kiln_exp
                .noaltmacro
                ",
            ],
            x = inout(reg) x.as_mut_ptr() => _,
            rows = inout(reg) x.len() / width => _,
            most = in(reg) most.as_ptr(),
            sum = in(reg) sum.as_mut_ptr(),
            ln_2 = in(reg) LN_2.to_bits(),
            exp = in(reg) EXP.as_ptr(),
            vectors = const V,
        );
    }
}
