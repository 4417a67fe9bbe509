//! Packing: operands are rearranged into strips that a micro-kernel reads front to back.
//!
//! A strip holds `width` rows of a W × K view as `[k][width]`, the last strip padded with zeros. A
//! is packed with width MR, B (as Bᵀ) with width NR: one routine serves both.

use crate::isa::turn;
use crate::mat::Mat;

/// Elements of all strips for `rows` rows of depth `k`.
pub(super) fn strips_len(width: usize, rows: usize, k: usize) -> usize {
    rows.div_ceil(width) * width * k
}

/// Packs all rows of `src` (W × K) into strips of `width`.
///
/// # Panics
/// If `out` is shorter than [`strips_len`].
#[inline(always)]
pub(super) fn pack_strips(width: usize, src: Mat<'_, f32>, out: &mut [f32]) {
    let (rows, k) = (src.rows(), src.cols());
    if rows == 0 || k == 0 {
        return;
    }
    let out = &mut out[..strips_len(width, rows, k)];
    if rows % width != 0 {
        let last = out.len() - width * k;
        out[last..].fill(0.0);
    }
    if src.transposed().row(0).is_some() {
        return copy_lines(width, src, out);
    }
    for (strip, out) in out.chunks_exact_mut(width * k).enumerate() {
        let first = strip * width;
        let valid = width.min(rows - first);
        transpose_strip(width, src.block(first, 0, valid, k), out);
    }
}

/// Neighbouring rows are adjacent in memory (B in row-major order): whole lines are copied. A few
/// depths are taken across all strips before the next few, so that reading advances along a few
/// memory rows: strip by strip, every line would come from another page.
#[inline(always)]
fn copy_lines(width: usize, src: Mat<'_, f32>, out: &mut [f32]) {
    const DEPTHS: usize = 8;
    let (columns, rows, k) = (src.transposed(), src.rows(), src.cols());
    for from in (0..k).step_by(DEPTHS) {
        let to = k.min(from + DEPTHS);
        for (strip, out) in out.chunks_exact_mut(width * k).enumerate() {
            let first = strip * width;
            let valid = width.min(rows - first);
            for p in from..to {
                let Some(line) = columns.row(p) else { return };
                let out = &mut out[p * width..][..width];
                // A whole line has a length known at compile time, which spares a call of memcpy.
                if valid == width {
                    out.copy_from_slice(&line[first..][..width]);
                } else {
                    out[..valid].copy_from_slice(&line[first..]);
                }
            }
        }
    }
}

/// Up to `width` rows, none adjacent to its neighbour, into the lanes of one strip.
#[inline(always)]
fn transpose_strip(width: usize, src: Mat<'_, f32>, out: &mut [f32]) {
    let valid = src.rows();
    if src.row(0).is_none() {
        for (p, out) in out.chunks_exact_mut(width).enumerate() {
            for (i, out) in out[..valid].iter_mut().enumerate() {
                *out = src.get(i, p);
            }
        }
        return;
    }
    // Each row is adjacent in itself: four at a time, then one.
    let mut first = 0;
    while first + SQUARE <= valid {
        four_rows(width, src, first, out);
        first += SQUARE;
    }
    for i in first..valid {
        let row = src.row(i).unwrap_or_default();
        for (line, x) in out.chunks_exact_mut(width).zip(row) {
            line[i] = *x;
        }
    }
}

/// Rows and depths that are turned at a time.
const SQUARE: usize = 4;

/// Rows `first..first + 4` of `src`, each adjacent in itself, into those lanes of each line of a strip.
#[inline(always)]
fn four_rows(width: usize, src: Mat<'_, f32>, first: usize, out: &mut [f32]) {
    let rows: [&[f32]; SQUARE] = core::array::from_fn(|i| src.row(first + i).unwrap_or_default());
    let squares = rows.map(|row| row.as_chunks::<SQUARE>());
    let whole = squares[0].0.len();
    let (lines, last) = out.split_at_mut(whole * SQUARE * width);
    let [a, b, c, d] = squares.map(|s| &s.0[..whole]);
    for (s, lines) in lines.chunks_exact_mut(SQUARE * width).enumerate() {
        for (line, lanes) in lines.chunks_exact_mut(width).zip(turn([&a[s], &b[s], &c[s], &d[s]])) {
            line[first..first + SQUARE].copy_from_slice(&lanes);
        }
    }
    for (p, line) in last.chunks_exact_mut(width).enumerate() {
        for (i, rest) in squares.iter().enumerate() {
            line[first + i] = rest.1[p];
        }
    }
}

/// A right operand (K × N) in panels of NR columns, as [`super::Gemm::pack_b`] lays it out.
#[derive(Clone, Copy, Debug)]
pub struct PackedB<'a> {
    data: &'a [f32],
    k: usize,
    n: usize,
    nr: usize,
}

impl<'a> PackedB<'a> {
    /// A view of packed data for K = `k`, N = `n` and panels of `nr` columns.
    ///
    /// # Panics
    /// If `nr` is 0 or `data` is too short.
    pub fn new(data: &'a [f32], k: usize, n: usize, nr: usize) -> Self {
        assert!(nr > 0, "a panel has at least one column");
        PackedB { data: &data[..strips_len(nr, n, k)], k, n, nr }
    }

    /// Depth.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Columns of a panel.
    pub fn nr(&self) -> usize {
        self.nr
    }

    /// Columns `from..to`, to be given to one of several threads.
    ///
    /// # Panics
    /// Unless `from` is a multiple of NR, `to` one or N, and `from` ≤ `to` ≤ N.
    pub fn columns(&self, from: usize, to: usize) -> PackedB<'a> {
        assert!(from <= to && to <= self.n, "columns {from}..{to} of {}", self.n);
        assert!(
            from.is_multiple_of(self.nr) && (to.is_multiple_of(self.nr) || to == self.n),
            "columns {from}..{to} cut a panel of {}",
            self.nr
        );
        PackedB { data: &self.data[from * self.k..to.div_ceil(self.nr) * self.nr * self.k], n: to - from, ..*self }
    }

    /// Depths `from..from + depth` of panel `index`.
    #[inline]
    pub(super) fn panel(&self, index: usize, from: usize, depth: usize) -> &'a [f32] {
        let start = (index * self.k + from) * self.nr;
        &self.data[start..start + depth * self.nr]
    }
}
