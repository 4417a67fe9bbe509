//! The grid of the GEMM family.

use super::values::Values;
use super::{Arena, Flush, Outcome, compare, worst};
use crate::gemm::product::{Output, Product};
use crate::gemm::{Blocking, Gemm, Operands, Order, Right, Split};
use crate::mat::{Mat, MatMut};
use crate::reference;
use crate::team::{Team, Workers};
use std::sync::OnceLock;

/// What surrounds the columns of C; it must be there afterwards.
const PADDING: i32 = -77;

#[derive(Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    accumulate: bool,
    /// B comes as N × K.
    transposed: bool,
    /// B is packed beforehand.
    packed: bool,
    /// Blocks of one tile and a depth of five, so that every loop runs more than once.
    small_blocks: bool,
    /// Threads that share the product; 1 × 1 is the path of one thread.
    split: (usize, usize),
    values: Values,
}

pub(super) fn grid<P: Product, A: Arena>(gemm: &Gemm<P>, arena: &A, out: &mut Outcome) {
    // Depths around one step, and around as many as are unrolled.
    let unit = gemm.geometry().step.max(P::B_DEPTH);
    let unroll = gemm.meta().param("KU").unwrap_or(if P::B_DEPTH == 1 { 4 } else { 1 }) * unit;
    let mut depths = sizes(&[0, 1, unroll - 1, unroll, unroll + 1, 3 * unroll + 2 * unit, 2 * unit - 1]);
    if P::B_DEPTH > 1 {
        depths.retain(|k| k.is_multiple_of(P::B_DEPTH) || *k == unroll + 1);
    }
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
                    transposed: turn % 6 < 3,
                    packed: turn.is_multiple_of(3),
                    small_blocks: turn % 5 < 3,
                    split: [(1, 1), (2, 1), (1, 1), (1, 2), (1, 1), (2, 2), (1, 1)][turn % 7],
                    values: Values::Uniform,
                };
                check(gemm, &case, arena, out);
            }
        }
    }
    let (m, n) = (gemm.mr() + 1, 2 * gemm.nr() + 1);
    for values in Values::ALL {
        for (packed, accumulate) in [(false, false), (true, true)] {
            let k = 37usize.next_multiple_of(P::B_DEPTH);
            let case = Case { m, n, k, accumulate, transposed: packed, packed, small_blocks: packed, split: (1, 1), values };
            check(gemm, &case, arena, out);
        }
    }
    if P::B_DEPTH == 1 {
        direct(gemm, arena, out);
    }
}

/// Few rows or few columns of operands whose rows are adjacent, which some kernels take as they lie.
fn direct<P: Product, A: Arena>(gemm: &Gemm<P>, arena: &A, out: &mut Outcome) {
    let mut turn = 0;
    for (few, many) in (1..=5).flat_map(|few| [(few, 1), (few, 7)]) {
        for k in [1, 16, 65, 133].map(|k: usize| k.next_multiple_of(P::B_DEPTH)) {
            for (m, n) in [(few, many), (many, few)] {
                turn += 1;
                let split = [(1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (2, 1), (1, 2)][turn % 7];
                let values = Values::ALL[turn % Values::ALL.len()];
                let case = Case { m, n, k, accumulate: turn % 3 == 1, transposed: true, packed: false, small_blocks: false, split, values };
                check(gemm, &case, arena, out);
            }
        }
    }
}

/// Sizes around one, two and four tiles.
pub(super) fn around(tile: usize) -> Vec<usize> {
    sizes(&[0, 1, tile - 1, tile, tile + 1, 3 * tile + 1])
}

pub(super) fn sizes(all: &[usize]) -> Vec<usize> {
    let mut all = all.to_vec();
    all.sort_unstable();
    all.dedup();
    all
}

fn check<P: Product, A: Arena>(gemm: &Gemm<P>, case: &Case, arena: &A, out: &mut Outcome) {
    let (m, n, k) = (case.m, case.n, case.k);
    let flush = if (m + n + k).is_multiple_of(2) { Flush::End } else { Flush::Start };
    let pad = (m + k) % 3;
    // Elements of B along the depth.
    let elements = k.div_ceil(P::B_DEPTH);
    let (b_rows, b_cols) = if case.transposed { (n, elements) } else { (elements, n) };
    let a =
        operand(arena, extent(m, k, k + pad), flush, 1, P::a_of(0.0), |x| case.values.fill(1 + (m * n + k) as u64, x), |x| P::a_of(x[0]));
    let b_len = extent(b_rows, b_cols, b_cols + pad);
    let zero = P::b_of(&vec![0.0; P::B_DEPTH]);
    let b = operand(arena, b_len, flush, P::B_DEPTH, zero, |x| case.values.fill(2 + (m + n * k) as u64, x), P::b_of);
    let a = Mat::new(&a, m, k, k + pad);
    let stored = Mat::new(&b, b_rows, b_cols, b_cols + pad);
    let b = if case.transposed { stored.transposed() } else { stored };

    let ldc = n + pad;
    let start = |i: usize, j: usize| if case.accumulate { P::C::of(1 + (i % 5) as i32 - (j % 7) as i32) } else { bytemuck::cast(!0u32) };
    let mut c = output(arena, (m, n, ldc), flush, start);
    let blocking = if case.small_blocks { Blocking::new(5, 1, 1) } else { Blocking::new(256, 72, 1024) };
    let blocking = Blocking { order: if (m + n + k).is_multiple_of(3) { Order::Strips } else { Order::Panels }, ..blocking };
    let view = MatMut::new(&mut c, m, n, ldc);
    let mut panels = arena.buffer(if case.packed { gemm.packed_b_len(k, n) } else { 0 }, !0u32, flush);
    let right = if case.packed {
        gemm.pack_b(b, &mut panels);
        Right::Packed(gemm.packed_b(&panels, k, n))
    } else {
        Right::Plain(b)
    };
    let split = Split { rows: case.split.0, cols: case.split.1 };
    let mut ws = arena.buffer(gemm.workspace_len(&blocking, split, case.packed, (m, n, k)), !0u32, flush);
    gemm.run_parallel(Operands { a, b: right, c: view, accumulate: case.accumulate }, &blocking, split, team(), &mut ws);

    let rows: Vec<Vec<f64>> = (0..m).map(|i| reference::row::<P>(a, i)).collect();
    let columns: Vec<Vec<(f64, f64)>> = (0..n).map(|j| reference::column::<P>(b, j, k)).collect();
    let elements = worst((0..m * n).map(|e| {
        let (i, j) = (e / n, e % n);
        let mut want = reference::dot(&rows[i], &columns[j]);
        if case.accumulate {
            want.value += start(i, j).value();
            want.magnitude += start(i, j).value().abs();
        }
        // Each product or partial sum may also lose up to half of the smallest subnormal, or all of one
        // where the instruction takes subnormals to be 0.
        let lost = if gemm.meta().order == "bf16-pairs" { f32::MIN_POSITIVE } else { f32::from_bits(1) };
        let tolerance = P::C::tolerance(k, want.magnitude) + (k + 2) as f64 * f64::from(lost);
        compare(c[i * ldc + j].value(), want.value, tolerance)
    }));
    let result = if padding_kept(&c, (m, n, ldc)) { elements } else { Err("wrote between the rows of C".into()) };
    out.case(|| format!("{case:?}"), result);
}

/// A result of `m` rows with leading dimension `ldc`, of which column `j` of row `i` begins as `start` says.
pub(super) fn output<C: Output, A: Arena>(
    arena: &A,
    (m, n, ldc): (usize, usize, usize),
    flush: Flush,
    start: impl Fn(usize, usize) -> C,
) -> A::Buffer<C> {
    let mut c = arena.buffer(extent(m, n, ldc), C::of(PADDING), flush);
    for i in 0..m {
        for j in 0..n {
            c[i * ldc + j] = start(i, j);
        }
    }
    c
}

/// Whether what lies between the rows of a result is as [`output`] left it.
pub(super) fn padding_kept<C: Output>(c: &[C], (m, n, ldc): (usize, usize, usize)) -> bool {
    n == 0 || (0..m.saturating_sub(1)).all(|i| c[i * ldc + n..(i + 1) * ldc].iter().all(|x| *x == C::of(PADDING)))
}

/// The threads of products that are shared: started once.
pub(super) fn team() -> &'static dyn Workers {
    static TEAM: OnceLock<Option<Team>> = OnceLock::new();
    match TEAM.get_or_init(|| Team::new(4, 100, |_| {}).ok()) {
        Some(team) => team,
        None => panic!("threads cannot be started"),
    }
}

/// `len` elements, each made of `depth` values.
pub(super) fn operand<T: Copy + 'static, A: Arena>(
    arena: &A,
    len: usize,
    flush: Flush,
    depth: usize,
    zero: T,
    fill: impl FnOnce(&mut [f32]),
    make: impl Fn(&[f32]) -> T,
) -> A::Buffer<T> {
    let mut values = vec![0.0; len * depth];
    fill(&mut values);
    let mut buffer = arena.buffer(len, zero, flush);
    for (element, values) in buffer.iter_mut().zip(values.chunks_exact(depth)) {
        *element = make(values);
    }
    buffer
}

pub(super) fn extent(rows: usize, cols: usize, ld: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * ld + cols }
}
