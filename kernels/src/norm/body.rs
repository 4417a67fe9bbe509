//! The generic norm bodies over an ISA token: `U` vectors at a time, then single vectors, then a
//! partial one.

use super::{LayerNorm, RmsNorm};
use crate::isa::{Isa, Simd};
use crate::registry::{Kernel, Registered};

/// The RMS norm kernel that takes `U` vectors at a time.
#[derive(Clone, Copy, Debug)]
pub struct Rms<I, const U: usize>(pub(super) I);

/// The layer norm kernel that takes `U` vectors at a time.
#[derive(Clone, Copy, Debug)]
pub struct Layer<I, const U: usize>(pub(super) I);

pub trait RmsBody: Send + Sync {
    fn row(&self, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]);
}

pub trait LayerBody: Send + Sync {
    fn row(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]);
}

impl<I: Isa, const U: usize> Rms<I, U>
where
    Self: Registered + RmsBody,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<RmsNorm> {
        // A zero-sized token: leaking it allocates nothing.
        Some(RmsNorm { meta: Self::META, body: Box::leak(Box::new(Rms(I::detect()?))) })
    }

    #[cfg_attr(not(feature = "sweep"), allow(dead_code))]
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(Kernel::RmsNorm)
    }
}

impl<I: Isa, const U: usize> Layer<I, U>
where
    Self: Registered + LayerBody,
{
    /// The handle, when this CPU has the instructions.
    pub fn handle() -> Option<LayerNorm> {
        // A zero-sized token: leaking it allocates nothing.
        Some(LayerNorm { meta: Self::META, body: Box::leak(Box::new(Layer(I::detect()?))) })
    }

    #[cfg_attr(not(feature = "sweep"), allow(dead_code))]
    pub(super) fn make() -> Option<Kernel> {
        Self::handle().map(Kernel::LayerNorm)
    }
}

impl<I: Simd, const U: usize> RmsBody for Rms<I, U> {
    fn row(&self, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                let mean = sum_of_squares::<I, U>(isa, x, 0.0) / x.len() as f32;
                scale_shift::<I, U>(isa, x, 0.0, 1.0 / (mean + eps).sqrt(), weight, None, y);
            },
        );
    }
}

impl<I: Simd, const U: usize> LayerBody for Layer<I, U> {
    /// The variance is taken about the mean in a second pass: one pass over x² would cancel.
    fn row(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
        let isa = self.0;
        isa.vectorize(
            #[inline(always)]
            || {
                let n = x.len() as f32;
                let mean = reduce::<I, U>(
                    isa,
                    x,
                    #[inline(always)]
                    |acc, v| isa.add(acc, v),
                    #[inline(always)]
                    |v| v,
                ) / n;
                let variance = sum_of_squares::<I, U>(isa, x, mean) / n;
                scale_shift::<I, U>(isa, x, mean, 1.0 / (variance + eps).sqrt(), weight, Some(bias), y);
            },
        );
    }
}

/// Σ (x − centre)².
#[inline(always)]
fn sum_of_squares<I: Simd, const U: usize>(isa: I, x: &[f32], centre: f32) -> f32 {
    let c = isa.splat(centre);
    reduce::<I, U>(
        isa,
        x,
        #[inline(always)]
        |acc, v| {
            let d = isa.sub(v, c);
            isa.fma(d, d, acc)
        },
        #[inline(always)]
        |x| (x - centre) * (x - centre),
    )
}

/// Folds `x` into one sum: `step` over vectors in `U` accumulators, `term` for the last elements.
#[inline(always)]
fn reduce<I: Simd, const U: usize>(isa: I, x: &[f32], step: impl Fn(I::F32, I::F32) -> I::F32, term: impl Fn(f32) -> f32) -> f32 {
    let mut acc = [isa.splat(0.0); U];
    let blocks = x.chunks_exact(U * I::LANES);
    let vectors = blocks.remainder().chunks_exact(I::LANES);
    let tail = vectors.remainder();
    for block in blocks {
        for u in 0..U {
            acc[u] = step(acc[u], isa.load(&block[u * I::LANES..]));
        }
    }
    for v in vectors {
        acc[0] = step(acc[0], isa.load(v));
    }
    let mut total = acc[0];
    for a in &acc[1..] {
        total = isa.add(total, *a);
    }
    tail.iter().fold(isa.sum(total), |sum, x| sum + term(*x))
}

/// y = (x − centre) · scale · weight (+ bias).
#[inline(always)]
fn scale_shift<I: Simd, const U: usize>(isa: I, x: &[f32], centre: f32, scale: f32, weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let (c, s) = (isa.splat(centre), isa.splat(scale));
    let (n, lanes) = (x.len(), I::LANES);
    let (weight, y) = (&weight[..n], &mut y[..n]);
    let bias = bias.map(|b| &b[..n]);
    let mut i = 0;
    while i + U * lanes <= n {
        for _ in 0..U {
            let b = bias.map(
                #[inline(always)]
                |b| isa.load(&b[i..]),
            );
            isa.store(affine(isa, (c, s), isa.load(&x[i..]), isa.load(&weight[i..]), b), &mut y[i..]);
            i += lanes;
        }
    }
    while i + lanes <= n {
        let b = bias.map(
            #[inline(always)]
            |b| isa.load(&b[i..]),
        );
        isa.store(affine(isa, (c, s), isa.load(&x[i..]), isa.load(&weight[i..]), b), &mut y[i..]);
        i += lanes;
    }
    if i < n {
        let b = bias.map(
            #[inline(always)]
            |b| isa.load_partial(&b[i..]),
        );
        isa.store_partial(affine(isa, (c, s), isa.load_partial(&x[i..]), isa.load_partial(&weight[i..]), b), &mut y[i..]);
    }
}

#[inline(always)]
fn affine<I: Simd>(isa: I, (centre, scale): (I::F32, I::F32), x: I::F32, w: I::F32, bias: Option<I::F32>) -> I::F32 {
    let scaled = isa.mul(isa.sub(x, centre), scale);
    match bias {
        Some(b) => isa.fma(scaled, w, b),
        None => isa.mul(scaled, w),
    }
}
