//! SVE conversions: a row as one loop in `asm!`, `U` vectors a round, then predicated single ones.
//!
//! A half sits in the low bits of a 32-bit lane, where `fcvt` reads and writes it.

use super::body::{Narrow, NarrowBody, Widen, WidenBody};
use crate::isa::{Sve, sve_asm};

impl<const U: usize> WidenBody for Widen<Sve, U> {
    fn row(&self, src: &[u16], dst: &mut [f32]) {
        const { assert!(U >= 1 && U <= 8, "the offset of a load reaches seven vectors") };
        let n = src.len();
        let dst = &mut dst[..n];
        let round = U * self.0.lanes();
        // SAFETY: the token proves SVE. The rounds read and write `n / round * round` elements from
        // the start of both slices, the predicated tail `n % round` from there on; both hold n. The
        // text leaves no assembler macro behind.
        unsafe {
            sve_asm!(
                r"
                .altmacro
                .macro kiln_widen vec
                    ld1h {{z\vec\().s}}, p0/z, [{src}, #\vec, mul vl]
                    fcvt z\vec\().s, p0/m, z\vec\().h
                    str z\vec, [{dst}, #\vec, mul vl]
                .endm
                    ptrue p0.s
                    cbz {rounds}, 3f
                2:
                    .set .Lkiln_u, 0
                    .rept {u}
                        kiln_widen %(.Lkiln_u)
                        .set .Lkiln_u, .Lkiln_u + 1
                    .endr
                    inch {src}, all, mul #{u}
                    addvl {dst}, {dst}, #{u}
                    subs {rounds}, {rounds}, #1
                    b.ne 2b
                3:
                    mov {i}, #0
                    whilelo p1.s, {i}, {rest}
                    b.none 5f
                4:
                    ld1h {{z0.s}}, p1/z, [{src}, {i}, lsl #1]
                    fcvt z0.s, p1/m, z0.h
                    st1w {{z0.s}}, p1, [{dst}, {i}, lsl #2]
                    incw {i}
                    whilelo p1.s, {i}, {rest}
                    b.any 4b
                5:
                .purgem kiln_widen
                .noaltmacro
                ",
                src = inout(reg) src.as_ptr() => _,
                dst = inout(reg) dst.as_mut_ptr() => _,
                rounds = inout(reg) n / round => _,
                rest = in(reg) n % round,
                i = out(reg) _,
                u = const U,
            );
        }
    }
}

impl<const U: usize> NarrowBody for Narrow<Sve, U> {
    fn row(&self, src: &[f32], dst: &mut [u16]) {
        const { assert!(U >= 1 && U <= 8, "the offset of a store reaches seven vectors") };
        let n = src.len();
        let dst = &mut dst[..n];
        let round = U * self.0.lanes();
        // SAFETY: the token proves SVE. The rounds read and write `n / round * round` elements from
        // the start of both slices, the predicated tail `n % round` from there on; both hold n. The
        // text leaves no assembler macro behind.
        unsafe {
            sve_asm!(
                r"
                .altmacro
                .macro kiln_narrow vec
                    ldr z\vec, [{src}, #\vec, mul vl]
                    fcvt z\vec\().h, p0/m, z\vec\().s
                    st1h {{z\vec\().s}}, p0, [{dst}, #\vec, mul vl]
                .endm
                    ptrue p0.s
                    cbz {rounds}, 3f
                2:
                    .set .Lkiln_u, 0
                    .rept {u}
                        kiln_narrow %(.Lkiln_u)
                        .set .Lkiln_u, .Lkiln_u + 1
                    .endr
                    addvl {src}, {src}, #{u}
                    inch {dst}, all, mul #{u}
                    subs {rounds}, {rounds}, #1
                    b.ne 2b
                3:
                    mov {i}, #0
                    whilelo p1.s, {i}, {rest}
                    b.none 5f
                4:
                    ld1w {{z0.s}}, p1/z, [{src}, {i}, lsl #2]
                    fcvt z0.h, p1/m, z0.s
                    st1h {{z0.s}}, p1, [{dst}, {i}, lsl #1]
                    incw {i}
                    whilelo p1.s, {i}, {rest}
                    b.any 4b
                5:
                .purgem kiln_narrow
                .noaltmacro
                ",
                src = inout(reg) src.as_ptr() => _,
                dst = inout(reg) dst.as_mut_ptr() => _,
                rounds = inout(reg) n / round => _,
                rest = in(reg) n % round,
                i = out(reg) _,
                u = const U,
            );
        }
    }
}
