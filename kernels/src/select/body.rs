//! The generic bodies of selection over an ISA token. `U` vectors at a time are compared with the best so far, or the
//! last of the best; only where one has more are elements looked at one by one, which becomes rare soon.

use super::{ArgMaxOp, TopKOp};
use crate::isa::math::Math;
use crate::mat::Mat;
use crate::row::{Body, row_kernel};
use core::cmp::Ordering;

row_kernel! {
    /// The first of the largest.
    First<U>: ArgMaxOp
}
row_kernel! {
    /// The largest few.
    Few<U>: TopKOp
}

impl<I: Math, const U: usize> Body<ArgMaxOp> for First<I, U> {
    fn run(&self, (x, at): (Mat<'_, f32>, &mut [u32])) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                for (r, at) in at.iter_mut().enumerate() {
                    let x = x.row(r).expect("rows of adjacent elements");
                    *at = first(
                        x,
                        U * I::LANES,
                        #[inline(always)]
                        |group, least| holds_more::<I, U>(isa, group, least),
                        #[inline(always)]
                        |group| largest(isa, group),
                    ) as u32;
                }
            },
        );
    }
}

/// Where the first of the largest is, looking at `step` elements at a time; `holds_more` tells whether one of them may be
/// above a number, or NaN, `largest` the largest, or NaN if one is. Which of its group it is matters of the last such
/// group alone.
#[inline(always)]
pub(super) fn first(x: &[f32], step: usize, holds_more: impl Fn(&[f32], f32) -> bool, largest: impl Fn(&[f32]) -> f32) -> usize {
    let (mut best, mut at) = (x[0], 0);
    for (g, group) in x.chunks(step).enumerate() {
        if !holds_more(group, best) {
            continue;
        }
        let most = largest(group);
        if most.is_nan() || most > best {
            (best, at) = (most, g);
        }
        if best.is_nan() {
            break;
        }
    }
    let group = x.chunks(step).nth(at).unwrap_or_default();
    let is_best = |x: &f32| *x == best || x.is_nan();
    at * step + group.iter().position(is_best).unwrap_or_default()
}

/// The largest element; NaN, if one is.
#[inline(always)]
fn largest<I: Math>(isa: I, group: &[f32]) -> f32 {
    let mut most = f32::NEG_INFINITY;
    for v in group.chunks(I::LANES) {
        let v = if v.len() == I::LANES { isa.load(v) } else { isa.load_or(v, f32::NEG_INFINITY) };
        let v = isa.largest(v);
        if v.is_nan() {
            return v;
        }
        most = most.max(v);
    }
    most
}

/// Whether an element is above `least`, or NaN; a group that is not whole may be taken to have one.
#[inline(always)]
fn holds_more<I: Math, const U: usize>(isa: I, group: &[f32], least: f32) -> bool {
    if group.len() < U * I::LANES {
        return true;
    }
    let (least, mut any) = (isa.splat(least), false);
    for u in 0..U {
        any |= isa.any_above(isa.load(&group[u * I::LANES..]), least);
    }
    any
}

impl<I: Math, const U: usize> Body<TopKOp> for Few<I, U> {
    fn run(&self, (x, values, at): (&[f32], &mut [f32], &mut [u32])) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                few(
                    x,
                    (values, at),
                    U * I::LANES,
                    #[inline(always)]
                    |group, least| holds_more::<I, U>(isa, group, least),
                );
            },
        );
    }
}

/// Finds as many of the largest as there are `values`; the rest is as [`first`] has it.
#[inline(always)]
pub(super) fn few(x: &[f32], (values, at): (&mut [f32], &mut [u32]), step: usize, holds_more: impl Fn(&[f32], f32) -> bool) {
    let k = values.len();
    if k == 0 {
        return;
    }
    // What was found so far is in order from the front; the last of it is what others must exceed.
    let mut found = 0;
    for (g, group) in x.chunks(step).enumerate() {
        let least = values[k - 1];
        if found == k && (least.is_nan() || !holds_more(group, least)) {
            continue;
        }
        for (i, x) in group.iter().enumerate() {
            if found < k || !is_behind(*x, values[k - 1]) {
                insert(&mut values[..k], at, &mut found, *x, (g * step + i) as u32);
            }
        }
    }
}

/// Whether `x`, which comes later, is not among the largest when `least` is the last of them.
#[inline(always)]
fn is_behind(x: f32, least: f32) -> bool {
    order(x, least) != Ordering::Greater
}

#[inline(always)]
fn order(a: f32, b: f32) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Puts `x` behind those that are not smaller; the last one falls off where all places are taken.
fn insert(values: &mut [f32], at: &mut [u32], found: &mut usize, x: f32, index: u32) {
    let place = values[..*found].partition_point(|v| order(*v, x) != Ordering::Less);
    let last = (*found).min(values.len() - 1);
    values.copy_within(place..last, place + 1);
    at.copy_within(place..last, place + 1);
    (values[place], at[place]) = (x, index);
    *found = (*found + 1).min(values.len());
}
