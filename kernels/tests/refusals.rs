//! What must be refused, or taken as it is meant, however strange the numbers: views that would wrap around, sizes
//! that nothing reaches, weights of another format.

mod common;

use common::{kernels, left, right};
use kiln_kernels::gemm::product::{BFloat, Product};
use kiln_kernels::gemm::{AnyGemm, Blocking, Gemm, Operands, Right, Split};
use kiln_kernels::mat::{Mat, MatMut};
use kiln_kernels::with_gemm;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn refused(call: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}

#[test]
fn blocks_that_would_wrap_around_are_refused() {
    let far = usize::MAX;
    for (row, col, rows, cols) in [(0, far, 1, 2), (far, 0, 2, 1), (0, 0, far, 1), (1, 1, 1, far), (far, far, far, far)] {
        let mut held = [0.0f32; 8];
        assert!(refused(|| _ = Mat::new(&[0.0f32; 8], 2, 4, 4).block(row, col, rows, cols)));
        assert!(refused(|| _ = MatMut::new(&mut held, 2, 4, 4).block(row, col, rows, cols)));
    }
}

#[test]
fn rows_of_nothing_are_nothing() {
    let nothing: [f32; 0] = [];
    assert_eq!(Mat::new(&nothing, 3, 0, 4).row(2), Some(&nothing[..]));
    let mut held = nothing;
    let mut view = MatMut::new(&mut held, 3, 0, 8);
    view.fill(1.0);
    assert!(view.row_mut(2).is_empty());
}

/// The bits of a product with these block sizes.
fn bits<P: Product>(gemm: &Gemm<P>, blocking: &Blocking) -> Vec<u32> {
    let depth = 4 * gemm.geometry().step.max(P::B_DEPTH);
    let (m, n) = (2 * gemm.mr() + 1, 2 * gemm.nr() + 5);
    let (a, b) = (left::<P>(m * depth, 1), right::<P>(n * depth / P::B_DEPTH, 2));
    let b = Right::Plain(Mat::new(&b, n, depth / P::B_DEPTH, depth / P::B_DEPTH).transposed());
    let mut ws = vec![0; gemm.workspace_len(blocking, Split::ALONE, false, (m, n, depth))];
    let mut c = vec![0u32; m * n];
    gemm.run(Operands::new(Mat::new(&a, m, depth, depth), b, MatMut::new(bytemuck::cast_slice_mut(&mut c), m, n, n)), blocking, &mut ws);
    c
}

#[test]
fn blocks_larger_than_anything_are_whole_operands() {
    let (far, all) = (Blocking::new(usize::MAX, usize::MAX, usize::MAX), Blocking::new(1 << 20, 1 << 20, 1 << 20));
    for (_, any) in kernels() {
        with_gemm!(any, gemm => assert_eq!(bits(&gemm, &far), bits(&gemm, &all), "{gemm:?}"));
    }
}

#[test]
fn weights_packed_for_another_format_are_refused() {
    let kernels = kernels();
    let mut pairs = 0;
    for half in kernels.iter().filter_map(|(_, any)| if let AnyGemm::F16(gemm) = any { Some(gemm) } else { None }) {
        for brain in kernels.iter().filter_map(|(_, any)| if let AnyGemm::Bf16(gemm) = any { Some(gemm) } else { None }) {
            let (theirs, ours) = (half.geometry(), brain.geometry());
            if (theirs.nr, theirs.step, theirs.b_words) != (ours.nr, ours.step, ours.b_words) {
                continue;
            }
            pairs += 1;
            let (a, words, blocking) = (left::<BFloat>(8, 1), vec![0; half.packed_b_len(8, 8)], Blocking::new(8, 8, 8));
            let (mut c, mut ws) = ([0.0; 8], vec![0; brain.workspace_len(&blocking, Split::ALONE, true, (1, 8, 8))]);
            let packed = half.packed_b(&words, 8, 8);
            let operands = Operands::new(Mat::new(&a, 1, 8, 8), packed, MatMut::new(&mut c, 1, 8, 8));
            assert!(refused(|| brain.run(operands, &blocking, &mut ws)), "{brain:?} took weights of {half:?}");
        }
    }
    assert!(pairs > 0, "no two kernels here have panels of one size for both formats");
}
