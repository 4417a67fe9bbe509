//! SVE selection: the largest element of a block is found as softmax does, `U` vectors a round. What becomes of it is the
//! same on every instruction set.

use super::body::{Few, First, few, first};
use super::{ArgMaxOp, TopKOp};
use crate::isa::Sve;
use crate::mat::Mat;
use crate::row::Body;
use crate::softmax;

impl<const U: usize> Body<ArgMaxOp> for First<Sve, U> {
    fn run(&self, (x, at): (Mat<'_, f32>, &mut [u32])) {
        for (r, at) in at.iter_mut().enumerate() {
            let x = x.row(r).expect("rows of adjacent elements");
            *at = first(x, BLOCK, |block, least| holds_more::<U>(self.0, block, least), |block| largest::<U>(self.0, block)) as u32;
        }
    }
}

impl<const U: usize> Body<TopKOp> for Few<Sve, U> {
    fn run(&self, (x, values, at): (&[f32], &mut [f32], &mut [u32])) {
        few(x, (values, at), SMALL, |block, least| holds_more::<U>(self.0, block, least));
    }
}

/// Elements of a block in which the largest is looked for.
const BLOCK: usize = 512;
/// The same, where several are.
const SMALL: usize = 128;

/// Whether an element is above `least`, or NaN.
fn holds_more<const U: usize>(isa: Sve, block: &[f32], least: f32) -> bool {
    let most = largest::<U>(isa, block);
    most > least || most.is_nan()
}

/// The largest element; NaN, if one is.
#[inline(always)]
fn largest<const U: usize>(isa: Sve, x: &[f32]) -> f32 {
    softmax::sve::largest::<U, false>(isa, x, 1.0)
}
