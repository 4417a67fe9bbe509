//! What holds of every kernel as one of linear layers: it packs weights as they lie in a file, in parts or at once, gives
//! each row of them back, and multiplies as the product that it is.

mod common;

use common::{kernels, left, right};
use kiln_kernels::gemm::product::{Output, Product};
use kiln_kernels::gemm::{Blocking, Gemm, Linear, Operands, Split};
use kiln_kernels::mat::{Mat, MatMut};
use kiln_kernels::team::Alone;
use kiln_kernels::with_gemm;

/// Whether a kernel is one of linear layers, and then right: with inputs that leave none to three depths beside whole turns of
/// a tile's loop, and that end within a step.
fn holds<P: Product>(gemm: &Gemm<P>) -> bool {
    let unit = gemm.geometry().step.max(P::B_DEPTH);
    (3..=6).all(|units| holds_with(gemm, units * unit) && (P::B_DEPTH > 1 || holds_with(gemm, units * unit + 1)))
}

fn holds_with<P: Product>(gemm: &Gemm<P>, inputs: usize) -> bool {
    let Some(kernel) = P::linear(gemm) else { return false };
    let (nr, unit) = (gemm.nr(), gemm.geometry().step.max(P::B_DEPTH));
    let (outputs, rows) = (2 * nr + 3, 3);
    let weights = right::<P>(outputs * inputs / P::B_DEPTH, 7);
    // Aligned as far as files are read to.
    let mut words = vec![0u32; size_of_val(weights.as_slice()).div_ceil(4)];
    let bytes: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut words)[..size_of_val(weights.as_slice())];
    bytes.copy_from_slice(bytemuck::cast_slice(&weights));
    let bytes_of = |outputs: usize| outputs * P::b_bytes(inputs);
    let mut packed = vec![!0; kernel.packed_len(inputs, outputs)];
    kernel.pack(bytes, inputs, &mut packed);

    let mut parts = vec![!0; packed.len()];
    let (first, second) = parts.split_at_mut(kernel.packed_len(inputs, nr));
    kernel.pack(&bytes[..bytes_of(nr)], inputs, first);
    // Rows of blocks need not end at a word.
    let mut rest = vec![0u32; (bytes.len() - bytes_of(nr)).div_ceil(4)];
    let rest: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut rest)[..bytes.len() - bytes_of(nr)];
    rest.copy_from_slice(&bytes[bytes_of(nr)..]);
    kernel.pack(rest, inputs, second);
    assert_eq!(parts, packed, "{gemm:?}: parts are packed otherwise");

    let mut ws = vec![!0; kernel.row_workspace_len()];
    for output in [0, 1, nr, outputs - 1] {
        let mut row = vec![f32::NAN; inputs];
        kernel.row(&packed, outputs, output, &mut row, &mut ws);
        let blocks = &weights[output * inputs / P::B_DEPTH..];
        for (at, got) in row.iter().enumerate() {
            let block = &blocks[at / P::B_DEPTH];
            let (want, magnitude) = (P::b_value(block, at % P::B_DEPTH), P::b_magnitude(block, at % P::B_DEPTH));
            assert!((f64::from(*got) - want).abs() <= 1e-6 * magnitude, "{gemm:?}: weight {at} of output {output} is {want}, not {got}");
        }
    }

    let a = left::<P>(rows * inputs, 8);
    let blocking = Blocking::new(2 * unit, gemm.mr(), nr);
    let view = Mat::new(&weights, outputs, inputs / P::B_DEPTH, inputs / P::B_DEPTH).transposed();
    let mut want = vec![<P::C as Output>::ZERO; rows * outputs];
    let mut plain = vec![0; gemm.packed_b_len(inputs, outputs)];
    gemm.pack_b(view, &mut plain);
    let right = gemm.packed_b(&plain, inputs, outputs);
    let mut ws = vec![0; kernel.workspace_len(&blocking, 1, rows, inputs)];
    gemm.run(Operands::new(Mat::new(&a, rows, inputs, inputs), right, MatMut::new(&mut want, rows, outputs, outputs)), &blocking, &mut ws);
    let a: &[f32] = bytemuck::cast_slice(&a);
    let mut got = vec![f32::NAN; rows * outputs];
    let (a, c) = (Mat::new(a, rows, inputs, inputs), MatMut::new(&mut got, rows, outputs, outputs));
    kernel.run(Linear { a, weights: &packed, c, accumulate: false, blocking }, Split::ALONE, &Alone, &mut ws);
    assert_eq!(bytemuck::cast_slice::<_, u32>(&got), bytemuck::cast_slice::<_, u32>(&want), "{gemm:?}: another product");
    true
}

#[test]
fn weights_of_every_format_are_packed_read_back_and_multiplied() {
    let count = kernels().iter().filter(|(_, gemm)| with_gemm!(gemm, gemm => holds(gemm))).count();
    assert!(count > 40, "{count} kernels of linear layers");
}
