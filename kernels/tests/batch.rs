//! Batches of products with any strides, against the oracle.

mod common;

use common::{kernels, left, right};
use kiln_kernels::gemm::product::{Output, Product};
use kiln_kernels::gemm::{AnyGemm, Blocking, Gemm, Products, RightBatch};
use kiln_kernels::mat::{Batch, BatchMut};
use kiln_kernels::registry::Meta;
use kiln_kernels::team::Team;
use kiln_kernels::{reference, with_gemm};
use proptest::prelude::*;
use std::sync::LazyLock;

static KERNELS: LazyLock<Vec<(&'static Meta, AnyGemm)>> = LazyLock::new(kernels);
static TEAMS: LazyLock<Vec<Team>> = LazyLock::new(|| (1..=4).map(|n| Team::new(n, 100, |_| {}).expect("threads")).collect());

#[derive(Clone, Debug)]
struct Case {
    count: usize,
    m: usize,
    n: usize,
    /// Elements of B along the depth.
    depth: usize,
    /// What is added to the least leading dimensions and strides of A, B and C.
    gaps: [usize; 6],
    /// All products share one A.
    one_a: bool,
    /// Neighbouring products that share one B; 0: all.
    sharing: usize,
    packed: bool,
    /// The matrices of C lie beside one another, not one after another.
    beside: bool,
    accumulate: bool,
    threads: usize,
    kc: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (0usize..7, 1usize..30, 1usize..90, 0usize..12, proptest::array::uniform6(0usize..5));
    let flags = (any::<[bool; 4]>(), 0usize..4, 1usize..=4, 1usize..300);
    (sizes, flags).prop_map(|((count, m, n, depth, gaps), ([one_a, packed, beside, accumulate], sharing, threads, kc))| Case {
        count,
        m,
        n,
        depth,
        gaps,
        one_a,
        sharing,
        packed,
        beside,
        accumulate,
        threads,
        kc,
    })
}

fn check<P: Product>(gemm: &Gemm<P>, case: &Case) -> Result<(), TestCaseError> {
    let Case { count, m, n, depth, gaps, accumulate, .. } = *case;
    let k = depth * P::B_DEPTH;
    let (lda, ldb) = (k + gaps[0], depth + gaps[1]);
    let a_stride = if case.one_a { 0 } else { m * lda + gaps[2] };
    let a = left::<P>(count * a_stride + m * lda, 1);
    let a = Batch::new(&a, count, a_stride, (m, k), lda);
    // B as weights and keys are: rows of the depth.
    let sharing = if case.sharing == 0 { count.max(1) } else { case.sharing };
    let b_stride = n * ldb + gaps[3];
    let b = right::<P>(count.div_ceil(sharing) * b_stride, 2);
    let b = Batch::shared(&b, (count, sharing), b_stride, (n, depth), ldb).transposed();
    let stride = gemm.packed_b_len(k, n);
    let mut words = vec![!0; count.div_ceil(sharing) * stride];
    if case.packed && stride > 0 {
        words.chunks_exact_mut(stride).enumerate().for_each(|(i, words)| gemm.pack_b(b.get(i * sharing), words));
    }
    let right = if case.packed { RightBatch::Packed { words: &words, stride, sharing } } else { RightBatch::Plain(b) };
    let (ldc, c_stride) =
        if case.beside { (count.max(1) * (n + gaps[4]) + gaps[5], n + gaps[4]) } else { (n + gaps[4], m * (n + gaps[4]) + gaps[5]) };
    let old = |at: usize| P::C::of((at % 11) as i32 - 5);
    let mut c: Vec<P::C> = (0..count * c_stride + m * ldc).map(old).collect();
    let blocking = Blocking::new(case.kc, 1, 1);
    let workers = &TEAMS[case.threads - 1];
    let mut ws = vec![!0; gemm.batch_workspace_len(&blocking, case.threads, case.packed, (m, n, k))];
    let results = BatchMut::new(&mut c, count, c_stride, (m, n), ldc);
    gemm.run_batch(Products { a, b: right, c: results, accumulate }, &blocking, workers, &mut ws);

    let mut written = vec![false; c.len()];
    for index in 0..count {
        let columns: Vec<Vec<(f64, f64)>> = (0..n).map(|j| reference::column::<P>(b.get(index), j, k)).collect();
        for i in 0..m {
            let row = reference::row::<P>(a.get(index), i);
            for (j, column) in columns.iter().enumerate() {
                let at = index * c_stride + i * ldc + j;
                let want = reference::dot(&row, column);
                let held = if accumulate { old(at).value() } else { 0.0 };
                let error = (c[at].value() - held - want.value).abs();
                let allowed = P::C::tolerance(k, want.magnitude + held.abs());
                prop_assert!(error <= allowed, "product {index}, element ({i}, {j}): {:?}, off by {error:e}", c[at]);
                written[at] = true;
            }
        }
    }
    for (at, c) in c.iter().enumerate().filter(|(at, _)| !written[*at]) {
        prop_assert!(*c == old(at), "element {at}, which is no result, was written");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_product_of_a_batch_is_its_oracles(which: prop::sample::Index, case in cases()) {
        let (_, any) = KERNELS[which.index(KERNELS.len())];
        with_gemm!(any, gemm => check(&gemm, &case))?;
    }
}

#[test]
#[should_panic(expected = "not as many")]
fn fewer_left_operands_than_results_are_refused() {
    let gemm = kiln_kernels::gemm::F32::<kiln_kernels::isa::Scalar, 4, 4, 1>::handle().expect("runs everywhere");
    let (data, mut c) = ([0.0; 12], [0.0; 12]);
    let of = |count| Batch::new(&data, count, 4, (2, 2), 2);
    let products = Products { a: of(2), b: RightBatch::Plain(of(3)), c: BatchMut::new(&mut c, 3, 4, (2, 2), 2), accumulate: false };
    gemm.run_batch(products, &Blocking::new(1, 1, 1), &kiln_kernels::team::Alone, &mut [0; 1000]);
}
