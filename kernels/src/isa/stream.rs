//! Reading memory as fast as an instruction set can: what bandwidth is measured with.
//!
//! It reads and folds; timing is the caller's.

use super::*;
use core::hint::black_box;

/// Vectors that are read at a time, each into an accumulator of its own.
const AT_A_TIME: usize = 8;

/// The exclusive-or of all elements, `rounds` times over, by the widest vectors that this CPU has.
pub fn read(data: &[f32], rounds: usize) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(isa) = Avx512::detect() {
            return fold(isa, data, rounds);
        }
        if let Some(isa) = Avx2::detect() {
            return fold(isa, data, rounds);
        }
    }
    #[cfg(target_arch = "aarch64")]
    if let Some(isa) = Neon::detect() {
        return fold(isa, data, rounds);
    }
    fold(Scalar, data, rounds)
}

fn fold<I: Simd>(isa: I, data: &[f32], rounds: usize) -> u32 {
    isa.vectorize(
        #[inline(always)]
        || {
            // They stay in registers over all rounds: adding them up would cost as much as reading a
            // small buffer does.
            let mut sums = [isa.splat(0.0); AT_A_TIME];
            let (whole, rest) = data.split_at(data.len() - data.len() % (AT_A_TIME * I::LANES));
            for _ in 0..rounds {
                // The compiler must not know that it is the same data again.
                for group in I::vectors(black_box(whole)).as_chunks::<AT_A_TIME>().0 {
                    for (sum, v) in sums.iter_mut().zip(group) {
                        *sum = isa.xor(*sum, isa.load(v.as_ref()));
                    }
                }
            }
            // What is left over is less than a group.
            let mut all = if rounds % 2 == 1 { rest.iter().fold(0, |all, x| all ^ x.to_bits()) } else { 0 };
            for sum in sums {
                let mut lanes = [0.0; MAX_LANES];
                isa.store(sum, &mut lanes);
                all = lanes.iter().fold(all, |all, x| all ^ x.to_bits());
            }
            all
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_read() {
        let mut data = vec![0.0; 1024 + 77];
        assert_eq!(read(&data, 1), 0);
        for at in [0, 127, 128, 1023, 1024, 1100] {
            data[at] = f32::from_bits(0x5a);
            assert_eq!(read(&data, 1), 0x5a, "element {at}");
            assert_eq!(read(&data, 2), 0, "element {at}, twice");
            data[at] = 0.0;
        }
    }
}
