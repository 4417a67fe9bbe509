//! The generic quantiser over an ISA token, `U` spans of 32 elements at a time: their scales are found together, so
//! that they do not wait for one another.

use super::QuantiseOp;
use crate::format::{Block, SPAN, q8_0};
use crate::isa::MAX_LANES;
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
                        |at| isa.load(&x[at..]),
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

    /// Quantises the row: `vector` gives the vector that begins with an element, `element` single elements of the last
    /// span, which may be short. Both go on by value: what is called through a reference is not inlined here.
    #[inline(always)]
    pub(crate) fn put(self, vector: impl Fn(usize) -> I::F32 + Copy, element: impl Fn(usize) -> f32) {
        let Spans { isa, cols, out } = self;
        let whole = cols / SPAN;
        let mut at = 0;
        while at + U <= whole {
            put::<I, U>(isa, vector, at * SPAN, &mut out[at..at + U]);
            at += U;
        }
        while at < whole {
            put::<I, 1>(isa, vector, at * SPAN, &mut out[at..at + 1]);
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

/// Quantises `N` spans from element `first` on.
#[inline(always)]
fn put<I: Math, const N: usize>(isa: I, vector: impl Fn(usize) -> I::F32 + Copy, first: usize, out: &mut [q8_0::Block]) {
    let vectors = SPAN / I::LANES;
    let magnitude = isa.splat_i32(i32::MAX);
    // The first vectors of each span count.
    let (mut x, mut most) = ([[isa.splat(0.0); SPAN]; N], [isa.splat_i32(0); N]);
    for n in 0..N {
        for (v, x) in x[n].iter_mut().enumerate().take(vectors) {
            *x = vector(first + n * SPAN + v * I::LANES);
            most[n] = isa.max_i32(most[n], isa.and_i32(isa.to_bits(*x), magnitude));
        }
    }
    let most = isa.largest_each(most);
    let (mut d, mut by) = ([0.0; N], [0.0; N]);
    for n in 0..N {
        d[n] = f32::from_bits(most[n].cast_unsigned()) / 127.0;
    }
    for n in 0..N {
        // Of scales so small the inverse is not finite.
        by[n] = if d[n] >= LEAST { 1.0 / d[n] } else { 0.0 };
    }
    let halves = halves(isa, &d);
    // The number below a half, added, rounds halves away from zero and nothing else up.
    let (half, sign) = (isa.to_bits(isa.splat(0.5f32.next_down())), isa.splat_i32(i32::MIN));
    for (n, block) in out.iter_mut().enumerate().take(N) {
        let by = isa.splat(by[n]);
        block.d = f16::from_bits(halves[n]);
        for v in 0..vectors {
            let x = isa.mul(x[n][v], by);
            let half = isa.of_bits(isa.or_i32(isa.and_i32(isa.to_bits(x), sign), half));
            isa.store_i8(isa.truncate(isa.add(x, half)), &mut block.quants[v * I::LANES..][..I::LANES]);
        }
    }
}

/// The smallest number whose inverse is finite.
const LEAST: f32 = 2.938_736e-39;

/// The halves nearest to `x`, the largest finite one where there is none.
#[inline(always)]
fn halves<I: Math, const N: usize>(isa: I, x: &[f32; N]) -> [u16; N] {
    let mut out = [0; N];
    for (x, out) in x.chunks(I::LANES).zip(out.chunks_mut(I::LANES)) {
        let mut all = [0; MAX_LANES];
        isa.store_f16(isa.min(isa.splat(65504.0), isa.load_partial(x)), &mut all);
        out.copy_from_slice(&all[..out.len()]);
    }
    out
}
