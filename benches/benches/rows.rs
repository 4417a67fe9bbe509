//! Operations on rows, 16 rows of 4864, every kernel that runs here; bytes are those moved.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln_benches::{kernels, values};
use kiln_kernels::registry::Op;
use kiln_kernels::row::{Access, Data};

const ROWS: usize = 16;
const COLS: usize = 4864;

fn rows(c: &mut Criterion) {
    for op in Op::ALL.iter().filter(|op| op.is_rows()) {
        let operands = op.operands(op.format()).unwrap_or_default();
        let mut group = c.benchmark_group(op.name());
        group.throughput(Throughput::Bytes(operands.iter().map(|o| o.traffic(ROWS, COLS) as u64).sum()));
        // Words, so that any element is aligned.
        let mut buffers: Vec<Vec<u64>> = operands.iter().map(|o| vec![0; o.bytes(ROWS, COLS).div_ceil(8)]).collect();
        for (operand, buffer) in operands.iter().zip(&mut buffers) {
            let (row, bytes) = (values(operand.width(COLS)), bytemuck::cast_slice_mut::<_, u8>(buffer));
            bytes[..operand.bytes(ROWS, COLS)].chunks_exact_mut(operand.row_bytes(COLS)).for_each(|bytes| operand.encode(&row, bytes));
        }
        for (meta, kernel) in kernels(*op).filter(|(meta, _)| meta.format == op.format()) {
            let Some(kernel) = kernel.rows() else { continue };
            let mut data = Data { rows: ROWS, cols: COLS, first: 0, read: Vec::new(), write: Vec::new() };
            for (operand, buffer) in operands.iter().zip(&mut buffers) {
                let bytes = &mut bytemuck::cast_slice_mut::<_, u8>(buffer)[..operand.bytes(ROWS, COLS)];
                if operand.access == Access::Read { data.read.push(bytes) } else { data.write.push(bytes) }
            }
            group.bench_function(meta.name, |bench| bench.iter(|| kernel.call(&mut data)));
        }
        group.finish();
    }
}

criterion_group!(benches, rows);
criterion_main!(benches);
