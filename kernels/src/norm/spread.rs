//! The mean of a row and its variance about that from one pass, in which each part of the row is taken less the mean of
//! what came before it.
//!
//! One pass over x² would cancel where the mean is large. Less a mean of at least as many elements as the part has, a
//! part's own squares lose little: what they are too large by is at most twice what that part adds to the squares of the
//! row (Chan, Golub and LeVeque 1979 put parts together so). The first part is taken less its first vector.

use super::body::{Affine, rms_scale};
use crate::isa::math::Math;
use core::ops::Range;

/// Vectors of the first part: those that follow are as long as all before them.
const FIRST: usize = 8;

/// The parts of a row of so many columns; one, where no mean is taken.
#[inline(always)]
pub(super) fn parts<I: Math, const CENTRED: bool>(cols: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    core::iter::from_fn(
        #[inline(always)]
        move || {
            let part = start..if CENTRED { cols.min(start + start.max(FIRST * I::LANES)) } else { cols };
            start = part.end;
            (!part.is_empty()).then_some(part)
        },
    )
}

/// Of the whole vectors so far: how many, and for each lane their mean and the squares about it.
#[derive(Clone, Copy)]
pub(super) struct Spread<F> {
    count: f32,
    pub(super) mean: F,
    squares: F,
}

impl<F: Copy> Spread<F> {
    #[inline(always)]
    pub(super) fn new<I: Math<F32 = F>>(isa: I, row: &[f32]) -> Self {
        let first = if row.len() < I::LANES { isa.splat(0.0) } else { isa.load(row) };
        Spread { count: 0.0, mean: first, squares: isa.splat(0.0) }
    }

    /// Takes in so many vectors, of whose elements less the mean so far sums and sums of squares are known.
    #[inline(always)]
    pub(super) fn take<I: Math<F32 = F>>(&mut self, isa: I, vectors: usize, sums: F, squares: F) {
        let count = vectors as f32;
        if vectors == 0 {
            return;
        }
        let share = count / (self.count + count);
        let further = isa.mul(sums, isa.splat(1.0 / count));
        let within = isa.sub(squares, isa.mul(sums, further));
        let between = isa.mul(isa.mul(further, further), isa.splat(self.count * share));
        self.mean = isa.fma(further, isa.splat(share), self.mean);
        self.squares = isa.add(self.squares, isa.add(within, between));
        self.count += count;
    }

    /// What the row is shifted and multiplied by; of the row itself what does not fill a vector is read.
    #[inline(always)]
    pub(super) fn finish<I: Math<F32 = F>>(self, isa: I, row: &[f32], eps: f32) -> Affine {
        let tail = &row[row.len() - row.len() % I::LANES..];
        let lanes = I::LANES as f32;
        let mut mean = isa.sum(self.mean) / lanes;
        let d = isa.sub(self.mean, isa.splat(mean));
        let mut squares = isa.sum(isa.fma(isa.splat(self.count), isa.mul(d, d), self.squares));
        if !tail.is_empty() {
            let count = tail.len() as f32;
            let of_tail = isa.sum(isa.load_partial(tail)) / count;
            let d = isa.sub(isa.load_or(tail, of_tail), isa.splat(of_tail));
            let (between, before) = (of_tail - mean, self.count * lanes);
            let share = count / (before + count);
            mean += between * share;
            squares += isa.sum(isa.mul(d, d)) + between * between * before * share;
        }
        (mean, rms_scale(squares, row.len(), eps))
    }
}
