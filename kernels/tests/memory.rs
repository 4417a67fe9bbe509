//! What a product needs beside its operands is small: packed weights exist once, and blocks fit caches.

use kiln_kernels::gemm::product::Product;
use kiln_kernels::gemm::{Blocking, Caches, Gemm, Split};
use kiln_kernels::registry::{self, Kernel};
use kiln_kernels::with_gemm;

/// M, N and K.
const SHAPE: (usize, usize, usize) = (4096, 4096, 4096);

fn check<P: Product>(gemm: &Gemm<P>) {
    let (m, n, k) = SHAPE;
    let weights = 4 * gemm.packed_b_len(k, n);
    let others = m * k * size_of::<P::A>() + m * n * size_of::<P::C>();
    for l2 in [256 << 10, 1 << 20, 2 << 20] {
        let blocking = Blocking::analytical(gemm.geometry(), Caches { l1: 48 << 10, l2, l3: 32 << 20 });
        for split in [1, 2].into_iter().flat_map(Split::all) {
            let beside = 4 * gemm.workspace_len(&blocking, split, true, SHAPE);
            assert!(beside <= (weights + others) / 20, "{gemm:?}, {split:?}, {blocking:?}: {beside} bytes beside {weights} and {others}");
        }
    }
}

#[test]
fn a_product_with_packed_weights_takes_its_operands_and_no_more_than_a_twentieth() {
    let mut checked = 0;
    for kernel in registry::all().filter_map(|e| (e.make)()) {
        let Kernel::Gemm(any) = kernel else { continue };
        with_gemm!(any, gemm => check(&gemm));
        checked += 1;
    }
    assert!(checked > 0);
}
