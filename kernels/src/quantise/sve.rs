//! SVE quantisers: a row of whole spans as one loop in `asm!`.
//!
//! A span of 32 elements, or a part of one with a scale of its own, is in `K` vectors, of which the last may be filled
//! in part; what the length of vectors makes of `K` chooses the loop.

use super::{Back, DequantiseOp, QuantiseOp, ToQ8_0, blocks};
use crate::convert::sve::widen;
use crate::format::{Block, SPAN, q8_0};
use crate::isa::{Sve, sve_asm};
use crate::mat::{Mat, MatMut};
use crate::row::Body;

impl<const U: usize> Body<QuantiseOp> for ToQ8_0<Sve, U> {
    fn run(&self, (x, mut y): (Mat<'_, f32>, MatMut<'_, q8_0::Block>)) {
        for r in 0..x.rows() {
            quantise::<U>(self.0, x.row(r).expect("rows of adjacent elements"), y.row_mut(r));
        }
    }
}

/// Runs an expression with the constant `$k` set to the vectors that hold `$elements`, which are 16 or 32.
macro_rules! with_vectors {
    ($isa:expr, $elements:expr, $k:ident => $run:expr) => {
        with_vectors!(@of $elements.div_ceil($isa.lanes()), $k => $run, 1 2 3 4)
    };
    // Vectors are of 4 elements or a multiple of that, so that there are no other numbers.
    (@of $count:expr, $k:ident => $run:expr, $($each:literal)+) => {
        match $count {
            $($each => { const $k: usize = $each; $run })+
            _ => { const $k: usize = 8; $run }
        }
    };
}

/// How many of `of` elements are in the last of `K` vectors.
fn last<const K: usize>(isa: Sve, of: usize) -> usize {
    let before = (K - 1) * isa.lanes();
    assert!(before < of && of <= before + isa.lanes(), "{of} elements are not in {K} vectors");
    of - before
}

/// Quantises `x`, `U` spans at a time; what is beyond its end counts as 0.
#[inline(always)]
pub(crate) fn quantise<const U: usize>(isa: Sve, x: &[f32], y: &mut [q8_0::Block]) {
    assert_eq!(y.len(), blocks(x.len()), "blocks and elements differ in number");
    let (spans, rest) = x.as_chunks::<SPAN>();
    with_vectors!(isa, SPAN, K => whole::<U, K>(isa, spans, &mut y[..spans.len()]));
    if let ([_, ..], Some(y)) = (rest, y.last_mut()) {
        let mut span = [0.0; SPAN];
        span[..rest.len()].copy_from_slice(rest);
        *y = q8_0::Block::quantise(&span);
    }
}

/// Quantises whole spans, which stay in registers: the largest magnitude, the scale, the quants.
#[inline(always)]
fn whole<const U: usize, const K: usize>(isa: Sve, x: &[[f32; SPAN]], y: &mut [q8_0::Block]) {
    const { assert!(U >= 1 && U <= 2 && K <= 8, "two spans of eight vectors in sixteen registers") };
    assert_eq!(x.len(), y.len(), "blocks and spans differ in number");
    // SAFETY: `isa` proves SVE. Each of `x.len()` spans reads K vectors of `x`, of which the last is cut off at 32
    // elements, and writes the two bytes and, cut off likewise, the 32 bytes of a block of `y`, which has as many. The
    // text leaves no assembler macro behind.
    unsafe {
        sve_asm!(
            r"
            .altmacro
            .macro kiln_load vec, most, index, pred
                ld1w {{z\vec\().s}}, \pred/z, [{x}, #\index, mul vl]
                .if \index
                    fabs z20.s, p0/m, z\vec\().s
                    fmax z\most\().s, p0/m, z\most\().s, z20.s
                .else
                    fabs z\most\().s, p0/m, z\vec\().s
                .endif
            .endm
            .macro kiln_span first, most
                .set .Lkiln_k, 0
                .rept {k} - 1
                    kiln_load %(\first + .Lkiln_k), \most, %(.Lkiln_k), p0
                    .set .Lkiln_k, .Lkiln_k + 1
                .endr
                kiln_load %(\first + .Lkiln_k), \most, %(.Lkiln_k), p1
                add {x}, {x}, #128
            .endm
            // The scale in place of the largest magnitude, its inverse, or 0 where that is not finite, beside it.
            .macro kiln_scale most, inverse
                fmaxv s\most, p0, z\most\().s
                fdiv s\most, s\most, s31
                fdiv s\inverse, s30, s\most
                fcmp s\inverse, s29
                fcsel s\inverse, s\inverse, s27, mi
                mov z\inverse\().s, s\inverse
                fminnm s\most, s\most, s28
                fcvt h\most, s\most
            .endm
            .macro kiln_store vec, inverse, index, pred
                fmul z\vec\().s, z\vec\().s, z\inverse\().s
                frinta z\vec\().s, p0/m, z\vec\().s
                fcvtzs z\vec\().s, p0/m, z\vec\().s
                st1b {{z\vec\().s}}, \pred, [{y}, #\index, mul vl]
            .endm
            .macro kiln_block first, scale, inverse
                str h\scale, [{y}], #2
                .set .Lkiln_k, 0
                .rept {k} - 1
                    kiln_store %(\first + .Lkiln_k), \inverse, %(.Lkiln_k), p0
                    .set .Lkiln_k, .Lkiln_k + 1
                .endr
                kiln_store %(\first + .Lkiln_k), \inverse, %(.Lkiln_k), p1
                add {y}, {y}, #32
            .endm
            .macro kiln_spans count
                .set .Lkiln_u, 0
                .rept \count
                    kiln_span %(.Lkiln_u * {k}), %(16 + .Lkiln_u)
                    .set .Lkiln_u, .Lkiln_u + 1
                .endr
                .set .Lkiln_u, 0
                .rept \count
                    kiln_scale %(16 + .Lkiln_u), %(18 + .Lkiln_u)
                    .set .Lkiln_u, .Lkiln_u + 1
                .endr
                .set .Lkiln_u, 0
                .rept \count
                    kiln_block %(.Lkiln_u * {k}), %(16 + .Lkiln_u), %(18 + .Lkiln_u)
                    .set .Lkiln_u, .Lkiln_u + 1
                .endr
            .endm
                ptrue p0.s
                whilelo p1.s, xzr, {last}
                fmov s31, {most:w}
                fmov s30, #1.0
                fmov s29, {infinity:w}
                fmov s28, {largest:w}
                fmov s27, wzr
                cbz {rounds}, 3f
            2:
                kiln_spans {u}
                subs {rounds}, {rounds}, #1
                b.ne 2b
            3:
                cbz {rest}, 5f
            4:
                kiln_spans 1
                subs {rest}, {rest}, #1
                b.ne 4b
            5:
            .purgem kiln_load
            .purgem kiln_span
            .purgem kiln_scale
            .purgem kiln_store
            .purgem kiln_block
            .purgem kiln_spans
            .noaltmacro
            ",
            x = inout(reg) x.as_ptr() => _,
            y = inout(reg) y.as_mut_ptr() => _,
            rounds = inout(reg) x.len() / U => _,
            rest = inout(reg) x.len() % U => _,
            last = in(reg) last::<K>(isa, SPAN),
            most = in(reg) 127f32.to_bits(),
            infinity = in(reg) f32::INFINITY.to_bits(),
            largest = in(reg) half::f16::MAX.to_f32().to_bits(),
            u = const U,
            k = const K,
        );
    }
}

/// Weights that are unpacked at a time: a long block, or eight of one span.
const WEIGHTS: usize = 256;

/// Unpacked weights: quants, and parts of [`Block::PARTS`] in a span with a scale and a minimum each.
struct Unpacked {
    quants: [i8; WEIGHTS],
    scales: [f32; WEIGHTS / SPAN * 2],
    minimums: [f32; WEIGHTS / SPAN * 2],
}

impl<B: Block, const U: usize> Body<DequantiseOp> for Back<Sve, B, U> {
    fn run(&self, (blocks, out): (&[u8], &mut [f32])) {
        let isa = self.0;
        let mut unpacked = Unpacked { quants: [0; _], scales: [0.0; _], minimums: [0.0; _] };
        for (bytes, out) in blocks.chunks(WEIGHTS / B::DEPTH * size_of::<B>()).zip(out.chunks_mut(WEIGHTS)) {
            unpacked.fill::<B>(isa, bytes);
            if out.len().is_multiple_of(SPAN) {
                unpacked.put::<B>(isa, out);
            } else {
                let mut whole = [0.0; WEIGHTS];
                let n = out.len();
                unpacked.put::<B>(isa, &mut whole[..n.next_multiple_of(SPAN)]);
                out.copy_from_slice(&whole[..n]);
            }
        }
    }
}

impl Unpacked {
    /// Unpacks blocks, as many as there are weights here at most. Rows of bytes need not be aligned to the halves in
    /// them.
    #[inline(always)]
    fn fill<B: Block>(&mut self, isa: Sve, bytes: &[u8]) {
        const MOST: usize = WEIGHTS / SPAN;
        let (mut halves, mut floats) = ([0u16; 2 * MOST], [0.0; 2 * MOST]);
        let each = || bytes.chunks_exact(size_of::<B>()).map(bytemuck::pod_read_unaligned::<B>).take(WEIGHTS / B::DEPTH);
        for (i, block) in each().enumerate() {
            (halves[i], halves[MOST + i]) = (block.scale().to_bits(), block.minimum().to_bits());
        }
        widen(isa, &halves, &mut floats);
        for (i, block) in each().enumerate() {
            for span in 0..B::DEPTH / SPAN {
                let at = i * B::DEPTH / SPAN + span;
                for (to, from) in self.quants[at * SPAN..][..SPAN].iter_mut().zip(block.quants(span)) {
                    *to = (i32::from(from) - B::OFFSET) as i8;
                }
                for part in 0..B::PARTS {
                    self.scales[at * B::PARTS + part] = floats[i] * f32::from(block.factor(span * B::PARTS + part));
                    self.minimums[at * B::PARTS + part] = floats[MOST + i] * f32::from(block.minimum_factor(span));
                }
            }
        }
    }

    /// The first weights, as many as `out` has elements: whole spans.
    fn put<B: Block>(&self, isa: Sve, out: &mut [f32]) {
        if B::PARTS == 1 {
            with_vectors!(isa, SPAN, K => parts::<SPAN, K>(isa, self, B::MINIMUM, out));
        } else {
            const { assert!(B::PARTS <= 2, "a part is half a span at least") };
            with_vectors!(isa, (SPAN / 2), K => parts::<{ SPAN / 2 }, K>(isa, self, B::MINIMUM, out));
        }
    }
}

/// The first weights in parts of `PART`: quant · scale, rounded, and with `minimum` a sum, rounded again.
#[inline(always)]
fn parts<const PART: usize, const K: usize>(isa: Sve, from: &Unpacked, minimum: bool, out: &mut [f32]) {
    assert!(out.len() <= WEIGHTS && WEIGHTS / PART <= from.scales.len(), "more weights than are unpacked");
    // SAFETY: `isa` proves SVE. Each of `out.len() / PART` parts reads a scale, a minimum and K vectors of quants and
    // writes K vectors of `out`, the last of which are cut off at PART elements. There are WEIGHTS quants, and scales
    // and minimums for as many, which is not less than `out` has elements. The text leaves no assembler macro behind.
    unsafe {
        sve_asm!(
            r"
            .altmacro
            .macro kiln_weights vec, pred
                ld1sb {{z\vec\().s}}, \pred/z, [{quants}, #\vec, mul vl]
                scvtf z\vec\().s, p0/m, z\vec\().s
                fmul z\vec\().s, z\vec\().s, z30.s
                fadd z\vec\().s, p2/m, z\vec\().s, z31.s
                st1w {{z\vec\().s}}, \pred, [{out}, #\vec, mul vl]
            .endm
                ptrue p0.s
                whilelo p1.s, xzr, {last}
                whilelo p2.s, xzr, {minimum}
                cbz {count}, 3f
            2:
                ld1rw {{z30.s}}, p0/z, [{scales}]
                ld1rw {{z31.s}}, p0/z, [{minimums}]
                .set .Lkiln_k, 0
                .rept {k} - 1
                    kiln_weights %(.Lkiln_k), p0
                    .set .Lkiln_k, .Lkiln_k + 1
                .endr
                kiln_weights %(.Lkiln_k), p1
                add {scales}, {scales}, #4
                add {minimums}, {minimums}, #4
                add {quants}, {quants}, #{part}
                add {out}, {out}, #4 * {part}
                subs {count}, {count}, #1
                b.ne 2b
            3:
            .purgem kiln_weights
            .noaltmacro
            ",
            quants = inout(reg) from.quants.as_ptr() => _,
            scales = inout(reg) from.scales.as_ptr() => _,
            minimums = inout(reg) from.minimums.as_ptr() => _,
            out = inout(reg) out.as_mut_ptr() => _,
            count = inout(reg) out.len() / PART => _,
            last = in(reg) last::<K>(isa, PART),
            // Adding a zero would lose the sign of another one, so that no lane is added to then.
            minimum = in(reg) if minimum { isa.lanes() } else { 0 },
            k = const K,
            part = const PART,
        );
    }
}
