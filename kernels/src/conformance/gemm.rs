//! The grid of the GEMM family.

use super::values::Values;
use super::{Arena, Flush, Outcome, compare, worst};
use crate::gemm::{Blocking, Gemm, PackedB};
use crate::mat::{Mat, MatMut};
use crate::reference;

/// What surrounds the columns of C; it must be there afterwards.
const PADDING: f32 = -77.25;

#[derive(Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    accumulate: bool,
    /// B comes transposed and packed beforehand.
    packed: bool,
    /// Blocks of one tile and a depth of five, so that every loop runs more than once.
    small_blocks: bool,
    values: Values,
}

pub(super) fn grid<A: Arena>(gemm: &Gemm, arena: &A, out: &mut Outcome) {
    let unroll = gemm.meta().param("KU").unwrap_or(1);
    let depths = sizes([0, 1, unroll - 1, unroll, unroll + 1, 3 * unroll + 2]);
    let mut turn = 0usize;
    for &m in &around(gemm.mr()) {
        for &n in &around(gemm.nr()) {
            for &k in &depths {
                turn += 1;
                let case = Case {
                    m,
                    n,
                    k,
                    accumulate: turn.is_multiple_of(2),
                    packed: turn.is_multiple_of(3),
                    small_blocks: turn % 5 < 3,
                    values: Values::Uniform,
                };
                check(gemm, &case, arena, out);
            }
        }
    }
    let (m, n) = (gemm.mr() + 1, 2 * gemm.nr() + 1);
    for values in Values::ALL {
        for (packed, accumulate) in [(false, false), (true, true)] {
            check(gemm, &Case { m, n, k: 37, accumulate, packed, small_blocks: packed, values }, arena, out);
        }
    }
}

/// Sizes around one, two and four tiles.
fn around(tile: usize) -> Vec<usize> {
    sizes([0, 1, tile - 1, tile, tile + 1, 3 * tile + 1])
}

fn sizes(mut all: [usize; 6]) -> Vec<usize> {
    all.sort_unstable();
    let mut all = all.to_vec();
    all.dedup();
    all
}

fn check<A: Arena>(gemm: &Gemm, case: &Case, arena: &A, out: &mut Outcome) {
    let (m, n, k) = (case.m, case.n, case.k);
    let flush = if (m + n + k).is_multiple_of(2) { Flush::End } else { Flush::Start };
    let pad = (m + k) % 3;
    let (b_rows, b_cols) = if case.packed { (n, k) } else { (k, n) };
    let mut a = arena.buffer(extent(m, k, k + pad), 0.0f32, flush);
    let mut b = arena.buffer(extent(b_rows, b_cols, b_cols + pad), 0.0f32, flush);
    case.values.fill(1 + (m * n + k) as u64, &mut a);
    case.values.fill(2 + (m + n * k) as u64, &mut b);
    let a = Mat::new(&a, m, k, k + pad);
    let stored = Mat::new(&b, b_rows, b_cols, b_cols + pad);
    let b = if case.packed { stored.transposed() } else { stored };

    let ldc = n + pad;
    let mut c = arena.buffer(extent(m, n, ldc), PADDING, flush);
    let start = |i: usize, j: usize| if case.accumulate { 1.0 + (i % 5) as f32 - (j % 7) as f32 } else { f32::NAN };
    for i in 0..m {
        for j in 0..n {
            c[i * ldc + j] = start(i, j);
        }
    }
    let blocking = if case.small_blocks { Blocking { kc: 5, mc: 1, nc: 1 } } else { Blocking { kc: 256, mc: 72, nc: 1024 } };
    let view = MatMut::new(&mut c, m, n, ldc);
    if case.packed {
        let mut panels = arena.buffer(gemm.packed_b_len(k, n), f32::NAN, flush);
        let mut ws = arena.buffer(gemm.packed_workspace_len(&blocking, m, k), f32::NAN, flush);
        gemm.pack_b(b, &mut panels);
        gemm.run_packed(a, PackedB::new(&panels, k, n, gemm.nr()), view, case.accumulate, &blocking, &mut ws);
    } else {
        let mut ws = arena.buffer(gemm.workspace_len(&blocking, m, n, k), f32::NAN, flush);
        gemm.run(a, b, view, case.accumulate, &blocking, &mut ws);
    }

    let elements = worst((0..m * n).map(|e| {
        let (i, j) = (e / n, e % n);
        let mut want = reference::dot(a, b, i, j);
        if case.accumulate {
            want.value += start(i, j) as f64;
            want.magnitude += start(i, j).abs() as f64;
        }
        // γ(k+2) of the sum of magnitudes (Higham 2002, section 3.1); each product or partial sum
        // may also lose up to half of the smallest subnormal.
        let rounding = (k + 2) as f64 * f32::EPSILON as f64 * want.magnitude;
        compare(c[i * ldc + j], want.value, rounding + (k + 2) as f64 * f32::from_bits(1) as f64)
    }));
    let padding_kept = n == 0 || (0..m.saturating_sub(1)).all(|i| c[i * ldc + n..(i + 1) * ldc].iter().all(|x| *x == PADDING));
    let result = if padding_kept { elements } else { Err("wrote between the rows of C".into()) };
    out.case(|| format!("{case:?}"), result);
}

fn extent(rows: usize, cols: usize, ld: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * ld + cols }
}
