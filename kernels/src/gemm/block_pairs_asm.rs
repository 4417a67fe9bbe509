//! The texts of [`super::block_pairs`]: the loop over the spans of one tile in `asm!`, with `smmla` of NEON and SVE.
//!
//! The pipes that multiply also do everything else with vectors, so that little else is done. Sums are loaded as
//! the bits of 1.5 · 2^23 ([`ZERO`]), which makes them f32 without a conversion; a multiply-add takes that away
//! again and scales by the columns (exactly as a multiplication of the sum would round); another scales by the
//! rows and adds. So four products of a block are followed by two more instructions alone, and loads.
//!
//! One text serves every ISA, format, tile and unroll; what differs is in [`texts!`]. Nothing is packed here.

use super::block_pack::ZERO;
use super::block_pairs::{Lines, UNITS};
use crate::format::Block;
use crate::isa::{Isa, NeonI8mm, Simd, Sve, SveI8mm, sve_asm, vector_asm};

/// What a text multiplies.
pub struct Operands {
    /// A strip.
    pub a: *const u32,
    /// A part of a panel.
    pub b: *const u32,
    /// Spans of both.
    pub spans: usize,
    /// The first element of the part's columns.
    pub c: *mut f32,
    /// Elements from a row of C to the next.
    pub ldc: usize,
    /// Columns of C: no more than a vector's lanes.
    pub columns: usize,
    /// C is added to.
    pub accumulate: bool,
}

/// An instruction set with a text.
pub trait Pairs: Isa + Into<NeonI8mm> {
    /// 32-bit lanes of a vector.
    fn lanes(self) -> usize;

    /// A tile of `MR` rows, or a part of its columns.
    ///
    /// # Safety
    /// For each of the spans there are `MR` rows of a strip of A and a span of a part of an unpacked panel of B;
    /// there are `MR` rows of C with so many columns, and nobody else uses them.
    unsafe fn spans<B: Block, const MR: usize, const KU: usize>(self, operands: Operands);
}

/// `ISA: lanes; assembler, "extensions" {further operands}; texts;`
///
/// The texts: what comes before all; then the bodies of assembler macros: `zero acc`; `load_b vec, index`; `load_a at`
/// into vector 31; `start sum`; `multiply sum, piece`; `scale acc, sum, columns, minus, index` (the line of what takes
/// the start away); `add acc, minimums`; `rows left, right, second` into vector 29; `put_row add` from there.
macro_rules! texts {
    ($($isa:ident: |$self:ident| $lanes:expr; $asm:ident, $extension:literal {$($name:ident = |$operands:ident| $operand:expr)?};
       $begin:literal $zero:literal $load_b:literal $load_a:literal $start:literal $multiply:literal $scale:literal $add:literal
       $rows:literal $put_row:literal;)+) => {
        $(impl Pairs for $isa {
            fn lanes(self) -> usize {
                let $self = self;
                $lanes
            }

            #[inline(always)]
            unsafe fn spans<B: Block, const MR: usize, const KU: usize>(self, operands: Operands) {
                let Operands { a, b, spans, c, ldc, accumulate, .. } = operands;
                let start = [ZERO; 4];
                // SAFETY: the token proves the instructions. A span reads the words of A that one of a strip has
                // and those of B that one of a part has; C is read and written as MR rows of as many elements as
                // there are columns (where the predicate of a row ends, or the four of a vector): the caller
                // says that all of this is there. `start` is four words of this frame. The text leaves no assembler
                // macro behind, so it may be instantiated repeatedly.
                unsafe {
                    $asm!(
                        [
                            concat!(".arch_extension ", $extension),
                            ".altmacro",
                            ".macro kiln_zero acc", $zero, ".endm",
                            ".macro kiln_load_b vec, index", $load_b, ".endm",
                            ".macro kiln_load_a at", $load_a, ".endm",
                            ".macro kiln_start sum", $start, ".endm",
                            ".macro kiln_multiply sum, piece", $multiply, ".endm",
                            ".macro kiln_scale acc, sum, columns, minus, index", $scale, ".endm",
                            ".macro kiln_add acc, minimums", $add, ".endm",
                            ".macro kiln_rows left, right, second", $rows, ".endm",
                            ".macro kiln_put_row add", $put_row, ".endm",
                            $begin,
                            spans_text!(),
                        ],
                        // The most pairs of rows are in reach of an address between them.
                        a = inout(reg) a.wrapping_byte_add(128) => _,
                        b = inout(reg) b => _,
                        rounds = inout(reg) spans / KU => _,
                        rest = inout(reg) spans % KU => _,
                        b_bytes = in(reg) 2 * Lines::<B>::ALL * size_of::<f32>() * self.lanes(),
                        start = in(reg) start.as_ptr(),
                        c = in(reg) c,
                        row = out(reg) _,
                        ldc_bytes = in(reg) ldc * size_of::<f32>(),
                        accumulate = in(reg) accumulate as u32,
                        $($name = in(reg) { let $operands = operands; $operand },)?
                        mr = const MR,
                        ku = const KU,
                        bits = const B::BITS,
                        depth = const B::DEPTH,
                        parts = const B::PARTS,
                        minimum = const B::MINIMUM as usize,
                        units = const UNITS,
                        head = const Lines::<B>::HEAD,
                        lines = const Lines::<B>::ALL,
                        a_head = const Lines::<B>::A_HEAD,
                        pair_bytes = const Lines::<B>::A_PAIR,
                        reach = const 256 / Lines::<B>::A_PAIR,
                    );
                }
            }
        })+
    };
}

/// Registers: accumulators from 0, pair of rows by pair of rows, for both vectors of blocks; behind them a span of
/// B, the lines of its first vector, then those of the second; sums in 29 and 30, A in 31.
///
/// The text names the format, so that the loops of two do not become one, which could not be looked up.
macro_rules! spans_text {
    () => {
        r"
            // {bits} bits, {depth} to a block.
            .macro kiln_pair index, first
                .set .Lkiln_at, (\index % {reach}) * {pair_bytes} - 128
                .set .Lkiln_u, 0
                .set .Lkiln_p, 0
                .rept {parts}
                    kiln_start 29
                    kiln_start 30
                    .rept {units} / {parts}
                        kiln_load_a %(.Lkiln_at + 16 * ({a_head} + .Lkiln_u))
                        kiln_multiply 29, %({mr} + {head} + .Lkiln_u)
                        kiln_multiply 30, %({mr} + {lines} + {head} + .Lkiln_u)
                        .set .Lkiln_u, .Lkiln_u + 1
                    .endr
                    kiln_load_a %(.Lkiln_at)
                    kiln_scale %(2 * \index), 29, %({mr} + .Lkiln_p), %({mr} + .Lkiln_p + 1), %(\first + .Lkiln_p + 1)
                    kiln_scale %(2 * \index + 1), 30, %({mr} + {lines} + .Lkiln_p), %({mr} + {lines} + .Lkiln_p + 1), %(\first + {lines} + .Lkiln_p + 1)
                    .set .Lkiln_p, .Lkiln_p + 2
                .endr
                .if {minimum}
                    kiln_load_a %(.Lkiln_at + 16)
                    kiln_add %(2 * \index), %({mr} + .Lkiln_p)
                    kiln_add %(2 * \index + 1), %({mr} + {lines} + .Lkiln_p)
                .endif
            .endm
            .macro kiln_span first
                .set .Lkiln_l, 0
                .rept 2 * {lines}
                    kiln_load_b %({mr} + .Lkiln_l), %(\first + .Lkiln_l)
                    .set .Lkiln_l, .Lkiln_l + 1
                .endr
                .set .Lkiln_i, 0
                .rept {mr} / 2
                    kiln_pair %(.Lkiln_i), \first
                    .set .Lkiln_i, .Lkiln_i + 1
                    .if .Lkiln_i % {reach} == 0 || .Lkiln_i == {mr} / 2
                        add {a}, {a}, #((.Lkiln_i - 1) % {reach} + 1) * {pair_bytes}
                    .endif
                .endr
            .endm
            .macro kiln_spans count
                .set .Lkiln_s, 0
                .rept \count
                    kiln_span %(2 * {lines} * .Lkiln_s)
                    .set .Lkiln_s, .Lkiln_s + 1
                .endr
                add {b}, {b}, {row}
            .endm
            .macro kiln_put left, right, second
                kiln_rows \left, \right, \second
                cbz {accumulate:w}, 6f
                kiln_put_row 1
            6:
                kiln_put_row 0
                add {row}, {row}, {ldc_bytes}
            .endm

                mov {row}, {c}
                .rept {mr}
                    prfm pstl1keep, [{row}]
                    add {row}, {row}, {ldc_bytes}
                .endr
                .set .Lkiln_i, 0
                .rept {mr}
                    kiln_zero %(.Lkiln_i)
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr
                mov {row}, #{ku}
                mul {row}, {row}, {b_bytes}
                cbz {rounds}, 3f
            2:
                kiln_spans {ku}
                subs {rounds}, {rounds}, #1
                b.ne 2b
            3:
                mov {row}, {b_bytes}
                cbz {rest}, 5f
            4:
                kiln_spans 1
                subs {rest}, {rest}, #1
                b.ne 4b
            5:
                mov {row}, {c}
                .set .Lkiln_i, 0
                .rept {mr}
                    kiln_put %(.Lkiln_i & ~1), %(.Lkiln_i | 1), %(.Lkiln_i & 1)
                    .set .Lkiln_i, .Lkiln_i + 1
                .endr

            .purgem kiln_zero
            .purgem kiln_load_b
            .purgem kiln_load_a
            .purgem kiln_start
            .purgem kiln_multiply
            .purgem kiln_scale
            .purgem kiln_add
            .purgem kiln_rows
            .purgem kiln_put_row
            .purgem kiln_pair
            .purgem kiln_span
            .purgem kiln_spans
            .purgem kiln_put
            .noaltmacro
        "
    };
}

texts! {
    SveI8mm: |isa| Sve::from(isa).lanes(); sve_asm, "i8mm" {columns = |operands| operands.columns};
        r"
            ptrue p0.s
            whilelo p1.s, xzr, {columns}
        "
        r"mov z\acc\().s, #0"
        r"ldr z\vec, [{b}, #\index, mul vl]"
        r"ld1rqw {{z31.s}}, p0/z, [{a}, #\at]"
        r"ld1rw {{z\sum\().s}}, p0/z, [{start}]"
        r"smmla z\sum\().s, z31.b, z\piece\().b"
        r"
            fmad z\sum\().s, p0/m, z\columns\().s, z\minus\().s
            fmla z\acc\().s, p0/m, z\sum\().s, z31.s
        "
        r"fmla z\acc\().s, p0/m, z\minimums\().s, z31.s"
        r"
            .if \second
                uzp2 z29.d, z\left\().d, z\right\().d
            .else
                uzp1 z29.d, z\left\().d, z\right\().d
            .endif
        "
        r"
            .if \add
                ld1w {{z30.s}}, p1/z, [{row}]
                fadd z29.s, z29.s, z30.s
            .else
                st1w {{z29.s}}, p1, [{row}]
            .endif
        ";
    // The addend of a multiply-add is what it writes: loaded anew each time.
    NeonI8mm: |_isa| NeonI8mm::LANES; vector_asm, "i8mm" {};
        ""
        r"movi v\acc\().2d, #0"
        r"ldr q\vec, [{b}, #16 * \index]"
        r"ldr q31, [{a}, #\at]"
        r"ldr q\sum, [{start}]"
        r"smmla v\sum\().4s, v31.16b, v\piece\().16b"
        r"
            ldr q\minus, [{b}, #16 * \index]
            fmla v\minus\().4s, v\sum\().4s, v\columns\().4s
            fmla v\acc\().4s, v\minus\().4s, v31.4s
        "
        r"fmla v\acc\().4s, v\minimums\().4s, v31.4s"
        r"
            .if \second
                uzp2 v29.2d, v\left\().2d, v\right\().2d
            .else
                uzp1 v29.2d, v\left\().2d, v\right\().2d
            .endif
        "
        r"
            .if \add
                ldr q30, [{row}]
                fadd v29.4s, v29.4s, v30.4s
            .else
                str q29, [{row}]
            .endif
        ";
}
