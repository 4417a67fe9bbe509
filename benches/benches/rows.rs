//! Norms and conversions on a row of 4864, every kernel that runs here; bytes are those moved.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln_benches::{kernels, values};
use kiln_kernels::registry::{Kernel, Op};

const N: usize = 4864;

fn rows(c: &mut Criterion) {
    let (x, w, b) = (values(N), values(N), values(N));
    let halves: Vec<u16> = (0..N as u16).collect();
    let (mut y, mut h) = (vec![0.0; N], vec![0u16; N]);
    for op in Op::ALL.iter().filter(|o| **o != Op::Gemm) {
        let mut group = c.benchmark_group(op.name());
        let bytes = if matches!(op, Op::F16ToF32 | Op::F32ToF16) { 6 } else { 8 };
        group.throughput(Throughput::Bytes((bytes * N) as u64));
        for (meta, kernel) in kernels(*op) {
            group.bench_function(meta.name, |bench| match kernel {
                Kernel::RmsNorm(k) => bench.iter(|| k.run(&x, &w, 1e-6, &mut y)),
                Kernel::LayerNorm(k) => bench.iter(|| k.run(&x, &w, &b, 1e-6, &mut y)),
                Kernel::F16ToF32(k) => bench.iter(|| k.run(&halves, &mut y)),
                Kernel::F32ToF16(k) => bench.iter(|| k.run(&x, &mut h)),
                Kernel::Gemm(_) => {}
            });
        }
        group.finish();
    }
}

criterion_group!(benches, rows);
criterion_main!(benches);
