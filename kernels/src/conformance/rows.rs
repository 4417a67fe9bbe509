//! The grids of the row families: norms and conversions.

use super::values::{Random, Values};
use super::{Arena, Flush, Outcome, compare, worst};
use crate::convert::{F16ToF32, F32ToF16};
use crate::format::f16;
use crate::norm::{LayerNorm, RmsNorm};
use crate::reference;

const EPS: f32 = 1e-6;

/// Every length up to a few vectors of any ISA, and some around the lengths that models use.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=70).chain([127, 128, 129, 130, 255, 256, 257, 511, 513, 895, 896, 897])
}

fn flush(n: usize) -> Flush {
    if n.is_multiple_of(2) { Flush::End } else { Flush::Start }
}

/// A row of the given values, and weights that are uniform.
fn operands<A: Arena>(arena: &A, n: usize, values: Values) -> [A::Buffer<f32>; 3] {
    let mut row = arena.buffer(n, 0.0f32, flush(n));
    let mut weight = arena.buffer(n, 0.0f32, flush(n));
    let mut bias = arena.buffer(n, 0.0f32, flush(n));
    values.fill(n as u64 + 11, &mut row);
    Values::Uniform.fill(n as u64 + 12, &mut weight);
    Values::Uniform.fill(n as u64 + 13, &mut bias);
    [row, weight, bias]
}

pub(super) fn rms_norm<A: Arena>(kernel: &RmsNorm, arena: &A, out: &mut Outcome) {
    for n in lengths() {
        for values in Values::ALL {
            let [x, w, _] = operands(arena, n, values);
            let mut y = arena.buffer(n, f32::NAN, flush(n));
            kernel.run(&x, &w, EPS, &mut y);
            let want = reference::rms_norm(&x, &w, EPS);
            // A sum of n squares errs by at most n·eps relatively, its root by half of that; the
            // root, the division and two products add one rounding each.
            let relative = (n as f64 / 2.0 + 6.0) * f32::EPSILON as f64;
            let result = worst(y.iter().zip(&want).map(|(y, want)| compare(*y, *want, relative * want.abs() + f32::MIN_POSITIVE as f64)));
            out.case(|| format!("n {n}, {values:?}"), result);
        }
    }
}

pub(super) fn layer_norm<A: Arena>(kernel: &LayerNorm, arena: &A, out: &mut Outcome) {
    for n in lengths() {
        for values in Values::ALL {
            let [x, w, b] = operands(arena, n, values);
            let mut y = arena.buffer(n, f32::NAN, flush(n));
            kernel.run(&x, &w, &b, EPS, &mut y);
            let want = reference::layer_norm(&x, &w, &b, EPS);
            let (_, scale) = reference::moments(&x, EPS);
            let magnitude = x.iter().map(|v| v.abs() as f64).sum::<f64>() / n as f64;
            let result = worst((0..n).map(|i| {
                // The mean errs by n·eps of the mean magnitude, which passes into every element;
                // the variance by n·eps of itself.
                let centred = (x[i].abs() as f64 + magnitude) * scale * w[i].abs() as f64;
                let tolerance = (n as f64 + 8.0) * f32::EPSILON as f64 * (centred + b[i].abs() as f64) + f32::MIN_POSITIVE as f64;
                compare(y[i], want[i], tolerance)
            }));
            out.case(|| format!("n {n}, {values:?}"), result);
        }
    }
}

/// All 2^16 halves at four offsets, then every length.
pub(super) fn widen<A: Arena>(kernel: &F16ToF32, arena: &A, out: &mut Outcome) {
    let every: Vec<u16> = (0..=u16::MAX).collect();
    let rows = (0..4).map(|skip| &every[skip..]).chain(lengths().map(|n| &every[0x3bf0..][..n]));
    for (turn, halves) in rows.enumerate() {
        let n = halves.len();
        let mut src = arena.buffer(n, 0u16, flush(turn));
        src.copy_from_slice(halves);
        let mut dst = arena.buffer(n, f32::NAN, flush(turn));
        kernel.run(&src, &mut dst);
        let result = same_bits(halves.iter().zip(dst.iter()).map(|(h, got)| (got.to_bits(), f16::to_f32(*h).to_bits())));
        out.case(|| format!("n {n}, halves from {:#06x}", halves.first().unwrap_or(&0)), result);
    }
}

/// Every half, the ties between neighbours and what lies just beside them, and random bits; then
/// every length.
pub(super) fn narrow<A: Arena>(kernel: &F32ToF16, arena: &A, out: &mut Outcome) {
    let mut values: Vec<f32> = (0..=u16::MAX).map(f16::to_f32).collect();
    for pair in 0..0x7c00u16 {
        let tie = ((f16::to_f32(pair) as f64 + f16::to_f32(pair + 1).min(65536.0) as f64) / 2.0) as f32;
        values.extend([tie, tie.next_up(), tie.next_down(), -tie, -tie.next_up(), -tie.next_down()]);
    }
    let mut random = Random::new(5);
    values.extend((0..1 << 16).map(|_| f32::from_bits(random.bits() as u32)));
    let rows = (0..4).map(|skip| &values[skip..]).chain(lengths().map(|n| &values[0x3bf0..][..n]));
    for (turn, row) in rows.enumerate() {
        let n = row.len();
        let mut src = arena.buffer(n, 0.0f32, flush(turn));
        src.copy_from_slice(row);
        let mut dst = arena.buffer(n, 0xffffu16, flush(turn));
        kernel.run(&src, &mut dst);
        let result = same_bits(row.iter().zip(dst.iter()).map(|(x, got)| (*got as u32, f16::from_f32(*x) as u32)));
        out.case(|| format!("n {n}"), result);
    }
}

fn same_bits(pairs: impl Iterator<Item = (u32, u32)>) -> Result<f64, String> {
    worst(pairs.map(|(got, want)| if got == want { Ok(0.0) } else { Err(format!("{got:#x} instead of {want:#x}")) }))
}
