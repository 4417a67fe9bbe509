//! The generic conversion bodies over an ISA token: `U` vectors at a time, then single vectors,
//! then element by element.

use super::{F16ToF32, F32ToF16};
use crate::format::f16;
use crate::isa::{Isa, Simd};
use crate::registry::{Kernel, Registered};

/// The f16 → f32 kernel that takes `U` vectors at a time.
#[derive(Clone, Copy, Debug)]
pub struct Widen<I, const U: usize>(pub(super) I);

/// The f32 → f16 kernel that takes `U` vectors at a time.
#[derive(Clone, Copy, Debug)]
pub struct Narrow<I, const U: usize>(pub(super) I);

pub trait WidenBody: Send + Sync {
    fn row(&self, src: &[u16], dst: &mut [f32]);
}

pub trait NarrowBody: Send + Sync {
    fn row(&self, src: &[f32], dst: &mut [u16]);
}

impl<I: Isa, const U: usize> Widen<I, U>
where
    Self: Registered + WidenBody,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<F16ToF32> {
        // A zero-sized token: leaking it allocates nothing.
        Some(F16ToF32 { meta: Self::META, body: Box::leak(Box::new(Widen(I::detect()?))) })
    }

    #[cfg_attr(not(feature = "sweep"), allow(dead_code))]
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(Kernel::F16ToF32)
    }
}

impl<I: Isa, const U: usize> Narrow<I, U>
where
    Self: Registered + NarrowBody,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<F32ToF16> {
        // A zero-sized token: leaking it allocates nothing.
        Some(F32ToF16 { meta: Self::META, body: Box::leak(Box::new(Narrow(I::detect()?))) })
    }

    #[cfg_attr(not(feature = "sweep"), allow(dead_code))]
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(Kernel::F32ToF16)
    }
}

impl<I: Simd, const U: usize> WidenBody for Widen<I, U> {
    fn row(&self, src: &[u16], dst: &mut [f32]) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                convert_row::<U, _, _>(
                    I::LANES,
                    src,
                    dst,
                    #[inline(always)]
                    |src, dst| isa.store(isa.load_f16(src), dst),
                    f16::to_f32,
                );
            },
        );
    }
}

impl<I: Simd, const U: usize> NarrowBody for Narrow<I, U> {
    fn row(&self, src: &[f32], dst: &mut [u16]) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                convert_row::<U, _, _>(
                    I::LANES,
                    src,
                    dst,
                    #[inline(always)]
                    |src, dst| isa.store_f16(isa.load(src), dst),
                    f16::from_f32,
                );
            },
        );
    }
}

/// `vector` on whole vectors of `lanes`, `U` an iteration, then `element` on what is left.
#[inline(always)]
fn convert_row<const U: usize, S: Copy, D>(
    lanes: usize,
    src: &[S],
    dst: &mut [D],
    vector: impl Fn(&[S], &mut [D]),
    element: impl Fn(S) -> D,
) {
    let n = src.len();
    let dst = &mut dst[..n];
    let mut i = 0;
    while i + U * lanes <= n {
        for _ in 0..U {
            vector(&src[i..i + lanes], &mut dst[i..i + lanes]);
            i += lanes;
        }
    }
    while i + lanes <= n {
        vector(&src[i..i + lanes], &mut dst[i..i + lanes]);
        i += lanes;
    }
    for (src, dst) in src[i..].iter().zip(&mut dst[i..]) {
        *dst = element(*src);
    }
}
