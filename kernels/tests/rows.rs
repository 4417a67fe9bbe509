//! Operations on rows beyond what the conformance grid asks: blocks bit for bit, rotations without a bias, masks and
//! scales of softmax, and selections among equal elements and NaNs.

use kiln_kernels::format::{Block, SPAN, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0};
use kiln_kernels::mat::{Mat, MatMut};
use kiln_kernels::reference::{self, Expected};
use kiln_kernels::registry::{self, Kernel};
use kiln_kernels::row::{Access, Data, Extent, Operand};
use kiln_kernels::softmax::Visible;

/// Every kernel of an operation that this CPU can run, by name.
macro_rules! kernels {
    ($op:ident) => {
        registry::all().filter_map(|entry| match (entry.make)() {
            Some(Kernel::$op(kernel)) => Some((entry.meta.name, kernel)),
            _ => None,
        })
    };
}

/// A small generator (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Uniform in −1..1, times a power of two.
    fn row(&mut self, n: usize, exponent: i32) -> Vec<f32> {
        (0..n).map(|_| (self.bits() as i32 as f64 / 2f64.powi(31) * 2f64.powi(exponent)) as f32).collect()
    }
}

fn agree(name: &str, got: &[f32], want: &[Expected]) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got.is_nan() && want.value.is_nan() || (f64::from(*got) - want.value).abs() <= want.tolerance;
        assert!(same, "{name}: element {i} is {got:e} instead of {:e}", want.value);
    }
}

#[test]
fn rows_are_quantised_to_the_same_blocks() {
    let mut random = Random(1);
    for (name, kernel) in kernels!(Quantise) {
        for cols in (0..=100).chain([255, 256, 257]) {
            for exponent in [-149, -140, -126, -20, 0, 20, 127] {
                let mut x = random.row(cols, exponent);
                // Halves of a step, and zeros of both signs.
                if exponent == 0 {
                    x.iter_mut().enumerate().for_each(|(i, x)| *x = if i % SPAN == 0 { 127.0 } else { (*x * 254.0).round() / 2.0 });
                }
                let mut got = vec![bytemuck::Zeroable::zeroed(); cols.div_ceil(SPAN)];
                kernel.run(Mat::new(&x, 1, cols, cols), MatMut::new(&mut got, 1, cols.div_ceil(SPAN), cols.div_ceil(SPAN)));
                x.resize(cols.next_multiple_of(SPAN), 0.0);
                let want: Vec<q8_0::Block> = x.chunks(SPAN).map(q8_0::Block::quantise).collect();
                assert_eq!(got, want, "{name}: {cols} columns around 2^{exponent}");
            }
        }
    }
}

/// Runs the kernels of a format on random blocks; how many there are.
fn dequantise<B: Block>() -> usize {
    let mut random = Random(2);
    let mut count = 0;
    for (name, kernel) in kernels!(Dequantise).filter(|(_, kernel)| kernel.format() == B::FORMAT) {
        count += 1;
        for n in (0usize..=70).chain([127, 128, 255, 256, 257, 300, 511, 512, 513, 769]) {
            let block = || {
                loop {
                    let bytes: Vec<u8> = (0..size_of::<B>()).map(|_| random.bits() as u8).collect();
                    let block: B = bytemuck::pod_read_unaligned(&bytes);
                    if block.scale().is_finite() && block.minimum().is_finite() {
                        return block;
                    }
                }
            };
            let blocks: Vec<B> = std::iter::repeat_with(block).take(n.div_ceil(B::DEPTH)).collect();
            let mut want = vec![0.0; blocks.len() * B::DEPTH];
            blocks.iter().zip(want.chunks_exact_mut(B::DEPTH)).for_each(|(block, out)| block.dequantise(out));
            let mut got = vec![f32::NAN; n];
            kernel.run(&blocks, &mut got);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(got.to_bits(), want.to_bits(), "{name}: {got:e} instead of {want:e}, {i} of {n}");
            }
        }
    }
    count
}

#[test]
fn blocks_become_the_same_weights() {
    let counts = [
        dequantise::<q8_0::Block>(),
        dequantise::<q4_0::Block>(),
        dequantise::<q4_1::Block>(),
        dequantise::<q5_0::Block>(),
        dequantise::<q5_1::Block>(),
        dequantise::<q4_k::Block>(),
        dequantise::<q5_k::Block>(),
        dequantise::<q6_k::Block>(),
    ];
    assert!(counts.iter().all(|n| *n > 0 && *n == counts[0]), "{counts:?}");
}

#[test]
fn heads_turn_without_a_bias_and_with_one() {
    let mut random = Random(3);
    for (name, kernel) in kernels!(Rope) {
        for (dim, heads) in [(2, 5), (6, 3), (34, 2), (64, 3), (80, 2), (128, 2), (258, 1)] {
            for with_bias in [false, true] {
                let cols = dim * heads;
                let bias = random.row(cols, if with_bias { 0 } else { -200 });
                let (mut x, angles) = (random.row(2 * cols, 0), random.row(2 * dim, 0));
                let want: Vec<Expected> =
                    (0..2).flat_map(|r| reference::rope(&x[r * cols..][..cols], &bias, &angles[r * dim..][..dim])).collect();
                let given: &[f32] = if with_bias { &bias } else { &[] };
                kernel.run(MatMut::new(&mut x, 2, cols, cols), given, Mat::new(&angles, 2, dim, dim));
                agree(name, &x, &want);
            }
        }
    }
}

#[test]
fn softmax_has_scales_and_masks() {
    let mut random = Random(4);
    for (name, kernel) in kernels!(Softmax) {
        for cols in [1, 2, 3, 7, 16, 33, 100, 259] {
            for (scale, visible) in [(0.125, Visible::Causal { first: 0 }), (-3.0, Visible::Causal { first: 61 }), (2.0, Visible::All)] {
                let mut x = random.row(3 * cols, 3);
                let seen = |r: usize| visible.count(r, cols);
                let want: Vec<Expected> = (0..3).flat_map(|r| reference::softmax(&x[r * cols..][..cols], scale, seen(r))).collect();
                kernel.run(MatMut::new(&mut x, 3, cols, cols), scale, visible);
                agree(name, &x, &want);
            }
        }
        for odd in [f32::NAN, f32::INFINITY] {
            let mut x = random.row(37, 0);
            x[20] = odd;
            kernel.run(MatMut::new(&mut x, 1, 37, 37), 1.0, Visible::All);
            assert!(x.iter().all(|x| x.is_nan()), "{name} of {odd}");
        }
        let mut x = [f32::NEG_INFINITY; 37];
        kernel.run(MatMut::new(&mut x, 1, 37, 37), 1.0, Visible::All);
        assert!(x.iter().all(|x| x.is_nan()), "{name} of −∞ alone");
    }
}

/// Rows in which it matters which of equal elements, and which NaN, comes first.
fn rows_of_equals() -> Vec<Vec<f32>> {
    let mut random = Random(5);
    let mut rows = Vec::new();
    for n in [1, 2, 5, 31, 100, 255, 256, 257, 1023, 1024, 1025, 3000] {
        let few: Vec<f32> = (0..n).map(|_| (random.bits() % 4) as f32 - 2.0).collect();
        let mut odd = few.clone();
        (odd[n / 2], odd[n / 3], odd[n - 1]) = (f32::NAN, f32::INFINITY, -f32::NAN);
        let zeros = (0..n).map(|_| 0f32.copysign(random.row(1, 0)[0])).collect();
        rows.extend([few, odd, zeros, vec![f32::NEG_INFINITY; n], vec![f32::NAN; n], (0..n).map(|i| i as f32).collect()]);
    }
    rows
}

#[test]
fn the_first_of_equals_is_selected() {
    for (name, kernel) in kernels!(ArgMax) {
        for x in rows_of_equals() {
            let mut at = [u32::MAX];
            kernel.run(Mat::new(&x, 1, x.len(), x.len()), &mut at);
            assert_eq!(at[0] as usize, reference::largest(&x, 1)[0], "{name}: {} elements", x.len());
        }
    }
    for (name, kernel) in kernels!(TopK) {
        for x in rows_of_equals() {
            for k in [0, 1, 2, 40, 300].into_iter().filter(|k| *k <= x.len()) {
                let (mut values, mut at) = (vec![0.0; k], vec![u32::MAX; k]);
                kernel.run(&x, &mut values, &mut at);
                let want = reference::largest(&x, k);
                assert_eq!(at.iter().map(|i| *i as usize).collect::<Vec<_>>(), want, "{name}: {k} of {} elements", x.len());
                let same = values.iter().zip(&want).all(|(v, i)| v.to_bits() == x[*i].to_bits());
                assert!(same, "{name}: {k} of {} elements", x.len());
            }
        }
    }
}

#[test]
fn what_becomes_of_a_row_does_not_depend_on_the_others() {
    let (rows, cols) = (7, 300);
    for entry in registry::all().filter(|e| e.meta.op.is_rows()) {
        let Some(kernel) = (entry.make)() else { continue };
        let kernel = kernel.rows().expect("an operation on rows");
        let operands = kernel.operands();
        let mut random = Random(7);
        let filled: Vec<Vec<u8>> = operands
            .iter()
            .map(|o| {
                let count = if o.extent == Extent::Shared { 1 } else { rows };
                let mut bytes = vec![0u8; o.bytes(rows, cols)];
                for row in bytes.chunks_exact_mut(o.row_bytes(cols).max(1)).take(count) {
                    o.encode(&random.row(o.width(cols), 3), row);
                }
                bytes
            })
            .collect();
        // What it writes, of all rows at once and of each alone.
        let run = |first: usize, count: usize| -> Vec<Vec<u8>> {
            let part = |o: &Operand, bytes: &[u8]| match o.extent {
                Extent::Shared => bytes.to_vec(),
                _ => bytes[first * o.row_bytes(cols)..(first + count) * o.row_bytes(cols)].to_vec(),
            };
            let mut parts: Vec<Vec<u8>> = operands.iter().zip(&filled).map(|(o, bytes)| part(o, bytes)).collect();
            let (mut read, mut write) = (Vec::new(), Vec::new());
            for (o, bytes) in operands.iter().zip(&mut parts) {
                if o.access == Access::Read { read.push(&bytes[..]) } else { write.push(&mut bytes[..]) }
            }
            kernel.call(&mut Data { rows: count, cols, first, read, write });
            operands.iter().zip(parts).filter(|(o, _)| o.access != Access::Read).map(|(_, bytes)| bytes).collect()
        };
        let together = run(0, rows);
        for r in 0..rows {
            for ((all, alone), o) in together.iter().zip(run(r, 1)).zip(operands.iter().filter(|o| o.access != Access::Read)) {
                assert!(all[r * o.row_bytes(cols)..][..o.row_bytes(cols)] == alone[..], "{}: row {r}", entry.meta.name);
            }
        }
    }
}

#[test]
fn a_large_mean_leaves_the_variance_of_a_layer_norm_alone() {
    let mut random = Random(11);
    for cols in [100, 896, 8191] {
        let rows = 5;
        // The squares of such numbers have no digits left for what they differ by.
        let x: Vec<f32> = random.row(rows * cols, 0).iter().map(|x| 1e4 + x).collect();
        let (weight, bias) = (vec![1.0; cols], vec![0.0; cols]);
        for (name, kernel) in kernels!(LayerNorm) {
            let mut got = vec![0.0; x.len()];
            kernel.run(Mat::new(&x, rows, cols, cols), &weight, &bias, 1e-6, MatMut::new(&mut got, rows, cols, cols));
            for (x, got) in x.chunks(cols).zip(got.chunks(cols)) {
                let want = reference::layer_norm(x, &weight, &bias, 1e-6);
                let worst = want.iter().zip(got).map(|(want, got)| (want - f64::from(*got)).abs()).fold(0.0, f64::max);
                assert!(worst < 0.01, "{name}: {cols} columns are off by {worst}");
            }
        }
    }
}
