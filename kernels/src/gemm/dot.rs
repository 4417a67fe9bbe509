//! What one step of the depth does to a tile: multiply f32, widen 16-bit elements and multiply them,
//! or multiply pairs and quadruples of small elements inside of 32-bit lanes.
//!
//! Each [`Dot`] also says how its operands are packed. It holds no loops over the depth and no
//! instructions: those are in `micro.rs` and `isa/`.

use super::direct::{self, Few, Sides};
use super::pack;
use super::product::{BFloat, Byte, Half, Output, Product, Single};
use crate::isa::{Bf16Dot, F16Fma, IntDot, Isa, Simd, turn};
use crate::mat::{Mat, MatMut};
use core::marker::PhantomData;
use half::{bf16, f16};

/// What a tile computes and with which instructions.
pub trait Arithmetic: Copy + Send + Sync + 'static {
    /// The instructions.
    type Isa: Isa;
    /// The product.
    type P: Product;
}

/// One step of the depth on vectors of 32-bit lanes.
pub trait Dot: Arithmetic<Isa: Simd> {
    /// A vector of B in memory.
    type Lanes: 'static;
    /// Depths of a step.
    const STEP: usize;
    /// A strip of A begins with a word for each row, which its accumulators start from.
    const HEAD: bool = false;

    /// Whether there is [`Dot::dots`].
    const DOTS: bool = false;

    /// Words of B as vectors.
    fn vectors(words: &[u32]) -> &[Self::Lanes];
    /// `acc[i][j] += a[i] · b[j]`, each a scalar product over the depths of a step.
    fn rank1<const MR: usize, const NV: usize>(isa: Self::Isa, acc: &mut [[Sums<Self>; NV]; MR], a: &[u32; MR], b: &[Self::Lanes; NV]);
    /// Asks for a row of C.
    fn prefetch(isa: Self::Isa, row: &[<Self::P as Product>::C]) {
        isa.prefetch(bytemuck::cast_slice(row));
    }
    /// C ← or += A · Bᵀ from rows as they lie.
    #[inline(always)]
    fn dots(isa: Self::Isa, operands: Sides<'_, Self::P>, few: Few, c: MatMut<'_, <Self::P as Product>::C>, accumulate: bool) {
        let _ = (isa, operands, few, c, accumulate);
    }
    /// Rows of `a` into strips of `mr`.
    fn pack_a(isa: Self::Isa, mr: usize, a: Mat<'_, <Self::P as Product>::A>, out: &mut [u32]);
    /// Rows of `bt` into panels of `nr`.
    fn pack_b(nr: usize, bt: Mat<'_, <Self::P as Product>::B>, out: &mut [u32]);
}

/// A vector of results.
pub type Sums<D> = <<<D as Arithmetic>::P as Product>::C as Output>::Vector<<D as Arithmetic>::Isa>;

/// f32 elements, multiplied and added one depth at a time.
#[derive(Clone, Copy, Debug)]
pub struct Fma<I>(PhantomData<I>);

impl<I: Isa> Arithmetic for Fma<I> {
    type Isa = I;
    type P = Single;
}

impl<I: Simd> Dot for Fma<I> {
    type Lanes = I::Lanes;
    const STEP: usize = 1;
    const DOTS: bool = true;

    #[inline(always)]
    fn vectors(words: &[u32]) -> &[I::Lanes] {
        I::vectors(bytemuck::cast_slice(words))
    }
    #[inline(always)]
    fn rank1<const MR: usize, const NV: usize>(isa: I, acc: &mut [[I::F32; NV]; MR], a: &[u32; MR], b: &[I::Lanes; NV]) {
        let mut bv = [isa.splat(0.0); NV];
        for j in 0..NV {
            bv[j] = isa.load(b[j].as_ref());
        }
        isa.rank1(acc, bytemuck::cast_ref(a), bv);
    }
    #[inline(always)]
    fn dots(isa: I, operands: Sides<'_, Self::P>, few: Few, c: MatMut<'_, f32>, accumulate: bool) {
        direct::dots(
            isa,
            #[inline(always)]
            |at: &[f32]| if at.len() < I::LANES { isa.load_partial(at) } else { isa.load(at) },
            operands,
            few,
            c,
            accumulate,
        );
    }
    #[inline(always)]
    fn pack_a(_: I, mr: usize, a: Mat<'_, f32>, out: &mut [u32]) {
        pack::strips(mr, &pack::Floats, a, out);
    }
    #[inline(always)]
    fn pack_b(nr: usize, bt: Mat<'_, f32>, out: &mut [u32]) {
        pack::strips(nr, &pack::Floats, bt, out);
    }
}

/// 16-bit elements: A is widened when it is packed, B (which stays narrow in memory) when it is loaded,
/// and the products are those of f32.
#[derive(Clone, Copy, Debug)]
pub struct Widen<I, P>(PhantomData<(I, P)>);

/// A product of 16-bit elements that widen to f32.
pub trait Narrow: Product<C = f32> {
    /// An element of A as f32.
    fn widen(a: Self::A) -> f32;
    /// Four elements of A as f32.
    #[inline(always)]
    fn widen_four<I: Simd>(isa: I, a: &[Self::A; 4]) -> [f32; 4] {
        let _ = isa;
        a.map(Self::widen)
    }
    /// A vector of B.
    fn load<I: Simd>(isa: I, b: &[u16]) -> I::F32;
}

impl Narrow for Half {
    #[inline(always)]
    fn widen(a: f16) -> f32 {
        crate::format::f16::to_f32(a.to_bits())
    }
    #[inline(always)]
    fn widen_four<I: Simd>(isa: I, a: &[f16; 4]) -> [f32; 4] {
        isa.four_f16(a.map(f16::to_bits))
    }
    #[inline(always)]
    fn load<I: Simd>(isa: I, b: &[u16]) -> I::F32 {
        isa.load_f16(b)
    }
}

impl Narrow for BFloat {
    #[inline(always)]
    fn widen(a: bf16) -> f32 {
        f32::from_bits(u32::from(a.to_bits()) << 16)
    }
    #[inline(always)]
    fn load<I: Simd>(isa: I, b: &[u16]) -> I::F32 {
        isa.load_bf16(b)
    }
}

impl<I: Isa, P: Narrow> Arithmetic for Widen<I, P> {
    type Isa = I;
    type P = P;
}

impl<I: Simd, P: Narrow> Dot for Widen<I, P> {
    type Lanes = I::Halves;
    const STEP: usize = 1;
    const DOTS: bool = true;

    #[inline(always)]
    fn vectors(words: &[u32]) -> &[I::Halves] {
        I::halves(bytemuck::cast_slice(words))
    }
    #[inline(always)]
    fn rank1<const MR: usize, const NV: usize>(isa: I, acc: &mut [[I::F32; NV]; MR], a: &[u32; MR], b: &[I::Halves; NV]) {
        let mut bv = [isa.splat(0.0); NV];
        for j in 0..NV {
            bv[j] = P::load(isa, b[j].as_ref());
        }
        isa.rank1(acc, bytemuck::cast_ref(a), bv);
    }
    #[inline(always)]
    fn dots(isa: I, operands: Sides<'_, Self::P>, few: Few, c: MatMut<'_, f32>, accumulate: bool) {
        direct::dots(
            isa,
            #[inline(always)]
            |at: &[u16]| {
                direct::halves_at_most(
                    isa,
                    at,
                    #[inline(always)]
                    |at| P::load(isa, at),
                )
            },
            operands,
            few,
            c,
            accumulate,
        );
    }
    #[inline(always)]
    fn pack_a(isa: I, mr: usize, a: Mat<'_, P::A>, out: &mut [u32]) {
        widened::<I, P>(isa, mr, a, out);
    }
    #[inline(always)]
    fn pack_b(nr: usize, bt: Mat<'_, P::B>, out: &mut [u32]) {
        narrow::<P>(nr, bt, out);
    }
}

/// Rows of `a` into strips of f32.
#[inline(always)]
pub(super) fn widened<I: Simd, P: Narrow>(isa: I, mr: usize, a: Mat<'_, P::A>, out: &mut [u32]) {
    pack::strips(mr, &Widened::<I, P> { isa, product: PhantomData }, a, bytemuck::cast_slice_mut(out));
}

/// 16-bit elements as f32.
struct Widened<I, P> {
    isa: I,
    product: PhantomData<P>,
}

impl<I: Simd, P: Narrow> pack::Pack<P::A> for Widened<I, P> {
    type Unit = f32;
    #[inline(always)]
    fn step(&self) -> usize {
        1
    }
    #[inline(always)]
    fn unit(&self, elements: &[P::A]) -> f32 {
        P::widen(elements[0])
    }
    #[inline(always)]
    fn four(&self, elements: &[P::A]) -> [f32; 4] {
        let four = elements.first_chunk().expect("four elements");
        P::widen_four(self.isa, four)
    }
    #[inline(always)]
    fn turn(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
        bytemuck::cast(turn(bytemuck::cast(rows)))
    }
}

/// Rows of `bt` into panels of 16-bit elements, as they are.
#[inline(always)]
pub(super) fn narrow<P: Narrow>(nr: usize, bt: Mat<'_, P::B>, out: &mut [u32]) {
    pack::strips(nr, &pack::Bytes::<P::B, u16, 1>::plain(), bt, bytemuck::cast_slice_mut(out));
}

/// f16 elements multiplied as they are: their products, which f32 holds exactly, are added to f32.
#[derive(Clone, Copy, Debug)]
pub struct Lengthen<I>(PhantomData<I>);

impl<I: Isa> Arithmetic for Lengthen<I> {
    type Isa = I;
    type P = Half;
}

impl<I: F16Fma> Dot for Lengthen<I> {
    type Lanes = I::Halves;
    const STEP: usize = 1;
    const DOTS: bool = true;

    #[inline(always)]
    fn vectors(words: &[u32]) -> &[I::Halves] {
        I::halves(bytemuck::cast_slice(words))
    }
    #[inline(always)]
    fn rank1<const MR: usize, const NV: usize>(isa: I, acc: &mut [[I::F32; NV]; MR], a: &[u32; MR], b: &[I::Halves; NV]) {
        isa.rank1_f16(acc, a, b);
    }
    #[inline(always)]
    fn dots(isa: I, operands: Sides<'_, Self::P>, few: Few, c: MatMut<'_, f32>, accumulate: bool) {
        direct::dots(
            isa,
            #[inline(always)]
            |at: &[u16]| {
                direct::halves_at_most(
                    isa,
                    at,
                    #[inline(always)]
                    |at| isa.load_f16(at),
                )
            },
            operands,
            few,
            c,
            accumulate,
        );
    }
    #[inline(always)]
    fn pack_a(_: I, mr: usize, a: Mat<'_, f16>, out: &mut [u32]) {
        pack::strips(mr, &pack::Each::new(1, |a: &[f16]| u32::from(a[0].to_bits())), a, out);
    }
    #[inline(always)]
    fn pack_b(nr: usize, bt: Mat<'_, f16>, out: &mut [u32]) {
        narrow::<Half>(nr, bt, out);
    }
}

/// bf16 elements, two depths in a lane, their products added before the sum is rounded.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<I>(PhantomData<I>);

impl<I: Isa> Arithmetic for Pairs<I> {
    type Isa = I;
    type P = BFloat;
}

impl<I: Bf16Dot> Dot for Pairs<I> {
    type Lanes = I::Words;
    const STEP: usize = 2;
    const DOTS: bool = true;

    #[inline(always)]
    fn vectors(words: &[u32]) -> &[I::Words] {
        I::words(words)
    }
    #[inline(always)]
    fn rank1<const MR: usize, const NV: usize>(isa: I, acc: &mut [[I::F32; NV]; MR], a: &[u32; MR], b: &[I::Words; NV]) {
        isa.rank1_bf16(acc, a, b);
    }
    #[inline(always)]
    fn dots(isa: I, operands: Sides<'_, Self::P>, few: Few, c: MatMut<'_, f32>, accumulate: bool) {
        direct::dots(
            isa,
            #[inline(always)]
            |at: &[u16]| {
                direct::halves_at_most(
                    isa,
                    at,
                    #[inline(always)]
                    |at| isa.load_bf16(at),
                )
            },
            operands,
            few,
            c,
            accumulate,
        );
    }
    #[inline(always)]
    fn pack_a(_: I, mr: usize, a: Mat<'_, bf16>, out: &mut [u32]) {
        pack::strips(mr, &pack::Bytes::<bf16, u32, 2>::plain(), a, out);
    }
    #[inline(always)]
    fn pack_b(nr: usize, bt: Mat<'_, bf16>, out: &mut [u32]) {
        pack::strips(nr, &pack::Bytes::<bf16, u32, 2>::plain(), bt, out);
    }
}

/// s8 elements, two or four depths in a lane, summed exactly in s32.
///
/// An ISA whose instruction takes unsigned × signed gets B offset by 128, and accumulators that start
/// from −128·Σa, so that nothing saturates and nothing is lost.
#[derive(Clone, Copy, Debug)]
pub struct Quads<I>(PhantomData<I>);

impl<I: Isa> Arithmetic for Quads<I> {
    type Isa = I;
    type P = Byte;
}

impl<I: IntDot> Dot for Quads<I> {
    type Lanes = I::Bytes;
    const STEP: usize = I::DEPTH;
    const HEAD: bool = I::OFFSET;

    #[inline(always)]
    fn vectors(words: &[u32]) -> &[I::Bytes] {
        I::bytes(words)
    }
    #[inline(always)]
    fn rank1<const MR: usize, const NV: usize>(isa: I, acc: &mut [[I::I32; NV]; MR], a: &[u32; MR], b: &[I::Bytes; NV]) {
        isa.rank1_s8(acc, a, b);
    }
    #[inline(always)]
    fn pack_a(_: I, mr: usize, a: Mat<'_, i8>, out: &mut [u32]) {
        if I::DEPTH == 4 {
            pack::strips_with_head(mr, usize::from(I::OFFSET) * mr, &pack::Bytes::<i8, u32, 4>::plain(), a, out);
        } else {
            pack::strips(mr, &pack::Each::new(2, |a: &[i8]| I::pair(a[0], a.get(1).copied().unwrap_or(0))), a, out);
        }
        if I::OFFSET {
            starts(mr, a, out);
        }
    }
    #[inline(always)]
    fn pack_b(nr: usize, bt: Mat<'_, i8>, out: &mut [u32]) {
        if I::DEPTH == 4 {
            pack::strips(nr, &pack::Bytes::<i8, u32, 4>::flipping(if I::OFFSET { 0x8080_8080 } else { 0 }), bt, out);
        } else {
            pack::strips(nr, &pack::Bytes::<i8, u16, 2>::plain(), bt, bytemuck::cast_slice_mut(out));
        }
    }
}

/// −128·Σa of each row at the head of its strip, 0 for the rows that pad the last one.
#[inline(always)]
fn starts(mr: usize, a: Mat<'_, i8>, out: &mut [u32]) {
    let strip = mr + a.cols().div_ceil(4) * mr;
    for (s, out) in out.chunks_exact_mut(strip).enumerate().take(a.rows().div_ceil(mr)) {
        for (i, head) in out[..mr].iter_mut().enumerate() {
            let row = s * mr + i;
            let sum: i32 = match (row < a.rows()).then(|| a.row(row)) {
                None => 0,
                Some(Some(row)) => row.iter().map(|x| i32::from(*x)).sum(),
                Some(None) => (0..a.cols()).map(|p| i32::from(a.get(row, p))).sum(),
            };
            *head = (-128 * sum).cast_unsigned();
        }
    }
}
