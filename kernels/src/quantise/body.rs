//! The generic quantiser over an ISA token, `U` spans of 32 elements at a time: their scales are found together, so
//! that they do not wait for one another.

use super::QuantiseOp;
use crate::format::{Block, SPAN, q8_0};
use crate::isa::math::Math;
use crate::mat::{Mat, MatMut};
use crate::row::{Body, row_kernel};
use half::f16;

row_kernel! {
    /// f32 → Q8_0.
    ToQ8_0<U>: QuantiseOp
}

impl<I: Math, const U: usize> Body<QuantiseOp> for ToQ8_0<I, U> {
    fn run(&self, (x, mut y): (Mat<'_, f32>, MatMut<'_, q8_0::Block>)) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                for r in 0..x.rows() {
                    let x = x.row(r).expect("rows of adjacent elements");
                    Spans::<I, U>::of(isa, x.len(), y.row_mut(r)).put(
                        #[inline(always)]
                        |span| {
                            let x = &x[span * SPAN..][..SPAN];
                            core::array::from_fn(
                                #[inline(always)]
                                |v| if v * I::LANES < SPAN { isa.load(&x[v * I::LANES..]) } else { isa.splat(0.0) },
                            )
                        },
                        #[inline(always)]
                        |at| x[at],
                    );
                }
            },
        );
    }
}

/// Where a row of results is quantised to, while they are still in registers.
pub(crate) struct Spans<'a, I, const U: usize> {
    isa: I,
    cols: usize,
    out: &'a mut [q8_0::Block],
}

impl<'a, I: Math, const U: usize> Spans<'a, I, U> {
    #[inline(always)]
    pub(crate) fn of(isa: I, cols: usize, out: &'a mut [q8_0::Block]) -> Self {
        Spans { isa, cols, out }
    }

    /// Quantises the row: `span` gives whole spans as vectors, the first SPAN / LANES of an array, and `element` single
    /// elements of the last one, which may be short.
    #[inline(always)]
    pub(crate) fn put(self, span: impl Fn(usize) -> [I::F32; SPAN], element: impl Fn(usize) -> f32) {
        let Spans { isa, cols, out } = self;
        let whole = cols / SPAN;
        let mut at = 0;
        while at + U <= whole {
            let x: [[I::F32; SPAN]; U] = core::array::from_fn(
                #[inline(always)]
                |u| span(at + u),
            );
            put(isa, &x, &mut out[at..at + U]);
            at += U;
        }
        while at < whole {
            put(isa, &[span(at)], &mut out[at..at + 1]);
            at += 1;
        }
        if cols > whole * SPAN {
            let mut rest = [0.0; SPAN];
            for (i, x) in rest[..cols - whole * SPAN].iter_mut().enumerate() {
                *x = element(whole * SPAN + i);
            }
            out[whole] = q8_0::Block::quantise(&rest);
        }
    }
}

/// Quantises `N` spans.
#[inline(always)]
fn put<I: Math, const N: usize>(isa: I, x: &[[I::F32; SPAN]; N], out: &mut [q8_0::Block]) {
    let vectors = SPAN / I::LANES;
    let magnitude = isa.splat_i32(i32::MAX);
    let mut most = [isa.splat_i32(0); N];
    for n in 0..N {
        for v in &x[n][..vectors] {
            most[n] = isa.max_i32(most[n], isa.and_i32(isa.to_bits(*v), magnitude));
        }
    }
    let most = isa.largest_each(most);
    let mut d = [0.0; N];
    for n in 0..N {
        d[n] = f32::from_bits(most[n].cast_unsigned()) / 127.0;
    }
    // The number below a half, added, rounds halves away from zero and nothing else up.
    let (half, sign) = (isa.to_bits(isa.splat(0.5f32.next_down())), isa.splat_i32(i32::MIN));
    for (n, block) in out.iter_mut().enumerate().take(N) {
        let inverse = 1.0 / d[n];
        let by = isa.splat(if inverse.is_finite() { inverse } else { 0.0 });
        block.d = f16::from_bits(half_of(isa, d[n].min(65504.0)));
        for (v, quants) in x[n][..vectors].iter().zip(block.quants.chunks_exact_mut(I::LANES)) {
            let x = isa.mul(*v, by);
            let half = isa.of_bits(isa.or_i32(isa.and_i32(isa.to_bits(x), sign), half));
            isa.store_i8(isa.truncate(isa.add(x, half)), quants);
        }
    }
}

/// The half nearest to `x`.
#[inline(always)]
fn half_of<I: Math>(isa: I, x: f32) -> u16 {
    let mut out = [0; crate::isa::MAX_LANES];
    isa.store_f16(isa.splat(x), &mut out);
    out[0]
}
