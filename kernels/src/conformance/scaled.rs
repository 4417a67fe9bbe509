//! The grid of scaled products of s8, which every s8 kernel serves.

use super::gemm::{around, extent, operand, output, padding_kept, sizes, team};
use super::values::{Random, Values};
use super::{Arena, Flush, Outcome, compare, worst};
use crate::gemm::product::{Byte, Product};
use crate::gemm::{Blocking, Gemm, Operands, Right, Scales, Split};
use crate::mat::{Mat, MatMut};
use crate::reference;

#[derive(Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    accumulate: bool,
    packed: bool,
    /// Depth of blocks: below K, sums wait in the workspace.
    kc: usize,
    split: (usize, usize),
    /// All elements are −128: the largest sums there are.
    extreme: bool,
}

pub(super) fn grid<A: Arena>(gemm: &Gemm<Byte>, arena: &A, out: &mut Outcome) {
    let step = gemm.geometry().step;
    let mut turn = 0usize;
    for &m in &around(gemm.mr()) {
        for &n in &around(gemm.nr()) {
            for k in sizes(&[0, 1, step, 5 * step + 1]) {
                turn += 1;
                let case = Case {
                    m,
                    n,
                    k,
                    accumulate: turn.is_multiple_of(2),
                    packed: turn.is_multiple_of(3),
                    kc: [2, 256][turn / 2 % 2],
                    split: [(1, 1), (2, 1), (1, 2), (2, 2), (1, 1)][turn % 5],
                    extreme: false,
                };
                check(gemm, &case, arena, out);
            }
        }
    }
    // Sums beyond 2^24, which f32 does not hold exactly.
    for (packed, kc) in [(true, 1 << 20), (false, 1024)] {
        let (m, n) = (gemm.mr() + 1, gemm.nr() + 1);
        check(gemm, &Case { m, n, k: 2500, accumulate: false, packed, kc, split: (1, 1), extreme: true }, arena, out);
    }
}

fn check<A: Arena>(gemm: &Gemm<Byte>, case: &Case, arena: &A, out: &mut Outcome) {
    let (m, n, k) = (case.m, case.n, case.k);
    let flush = if (m + n + k).is_multiple_of(2) { Flush::End } else { Flush::Start };
    let pad = (m + k) % 3;
    let element = |x: &[f32]| if case.extreme { i8::MIN } else { Byte::a_of(x[0]) };
    let matrix = |seed: usize, rows: usize, cols: usize| {
        operand(arena, extent(rows, cols, cols + pad), flush, 1, 0i8, |x| Values::Uniform.fill(seed as u64, x), element)
    };
    let (b_rows, b_cols) = if case.packed { (n, k) } else { (k, n) };
    let (a, b) = (matrix(1 + m * n + k, m, k), matrix(2 + m + n * k, b_rows, b_cols));
    let a = Mat::new(&a, m, k, k + pad);
    let stored = Mat::new(&b, b_rows, b_cols, b_cols + pad);
    let b = if case.packed { stored.transposed() } else { stored };
    let mut random = Random::new((m + n + k) as u64);
    let mut scales = |len: usize| {
        let mut scales = arena.buffer(len, 0.0f32, flush);
        scales.iter_mut().for_each(|s| *s = random.unit() * 0.01);
        scales
    };
    let (rows, columns) = (scales(m), scales(n));

    let ldc = n + pad;
    let start = |i: usize, j: usize| if case.accumulate { i as f32 - j as f32 / 3.0 } else { f32::NAN };
    let mut c = output(arena, (m, n, ldc), flush, start);
    let mut panels = arena.buffer(if case.packed { gemm.packed_b_len(k, n) } else { 0 }, !0u32, flush);
    let right = if case.packed {
        gemm.pack_b(b, &mut panels);
        Right::Packed(gemm.packed_b(&panels, k, n))
    } else {
        Right::Plain(b)
    };
    let blocking = Blocking::new(case.kc, 1, 2 * gemm.nr());
    let split = Split { rows: case.split.0, cols: case.split.1 };
    let mut ws = arena.buffer(gemm.scaled_workspace_len(&blocking, split, case.packed, (m, n, k)), !0u32, flush);
    let operands = Operands { a, b: right, c: MatMut::new(&mut c, m, n, ldc), accumulate: case.accumulate };
    gemm.run_scaled(operands, Scales { rows: &rows, columns: &columns }, &blocking, split, team(), &mut ws);

    let left: Vec<Vec<f64>> = (0..m).map(|i| reference::row::<Byte>(a, i)).collect();
    let right: Vec<Vec<(f64, f64)>> = (0..n).map(|j| reference::column::<Byte>(b, j, k)).collect();
    let elements = worst((0..m * n).map(|e| {
        let (i, j) = (e / n, e % n);
        // The sum is exact, and the oracle's own roundings are those of f64.
        let scaled = f64::from(rows[i]) * f64::from(columns[j]) * reference::dot(&left[i], &right[j]).value;
        let held = if case.accumulate { f64::from(start(i, j)) } else { 0.0 };
        let want = held + scaled;
        let one_rounding = want.abs() * f64::from(f32::EPSILON) / 2.0 + f64::from(f32::from_bits(1)) / 2.0;
        compare(c[i * ldc + j], want, one_rounding + 4.0 * f64::EPSILON * (held.abs() + scaled.abs()))
    }));
    let result = if padding_kept(&c, (m, n, ldc)) { elements } else { Err("wrote between the rows of C".into()) };
    out.case(|| format!("scaled, {case:?}"), result);
}
