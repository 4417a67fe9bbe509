//! Numbers as they are stored, to and from f32. It knows formats, and neither tensors nor files.

use crate::baked::{Format, Ops, Product, with_product};

/// Turns the elements of `stored`, of any format that a file can have, into as many f32 as `out` holds, by baked kernels.
///
/// # Panics
/// If there are other than as many.
pub(crate) fn widen(ops: &Ops, format: Format, stored: &[u8], out: &mut [f32]) {
    assert_eq!(stored.len(), out.len() / format.depth() * format.bytes(), "as many elements as there is room for");
    let halves = || stored.as_chunks::<2>().0.iter().map(|half| u16::from_le_bytes(*half)).collect::<Vec<u16>>();
    match format {
        Format::F16 => ops.f16_to_f32.run(&halves(), out),
        Format::Bf16 => ops.bf16_to_f32.run(&halves(), out),
        _ => match ops.dequantise_of(format) {
            Some(kernel) => kernel.run_bytes(stored, out),
            // f32, or a format for which no kernel was baked.
            None => {
                with_product!(format, P => out.chunks_mut(P::B_DEPTH).zip(stored.chunks_exact(size_of::<<P as Product>::B>())).for_each(
                    |(out, element)| {
                        let element: <P as Product>::B = bytemuck::pod_read_unaligned(element);
                        out.iter_mut().enumerate().for_each(|(at, out)| *out = P::b_value(&element, at) as f32);
                    }
                ))
            }
        },
    }
}

/// `numbers` in `format`, each element nearest to the numbers that it stands for, written into `room`, whose words align
/// them. There are as many numbers as whole elements hold.
pub(crate) fn store<'a>(ops: &Ops, format: Format, numbers: &[f32], room: &'a mut Vec<u32>) -> &'a [u8] {
    let bytes = numbers.len() / format.depth() * format.bytes();
    room.resize(bytes.div_ceil(size_of::<u32>()), 0);
    let stored = &mut bytemuck::cast_slice_mut(room)[..bytes];
    match format {
        Format::F16 => ops.f32_to_f16.run(numbers, bytemuck::cast_slice_mut(stored)),
        Format::Bf16 => ops.f32_to_bf16.run(numbers, bytemuck::cast_slice_mut(stored)),
        Format::F32 => stored.copy_from_slice(bytemuck::cast_slice(numbers)),
        _ => {
            with_product!(format, P => numbers.chunks_exact(P::B_DEPTH).zip(stored.chunks_exact_mut(size_of::<<P as Product>::B>())).for_each(
                |(numbers, element)| element.copy_from_slice(bytemuck::bytes_of(&P::b_of(numbers)))
            ))
        }
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baked;
    use crate::gguf::TensorType;

    #[test]
    fn what_was_stored_comes_back_as_near_as_its_format_allows() {
        let ops = baked::select(None).expect("kernels");
        let numbers: Vec<f32> = (0..512).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut room = Vec::new();
        for kind in TensorType::ALL {
            let stored = store(&ops, kind.format(), &numbers, &mut room);
            assert_eq!(stored.len(), 512 / kind.block_elements() * kind.block_bytes(), "{kind}");
            assert!(kind.format().is_finite(stored));
            let mut back = vec![f32::NAN; 512];
            widen(&ops, kind.format(), stored, &mut back);
            let error = back.iter().zip(&numbers).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error < 0.15, "{kind} is off by {error}");
            assert_eq!(kind.name().to_lowercase().parse(), Ok(*kind));
            assert_eq!(TensorType::from_id(kind.id()), Some(*kind));
        }
    }
}
