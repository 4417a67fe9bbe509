//! Rotary positions in the NEOX order: element `i` of a head turns with element `i + head_dim / 2`.
//! Angles are those of the arithmetic that models were trained with: frequencies and their products with positions are
//! rounded to f32 each. Of these numbers sines and cosines are exact.

use crate::baked::Mat;
use crate::error::{Error, zeroed};

/// Cosines and sines of all positions that a session can reach.
#[derive(Debug)]
pub(super) struct Rope {
    half: usize,
    /// For each position the cosines, then the sines.
    table: Vec<f32>,
}

impl Rope {
    /// A table for `positions` positions of heads of `head_dim` elements.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub(super) fn new(head_dim: usize, base: f64, positions: usize) -> Result<Self, Error> {
        let half = head_dim / 2;
        let mut table = zeroed(positions.saturating_mul(head_dim), "the rotary table")?;
        for (position, row) in table.chunks_exact_mut(head_dim).enumerate() {
            let (cosines, sines) = row.split_at_mut(half);
            for (i, (cosine, sine)) in cosines.iter_mut().zip(sines).enumerate() {
                let frequency = 1.0 / base.powf(2.0 * i as f64 / head_dim as f64) as f32;
                let angle = f64::from(position as f32 * frequency);
                *cosine = angle.cos() as f32;
                *sine = angle.sin() as f32;
            }
        }
        Ok(Self { half, table })
    }

    /// Cosines and sines of `count` positions from `position` on, a row each.
    pub(super) fn angles(&self, position: usize, count: usize) -> Mat<'_, f32> {
        let dim = 2 * self.half;
        Mat::new(&self.table[position * dim..(position + count) * dim], count, dim, dim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baked::{self, MatMut};

    fn turned(rope: &Rope, position: usize, mut heads: Vec<f32>) -> Vec<f32> {
        let kernel = baked::select(None).expect("kernels").rope;
        let width = heads.len();
        kernel.run(MatMut::new(&mut heads, 1, width, width), &[], rope.angles(position, 1));
        heads
    }

    #[test]
    fn position_zero_changes_nothing_and_others_keep_lengths() {
        let rope = Rope::new(8, 1e6, 4).unwrap();
        let start: Vec<f32> = (1..=16).map(|i| i as f32).collect();
        assert_eq!(turned(&rope, 0, start.clone()), start);
        let heads = turned(&rope, 3, start.clone());
        assert_ne!(heads, start);
        let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>();
        assert!((norm(&heads) - norm(&start)).abs() < 1e-3);
    }

    #[test]
    fn products_depend_on_distance_alone() {
        let rope = Rope::new(4, 100.0, 32).unwrap();
        let product = |p, q| {
            let a = turned(&rope, p, vec![0.3, -1.0, 2.0, 0.5]);
            let b = turned(&rope, q, vec![1.5, 0.25, -0.75, 1.0]);
            a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>()
        };
        assert!((product(3, 1) - product(31, 29)).abs() < 1e-5);
    }
}
