//! The generic softmax over an ISA token, `U` vectors at a time, in three passes over a row: largest, powers and their
//! sum, scale. With `R` = 3 the passes of three rows that follow one another go in the same loop: while the first is
//! scaled and the second raised, the third comes out of memory; with `A` above 0 it is asked for that many lines of the
//! cache ahead.

use super::{SoftmaxOp, Visible};
use crate::isa::math::Math;
use crate::isa::{LINE, ask};
use crate::mat::MatMut;
use crate::row::{Body, row_kernel};

row_kernel! {
    /// Softmax in three passes over a row, of `R` rows at once.
    Three<U, R, A>: SoftmaxOp
}

impl<I: Math, const U: usize, const R: usize, const A: usize> Body<SoftmaxOp> for Three<I, U, R, A> {
    fn run(&self, (mut x, scale, visible): (MatMut<'_, f32>, f32, Visible)) {
        let isa = self.0;
        const { assert!(R == 1 || R == 3, "a row, or three of them") };
        isa.vectorize(
            #[inline(always)]
            || {
                let passes = Passes::<I, U> { isa, scale: isa.splat(scale * core::f32::consts::LOG2_E) };
                let (rows, cols) = (x.rows(), x.cols());
                for r in 0..rows {
                    x.row_mut(r)[visible.count(r, cols)..].fill(0.0);
                }
                let seen = |r| visible.count(r, cols);
                if R == 1 || rows < R {
                    for r in 0..rows {
                        let x = &mut x.row_mut(r)[..seen(r)];
                        let shift = passes.shift(x, passes.least());
                        let by = passes.inverse(passes.powers(x, shift, passes.zero()));
                        passes.multiply(x, by);
                    }
                    return;
                }
                let [first, second] = x.rows_mut::<2>(0);
                let (first, second) = (&mut first[..seen(0)], &second[..seen(1)]);
                let shift = passes.shift(first, passes.least());
                let mut by = passes.inverse(passes.powers(first, shift, passes.zero()));
                let mut shift = passes.shift(second, passes.least());
                for r in 2..rows {
                    let [scaled, raised, next] = x.rows_mut::<3>(r - 2);
                    (by, shift) =
                        passes.staggered::<A>((&mut scaled[..seen(r - 2)], by), (&mut raised[..seen(r - 1)], shift), &next[..seen(r)]);
                }
                let [scaled, raised] = x.rows_mut::<2>(rows - 2);
                let (scaled, raised) = (&mut scaled[..seen(rows - 2)], &mut raised[..seen(rows - 1)]);
                passes.multiply(scaled, by);
                let by = passes.inverse(passes.powers(raised, shift, passes.zero()));
                passes.multiply(raised, by);
            },
        );
    }
}

/// The passes, with what all rows are multiplied by: powers of 2 rather than of e, a multiplication for both.
#[derive(Clone, Copy)]
struct Passes<I: Math, const U: usize> {
    isa: I,
    scale: I::F32,
}

impl<I: Math, const U: usize> Passes<I, U> {
    const GROUP: usize = U * I::LANES;

    #[inline(always)]
    fn zero(self) -> [I::F32; U] {
        [self.isa.splat(0.0); U]
    }

    #[inline(always)]
    fn least(self) -> [I::F32; U] {
        [self.isa.splat(f32::NEG_INFINITY); U]
    }

    /// Minus the largest of x · scale and of `most`.
    #[inline(always)]
    fn shift(self, x: &[f32], mut most: [I::F32; U]) -> I::F32 {
        let isa = self.isa;
        let groups = x.chunks_exact(Self::GROUP);
        let rest = groups.remainder();
        for group in groups {
            self.larger(group, &mut most);
        }
        let mut all = most[0];
        for x in rest.chunks(I::LANES) {
            // What fills the vector up is there already.
            all = isa.max(all, isa.mul(isa.load_or(x, x[0]), self.scale));
        }
        for most in &most[1..] {
            all = isa.max(all, *most);
        }
        isa.splat(-isa.largest(all))
    }

    #[inline(always)]
    fn larger(self, group: &[f32], most: &mut [I::F32; U]) {
        for u in 0..U {
            most[u] = self.isa.max(most[u], self.isa.mul(self.isa.load(&group[u * I::LANES..]), self.scale));
        }
    }

    /// x ← 2^(x · scale + shift); the sum of that and of `sums`.
    #[inline(always)]
    fn powers(self, x: &mut [f32], shift: I::F32, mut sums: [I::F32; U]) -> f32 {
        let isa = self.isa;
        let mut groups = x.chunks_exact_mut(Self::GROUP);
        for group in groups.by_ref() {
            self.raise(group, shift, &mut sums);
        }
        for x in groups.into_remainder().chunks_mut(I::LANES) {
            isa.store_partial(self.power(isa.load_partial(x), shift), x);
            // What fills the vector up is 0 here, whatever the scale makes of it there.
            sums[0] = isa.add(sums[0], isa.load_partial(x));
        }
        let mut total = sums[0];
        for sum in &sums[1..] {
            total = isa.add(total, *sum);
        }
        isa.sum(total)
    }

    #[inline(always)]
    fn raise(self, group: &mut [f32], shift: I::F32, sums: &mut [I::F32; U]) {
        for u in 0..U {
            let x = &mut group[u * I::LANES..][..I::LANES];
            let p = self.power(self.isa.load(x), shift);
            self.isa.store(p, x);
            sums[u] = self.isa.add(sums[u], p);
        }
    }

    #[inline(always)]
    fn power(self, x: I::F32, shift: I::F32) -> I::F32 {
        // Not fused: the largest element must become 0, whatever its product is rounded by.
        self.isa.exp2(self.isa.add(self.isa.mul(x, self.scale), shift))
    }

    #[inline(always)]
    fn inverse(self, sum: f32) -> I::F32 {
        self.isa.splat(1.0 / sum)
    }

    /// x ← x · by.
    #[inline(always)]
    fn multiply(self, x: &mut [f32], by: I::F32) {
        let isa = self.isa;
        let mut groups = x.chunks_exact_mut(Self::GROUP);
        for group in groups.by_ref() {
            self.rescale(group, by);
        }
        for x in groups.into_remainder().chunks_mut(I::LANES) {
            isa.store_partial(isa.mul(isa.load_partial(x), by), x);
        }
    }

    #[inline(always)]
    fn rescale(self, group: &mut [f32], by: I::F32) {
        for u in 0..U {
            let x = &mut group[u * I::LANES..][..I::LANES];
            self.isa.store(self.isa.mul(self.isa.load(x), by), x);
        }
    }

    /// The last pass over one row, the second over another and the first over a third, as far as they go together: what
    /// the second is to be multiplied by, and the third shifted.
    #[inline(always)]
    fn staggered<const A: usize>(
        self,
        (scaled, by): (&mut [f32], I::F32),
        (raised, shift): (&mut [f32], I::F32),
        next: &[f32],
    ) -> (I::F32, I::F32) {
        let whole = scaled.len().min(raised.len()).min(next.len()) / Self::GROUP * Self::GROUP;
        let (now_scaled, scaled) = scaled.split_at_mut(whole);
        let (now_raised, raised) = raised.split_at_mut(whole);
        let (now_next, next) = next.split_at(whole);
        let (mut most, mut sums) = (self.least(), self.zero());
        let groups = now_scaled.chunks_exact_mut(Self::GROUP).zip(now_raised.chunks_exact_mut(Self::GROUP));
        for ((scaled, raised), next) in groups.zip(now_next.chunks_exact(Self::GROUP)) {
            if A > 0 {
                for line in (0..next.len()).step_by(LINE) {
                    ask(next.as_ptr().wrapping_add(line + A * LINE).cast());
                }
            }
            self.larger(next, &mut most);
            self.raise(raised, shift, &mut sums);
            self.rescale(scaled, by);
        }
        self.multiply(scaled, by);
        (self.inverse(self.powers(raised, shift, sums)), self.shift(next, most))
    }
}
