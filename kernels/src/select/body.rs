//! The generic bodies of selection over an ISA token. Blocks of the row are folded into their largest element, `U`
//! vectors at a time; only a block that holds what is looked for is looked at one by one.

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

/// Elements of a block of a row in which the largest is looked for.
const BLOCK: usize = 1024;
/// The same, of a row in which several are.
const SMALL: usize = 256;

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
                        #[inline(always)]
                        |block| largest::<I, U>(isa, block),
                    ) as u32;
                }
            },
        );
    }
}

/// Where the first of the largest is; `largest` gives the largest of a block, NaN if one is.
#[inline(always)]
pub(super) fn first(x: &[f32], largest: impl Fn(&[f32]) -> f32) -> usize {
    let (mut best, mut holds) = (f32::NEG_INFINITY, 0);
    for (b, block) in x.chunks(BLOCK).enumerate() {
        let most = largest(block);
        if most.is_nan() {
            return b * BLOCK + position(block, f32::is_nan);
        }
        if most > best {
            (best, holds) = (most, b);
        }
    }
    holds * BLOCK + position(&x[holds * BLOCK..], |x| x == best)
}

fn position(x: &[f32], is: impl Fn(f32) -> bool) -> usize {
    x.iter().position(|x| is(*x)).unwrap_or(0)
}

/// The largest element of a block; NaN, if one is.
#[inline(always)]
fn largest<I: Math, const U: usize>(isa: I, x: &[f32]) -> f32 {
    let (mut most, mut odd) = ([isa.splat(f32::NEG_INFINITY); U], [isa.splat(0.0); U]);
    let zero = isa.splat(0.0);
    let groups = x.chunks_exact(U * I::LANES);
    let rest = groups.remainder();
    for group in groups {
        for u in 0..U {
            let v = isa.load(&group[u * I::LANES..]);
            most[u] = isa.max(most[u], v);
            // A comparison forgets a NaN; this does not.
            odd[u] = isa.fma(v, zero, odd[u]);
        }
    }
    let (mut all, mut any) = (most[0], odd[0]);
    for u in 1..U {
        all = isa.max(all, most[u]);
        any = isa.add(any, odd[u]);
    }
    let most = rest.iter().fold(isa.largest(all), |most, x| larger(most, *x));
    // So it is of infinities as well, which are numbers.
    if isa.sum(any).is_nan() { x.iter().fold(f32::NEG_INFINITY, |most, x| larger(most, *x)) } else { most }
}

/// The larger one; NaN, if one is.
fn larger(a: f32, b: f32) -> f32 {
    if a.is_nan() || a >= b { a } else { b }
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
                    #[inline(always)]
                    |block| largest::<I, U>(isa, block),
                );
            },
        );
    }
}

/// Finds as many of the largest as there are `values`; `largest` is as [`first`] has it.
#[inline(always)]
pub(super) fn few(x: &[f32], (values, at): (&mut [f32], &mut [u32]), largest: impl Fn(&[f32]) -> f32) {
    let k = values.len();
    if k == 0 {
        return;
    }
    // What was found so far is in order from the front; the last of it is what others must exceed.
    let mut found = 0;
    for (b, block) in x.chunks(SMALL).enumerate() {
        if found == k && is_behind(largest(block), values[k - 1]) {
            continue;
        }
        for (i, x) in block.iter().enumerate() {
            if found < k || !is_behind(*x, values[k - 1]) {
                insert(&mut values[..k], at, &mut found, *x, (b * SMALL + i) as u32);
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
