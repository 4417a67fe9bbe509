//! What holds of every matrix product that runs here: it has the same bits in every run, whatever the workspace
//! held, on one thread or several, of a team or of rayon's; and beside its operands it needs little memory.

mod common;

use common::{kernels, left, right};
use kiln_kernels::gemm::product::Product;
use kiln_kernels::gemm::{Blocking, Caches, Gemm, Operands, Right, Split};
use kiln_kernels::mat::{Mat, MatMut};
use kiln_kernels::team::{Team, Workers};
use kiln_kernels::with_gemm;

/// The bits of one run.
fn run<P: Product>(
    gemm: &Gemm<P>,
    a: &[P::A],
    b: Right<'_, P::B>,
    split: Split,
    workers: &dyn Workers,
    held: u32,
    blocking: &Blocking,
) -> Vec<u32> {
    let (n, k) = (b.cols(), depth(gemm));
    let m = a.len() / k;
    let mut ws = vec![held; gemm.workspace_len(blocking, split, b.is_packed(), (m, n, k))];
    let mut c = vec![!0u32; m * n];
    let view = MatMut::new(bytemuck::cast_slice_mut(&mut c), m, n, n);
    gemm.run_parallel(Operands::new(Mat::new(a, m, k, k), b, view), blocking, split, workers, &mut ws);
    c
}

/// Two blocks of two steps, and one element more where the format allows it.
fn depth<P: Product>(gemm: &Gemm<P>) -> usize {
    let unit = gemm.geometry().step.max(P::B_DEPTH);
    4 * unit + if P::B_DEPTH == 1 { 1 } else { unit }
}

fn repeats<P: Product>(gemm: &Gemm<P>, teams: &[&dyn Workers]) {
    repeats_at(gemm, (2 * gemm.mr() + 5, 2 * gemm.nr() + 5), &teams[..1]);
    for (m, n) in [(2 * gemm.mr() + 5, 2 * gemm.nr() + 3), (1, gemm.nr() + 1), (11, 3)] {
        repeats_at(gemm, (m, n), teams);
    }
}

fn repeats_at<P: Product>(gemm: &Gemm<P>, (m, n): (usize, usize), teams: &[&dyn Workers]) {
    let (unit, k) = (gemm.geometry().step.max(P::B_DEPTH), depth(gemm));
    let blocking = Blocking::new(2 * unit, gemm.mr(), gemm.nr());
    let (a, b) = (left::<P>(m * k, 1), right::<P>(n * k.div_ceil(P::B_DEPTH), 2));
    let plain = Mat::new(&b, n, k.div_ceil(P::B_DEPTH), k.div_ceil(P::B_DEPTH)).transposed();
    let mut panels = vec![0; gemm.packed_b_len(k, n)];
    gemm.pack_b(plain, &mut panels);
    let rights = [Right::Plain(plain), Right::Packed(gemm.packed_b(&panels, k, n))];
    let wants = rights.map(|right| run(gemm, &a, right, Split::ALONE, teams[0], 0, &blocking));
    // Few rows or columns that were not packed are summed in another order, and few columns beyond whole panels.
    let few = 4;
    let alike = if n % gemm.nr() <= few { n - n % gemm.nr() } else { n };
    let same = wants[0].chunks(n).zip(wants[1].chunks(n)).all(|(plain, packed)| plain[..alike] == packed[..alike]);
    assert!(m.min(n) <= few || same, "{gemm:?}: packing before changes the result");
    for workers in teams {
        for split in Split::all(workers.count()) {
            for (right, want) in rights.iter().zip(&wants) {
                for held in [0, !0] {
                    let got = run(gemm, &a, *right, split, *workers, held, &blocking);
                    assert!(
                        got == *want,
                        "{gemm:?}: {split:?} of {} threads, packed {}, words of {held:#x}",
                        workers.count(),
                        right.is_packed()
                    );
                }
            }
        }
    }
}

#[test]
fn every_kernel_gives_the_same_bits_in_every_run() {
    let teams: Vec<Team> = (1..=3).map(|threads| Team::new(threads, 1000, |_| {}).expect("threads")).collect();
    let pools: Vec<_> = (2..=3).map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")).collect();
    let mut workers: Vec<&dyn Workers> = teams.iter().map(|t| t as &dyn Workers).collect();
    workers.extend(pools.iter().map(|p| p as &dyn Workers));
    let kernels = kernels();
    assert!(!kernels.is_empty());
    for (_, any) in kernels {
        with_gemm!(any, gemm => repeats(&gemm, &workers));
    }
}

/// M, N and K of a product whose operands outweigh all blocks.
const LARGE: (usize, usize, usize) = (4096, 4096, 4096);

fn is_frugal<P: Product>(gemm: &Gemm<P>) {
    let (m, n, k) = LARGE;
    let weights = 4 * gemm.packed_b_len(k, n);
    let others = m * k * size_of::<P::A>() + m * n * size_of::<P::C>();
    for l2 in [256 << 10, 1 << 20, 2 << 20] {
        let blocking = gemm.blocking(Caches { l1: 48 << 10, l2, l3: 32 << 20 });
        for split in [1, 2].into_iter().flat_map(Split::all) {
            let beside = 4 * gemm.workspace_len(&blocking, split, true, LARGE);
            assert!(beside <= (weights + others) / 20, "{gemm:?}, {split:?}, {blocking:?}: {beside} bytes beside {weights} and {others}");
        }
    }
}

#[test]
fn a_product_with_packed_weights_takes_its_operands_and_no_more_than_a_twentieth() {
    let kernels = kernels();
    assert!(!kernels.is_empty());
    for (_, any) in kernels {
        with_gemm!(any, gemm => is_frugal(&gemm));
    }
}
