//! Reading, copying and adding as fast as an instruction set can: what bandwidth is measured with.
//!
//! It reads and folds, copies past the caches, or adds; timing is the caller's.

use super::math::Math;
use super::*;
use core::hint::black_box;

/// Vectors that are read at a time, each into an accumulator of its own.
const AT_A_TIME: usize = 8;

/// `on_widest!(isa => call)`: the call with the token of the widest vectors that this CPU has.
macro_rules! on_widest {
    ($isa:ident => $call:expr) => {{
        #[cfg(target_arch = "x86_64")]
        {
            if let Some($isa) = Avx512::detect() {
                return $call;
            }
            if let Some($isa) = Avx2::detect() {
                return $call;
            }
        }
        #[cfg(target_arch = "aarch64")]
        if let Some($isa) = Neon::detect() {
            return $call;
        }
        let $isa = Scalar;
        $call
    }};
}

/// The exclusive-or of all elements, `rounds` times over, by the widest vectors that this CPU has.
pub fn read(data: &[f32], rounds: usize) -> u32 {
    on_widest!(isa => fold(isa, data, rounds))
}

/// Copies by stores past the caches, where the widest vectors of this CPU have such.
///
/// # Panics
/// If the slices differ in length.
pub fn copy(from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "source and destination differ in length");
    on_widest!(isa => past_caches(isa, from, to))
}

/// Adds `x` to `to`, element by element: what is left of an operation when all that may be fused with it is taken away.
///
/// # Panics
/// If the slices differ in length.
pub fn add(x: &[f32], to: &mut [f32]) {
    assert_eq!(x.len(), to.len(), "what is added differs in length");
    on_widest!(isa => sum(isa, x, to))
}

fn sum<I: Math>(isa: I, x: &[f32], to: &mut [f32]) {
    isa.vectorize(
        #[inline(always)]
        || {
            let (mut xs, mut tos) = (x.chunks_exact(I::LANES), to.chunks_exact_mut(I::LANES));
            for (x, to) in xs.by_ref().zip(tos.by_ref()) {
                isa.store(isa.add(isa.load(to), isa.load(x)), to);
            }
            xs.remainder().iter().zip(tos.into_remainder()).for_each(|(x, to)| *to += x);
        },
    );
}

fn past_caches<I: Math>(isa: I, from: &[f32], to: &mut [f32]) {
    isa.vectorize(
        #[inline(always)]
        || {
            // Such stores want destinations that are aligned to a vector.
            let head = to.as_ptr().align_offset(size_of::<f32>() * I::LANES).min(to.len());
            let ((first, from), (to_first, to)) = (from.split_at(head), to.split_at_mut(head));
            to_first.copy_from_slice(first);
            let whole = to.len() / I::LANES * I::LANES;
            let ((from, last), (to, to_last)) = (from.split_at(whole), to.split_at_mut(whole));
            for (to, from) in to.chunks_exact_mut(I::LANES).zip(from.chunks_exact(I::LANES)) {
                isa.stream(isa.load(from), to);
            }
            to_last.copy_from_slice(last);
            isa.fence();
        },
    );
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

    #[test]
    fn every_element_is_copied_and_none_beside_them() {
        let from: Vec<f32> = (0..200).map(|i| i as f32).collect();
        for (at, len) in [(0, 0), (0, 1), (1, 15), (3, 64), (5, 100), (16, 160)] {
            let mut to = vec![-1.0; 256];
            copy(&from[..len], &mut to[at..at + len]);
            assert_eq!(to[at..at + len], from[..len], "{len} at {at}");
            assert!(to[..at].iter().chain(&to[at + len..]).all(|x| *x == -1.0), "{len} at {at}");
        }
    }
}
