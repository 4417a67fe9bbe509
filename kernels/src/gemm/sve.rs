//! The SVE micro-kernel: the whole depth loop of one tile in `asm!`, for any vector length.
//!
//! One text serves every tile and unroll: the assembler's own macros number the registers from the
//! const parameters. Register file: ⌈MR/4⌉ vectors of A (z0…), NV of B, then MR × NV accumulators,
//! row by row. No edges, no blocking here.

use super::F32;
use super::micro::{Geometry, MicroKernel};
use super::pack;
use super::product::Single;
use crate::isa::{Sve, sve_asm};
use crate::mat::{Mat, MatMut};

impl<const MR: usize, const NV: usize, const KU: usize> MicroKernel<Single> for F32<Sve, MR, NV, KU> {
    fn geometry(&self) -> Geometry {
        let nr = NV * self.0.lanes();
        Geometry { mr: MR, nr, step: 1, a_head: 0, a_words: MR, b_words: nr }
    }

    fn tile(&self, a: &[u32], b: &[u32], mut c: MatMut<'_, f32>, accumulate: bool) {
        let nr = NV * self.0.lanes();
        let depth = a.len() / MR;
        assert!(a.len() == depth * MR && b.len() == depth * nr, "panels of different depths");
        assert!(c.rows() == MR && c.cols() == nr, "C is not one tile");
        tile::<MR, NV, KU>(self.0, a, b, &mut c, accumulate);
    }

    fn pack_a(&self, a: Mat<'_, f32>, out: &mut [u32]) {
        pack::strips(MR, &pack::Floats, a, out);
    }

    fn pack_b(&self, bt: Mat<'_, f32>, out: &mut [u32]) {
        pack::strips(NV * self.0.lanes(), &pack::Floats, bt, out);
    }
}

/// C ← or += A·B for panels `a` (`[k][MR]`) and `b` (`[k][NV · lanes]`) of one depth and a whole
/// tile `c`: the caller has checked all three.
fn tile<const MR: usize, const NV: usize, const KU: usize>(isa: Sve, a: &[u32], b: &[u32], c: &mut MatMut<'_, f32>, accumulate: bool) {
    const {
        assert!(MR >= 1 && NV >= 1 && KU >= 1, "an empty tile");
        assert!(MR * NV + NV + MR.div_ceil(4) <= 32, "the tile does not fit 32 registers");
        assert!(MR.div_ceil(4) <= 8, "the element of a multiply-add comes from z0 to z7");
        assert!(KU * NV <= 256, "the offset of a load of B reaches 255 vectors");
    }
    let depth = a.len() / MR;
    let (c, ldc) = c.as_raw();
    // SAFETY: `isa` proves SVE. A step of the depth reads MR elements of A (the predicate of the
    // last group ends at MR) and NV vectors of B, and there are `depth` steps of each; C is read
    // and written as MR rows of NV vectors, `ldc` elements apart. That is exactly what the caller
    // checked. The text leaves no assembler macro behind, so it may be instantiated repeatedly.
    unsafe {
        sve_asm!(
            r"
            .altmacro
            .macro kiln_zero acc
                mov z\acc\().s, #0
            .endm
            .macro kiln_prefetch_c index
                prfw pstl1keep, p0, [{row}, #\index, mul vl]
            .endm
            .macro kiln_load_a group, pred
                ld1rqw {{z\group\().s}}, \pred\()/z, [{a}, #16 * \group]
            .endm
            .macro kiln_load_b vec, index
                ldr z\vec, [{b}, #\index, mul vl]
            .endm
            .macro kiln_fma acc, vec, group, lane
                fmla z\acc\().s, z\vec\().s, z\group\().s[\lane]
            .endm
            .macro kiln_add_c acc, vec, index
                ldr z\vec, [{row}, #\index, mul vl]
                fadd z\acc\().s, z\acc\().s, z\vec\().s
            .endm
            .macro kiln_store_c acc, index
                str z\acc, [{row}, #\index, mul vl]
            .endm

            // acc[i][j] += a[i] * b[j]; B is read from its step 'step' on, A is moved along.
            .macro kiln_step step
                .set .Lkiln_i, 0
                .rept {groups} - 1
                    kiln_load_a %(.Lkiln_i), p0
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr
                kiln_load_a %(.Lkiln_i), p1
                .set .Lkiln_j, 0
                .rept {nv}
                    kiln_load_b %({groups} + .Lkiln_j), %(\step * {nv} + .Lkiln_j)
                    .set .Lkiln_j, .Lkiln_j + 1
                .endr
                add {a}, {a}, #4 * {mr}
                .set .Lkiln_j, 0
                .rept {nv}
                    .set .Lkiln_i, 0
                    .rept {mr}
                        kiln_fma %({groups} + {nv} + .Lkiln_i * {nv} + .Lkiln_j), %({groups} + .Lkiln_j), %(.Lkiln_i / 4), %(.Lkiln_i & 3)
                        .set .Lkiln_i, .Lkiln_i + 1
                    .endr
                    .set .Lkiln_j, .Lkiln_j + 1
                .endr
            .endm

                ptrue p0.s
                ptrue p1.s, vl{last_group}
                mov {row}, {c}
                .rept {mr}
                    .set .Lkiln_j, 0
                    .rept {nv}
                        kiln_prefetch_c %(.Lkiln_j)
                        .set .Lkiln_j, .Lkiln_j + 1
                    .endr
                    add {row}, {row}, {ldc_bytes}
                .endr
                .set .Lkiln_i, 0
                .rept {mr} * {nv}
                    kiln_zero %({groups} + {nv} + .Lkiln_i)
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr

                cbz {rounds}, 3f
            2:
                .set .Lkiln_u, 0
                .rept {ku}
                    kiln_step %(.Lkiln_u)
                    .set .Lkiln_u, .Lkiln_u + 1
                .endr
                add {b}, {b}, {round_bytes}
                subs {rounds}, {rounds}, #1
                b.ne 2b
            3:
                cbz {rest}, 5f
            4:
                kiln_step 0
                addvl {b}, {b}, #{nv}
                subs {rest}, {rest}, #1
                b.ne 4b
            5:

                cbz {accumulate:w}, 6f
                mov {row}, {c}
                .set .Lkiln_i, 0
                .rept {mr}
                    .set .Lkiln_j, 0
                    .rept {nv}
                        kiln_add_c %({groups} + {nv} + .Lkiln_i * {nv} + .Lkiln_j), %({groups} + .Lkiln_j), %(.Lkiln_j)
                        .set .Lkiln_j, .Lkiln_j + 1
                    .endr
                    add {row}, {row}, {ldc_bytes}
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr
            6:
                mov {row}, {c}
                .set .Lkiln_i, 0
                .rept {mr}
                    .set .Lkiln_j, 0
                    .rept {nv}
                        kiln_store_c %({groups} + {nv} + .Lkiln_i * {nv} + .Lkiln_j), %(.Lkiln_j)
                        .set .Lkiln_j, .Lkiln_j + 1
                    .endr
                    add {row}, {row}, {ldc_bytes}
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr

            .purgem kiln_zero
            .purgem kiln_prefetch_c
            .purgem kiln_load_a
            .purgem kiln_load_b
            .purgem kiln_fma
            .purgem kiln_add_c
            .purgem kiln_store_c
            .purgem kiln_step
            .noaltmacro
            ",
            a = inout(reg) a.as_ptr() => _,
            b = inout(reg) b.as_ptr() => _,
            rounds = inout(reg) depth / KU => _,
            rest = inout(reg) depth % KU => _,
            round_bytes = in(reg) KU * NV * isa.lanes() * size_of::<f32>(),
            c = in(reg) c,
            row = out(reg) _,
            ldc_bytes = in(reg) ldc * size_of::<f32>(),
            accumulate = in(reg) accumulate as u32,
            mr = const MR,
            nv = const NV,
            ku = const KU,
            groups = const MR.div_ceil(4),
            last_group = const (MR - 1) % 4 + 1,
        );
    }
}
