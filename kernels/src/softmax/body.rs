//! The generic softmax over an ISA token, `U` vectors at a time, in three passes: largest, powers and their sum, scale.
//! While powers are taken, with `A` above 0 the row behind is asked for that many lines of the cache ahead, since
//! nothing else waits for memory then.

use super::{SoftmaxOp, Visible};
use crate::isa::math::Math;
use crate::isa::{LINE, ask};
use crate::mat::MatMut;
use crate::row::{Body, row_kernel};

row_kernel! {
    /// Softmax in three passes over a row.
    Three<U, A>: SoftmaxOp
}

impl<I: Math, const U: usize, const A: usize> Body<SoftmaxOp> for Three<I, U, A> {
    fn run(&self, (mut x, scale, visible): (MatMut<'_, f32>, f32, Visible)) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                for r in 0..x.rows() {
                    let cols = x.cols();
                    let (seen, hidden) = x.row_mut(r).split_at_mut(visible.count(r, cols));
                    hidden.fill(0.0);
                    if !seen.is_empty() {
                        row::<I, U, A>(isa, seen, scale);
                    }
                }
            },
        );
    }
}

#[inline(always)]
fn row<I: Math, const U: usize, const A: usize>(isa: I, x: &mut [f32], scale: f32) {
    // Powers of 2 rather than of e: a multiplication for both.
    let scale = isa.splat(scale * core::f32::consts::LOG2_E);
    let shift = isa.splat(-largest::<I, U>(isa, x, scale));
    let (ahead, mut sums) = (x.len(), [isa.splat(0.0); U]);
    let mut groups = x.chunks_exact_mut(U * I::LANES);
    for group in groups.by_ref() {
        if A > 0 {
            let next = group.as_ptr().wrapping_add(ahead);
            for line in (0..group.len()).step_by(LINE) {
                ask(next.wrapping_add(line).cast());
            }
        }
        for u in 0..U {
            let x = &mut group[u * I::LANES..][..I::LANES];
            let p = power(isa, isa.load(x), (scale, shift));
            isa.store(p, x);
            sums[u] = isa.add(sums[u], p);
        }
    }
    for x in groups.into_remainder().chunks_mut(I::LANES) {
        isa.store_partial(power(isa, isa.load_partial(x), (scale, shift)), x);
        // What fills the vector up is 0 here, whatever the scale makes of it there.
        sums[0] = isa.add(sums[0], isa.load_partial(x));
    }
    let mut total = sums[0];
    for sum in &sums[1..] {
        total = isa.add(total, *sum);
    }
    let by = isa.splat(1.0 / isa.sum(total));
    let mut groups = x.chunks_exact_mut(U * I::LANES);
    for group in groups.by_ref() {
        for u in 0..U {
            let x = &mut group[u * I::LANES..][..I::LANES];
            isa.store(isa.mul(isa.load(x), by), x);
        }
    }
    for x in groups.into_remainder().chunks_mut(I::LANES) {
        isa.store_partial(isa.mul(isa.load_partial(x), by), x);
    }
}

/// The largest of x · scale.
#[inline(always)]
fn largest<I: Math, const U: usize>(isa: I, x: &[f32], scale: I::F32) -> f32 {
    let mut most = [isa.splat(f32::NEG_INFINITY); U];
    let groups = x.chunks_exact(U * I::LANES);
    let rest = groups.remainder();
    for group in groups {
        for u in 0..U {
            most[u] = isa.max(most[u], isa.mul(isa.load(&group[u * I::LANES..]), scale));
        }
    }
    let mut all = most[0];
    for x in rest.chunks(I::LANES) {
        // What fills the vector up is there already.
        all = isa.max(all, isa.mul(isa.load_or(x, x[0]), scale));
    }
    for most in &most[1..] {
        all = isa.max(all, *most);
    }
    isa.largest(all)
}

/// 2^(x · scale + shift).
#[inline(always)]
fn power<I: Math>(isa: I, x: I::F32, (scale, shift): (I::F32, I::F32)) -> I::F32 {
    // Not fused: the largest element must become 0, whatever its product is rounded by.
    isa.exp2(isa.add(isa.mul(x, scale), shift))
}
