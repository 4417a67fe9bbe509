//! f32 matrix products at 512³, every kernel that runs here, analytical blocking.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln_benches::{kernels, values};
use kiln_kernels::gemm::{AnyGemm, Caches, Operands, Split};
use kiln_kernels::mat::{Mat, MatMut};
use kiln_kernels::registry::{Kernel, Op};

const N: usize = 512;
const CACHES: Caches = Caches { l1: 32 << 10, l2: 512 << 10, l3: 2 << 20 };

fn gemm(c: &mut Criterion) {
    let (a, b) = (values(N * N), values(N * N));
    let mut out = vec![0.0; N * N];
    let mut group = c.benchmark_group("gemm_f32_512");
    group.throughput(Throughput::Elements(2 * (N as u64).pow(3))).sample_size(20);
    for (meta, kernel) in kernels(Op::Gemm) {
        let Kernel::Gemm(AnyGemm::F32(kernel)) = kernel else { continue };
        let blocking = kernel.blocking(CACHES);
        let mut ws = vec![0; kernel.workspace_len(&blocking, Split::ALONE, false, (N, N, N))];
        group.bench_function(meta.name, |bench| {
            bench.iter(|| {
                let operands = Operands::new(Mat::new(&a, N, N, N), Mat::new(&b, N, N, N), MatMut::new(&mut out, N, N, N));
                kernel.run(operands, &blocking, &mut ws)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, gemm);
criterion_main!(benches);
