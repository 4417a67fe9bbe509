//! What kernels on rows need of an instruction set beyond what products need: comparisons, division, rounding
//! to bfloat16, stores past the caches, and the exponential function.
//!
//! One file per instruction set, beside the file of its token; the extensions inherit what their base has.

mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
pub(crate) mod sve;

use super::{IsaId, MAX_LANES, Simd};
use crate::fingerprint::{fnv1a, of_source};

/// Vectors of f32 with what functions of elements and folds of rows need.
pub trait Math: Simd {
    /// Lane-wise larger one; NaN where `b` is, and either of them where `a` alone is.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Lane-wise smaller one; NaN where `b` is, and either of them where `a` alone is.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Lane-wise a / b.
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Writes the first [`Simd::LANES`] elements past the caches, where the instruction set can and `dst` is
    /// aligned to a vector; elsewhere as [`Simd::store`] does. Panics if there are fewer.
    #[inline(always)]
    fn stream(self, v: Self::F32, dst: &mut [f32]) {
        self.store(v, dst);
    }
    /// As [`Simd::store_f16`] of one and the other.
    #[inline(always)]
    fn store_f16_pair(self, [low, high]: [Self::F32; 2], dst: &mut [u16]) {
        self.store_f16(low, dst);
        self.store_f16(high, &mut dst[Self::LANES..]);
    }
    /// As [`Math::store_bf16`] of one and the other.
    #[inline(always)]
    fn store_bf16_pair(self, [low, high]: [Self::F32; 2], dst: &mut [u16]) {
        self.store_bf16(low, dst);
        self.store_bf16(high, &mut dst[Self::LANES..]);
    }
    /// As [`Math::store_f16_pair`], past the caches where the instruction set can and `dst` is aligned to a vector.
    #[inline(always)]
    fn stream_f16(self, v: [Self::F32; 2], dst: &mut [u16]) {
        self.store_f16_pair(v, dst);
    }
    /// As [`Math::store_bf16_pair`], past the caches likewise.
    #[inline(always)]
    fn stream_bf16(self, v: [Self::F32; 2], dst: &mut [u16]) {
        self.store_bf16_pair(v, dst);
    }
    /// Orders stores past the caches before what follows.
    #[inline(always)]
    fn fence(self) {}
    /// Rounds to the nearest bfloat16, ties to even, NaNs made quiet, and writes the first [`Simd::LANES`]. Panics
    /// if there are fewer.
    fn store_bf16(self, v: Self::F32, dst: &mut [u16]);
    /// The largest lane; NaN, if one is.
    #[inline(always)]
    fn largest(self, v: Self::F32) -> f32 {
        let mut buf = [0.0; MAX_LANES];
        self.store(v, &mut buf);
        buf[..Self::LANES].iter().fold(f32::NEG_INFINITY, |most, x| if *x <= most { most } else { *x })
    }
    /// Fewer than [`Simd::LANES`] elements, the rest `fill`.
    #[inline(always)]
    fn load_or(self, src: &[f32], fill: f32) -> Self::F32 {
        let mut buf = [fill; MAX_LANES];
        buf[..src.len()].copy_from_slice(src);
        self.load(&buf)
    }

    /// e^x, lane by lane, with an error of at most [`EXP_ULPS`] ulps for x from [`EXP_LEAST`] to [`EXP_MOST`]. Below
    /// it is below the normal numbers and may be 0, above it stays at e^[`EXP_MOST`]; NaN stays NaN.
    ///
    /// The argument is reduced by whole multiples of ln 2 in two parts (Cody and Waite 1980), the polynomial is that
    /// of Cephes' `expf` (Moshier 1989).
    #[inline(always)]
    fn exp(self, x: Self::F32) -> Self::F32 {
        let x = self.max(self.splat(-88.0), self.min(self.splat(EXP_MOST), x));
        let shifted = self.add(self.mul(x, self.splat(core::f32::consts::LOG2_E)), self.splat(ROUND));
        let n = self.sub(shifted, self.splat(ROUND));
        let r = self.fma(n, self.splat(LN_2[0]), x);
        let r = self.fma(n, self.splat(LN_2[1]), r);
        let mut p = self.splat(POLYNOMIAL[0]);
        for c in &POLYNOMIAL[1..] {
            p = self.fma(p, r, self.splat(*c));
        }
        let p = self.fma(self.mul(r, r), p, self.add(r, self.splat(1.0)));
        // 2^n by its bits: n = −127 gives a zero, which is what stands for the numbers below the normal ones.
        let power = self.shl_i32(self.add_i32(self.to_bits(shifted), self.splat_i32(127)), 23);
        self.mul(p, self.of_bits(power))
    }

    /// 2^t, lane by lane, for t up to 127, with an error of at most [`EXP_ULPS`] ulps where that is a normal number;
    /// smaller ones may become 0. NaN stays NaN. The polynomial is a least-squares fit of the relative error.
    #[inline(always)]
    fn exp2(self, t: Self::F32) -> Self::F32 {
        let t = self.max(self.splat(-127.0), t);
        let shifted = self.add(t, self.splat(ROUND));
        let p = self.exp2_fraction(self.sub(t, self.sub(shifted, self.splat(ROUND))));
        let power = self.shl_i32(self.add_i32(self.to_bits(shifted), self.splat_i32(127)), 23);
        self.mul(p, self.of_bits(power))
    }

    /// 2^f for f from −1/2 to 1/2.
    #[inline(always)]
    fn exp2_fraction(self, f: Self::F32) -> Self::F32 {
        let mut p = self.splat(1.535_325_7e-4);
        for c in [1.339_900_4e-3, 9.618_439e-3, 5.550_332e-2, 2.402_264_8e-1, 6.931_472e-1, 1.0] {
            p = self.fma(p, f, self.splat(c));
        }
        p
    }

    /// 1 / x to within an ulp, of numbers whose inverse is normal.
    #[inline(always)]
    fn inverse(self, x: Self::F32) -> Self::F32 {
        self.div(self.splat(1.0), x)
    }

    /// x / (1 + e^−x), lane by lane.
    #[inline(always)]
    fn silu(self, x: Self::F32) -> Self::F32 {
        let e = self.exp(self.sub(self.splat(0.0), x));
        self.mul(x, self.inverse(self.add(e, self.splat(1.0))))
    }

    /// Whether a lane is above `t`, or NaN.
    fn any_above(self, v: Self::F32, t: Self::F32) -> bool;
}

/// The error of [`Math::exp`] in units in the last place, at most.
pub const EXP_ULPS: f64 = 2.0;
/// Below this the result of [`Math::exp`] is not a normal number.
pub const EXP_LEAST: f32 = -87.336_54;
/// The largest argument that [`Math::exp`] takes as it is.
pub const EXP_MOST: f32 = 88.0;

/// Adding 1.5 · 2^23 rounds to a whole number, which the low bits of the sum then hold.
const ROUND: f32 = 12_582_912.0;
/// −ln 2 in two parts.
const LN_2: [f32; 2] = [-0.693_359_4, 2.121_944_4e-4];
/// Of e^r = 1 + r + r² · p(r), the highest power first.
const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// Hash of these files: part of the fingerprint of the kernels that use them, and of no other.
pub(crate) const fn source_hash(isa: IsaId) -> u64 {
    use IsaId::*;
    const COMMON: u64 = of_source(include_bytes!("mod.rs"));
    match isa {
        Scalar => const { fnv1a(COMMON, include_bytes!("scalar.rs")) },
        Avx2 | AvxVnni => const { fnv1a(COMMON, include_bytes!("avx2.rs")) },
        Avx512 | Avx512Vnni | Avx512Bf16 => const { fnv1a(COMMON, include_bytes!("avx512.rs")) },
        Neon | NeonDotprod | NeonFhm | NeonI8mm | NeonBf16 => const { fnv1a(COMMON, include_bytes!("neon.rs")) },
        Sve | SveI8mm | SveBf16 | Sve2 => const { fnv1a(COMMON, include_bytes!("sve.rs")) },
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use crate::format::bf16;

    fn each(isa: impl Math, x: &[f32], f: impl Fn(&[f32], &mut [f32])) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        isa.vectorize(
            #[inline(always)]
            || x.chunks(16).zip(out.chunks_mut(16)).for_each(|(x, y)| f(x, y)),
        );
        out
    }

    fn exp_of<I: Math>(isa: I, x: &[f32]) -> Vec<f32> {
        each(isa, x, |x, y| {
            for (x, y) in x.chunks(I::LANES).zip(y.chunks_mut(I::LANES)) {
                isa.store_partial(isa.exp(isa.load_partial(x)), y);
            }
        })
    }

    fn check<I: Math>(isa: I) {
        let t: Vec<f32> = (-126_000..=0).map(|i| i as f32 * 1e-3).collect();
        let powers = each(isa, &t, |x, y| {
            for (x, y) in x.chunks(I::LANES).zip(y.chunks_mut(I::LANES)) {
                isa.store_partial(isa.exp2(isa.load_partial(x)), y);
            }
        });
        for (t, got) in t.iter().zip(powers) {
            let want = f64::from(*t).exp2();
            let ulp = f64::from((want as f32).next_up()) - f64::from(want as f32);
            let ulps = (f64::from(got) - want).abs() / ulp;
            assert!(ulps <= EXP_ULPS, "{}: 2^{t} is off by {ulps} ulps", I::ID);
        }
        let ends = each(isa, &[0.0, -127.0, f32::NEG_INFINITY, f32::NAN], |x, y| {
            for (x, y) in x.chunks(I::LANES).zip(y.chunks_mut(I::LANES)) {
                isa.store_partial(isa.exp2(isa.load_partial(x)), y);
            }
        });
        assert!(ends[0] == 1.0 && ends[1] < f32::MIN_POSITIVE && ends[2] == 0.0 && ends[3].is_nan(), "{}: {ends:?}", I::ID);
        let x: Vec<f32> = (-87_336..88_000).map(|i| i as f32 * 1e-3).chain((0..20_000).map(|i| (i as f32 - 1e4) * 3e-5)).collect();
        let mut worst = 0.0f64;
        for (x, got) in x.iter().zip(exp_of(isa, &x)) {
            let want = f64::from(*x).exp();
            let ulp = f64::from((want as f32).next_up()) - f64::from(want as f32);
            worst = worst.max((f64::from(got) - want).abs() / ulp);
        }
        assert!(worst <= EXP_ULPS, "{}: exp is off by {worst} ulps", I::ID);
        let ends = exp_of(isa, &[-87.4, -1e4, f32::NEG_INFINITY, 0.0, EXP_LEAST, 100.0, f32::INFINITY, f32::NAN]);
        assert!(ends[1] < 1e-38 && ends[2] < 1e-38 && ends[3] == 1.0 && ends[0] <= f32::MIN_POSITIVE, "{}: {ends:?}", I::ID);
        assert!(ends[4] <= 2.0 * f32::MIN_POSITIVE && ends[5] == ends[6] && ends[5].is_finite() && ends[7].is_nan(), "{}: {ends:?}", I::ID);

        for n in 1..=16 {
            let mut v: Vec<f32> = (0..n).map(|i| i as f32 - 7.5).collect();
            v.rotate_left(n / 3);
            let of = |v: &[f32]| {
                isa.vectorize(
                    #[inline(always)]
                    || v.chunks(I::LANES).map(|v| isa.largest(isa.load_or(v, -1e9))).fold(-1e9, f32::max),
                )
            };
            assert_eq!(of(&v), n as f32 - 8.5, "{}", I::ID);
            v[n / 2] = f32::NAN;
            let one = &v[n / 2 / I::LANES * I::LANES..];
            let one = &one[..one.len().min(I::LANES)];
            assert!(
                isa.vectorize(
                    #[inline(always)]
                    || isa.largest(isa.load_or(one, 0.0))
                )
                .is_nan(),
                "{}: {one:?}",
                I::ID
            );
        }

        let bits = (0..=u16::MAX).flat_map(|h| [0x7fff, 0x8000, 0x8001, 0u32].map(|low| (u32::from(h) << 16) | low));
        let values: Vec<f32> = bits.map(f32::from_bits).collect();
        let mut out = vec![0u16; values.len()];
        isa.vectorize(
            #[inline(always)]
            || {
                for (x, y) in values.chunks(I::LANES).zip(out.chunks_mut(I::LANES)) {
                    isa.store_bf16(isa.load(x), y);
                }
            },
        );
        for (x, got) in values.iter().zip(out) {
            assert_eq!(got, bf16::from_f32(*x), "{}: {:#x}", I::ID, x.to_bits());
        }
    }

    #[test]
    fn every_isa_of_this_cpu_has_the_same_functions() {
        check(Scalar);
        assert_eq!(Scalar.exp2(-127.0), 0.0);
        #[cfg(target_arch = "x86_64")]
        {
            Avx2::detect().into_iter().for_each(check);
            Avx512::detect().into_iter().for_each(check);
        }
        #[cfg(target_arch = "aarch64")]
        Neon::detect().into_iter().for_each(check);
    }
}
