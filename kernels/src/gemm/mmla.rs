//! The micro-kernel of instructions that multiply two rows by two columns: `smmla` and `bfmmla`.
//!
//! A unit is eight bytes along the depth of one row or column. An accumulator holds a block of 2 × 2
//! results; a tile is un-permuted once, when it is stored. So the blocks of rows 2p and 2p + 1 with the
//! left and the right half of a vector of columns lie where these two rows of the vector belong.

use super::dot::Arithmetic;
use super::micro::{Geometry, MicroKernel, Tile};
use super::pack;
use super::product::Product;
use crate::isa::{BlockDot, Isa};
use crate::mat::{Mat, MatMut};
use core::marker::PhantomData;

/// Blocks of 2 × 2 results, eight bytes of depth at a time.
#[derive(Clone, Copy, Debug)]
pub struct Mmla<I, P>(PhantomData<(I, P)>);

impl<I: Isa, P: Product> Arithmetic for Mmla<I, P> {
    type Isa = I;
    type P = P;
}

/// Words of a unit.
const UNIT: usize = 2;

/// Depths of a unit.
pub(super) const fn step<T>() -> usize {
    UNIT * size_of::<u32>() / size_of::<T>()
}

/// The layout of operands for a tile of `mr` × `nr`.
pub(super) fn geometry<T>(mr: usize, nr: usize) -> Geometry {
    Geometry { mr, nr, step: step::<T>(), a_head: 0, a_words: UNIT * mr, b_words: UNIT * nr }
}

/// Rows of `src` into strips of `width` units.
#[inline(always)]
pub(super) fn strips<T: bytemuck::Pod>(width: usize, src: Mat<'_, T>, out: &mut [u32]) {
    let unit = |elements: &[T]| {
        let mut bytes = [0u8; UNIT * size_of::<u32>()];
        let elements: &[u8] = bytemuck::cast_slice(elements);
        bytes[..elements.len()].copy_from_slice(elements);
        bytemuck::cast::<_, [u32; UNIT]>(bytes)
    };
    pack::strips(width, &pack::Each::new(step::<T>(), unit), src, out.as_chunks_mut().0);
}

impl<I, P, const MR: usize, const NV: usize, const KU: usize> MicroKernel<P> for Tile<Mmla<I, P>, MR, NV, KU>
where
    I: BlockDot<P::A, Result = P::C>,
    P: Product<B = <P as Product>::A>,
{
    fn geometry(&self) -> Geometry {
        geometry::<P::A>(MR, NV * I::LANES)
    }

    fn tile(&self, a: &[u32], b: &[u32], mut c: MatMut<'_, P::C>, accumulate: bool) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || tile::<I, P, MR, NV, KU>(isa, a, b, &mut c, accumulate),
        );
    }

    fn pack_a(&self, a: Mat<'_, P::A>, out: &mut [u32]) {
        self.0.vectorize(
            #[inline(always)]
            || strips(MR, a, out),
        );
    }

    fn pack_b(&self, bt: Mat<'_, P::B>, out: &mut [u32]) {
        self.0.vectorize(
            #[inline(always)]
            || strips(NV * I::LANES, bt, out),
        );
    }
}

/// Accumulators of a tile: those of its rows, and the right blocks of a last row without a partner.
struct Blocks<V, const MR: usize, const NV: usize> {
    rows: [[V; NV]; MR],
    single: [V; NV],
}

#[inline(always)]
fn tile<I: BlockDot<P::A, Result = P::C>, P: Product, const MR: usize, const NV: usize, const KU: usize>(
    isa: I,
    a: &[u32],
    b: &[u32],
    c: &mut MatMut<'_, P::C>,
    accumulate: bool,
) {
    const { assert!(I::LANES == 4, "a vector is one block") };
    let a = a.as_chunks::<UNIT>().0.as_chunks::<MR>().0;
    // A vector of columns is two blocks of two columns.
    let b = b.as_chunks::<{ 2 * UNIT }>().0.as_chunks::<2>().0.as_chunks::<NV>().0;
    let (a_main, a_rest) = a.as_chunks::<KU>();
    let (b_main, b_rest) = b.as_chunks::<KU>();
    let mut acc = Blocks { rows: [[isa.zero(); NV]; MR], single: [isa.zero(); NV] };
    for i in 0..MR {
        isa.prefetch(bytemuck::cast_slice(&c.row_mut(i)[..NV * I::LANES]));
    }
    for (a, b) in a_main.iter().zip(b_main) {
        // Written out, as in micro.rs.
        macro_rules! steps {
            ($($u:literal)*) => {
                $(if $u < KU {
                    multiply(isa, &mut acc, &a[$u], &b[$u]);
                })*
            };
        }
        const { assert!(KU <= 4) };
        steps!(0 1 2 3);
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        multiply(isa, &mut acc, a, b);
    }
    for i in (0..MR).step_by(2) {
        for j in 0..NV {
            let right = if i + 1 < MR { acc.rows[i + 1][j] } else { acc.single[j] };
            let [first, second] = isa.rows(acc.rows[i][j], right);
            isa.put(first, &mut c.row_mut(i)[j * I::LANES..][..I::LANES], accumulate);
            if i + 1 < MR {
                isa.put(second, &mut c.row_mut(i + 1)[j * I::LANES..][..I::LANES], accumulate);
            }
        }
    }
}

/// One step of the depth.
#[inline(always)]
fn multiply<I: BlockDot<E>, E, const MR: usize, const NV: usize>(
    isa: I,
    acc: &mut Blocks<I::Block, MR, NV>,
    a: &[[u32; UNIT]; MR],
    b: &[[[u32; 2 * UNIT]; 2]; NV],
) {
    let mut bv = [[isa.splat_i32(0); 2]; NV];
    for (bv, b) in bv.as_flattened_mut().iter_mut().zip(b.as_flattened()) {
        *bv = isa.load_i32(bytemuck::cast_slice(b));
    }
    for i in (0..MR).step_by(2) {
        let av = match a[i..].first_chunk::<2>() {
            Some(pair) => isa.load_i32(bytemuck::cast_slice(pair.as_flattened())),
            // A row without a partner multiplies beside itself.
            None => isa.load_i32(bytemuck::cast_slice([a[i]; 2].as_flattened())),
        };
        for (j, [left, right]) in bv.iter().enumerate() {
            acc.rows[i][j] = isa.multiply(acc.rows[i][j], av, *left);
            let block = if i + 1 < MR { &mut acc.rows[i + 1][j] } else { &mut acc.single[j] };
            *block = isa.multiply(*block, av, *right);
        }
    }
}
