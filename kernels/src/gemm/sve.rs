//! The SVE micro-kernels: the whole depth loop of one tile in `asm!`, for any vector length.
//!
//! One text serves every format, tile and unroll: the assembler's own macros number the registers from
//! the const parameters, and [`kernels!`] lists what differs. A comes in groups of 16 bytes, which a load
//! repeats over the vector: a word of four rows each or, for blocks of 2 × 2, eight bytes of two rows.
//! Register file: as many groups of A as there is room for (z0…), the vectors of B, then the
//! accumulators, row by row. No edges, no blocking here.

use super::dot::{Fma, Lengthen, Narrow, Pairs, Quads, Widen, narrow, widened};
use super::micro::{Geometry, MicroKernel, Tile};
use super::mmla::{self, Mmla};
use super::pack;
use super::product::{BFloat, Byte, Half, Product, Single};
use crate::isa::{Isa, Neon, Scalar, Sve, Sve2, SveBf16, SveI8mm, sve_asm};
use crate::mat::{Mat, MatMut};
use half::{bf16, f16};

/// How the registers are shared out.
struct Registers {
    /// Groups of A in a step.
    groups: usize,
    /// Words of the last of them.
    last_group: usize,
    /// Groups of A that are held at a time.
    held: usize,
    /// Vectors of B in a step.
    vectors: usize,
    /// Rows of accumulators.
    rows: usize,
}

impl Registers {
    /// For `a_words` words of A and `b_bytes` bytes of B for each row and column of an `mr` × (`nv` vectors) tile.
    const fn new(mr: usize, nv: usize, a_words: usize, b_bytes: usize) -> Registers {
        assert!(mr >= 1 && nv >= 1, "an empty tile");
        let words = a_words * mr;
        let groups = words.div_ceil(4);
        let rows = if a_words == 2 { 2 * groups } else { mr };
        // Elements narrower than a lane are widened when they are loaded.
        let vectors = nv * if b_bytes == 8 { 2 } else { 1 };
        assert!(rows * nv + vectors < 32, "the tile does not fit 32 registers");
        assert!(b_bytes >= 4 || nv <= 8, "the offset of a load of halves reaches seven vectors");
        let room = 32 - rows * nv - vectors;
        let held = if groups < room { groups } else { room };
        assert!(held <= 8 && groups <= 8, "an element comes from z0 to z7, and the offset of a group reaches 112 bytes");
        Registers { groups, last_group: (words - 1) % 4 + 1, held, vectors, rows }
    }
}

/// `Arithmetic, Product: depths of a step, words of A for each row, bytes of B for each column; how A and B
/// are packed; "extension" "load of a vector of B" "multiply-add" "addition";`
///
/// The texts are bodies of assembler macros: `load vec, index`, `multiply acc, vec, group, lane` and
/// `add acc, vec`.
macro_rules! kernels {
    ($($arithmetic:ty, $product:ty: $step:expr, $a_words:literal, $b_bytes:literal; $pack_a:expr, $pack_b:expr;
       $extension:literal $load:literal $multiply:literal $add:literal;)+) => {
        $(impl<const MR: usize, const NV: usize, const KU: usize> MicroKernel<$product> for Tile<$arithmetic, MR, NV, KU> {
            fn geometry(&self) -> Geometry {
                let nr = NV * Sve::from(self.0).lanes();
                Geometry { mr: MR, nr, step: $step, a_head: 0, a_words: $a_words * MR, b_words: $b_bytes * nr / size_of::<u32>() }
            }

            fn tile(&self, a: &[u32], b: &[u32], mut c: MatMut<'_, <$product as Product>::C>, accumulate: bool) {
                let Geometry { nr, a_words, b_words, .. } = self.geometry();
                let depth = a.len() / a_words;
                assert!(a.len() == depth * a_words && b.len() == depth * b_words, "panels of different depths");
                assert!(c.rows() == MR && c.cols() == nr, "C is not one tile");
                let (c, ldc) = c.as_raw();
                // SAFETY: the token proves SVE and the extension. A step reads the words of A that one of
                // a strip has (the predicate of the last group ends there) and the vectors of B that one
                // of a panel has, and there are `depth` steps of each; C is read and written as MR rows of
                // NV vectors, `ldc` elements apart. That is exactly what is checked above. The text leaves
                // no assembler macro behind, so it may be instantiated repeatedly.
                unsafe {
                    sve_asm!(
                        [
                            concat!(".arch_extension ", $extension),
                            ".altmacro",
                            ".macro kiln_load vec, index",
                            $load,
                            ".endm",
                            ".macro kiln_multiply acc, vec, group, lane",
                            $multiply,
                            ".endm",
                            ".macro kiln_add acc, vec",
                            $add,
                            ".endm",
                            tile_text!(),
                        ],
                        a = inout(reg) a.as_ptr() => _,
                        b = inout(reg) b.as_ptr() => _,
                        rounds = inout(reg) depth / KU => _,
                        rest = inout(reg) depth % KU => _,
                        b_bytes = in(reg) b_words * size_of::<u32>(),
                        c = in(reg) c,
                        row = out(reg) _,
                        ldc_bytes = in(reg) ldc * size_of::<u32>(),
                        accumulate = in(reg) accumulate as u32,
                        mr = const MR,
                        nv = const NV,
                        ku = const KU,
                        a_bytes = const 4 * $a_words * MR,
                        groups = const Registers::new(MR, NV, $a_words, $b_bytes).groups,
                        last_group = const Registers::new(MR, NV, $a_words, $b_bytes).last_group,
                        held = const Registers::new(MR, NV, $a_words, $b_bytes).held,
                        vectors = const Registers::new(MR, NV, $a_words, $b_bytes).vectors,
                        rows = const Registers::new(MR, NV, $a_words, $b_bytes).rows,
                        blocks = const $a_words / 2,
                        lanes = const if $a_words == 2 { 1 } else { 4 },
                    );
                }
            }

            fn pack_a(&self, a: Mat<'_, <$product as Product>::A>, out: &mut [u32]) {
                $pack_a(MR, a, out);
            }

            fn pack_b(&self, bt: Mat<'_, <$product as Product>::B>, out: &mut [u32]) {
                $pack_b(NV * Sve::from(self.0).lanes(), bt, out);
            }
        })+
    };
}

/// What all kernels share. With `blocks`, accumulators of rows 2p and 2p + 1 are those of the left and
/// the right half of a vector of columns until they are stored.
macro_rules! tile_text {
    () => {
        r"
            .macro kiln_zero acc
                mov z\acc\().s, #0
            .endm
            .macro kiln_prefetch_c index
                prfw pstl1keep, p0, [{row}, #\index, mul vl]
            .endm
            .macro kiln_load_a reg, group
                .if \group + 1 < {groups}
                    ld1rqw {{z\reg\().s}}, p0/z, [{a}, #16 * \group]
                .else
                    ld1rqw {{z\reg\().s}}, p1/z, [{a}, #16 * \group]
                .endif
            .endm
            .macro kiln_rows left, right
                uzp1 z0.d, z\left\().d, z\right\().d
                uzp2 z\right\().d, z\left\().d, z\right\().d
                mov z\left\().d, z0.d
            .endm
            .macro kiln_add_c acc, index
                ldr z0, [{row}, #\index, mul vl]
                kiln_add \acc, 0
            .endm
            .macro kiln_store_c acc, index
                str z\acc, [{row}, #\index, mul vl]
            .endm

            // Every row of one group of A with every vector of B.
            .macro kiln_group group
                .set .Lkiln_j, 0
                .rept {vectors}
                    .set .Lkiln_i, 0
                    .rept {lanes}
                        .set .Lkiln_row, \group * ({lanes} + {blocks}) + .Lkiln_i + {blocks} * (.Lkiln_j & 1)
                        .if .Lkiln_row < {rows}
                            kiln_multiply %({held} + {vectors} + .Lkiln_row * {nv} + (.Lkiln_j >> {blocks})), %({held} + .Lkiln_j), %(\group % {held}), %(.Lkiln_i)
                        .endif
                        .set .Lkiln_i, .Lkiln_i + 1
                    .endr
                    .set .Lkiln_j, .Lkiln_j + 1
                .endr
            .endm

            .macro kiln_step
                .set .Lkiln_g, 0
                .rept {held}
                    kiln_load_a %(.Lkiln_g), %(.Lkiln_g)
                    .set .Lkiln_g, .Lkiln_g + 1
                .endr
                .set .Lkiln_j, 0
                .rept {vectors}
                    kiln_load %({held} + .Lkiln_j), %(.Lkiln_j)
                    .set .Lkiln_j, .Lkiln_j + 1
                .endr
                .set .Lkiln_g, 0
                .rept {groups}
                    kiln_group %(.Lkiln_g)
                    .if .Lkiln_g + {held} < {groups}
                        kiln_load_a %(.Lkiln_g % {held}), %(.Lkiln_g + {held})
                    .endif
                    .set .Lkiln_g, .Lkiln_g + 1
                .endr
                add {a}, {a}, #{a_bytes}
                add {b}, {b}, {b_bytes}
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
                .rept {rows} * {nv}
                    kiln_zero %({held} + {vectors} + .Lkiln_i)
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr

                cbz {rounds}, 3f
            2:
                .rept {ku}
                    kiln_step
                .endr
                subs {rounds}, {rounds}, #1
                b.ne 2b
            3:
                cbz {rest}, 5f
            4:
                kiln_step
                subs {rest}, {rest}, #1
                b.ne 4b
            5:

                .set .Lkiln_i, 0
                .rept {blocks} * {rows} / 2
                    .set .Lkiln_j, 0
                    .rept {nv}
                        kiln_rows %({held} + {vectors} + 2 * .Lkiln_i * {nv} + .Lkiln_j), %({held} + {vectors} + (2 * .Lkiln_i + 1) * {nv} + .Lkiln_j)
                        .set .Lkiln_j, .Lkiln_j + 1
                    .endr
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr
                cbz {accumulate:w}, 6f
                mov {row}, {c}
                .set .Lkiln_i, 0
                .rept {mr}
                    .set .Lkiln_j, 0
                    .rept {nv}
                        kiln_add_c %({held} + {vectors} + .Lkiln_i * {nv} + .Lkiln_j), %(.Lkiln_j)
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
                        kiln_store_c %({held} + {vectors} + .Lkiln_i * {nv} + .Lkiln_j), %(.Lkiln_j)
                        .set .Lkiln_j, .Lkiln_j + 1
                    .endr
                    add {row}, {row}, {ldc_bytes}
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr

            .purgem kiln_load
            .purgem kiln_multiply
            .purgem kiln_add
            .purgem kiln_zero
            .purgem kiln_prefetch_c
            .purgem kiln_load_a
            .purgem kiln_rows
            .purgem kiln_add_c
            .purgem kiln_store_c
            .purgem kiln_group
            .purgem kiln_step
            .noaltmacro
        "
    };
}

/// Rows into strips of f32. Packing needs no vector of unknown length, and no CPU with SVE lacks NEON.
fn widened_by_neon<P: Narrow>(mr: usize, a: Mat<'_, P::A>, out: &mut [u32]) {
    match Neon::detect() {
        Some(neon) => widened::<_, P>(neon, mr, a, out),
        None => widened::<_, P>(Scalar, mr, a, out),
    }
}

kernels! {
    Fma<Sve>, Single: 1, 1, 4;
        |mr, a, out: &mut [u32]| pack::strips(mr, &pack::Floats, a, out), |nr, bt, out: &mut [u32]| pack::strips(nr, &pack::Floats, bt, out);
        "sve" r"ldr z\vec, [{b}, #\index, mul vl]" r"fmla z\acc\().s, z\vec\().s, z\group\().s[\lane]"
        r"fadd z\acc\().s, z\acc\().s, z\vec\().s";
    Widen<Sve, Half>, Half: 1, 1, 2; widened_by_neon::<Half>, narrow::<Half>;
        "sve" r"
            ld1h {{z\vec\().s}}, p0/z, [{b}, #\index, mul vl]
            fcvt z\vec\().s, p0/m, z\vec\().h
        "
        r"fmla z\acc\().s, z\vec\().s, z\group\().s[\lane]" r"fadd z\acc\().s, z\acc\().s, z\vec\().s";
    Widen<Sve, BFloat>, BFloat: 1, 1, 2; widened_by_neon::<BFloat>, narrow::<BFloat>;
        "sve" r"
            ld1h {{z\vec\().s}}, p0/z, [{b}, #\index, mul vl]
            lsl z\vec\().s, z\vec\().s, #16
        "
        r"fmla z\acc\().s, z\vec\().s, z\group\().s[\lane]" r"fadd z\acc\().s, z\acc\().s, z\vec\().s";
    // Two depths in a lane, the even and the odd halves.
    Lengthen<Sve2>, Half: 2, 1, 4; words::<f16, 2>, words::<f16, 2>;
        "sve2" r"ldr z\vec, [{b}, #\index, mul vl]" r"
            fmlalb z\acc\().s, z\vec\().h, z\group\().h[2 * \lane]
            fmlalt z\acc\().s, z\vec\().h, z\group\().h[2 * \lane + 1]
        "
        r"fadd z\acc\().s, z\acc\().s, z\vec\().s";
    Pairs<SveBf16>, BFloat: 2, 1, 4; words::<bf16, 2>, words::<bf16, 2>;
        "bf16" r"ldr z\vec, [{b}, #\index, mul vl]" r"bfdot z\acc\().s, z\vec\().h, z\group\().h[\lane]"
        r"fadd z\acc\().s, z\acc\().s, z\vec\().s";
    Quads<Sve>, Byte: 4, 1, 4; words::<i8, 4>, words::<i8, 4>;
        "sve" r"ldr z\vec, [{b}, #\index, mul vl]" r"sdot z\acc\().s, z\vec\().b, z\group\().b[\lane]"
        r"add z\acc\().s, z\acc\().s, z\vec\().s";
    Mmla<SveBf16, BFloat>, BFloat: mmla::step::<bf16>(), 2, 8; mmla::strips::<bf16>, mmla::strips::<bf16>;
        "bf16" r"ldr z\vec, [{b}, #\index, mul vl]" r"bfmmla z\acc\().s, z\group\().h, z\vec\().h"
        r"fadd z\acc\().s, z\acc\().s, z\vec\().s";
    Mmla<SveI8mm, Byte>, Byte: mmla::step::<i8>(), 2, 8; mmla::strips::<i8>, mmla::strips::<i8>;
        "i8mm" r"ldr z\vec, [{b}, #\index, mul vl]" r"smmla z\acc\().s, z\group\().b, z\vec\().b"
        r"add z\acc\().s, z\acc\().s, z\vec\().s";
}

/// Rows of `src` into strips of words of `STEP` elements.
fn words<T: bytemuck::Pod, const STEP: usize>(width: usize, src: Mat<'_, T>, out: &mut [u32]) {
    pack::strips(width, &pack::Bytes::<T, u32, STEP>::plain(), src, out);
}
