//! The generic conversion body over an ISA token: `U` vectors at a time, then single vectors, then element by
//! element. From `S` MiB of results on they are stored past the caches (0: never), and with `A` above 0 the source is
//! asked for that many lines of the cache ahead.

use super::{NarrowBf16Op, NarrowOp, WidenBf16Op, WidenOp};
use crate::format::{bf16, f16};
use crate::isa::ask;
use crate::isa::math::Math;
use crate::row::{Body, row_kernel, streams};

row_kernel! {
    /// f16 → f32.
    Widen<U, S, A>: WidenOp
}
row_kernel! {
    /// f32 → f16.
    Narrow<U, S, A>: NarrowOp
}
row_kernel! {
    /// bf16 → f32.
    WidenBf16<U, S, A>: WidenBf16Op
}
row_kernel! {
    /// f32 → bf16.
    NarrowBf16<U, S, A>: NarrowBf16Op
}

impl<I: Math, const U: usize, const S: usize, const A: usize> Body<WidenOp> for Widen<I, U, S, A> {
    fn run(&self, (src, dst): (&[u16], &mut [f32])) {
        let isa = self.0;
        convert::<I, _, _, U, S, A>(
            isa,
            (src, dst),
            (
                #[inline(always)]
                |src: &[u16], dst: &mut [f32]| isa.store(isa.load_f16(src), dst),
                #[inline(always)]
                |src: &[u16], dst: &mut [f32]| {
                    isa.store(isa.load_f16(src), dst);
                    isa.store(isa.load_f16(&src[I::LANES..]), &mut dst[I::LANES..]);
                },
                #[inline(always)]
                |src: &[u16], dst: &mut [f32]| {
                    isa.stream(isa.load_f16(src), dst);
                    isa.stream(isa.load_f16(&src[I::LANES..]), &mut dst[I::LANES..]);
                },
            ),
            f16::to_f32,
        );
    }
}

impl<I: Math, const U: usize, const S: usize, const A: usize> Body<NarrowOp> for Narrow<I, U, S, A> {
    fn run(&self, (src, dst): (&[f32], &mut [u16])) {
        let isa = self.0;
        convert::<I, _, _, U, S, A>(
            isa,
            (src, dst),
            (
                #[inline(always)]
                |src: &[f32], dst: &mut [u16]| isa.store_f16(isa.load(src), dst),
                #[inline(always)]
                |src: &[f32], dst: &mut [u16]| isa.store_f16_pair([isa.load(src), isa.load(&src[I::LANES..])], dst),
                #[inline(always)]
                |src: &[f32], dst: &mut [u16]| isa.stream_f16([isa.load(src), isa.load(&src[I::LANES..])], dst),
            ),
            f16::from_f32,
        );
    }
}

impl<I: Math, const U: usize, const S: usize, const A: usize> Body<WidenBf16Op> for WidenBf16<I, U, S, A> {
    fn run(&self, (src, dst): (&[u16], &mut [f32])) {
        let isa = self.0;
        convert::<I, _, _, U, S, A>(
            isa,
            (src, dst),
            (
                #[inline(always)]
                |src: &[u16], dst: &mut [f32]| isa.store(isa.load_bf16(src), dst),
                #[inline(always)]
                |src: &[u16], dst: &mut [f32]| {
                    isa.store(isa.load_bf16(src), dst);
                    isa.store(isa.load_bf16(&src[I::LANES..]), &mut dst[I::LANES..]);
                },
                #[inline(always)]
                |src: &[u16], dst: &mut [f32]| {
                    isa.stream(isa.load_bf16(src), dst);
                    isa.stream(isa.load_bf16(&src[I::LANES..]), &mut dst[I::LANES..]);
                },
            ),
            bf16::to_f32,
        );
    }
}

impl<I: Math, const U: usize, const S: usize, const A: usize> Body<NarrowBf16Op> for NarrowBf16<I, U, S, A> {
    fn run(&self, (src, dst): (&[f32], &mut [u16])) {
        let isa = self.0;
        convert::<I, _, _, U, S, A>(
            isa,
            (src, dst),
            (
                #[inline(always)]
                |src: &[f32], dst: &mut [u16]| isa.store_bf16(isa.load(src), dst),
                #[inline(always)]
                |src: &[f32], dst: &mut [u16]| isa.store_bf16_pair([isa.load(src), isa.load(&src[I::LANES..])], dst),
                #[inline(always)]
                |src: &[f32], dst: &mut [u16]| isa.stream_bf16([isa.load(src), isa.load(&src[I::LANES..])], dst),
            ),
            bf16::from_f32,
        );
    }
}

/// Stores past the caches are of whole lines of them.
const LINE_BYTES: usize = 64;

/// `store` takes a vector, `pair` and `stream` two of them at once: half as wide ones still make a line then.
#[inline(always)]
fn convert<I: Math, X: Copy, Y, const U: usize, const S: usize, const A: usize>(
    isa: I,
    (src, dst): (&[X], &mut [Y]),
    (store, pair, stream): (impl Fn(&[X], &mut [Y]) + Copy, impl Fn(&[X], &mut [Y]), impl Fn(&[X], &mut [Y])),
    element: fn(X) -> Y,
) {
    isa.vectorize(
        #[inline(always)]
        || {
            if U.is_multiple_of(2) && streams::<S>(size_of_val(dst)) {
                // A destination that is not aligned to its elements has no line that it begins.
                let head = dst.as_ptr().align_offset(LINE_BYTES).min(dst.len());
                let ((src_head, src), (dst_head, dst)) = (src.split_at(head), dst.split_at_mut(head));
                elements(src_head, dst_head, element);
                row::<I, X, Y, 2, U, A>((src, dst), stream, store, element);
                isa.fence();
            } else if U.is_multiple_of(2) {
                row::<I, X, Y, 2, U, A>((src, dst), pair, store, element);
            } else {
                row::<I, X, Y, 1, U, A>((src, dst), store, store, element);
            }
        },
    );
}

/// `U` vectors an iteration, of which `several` takes `V` at a time, then `vector` on those that are left, then `element`.
#[inline(always)]
fn row<I: Math, X: Copy, Y, const V: usize, const U: usize, const A: usize>(
    (src, dst): (&[X], &mut [Y]),
    several: impl Fn(&[X], &mut [Y]),
    vector: impl Fn(&[X], &mut [Y]),
    element: fn(X) -> Y,
) {
    let (mut from, mut to) = (src.chunks_exact(U * I::LANES), dst.chunks_exact_mut(U * I::LANES));
    for (src, dst) in from.by_ref().zip(to.by_ref()) {
        if A > 0 {
            let ahead = src.as_ptr().cast::<u8>().wrapping_add(A * LINE_BYTES);
            for line in (0..size_of_val(src)).step_by(LINE_BYTES) {
                ask(ahead.wrapping_add(line).cast());
            }
        }
        for v in 0..U / V {
            several(&src[v * V * I::LANES..][..V * I::LANES], &mut dst[v * V * I::LANES..][..V * I::LANES]);
        }
    }
    let (src, dst) = (from.remainder(), to.into_remainder());
    let (mut from, mut to) = (src.chunks_exact(I::LANES), dst.chunks_exact_mut(I::LANES));
    for (src, dst) in from.by_ref().zip(to.by_ref()) {
        vector(src, dst);
    }
    elements(from.remainder(), to.into_remainder(), element);
}

/// What does not fill a vector, element by element: out of the way of the loops over vectors.
#[inline(never)]
fn elements<X: Copy, Y>(src: &[X], dst: &mut [Y], element: fn(X) -> Y) {
    for (x, y) in src.iter().zip(dst) {
        *y = element(*x);
    }
}
