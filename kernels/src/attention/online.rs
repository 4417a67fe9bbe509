//! What both bodies need beside products: turning rows into lanes and back, and workspaces in pieces.

use crate::isa::turn;

/// Scores are at least this large, or hidden. It is finite, so that a score less the largest one is a number even while
/// all are hidden.
pub(super) const LEAST: f32 = -1e38;

/// f32 elements of a line of the cache.
pub(super) const LINE: usize = 16;

/// Whether N ≤ M: as a constant of a type, so that what is chosen for no N above M is not compiled.
pub(super) struct AtMost<const N: usize, const M: usize>;

impl<const N: usize, const M: usize> AtMost<N, M> {
    pub(super) const YES: bool = N <= M;
}

/// The factor that makes scores exponents of two: log2(e) / √dim.
pub(super) fn scale(dim: usize) -> f32 {
    (core::f64::consts::LOG2_E / (dim as f64).sqrt()) as f32
}

/// Rows as columns: element `c` of row `r`, of `rows` rows that lie one after another, goes to `out[c · rows + r]`.
#[inline(always)]
pub(super) fn transpose(x: &[f32], rows: usize, out: &mut [f32]) {
    if rows == 0 {
        return;
    }
    let cols = x.len() / rows;
    let (low, left) = (rows / 4 * 4, cols / 4 * 4);
    for r in (0..low).step_by(4) {
        let four = &x[r * cols..][..4 * cols];
        for c in (0..left).step_by(4) {
            let mut square = [[0; 4]; 4];
            for (words, row) in square.iter_mut().zip(four.chunks_exact(cols)) {
                words.copy_from_slice(bytemuck::cast_slice(&row[c..c + 4]));
            }
            for (j, words) in turn(square).iter().enumerate() {
                out[(c + j) * rows + r..][..4].copy_from_slice(bytemuck::cast_slice(words));
            }
        }
    }
    for r in 0..rows {
        for c in if r < low { left } else { 0 }..cols {
            out[c * rows + r] = x[r * cols + c];
        }
    }
}

/// The greatest common divisor.
pub(super) fn common(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common(b, a % b) }
}

/// The next `len` elements of a workspace.
#[inline(always)]
pub(super) fn take<'a>(workspace: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (piece, rest) = core::mem::take(workspace).split_at_mut(len);
    *workspace = rest;
    piece
}

/// A workspace from its first line of the cache on.
pub(super) fn aligned(workspace: &mut [f32]) -> &mut [f32] {
    let skip = workspace.as_ptr().align_offset(LINE * size_of::<f32>()).min(workspace.len());
    &mut workspace[skip..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        for (rows, cols) in [(8, 8), (6, 16), (3, 4), (5, 2), (1, 1), (4, 9), (0, 3), (7, 0)] {
            let x: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
            let (mut turned, mut back) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
            transpose(&x, rows, &mut turned);
            transpose(&turned, cols, &mut back);
            assert_eq!(back, x);
            assert!((0..rows * cols).all(|i| turned[i % cols * rows + i / cols] == x[i]));
        }
    }
}
