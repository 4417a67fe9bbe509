//! The generic body that turns blocks of weights of any format into f32.

use super::{Dequantise, DequantiseOp};
use crate::format::{Block, SPAN};
use crate::isa::Isa;
use crate::isa::math::Math;
#[cfg(feature = "sweep")]
use crate::registry::Kernel;
use crate::registry::Registered;
use crate::row::{Body, Row};
use core::marker::PhantomData;

/// Blocks of `B` → f32, `U` vectors at a time.
#[derive(Clone, Copy, Debug)]
pub struct Back<I, B, const U: usize>(pub(super) I, PhantomData<B>);

impl<I: Isa, B: Block, const U: usize> Back<I, B, U>
where
    Self: Registered + Body<DequantiseOp>,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<Dequantise> {
        Some(Row::new(Self::META, Self(I::detect()?, PhantomData)))
    }

    #[cfg(feature = "sweep")]
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(Kernel::Dequantise)
    }
}

impl<I: Math, B: Block, const U: usize> Body<DequantiseOp> for Back<I, B, U> {
    fn run(&self, (blocks, out): (&[u8], &mut [f32])) {
        let isa = self.0;
        // Rows of bytes need not be aligned to the halves in blocks.
        isa.vectorize(
            #[inline(always)]
            || {
                let mut spans = out.chunks_mut(SPAN);
                for bytes in blocks.chunks_exact(size_of::<B>()) {
                    let block: B = bytemuck::pod_read_unaligned(bytes);
                    for span in 0..B::DEPTH / SPAN {
                        match spans.next() {
                            Some(out) if out.len() == SPAN => put::<I, B, U>(isa, &block, span, out),
                            Some(out) => {
                                let mut whole = [0.0; SPAN];
                                put::<I, B, U>(isa, &block, span, &mut whole);
                                out.copy_from_slice(&whole[..out.len()]);
                            }
                            None => return,
                        }
                    }
                }
            },
        );
    }
}

/// The weights of a span: each a product, rounded, and where there are minimums a sum, rounded again.
#[inline(always)]
fn put<I: Math, B: Block, const U: usize>(isa: I, block: &B, span: usize, out: &mut [f32]) {
    let quants: [i8; SPAN] = block.quants(span).map(
        #[inline(always)]
        |q| (i32::from(q) - B::OFFSET) as i8,
    );
    let [scale, minimum, ..] = isa.four_f16([block.scale().to_bits(), block.minimum().to_bits(), 0, 0]);
    let minimum = isa.splat(minimum * f32::from(block.minimum_factor(span)));
    let (mut from, mut to) = (quants.chunks_exact(U * I::LANES), out[..SPAN].chunks_exact_mut(U * I::LANES));
    let mut part = 0;
    for (quants, out) in from.by_ref().zip(to.by_ref()) {
        for u in 0..U {
            let v = u * I::LANES..(u + 1) * I::LANES;
            one::<I, B>(isa, (block, span, part + v.start), (scale, minimum), &quants[v.clone()], &mut out[v]);
        }
        part += U * I::LANES;
    }
    for (quants, out) in from.remainder().chunks_exact(I::LANES).zip(to.into_remainder().chunks_exact_mut(I::LANES)) {
        one::<I, B>(isa, (block, span, part), (scale, minimum), quants, out);
        part += I::LANES;
    }
}

/// A vector of weights, the first of which is the `at`th of the span.
#[inline(always)]
fn one<I: Math, B: Block>(isa: I, (block, span, at): (&B, usize, usize), (scale, minimum): (f32, I::F32), quants: &[i8], out: &mut [f32]) {
    let scale = scale * f32::from(block.factor(span * B::PARTS + at * B::PARTS / SPAN));
    let x = isa.mul(isa.splat(scale), isa.load_i8(quants));
    isa.store(if B::MINIMUM { isa.add(x, minimum) } else { x }, out);
}
