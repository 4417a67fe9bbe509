//! SVE conversions: all elements in one loop in `asm!`, `U` vectors a round, then predicated single ones.
//!
//! A half or a bfloat16 sits in a 32-bit lane of its own: in the low bits, where `fcvt` reads and writes a half, and
//! where loads and stores of 16 bits have it.

use super::body::{Narrow, NarrowBf16, Widen, WidenBf16};
use super::{NarrowBf16Op, NarrowOp, WidenBf16Op, WidenOp};
use crate::isa::math::sve::rounds_text;
use crate::isa::{Sve, sve_asm};
use crate::row::Body;

/// `Kernel, operation: source => destination, "what goes before" "one vector" "steps of the pointers";`
macro_rules! conversions {
    ($($kernel:ident, $op:ty: $src:ty => $dst:ty, $ready:literal $each:literal $next:literal;)+) => {$(
        impl<const U: usize> Body<$op> for $kernel<Sve, U, 0, 0> {
            fn run(&self, (src, dst): (&[$src], &mut [$dst])) {
                const { assert!(U >= 1 && U <= 8, "the offset of a load reaches seven vectors") };
                let n = src.len();
                let dst = &mut dst[..n];
                let round = U * self.0.lanes();
                // SAFETY: the token proves SVE. The rounds read and write `n / round * round` elements from the start
                // of both slices, the predicated tail `n % round` from there on; both hold n. The text leaves no
                // assembler macro behind.
                unsafe {
                    sve_asm!(
                        [
                            ".altmacro",
                            ".macro kiln_each vec, pred",
                            $each,
                            ".endm",
                            ".macro kiln_next count",
                            $next,
                            ".endm",
                            $ready,
                            rounds_text!(),
                            ".noaltmacro",
                        ],
                        src = inout(reg) src.as_ptr() => _,
                        dst = inout(reg) dst.as_mut_ptr() => _,
                        rounds = inout(reg) n / round => _,
                        rest = inout(reg) n % round => _,
                        u = const U,
                    );
                }
            }
        }
    )+};
}

conversions! {
    Widen, WidenOp: u16 => f32, ""
    r"
        ld1h {{z\vec\().s}}, \pred/z, [{src}, #\vec, mul vl]
        fcvt z\vec\().s, p0/m, z\vec\().h
        st1w {{z\vec\().s}}, \pred, [{dst}, #\vec, mul vl]
    "
    r"
        inch {src}, all, mul #\count
        addvl {dst}, {dst}, #\count
    ";
    Narrow, NarrowOp: f32 => u16, ""
    r"
        ld1w {{z\vec\().s}}, \pred/z, [{src}, #\vec, mul vl]
        fcvt z\vec\().h, p0/m, z\vec\().s
        st1h {{z\vec\().s}}, \pred, [{dst}, #\vec, mul vl]
    "
    r"
        addvl {src}, {src}, #\count
        inch {dst}, all, mul #\count
    ";
    WidenBf16, WidenBf16Op: u16 => f32, ""
    r"
        ld1h {{z\vec\().s}}, \pred/z, [{src}, #\vec, mul vl]
        lsl z\vec\().s, z\vec\().s, #16
        st1w {{z\vec\().s}}, \pred, [{dst}, #\vec, mul vl]
    "
    r"
        inch {src}, all, mul #\count
        addvl {dst}, {dst}, #\count
    ";
    // To the nearest by adding just below a half, and one more where the last bit that stays is set. NaNs, which do
    // not equal themselves, become quiet instead.
    NarrowBf16, NarrowBf16Op: f32 => u16, "mov z10.s, #0x7fff"
    r"
        ld1w {{z\vec\().s}}, \pred/z, [{src}, #\vec, mul vl]
        lsr z8.s, z\vec\().s, #16
        and z8.s, z8.s, #1
        fcmuo p2.s, p0/z, z\vec\().s, z\vec\().s
        mov z9.d, z\vec\().d
        orr z9.s, z9.s, #0x400000
        add z8.s, z8.s, z10.s
        add z\vec\().s, z\vec\().s, z8.s
        mov z\vec\().s, p2/m, z9.s
        lsr z\vec\().s, z\vec\().s, #16
        st1h {{z\vec\().s}}, \pred, [{dst}, #\vec, mul vl]
    "
    r"
        addvl {src}, {src}, #\count
        inch {dst}, all, mul #\count
    ";
}

/// f16 → f32.
#[inline(always)]
pub(crate) fn widen(isa: Sve, src: &[u16], dst: &mut [f32]) {
    Widen::<Sve, 1, 0, 0>(isa).run((src, dst));
}
