//! The generic bodies of gates over an ISA token.

use super::{SiluMulOp, SiluMulQuantiseOp};
use crate::format::{SPAN, q8_0};
use crate::isa::math::Math;
use crate::mat::{Mat, MatMut};
use crate::quantise::{PIECE, Spans};
use crate::row::{Body, row_kernel};

row_kernel! {
    /// silu(gate) · up, `U` vectors at a time.
    Silu<U>: SiluMulOp
}
row_kernel! {
    /// silu(gate) · up as blocks, `U` spans of 32 at a time.
    SiluQuantise<U>: SiluMulQuantiseOp
}

pub(super) const ADJACENT: &str = "rows of adjacent elements";

impl<I: Math, const U: usize> Body<SiluMulOp> for Silu<I, U> {
    fn run(&self, (gate, up, mut y): (Mat<'_, f32>, Mat<'_, f32>, MatMut<'_, f32>)) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                for r in 0..y.rows() {
                    silu_mul::<I, U>(isa, gate.row(r).expect(ADJACENT), up.row(r).expect(ADJACENT), y.row_mut(r));
                }
            },
        );
    }
}

#[inline(always)]
fn silu_mul<I: Math, const U: usize>(isa: I, gate: &[f32], up: &[f32], y: &mut [f32]) {
    let step = U * I::LANES;
    let whole = y.len() / step * step;
    let ((gate, gate_rest), (up, up_rest)) = (gate.split_at(whole), up.split_at(whole));
    let (y, y_rest) = y.split_at_mut(whole);
    for ((gate, up), y) in gate.chunks_exact(step).zip(up.chunks_exact(step)).zip(y.chunks_exact_mut(step)) {
        for u in 0..U {
            let at = u * I::LANES..(u + 1) * I::LANES;
            let v = isa.mul(isa.silu(isa.load(&gate[at.clone()])), isa.load(&up[at.clone()]));
            isa.store(v, &mut y[at]);
        }
    }
    for ((gate, up), y) in gate_rest.chunks(I::LANES).zip(up_rest.chunks(I::LANES)).zip(y_rest.chunks_mut(I::LANES)) {
        isa.store_partial(isa.mul(isa.silu(isa.load_partial(gate)), isa.load_partial(up)), y);
    }
}

impl<I: Math, const U: usize> Body<SiluMulQuantiseOp> for SiluQuantise<I, U> {
    /// Piece by piece: what both steps need at once would not fit into registers.
    fn run(&self, (gate, up, mut y): (Mat<'_, f32>, Mat<'_, f32>, MatMut<'_, q8_0::Block>)) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                let mut piece = [0.0; PIECE];
                for r in 0..y.rows() {
                    let (gate, up) = (gate.row(r).expect(ADJACENT), up.row(r).expect(ADJACENT));
                    let pieces = gate.chunks(PIECE).zip(up.chunks(PIECE)).zip(y.row_mut(r).chunks_mut(PIECE / SPAN));
                    for ((gate, up), y) in pieces {
                        let piece = &mut piece[..gate.len()];
                        silu_mul::<I, 8>(isa, gate, up, piece);
                        let piece = &*piece;
                        Spans::<I, U>::of(isa, piece.len(), y).put(
                            #[inline(always)]
                            |at| isa.load(&piece[at..]),
                            #[inline(always)]
                            |at| piece[at],
                        );
                    }
                }
            },
        );
    }
}
