//! The generic body of rotations over an ISA token, `U` vectors of half a head at a time.

use super::{RopeOp, Rotation};
use crate::isa::math::Math;
use crate::row::{Body, row_kernel};
use core::ops::Range;

row_kernel! {
    /// Bias and rotation.
    Turn<U>: RopeOp
}

impl<I: Math, const U: usize> Body<RopeOp> for Turn<I, U> {
    fn run(&self, Rotation { mut x, bias, angles }: Rotation<'_>) {
        let (isa, dim) = (self.0, angles.cols());
        if dim == 0 {
            return;
        }
        isa.vectorize(
            #[inline(always)]
            || {
                for r in 0..x.rows() {
                    let angles = angles.row(r).expect("rows of adjacent elements");
                    let (cos, sin) = angles.split_at(dim / 2);
                    for (h, head) in x.row_mut(r).chunks_exact_mut(dim).enumerate() {
                        let bias = if bias.is_empty() { None } else { Some(bias[h * dim..][..dim].split_at(dim / 2)) };
                        turn::<I, U>(isa, head.split_at_mut(dim / 2), bias, (cos, sin));
                    }
                }
            },
        );
    }
}

#[inline(always)]
fn turn<I: Math, const U: usize>(
    isa: I,
    (low, high): (&mut [f32], &mut [f32]),
    bias: Option<(&[f32], &[f32])>,
    (cos, sin): (&[f32], &[f32]),
) {
    let half = low.len();
    let (high, cos, sin) = (&mut high[..half], &cos[..half], &sin[..half]);
    let bias = bias.map(|(a, b)| (&a[..half], &b[..half]));
    let mut at = 0;
    while at + U * I::LANES <= half {
        for u in 0..U {
            let at = at + u * I::LANES;
            one(isa, (&mut *low, &mut *high), bias, (cos, sin), at..at + I::LANES);
        }
        at += U * I::LANES;
    }
    while at < half {
        let end = half.min(at + I::LANES);
        one(isa, (&mut *low, &mut *high), bias, (cos, sin), at..end);
        at = end;
    }
}

/// At most a vector.
#[inline(always)]
fn one<I: Math>(
    isa: I,
    (low, high): (&mut [f32], &mut [f32]),
    bias: Option<(&[f32], &[f32])>,
    (cos, sin): (&[f32], &[f32]),
    at: Range<usize>,
) {
    let (mut a, mut b) = (load(isa, &low[at.clone()]), load(isa, &high[at.clone()]));
    if let Some((bias_a, bias_b)) = bias {
        a = isa.add(a, load(isa, &bias_a[at.clone()]));
        b = isa.add(b, load(isa, &bias_b[at.clone()]));
    }
    let (cos, sin) = (load(isa, &cos[at.clone()]), load(isa, &sin[at.clone()]));
    let (to_low, to_high) = (isa.sub(isa.mul(a, cos), isa.mul(b, sin)), isa.fma(a, sin, isa.mul(b, cos)));
    if at.len() == I::LANES {
        isa.store(to_low, &mut low[at.clone()]);
        isa.store(to_high, &mut high[at]);
    } else {
        isa.store_partial(to_low, &mut low[at.clone()]);
        isa.store_partial(to_high, &mut high[at]);
    }
}

#[inline(always)]
fn load<I: Math>(isa: I, x: &[f32]) -> I::F32 {
    if x.len() == I::LANES { isa.load(x) } else { isa.load_partial(x) }
}
