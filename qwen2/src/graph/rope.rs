//! Rotary positions in the NEOX order: element `i` of a head turns with element `i + head_dim / 2`.
//! Angles are computed in f64, so that they do not depend on how far into a text they are.

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
                let angle = position as f64 * base.powf(-(2.0 * i as f64) / head_dim as f64);
                *cosine = angle.cos() as f32;
                *sine = angle.sin() as f32;
            }
        }
        Ok(Self { half, table })
    }

    /// Turns each head in `heads` (whole heads, side by side) to `position`.
    pub(super) fn turn(&self, position: usize, heads: &mut [f32]) {
        let row = &self.table[position * 2 * self.half..(position + 1) * 2 * self.half];
        let (cosines, sines) = row.split_at(self.half);
        for head in heads.chunks_exact_mut(2 * self.half) {
            let (low, high) = head.split_at_mut(self.half);
            for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
                (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_zero_changes_nothing_and_others_keep_lengths() {
        let rope = Rope::new(8, 1e6, 4).unwrap();
        let start: Vec<f32> = (1..=16).map(|i| i as f32).collect();
        let mut heads = start.clone();
        rope.turn(0, &mut heads);
        assert_eq!(heads, start);
        rope.turn(3, &mut heads);
        assert_ne!(heads, start);
        let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>();
        assert!((norm(&heads) - norm(&start)).abs() < 1e-3);
    }

    #[test]
    fn products_depend_on_distance_alone() {
        let rope = Rope::new(4, 100.0, 32).unwrap();
        let at = |position, mut head: Vec<f32>| {
            rope.turn(position, &mut head);
            head
        };
        let product = |p, q| {
            let a = at(p, vec![0.3, -1.0, 2.0, 0.5]);
            let b = at(q, vec![1.5, 0.25, -0.75, 1.0]);
            super::super::math::dot(&a, &b)
        };
        assert!((product(3, 1) - product(31, 29)).abs() < 1e-5);
    }
}
