//! What both bodies need beside products: powers of two, turning rows into lanes and back, and workspaces in pieces.

use crate::isa::math::Math;
use crate::isa::turn;

/// Scores are at least this large, or hidden. It is finite, so that a score less the largest one is a number even while
/// all are hidden.
pub(super) const LEAST: f32 = -1e38;

/// f32 elements of a line of the cache.
pub(super) const LINE: usize = 16;

/// Whether N ≤ M: as a constant of a type, so that what is chosen for no N above M is not compiled.
pub(super) struct AtMost<const N: usize, const M: usize>;

impl<const N: usize, const M: usize> AtMost<N, M> {
    pub(super) const YES: bool = N <= M;
}

/// The factor that makes scores exponents of two: log2(e) / √dim.
pub(super) fn scale(dim: usize) -> f32 {
    (core::f64::consts::LOG2_E / (dim as f64).sqrt()) as f32
}

/// 2^x for x ≤ 0, lane by lane, with an error of 2 ulps; below 2^−126 it is 0. NaN stays NaN.
///
/// The polynomial is a minimax fit of 2^r on [−½, ½] that is exact at 0, value and slope: 0.9 ulps.
#[inline(always)]
pub(super) fn exp2<I: Math>(isa: I, x: I::F32) -> I::F32 {
    // Adding 1.5 · 2^23 rounds to a whole number, which the low bits of the sum then hold.
    const ROUND: f32 = 12_582_912.0;
    let x = isa.max(isa.splat(-127.0), x);
    let shifted = isa.add(x, isa.splat(ROUND));
    let r = isa.sub(x, isa.sub(shifted, isa.splat(ROUND)));
    let mut p = isa.splat(1.330_060_5e-3);
    for c in [9.669_691e-3, 5.550_558_5e-2, 2.402_228_3e-1, core::f32::consts::LN_2, 1.0] {
        p = isa.fma(p, r, isa.splat(c));
    }
    // 2^n by its bits: n = −127 gives a zero.
    let power = isa.shl_i32(isa.add_i32(isa.to_bits(shifted), isa.splat_i32(127)), 23);
    isa.mul(p, isa.of_bits(power))
}

/// Rows as columns: element `i` of `row(lane)` goes to `out[i · width + lane]`, for `len` elements of `width` lanes.
#[inline(always)]
pub(super) fn to_lanes<'a>(row: impl Fn(usize) -> &'a [f32], len: usize, width: usize, out: &mut [f32]) {
    let squares = if width.is_multiple_of(4) { len / 4 * 4 } else { 0 };
    for lane in (0..width).step_by(4) {
        if squares == 0 {
            break;
        }
        let rows = [row(lane), row(lane + 1), row(lane + 2), row(lane + 3)];
        for i in (0..squares).step_by(4) {
            let mut square = [[0; 4]; 4];
            for (words, row) in square.iter_mut().zip(rows) {
                words.copy_from_slice(bytemuck::cast_slice(&row[i..i + 4]));
            }
            for (j, words) in turn(square).iter().enumerate() {
                out[(i + j) * width + lane..][..4].copy_from_slice(bytemuck::cast_slice(words));
            }
        }
    }
    for lane in 0..width {
        let row = row(lane);
        for i in squares..len {
            out[i * width + lane] = row[i];
        }
    }
}

/// Columns as rows, four elements at a time or fewer: `put(lane, i, elements)` for the first `lanes` of `width` lanes.
#[inline(always)]
pub(super) fn from_lanes(x: &[f32], width: usize, lanes: usize, mut put: impl FnMut(usize, usize, &[f32])) {
    let len = x.len() / width;
    let squares = if width.is_multiple_of(4) { len / 4 * 4 } else { 0 };
    for lane in (0..lanes).step_by(4) {
        for i in (0..squares).step_by(4) {
            let mut square = [[0; 4]; 4];
            for (j, words) in square.iter_mut().enumerate() {
                words.copy_from_slice(bytemuck::cast_slice(&x[(i + j) * width + lane..][..4]));
            }
            for (j, words) in turn(square).iter().enumerate().take(lanes - lane) {
                put(lane + j, i, bytemuck::cast_slice(words));
            }
        }
    }
    for lane in 0..lanes {
        for i in squares..len {
            put(lane, i, &x[i * width + lane..][..1]);
        }
    }
}

/// The next `len` elements of a workspace.
#[inline(always)]
pub(super) fn take<'a>(workspace: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (piece, rest) = core::mem::take(workspace).split_at_mut(len);
    *workspace = rest;
    piece
}

/// A workspace from its first line of the cache on.
pub(super) fn aligned(workspace: &mut [f32]) -> &mut [f32] {
    let skip = workspace.as_ptr().align_offset(LINE * size_of::<f32>()).min(workspace.len());
    &mut workspace[skip..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Scalar};

    #[test]
    fn powers_are_near_and_end_at_zero() {
        let isa = Scalar::detect().expect("any CPU has it");
        for i in 0..126_000 {
            let x = -(i as f32) * 1e-3;
            let (got, want) = (exp2(isa, x), f64::from(x).exp2());
            assert!((f64::from(got) - want).abs() <= 2.0 * f64::from(f32::EPSILON) * want, "{x}: {got}");
        }
        assert!(exp2(isa, 0.0) == 1.0 && exp2(isa, -127.0) == 0.0 && exp2(isa, f32::NEG_INFINITY) == 0.0);
        assert!(exp2(isa, f32::NAN).is_nan());
    }

    #[test]
    fn lanes_are_rows_turned() {
        for (len, width, lanes) in [(8, 8, 5), (6, 16, 16), (3, 4, 1), (5, 2, 2), (1, 1, 1)] {
            let rows: Vec<Vec<f32>> = (0..width).map(|lane| (0..len).map(|i| (lane * 100 + i) as f32).collect()).collect();
            let mut x = vec![f32::NAN; len * width];
            to_lanes(|lane| &rows[lane], len, width, &mut x);
            let mut back = vec![vec![f32::NAN; len]; lanes];
            from_lanes(&x, width, lanes, |lane, i, x| back[lane][i..i + x.len()].copy_from_slice(x));
            assert_eq!(back, rows[..lanes]);
        }
    }
}
