//! Packing: operands are rearranged into strips that a micro-kernel reads front to back.
//!
//! A strip holds `width` rows of a W × K view as `[step][width]` units: a unit is what one lane takes in
//! one step of the depth, which may be several elements. The last strip and the last unit are padded
//! with zeros. A is packed with width MR, B (as Bᵀ) with width NR: one routine serves both, and every
//! format. What differs between formats is how elements become a unit, which a [`Pack`] says.

use super::micro::Geometry;
use crate::isa::{ask, turn};
use crate::mat::Mat;
use bytemuck::{Pod, Zeroable};
use core::marker::PhantomData;

/// How elements of type `T` become units.
pub(super) trait Pack<T: Copy> {
    /// What one lane takes in one step.
    type Unit: Pod;
    /// Elements in a unit.
    fn step(&self) -> usize;
    /// A unit from its elements; fewer than [`Pack::step`] at the end of a row, where the rest is zero.
    fn unit(&self, elements: &[T]) -> Self::Unit;
    /// Four units of a row, one after another.
    #[inline(always)]
    fn four(&self, elements: &[T]) -> [Self::Unit; 4] {
        let step = self.step();
        core::array::from_fn(|u| self.unit(&elements[u * step..][..step]))
    }
    /// Units (`j`, `i`) at (`i`, `j`).
    #[inline(always)]
    fn turn(rows: [[Self::Unit; 4]; 4]) -> [[Self::Unit; 4]; 4] {
        core::array::from_fn(|i| core::array::from_fn(|j| rows[j][i]))
    }
    /// One line of units from the lines of a step, whose elements are those of neighbouring rows.
    #[inline(always)]
    fn line(&self, lines: &[&[T]], out: &mut [Self::Unit]) {
        let mut elements = [lines[0][0]; MAX_STEP];
        for (j, out) in out.iter_mut().enumerate() {
            for (element, line) in elements.iter_mut().zip(lines) {
                *element = line[j];
            }
            *out = self.unit(&elements[..lines.len()]);
        }
    }
}

/// Elements in a unit at most.
const MAX_STEP: usize = 8;

/// f32 as they are.
pub(super) struct Floats;

impl Pack<f32> for Floats {
    type Unit = u32;
    #[inline(always)]
    fn step(&self) -> usize {
        1
    }
    #[inline(always)]
    fn unit(&self, elements: &[f32]) -> u32 {
        elements[0].to_bits()
    }
    #[inline(always)]
    fn four(&self, elements: &[f32]) -> [u32; 4] {
        let four: &[f32; 4] = elements.first_chunk().unwrap_or(&[0.0; 4]);
        four.map(f32::to_bits)
    }
    #[inline(always)]
    fn turn(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
        turn(rows)
    }
    #[inline(always)]
    fn line(&self, lines: &[&[f32]], out: &mut [u32]) {
        out.copy_from_slice(bytemuck::cast_slice(&lines[0][..out.len()]));
    }
}

/// `STEP` elements as the bytes of a unit of type `U` in memory order, with some bits flipped.
pub(super) struct Bytes<T, U, const STEP: usize> {
    /// The bits that are flipped, also those of the padding at the end of a row.
    flip: u32,
    elements: PhantomData<(T, U)>,
}

impl<T, U, const STEP: usize> Bytes<T, U, STEP> {
    /// The bytes as they are.
    pub(super) fn plain() -> Self {
        Self::flipping(0)
    }

    /// The bytes with the bits of `flip` inverted.
    pub(super) fn flipping(flip: u32) -> Self {
        Bytes { flip, elements: PhantomData }
    }
}

impl<T: Pod, U: Pod, const STEP: usize> Pack<T> for Bytes<T, U, STEP> {
    type Unit = U;
    #[inline(always)]
    fn step(&self) -> usize {
        const { assert!(STEP * size_of::<T>() == size_of::<U>() && size_of::<U>() <= 4) };
        STEP
    }
    #[inline(always)]
    fn unit(&self, elements: &[T]) -> U {
        let mut bytes = [0; 4];
        bytes[..size_of_val(elements)].copy_from_slice(bytemuck::cast_slice(elements));
        let bytes = (u32::from_le_bytes(bytes) ^ self.flip).to_le_bytes();
        bytemuck::pod_read_unaligned(&bytes[..size_of::<U>()])
    }
    #[inline(always)]
    fn four(&self, elements: &[T]) -> [U; 4] {
        if size_of::<U>() < 4 {
            return core::array::from_fn(|u| self.unit(&elements[u * STEP..][..STEP]));
        }
        let bytes: &[u8; 16] = bytemuck::cast_slice(elements).first_chunk().unwrap_or(&[0; 16]);
        let words: [u32; 4] = bytemuck::pod_read_unaligned(bytes);
        bytemuck::cast(words.map(|word| word ^ self.flip))
    }
    #[inline(always)]
    fn turn(rows: [[U; 4]; 4]) -> [[U; 4]; 4] {
        if size_of::<U>() < 4 {
            core::array::from_fn(|i| core::array::from_fn(|j| rows[j][i]))
        } else {
            bytemuck::cast(turn(bytemuck::cast(rows)))
        }
    }
    #[inline(always)]
    fn line(&self, lines: &[&[T]], out: &mut [U]) {
        let n = out.len();
        if lines.len() < STEP {
            let mut elements = [T::zeroed(); MAX_STEP];
            for (j, out) in out.iter_mut().enumerate() {
                for (element, line) in elements.iter_mut().zip(lines) {
                    *element = line[j];
                }
                *out = self.unit(&elements[..lines.len()]);
            }
            return;
        }
        // Spelt out for each size, in a form that becomes vector instructions.
        match (size_of::<T>(), STEP) {
            (1, 4) => {
                let [a, b, c, d]: [&[u8]; 4] = core::array::from_fn(|l| bytemuck::cast_slice(&lines[l][..n]));
                for (j, out) in bytemuck::cast_slice_mut::<U, u32>(out).iter_mut().enumerate() {
                    let word = u32::from(a[j]) | u32::from(b[j]) << 8 | u32::from(c[j]) << 16 | u32::from(d[j]) << 24;
                    *out = word ^ self.flip;
                }
            }
            (1, 2) => {
                let [a, b]: [&[u8]; 2] = core::array::from_fn(|l| bytemuck::cast_slice(&lines[l][..n]));
                for (j, out) in bytemuck::cast_slice_mut::<U, u16>(out).iter_mut().enumerate() {
                    *out = u16::from(a[j]) | u16::from(b[j]) << 8;
                }
            }
            (2, 2) => {
                let [a, b]: [&[u16]; 2] = core::array::from_fn(|l| bytemuck::cast_slice(&lines[l][..n]));
                for (j, out) in bytemuck::cast_slice_mut::<U, u32>(out).iter_mut().enumerate() {
                    *out = (u32::from(a[j]) | u32::from(b[j]) << 16) ^ self.flip;
                }
            }
            _ => {
                for (j, out) in out.iter_mut().enumerate() {
                    let elements: [T; STEP] = core::array::from_fn(|l| lines[l][j]);
                    *out = self.unit(&elements);
                }
            }
        }
    }
}

/// Units made one by one.
pub(super) struct Each<F> {
    step: usize,
    unit: F,
}

impl<F> Each<F> {
    /// Units of `step` elements, made by `unit`.
    pub(super) fn new(step: usize, unit: F) -> Each<F> {
        Each { step, unit }
    }
}

impl<T: Copy, U: Pod, F: Fn(&[T]) -> U> Pack<T> for Each<F> {
    type Unit = U;
    #[inline(always)]
    fn step(&self) -> usize {
        self.step
    }
    #[inline(always)]
    fn unit(&self, elements: &[T]) -> U {
        (self.unit)(elements)
    }
}

/// Packs all rows of `src` (W × K) into strips of `width`.
///
/// # Panics
/// If `out` is too short for them.
#[inline(always)]
pub(super) fn strips<T: Copy, P: Pack<T>>(width: usize, pack: &P, src: Mat<'_, T>, out: &mut [P::Unit]) {
    strips_with_head(width, 0, pack, src, out);
}

/// As [`strips`], with `head` units left alone at the beginning of each strip.
#[inline(always)]
pub(super) fn strips_with_head<T: Copy, P: Pack<T>>(width: usize, head: usize, pack: &P, src: Mat<'_, T>, out: &mut [P::Unit]) {
    let (rows, k) = (src.rows(), src.cols());
    if rows == 0 || k == 0 {
        return;
    }
    let length = head + k.div_ceil(pack.step()) * width;
    let out = &mut out[..rows.div_ceil(width) * length];
    if rows % width != 0 {
        let last = out.len() - length;
        out[last..].fill(P::Unit::zeroed());
    }
    if src.transposed().row(0).is_some() {
        return lines(width, head, length, pack, src, out);
    }
    for (strip, out) in out.chunks_exact_mut(length).enumerate() {
        let first = strip * width;
        let valid = width.min(rows - first);
        transpose_strip(width, pack, src.block(first, 0, valid, k), &mut out[head..]);
    }
}

/// Neighbouring rows are adjacent in memory (B in row-major order): whole lines are moved. A few
/// depths are taken across all strips before the next few, so that reading advances along a few
/// memory rows: strip by strip, every line would come from another page.
#[inline(always)]
fn lines<T: Copy, P: Pack<T>>(width: usize, head: usize, length: usize, pack: &P, src: Mat<'_, T>, out: &mut [P::Unit]) {
    const UNITS: usize = 8;
    let (columns, rows, k, step) = (src.transposed(), src.rows(), src.cols(), pack.step());
    let units = k.div_ceil(step);
    for from in (0..units).step_by(UNITS) {
        let to = units.min(from + UNITS);
        for (strip, out) in out.chunks_exact_mut(length).enumerate() {
            let first = strip * width;
            let valid = width.min(rows - first);
            for u in from..to {
                let out = &mut out[head + u * width..][..width];
                if step == 1 {
                    let line = &columns.row(u).unwrap_or_default()[first..];
                    // A whole line has a length known at compile time, which spares a call of memcpy.
                    if valid == width {
                        pack.line(&[&line[..width]], out);
                    } else {
                        pack.line(&[&line[..valid]], &mut out[..valid]);
                    }
                    continue;
                }
                let depths = step.min(k - u * step);
                let mut lines: [&[T]; MAX_STEP] = [&[]; MAX_STEP];
                for (d, line) in lines[..depths].iter_mut().enumerate() {
                    *line = &columns.row(u * step + d).unwrap_or_default()[first..][..valid];
                }
                if valid == width {
                    pack.line(&lines.map(|line| line.get(..width).unwrap_or(line))[..depths], out);
                } else {
                    pack.line(&lines[..depths], &mut out[..valid]);
                }
            }
        }
    }
}

/// Up to `width` rows, none adjacent to its neighbour, into the lanes of one strip.
#[inline(always)]
fn transpose_strip<T: Copy, P: Pack<T>>(width: usize, pack: &P, src: Mat<'_, T>, out: &mut [P::Unit]) {
    let (valid, k, step) = (src.rows(), src.cols(), pack.step());
    if src.row(0).is_none() {
        let mut elements = [src.get(0, 0); MAX_STEP];
        for (u, out) in out.chunks_exact_mut(width).enumerate() {
            let depths = step.min(k - u * step);
            for (i, out) in out[..valid].iter_mut().enumerate() {
                for (d, element) in elements[..depths].iter_mut().enumerate() {
                    *element = src.get(i, u * step + d);
                }
                *out = pack.unit(&elements[..depths]);
            }
        }
        return;
    }
    // Each row is adjacent in itself: four at a time, then one.
    let mut first = 0;
    while first + SQUARE <= valid {
        four_rows(width, pack, src, first, out);
        first += SQUARE;
    }
    for i in first..valid {
        let row = src.row(i).unwrap_or_default();
        let (row, rest) = row.split_at(row.len() - row.len() % (SQUARE * step));
        let (lines, last) = out.split_at_mut(row.len() / step * width);
        for (lines, elements) in lines.chunks_exact_mut(SQUARE * width).zip(row.chunks_exact(SQUARE * step)) {
            for (line, unit) in lines.chunks_exact_mut(width).zip(pack.four(elements)) {
                line[i] = unit;
            }
        }
        for (line, elements) in last.chunks_exact_mut(width).zip(rest.chunks(step)) {
            line[i] = pack.unit(elements);
        }
    }
}

/// Rows and units that are turned at a time.
const SQUARE: usize = 4;
/// Squares for which four rows are asked for at a time: a line of the cache where units have 32 bits.
const SQUARES: usize = 4;

/// Rows `first..first + 4` of `src`, each adjacent in itself, into those lanes of each line of a strip.
#[inline(always)]
fn four_rows<T: Copy, P: Pack<T>>(width: usize, pack: &P, src: Mat<'_, T>, first: usize, out: &mut [P::Unit]) {
    let rows: [&[T]; SQUARE] = core::array::from_fn(|i| src.row(first + i).unwrap_or_default());
    let square = SQUARE * pack.step();
    let whole = src.cols() / square;
    let run = SQUARES * square;
    let [a, b, c, d] = rows.map(|row| row[..whole * square].chunks(run));
    let (lines, last) = out.split_at_mut(whole * SQUARE * width);
    for ((((lines, a), b), c), d) in lines.chunks_mut(SQUARES * SQUARE * width).zip(a).zip(b).zip(c).zip(d) {
        // The next four rows, while these are turned: a block's part of a row is too short for hardware to
        // see that it is read in order.
        for row in [a, b, c, d] {
            ask(row.as_ptr().wrapping_add(SQUARE * src.row_stride()).cast());
        }
        let [a, b, c, d] = [a, b, c, d].map(|row| row.chunks_exact(square));
        for ((((lines, a), b), c), d) in lines.chunks_exact_mut(SQUARE * width).zip(a).zip(b).zip(c).zip(d) {
            let turned = P::turn([pack.four(a), pack.four(b), pack.four(c), pack.four(d)]);
            for (line, lanes) in lines.chunks_exact_mut(width).zip(&turned) {
                line[first..first + SQUARE].copy_from_slice(lanes);
            }
        }
    }
    for (i, row) in rows.iter().enumerate() {
        for (line, elements) in last.chunks_exact_mut(width).zip(row[whole * square..].chunks(pack.step())) {
            line[first + i] = pack.unit(elements);
        }
    }
}

/// A right operand (K × N) in panels of NR columns, as [`super::Gemm::pack_b`] lays it out.
#[derive(Clone, Copy, Debug)]
pub struct PackedB<'a> {
    words: &'a [u32],
    k: usize,
    n: usize,
    geometry: Geometry,
    layout: &'static str,
}

impl<'a> PackedB<'a> {
    /// A view of packed words for K = `k` and N = `n`, by a kernel of that layout.
    ///
    /// # Panics
    /// If there are too few words.
    pub(super) fn new(words: &'a [u32], k: usize, n: usize, geometry: Geometry, layout: &'static str) -> Self {
        PackedB { words: &words[..geometry.panels(n, k)], k, n, geometry, layout }
    }

    /// The layout's name: weights are shared by kernels of one layout.
    pub fn layout(&self) -> &'static str {
        self.layout
    }

    /// Depth.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How it is laid out.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Columns `from..to`, to be given to one of several threads.
    ///
    /// # Panics
    /// Unless `from` is a multiple of NR, `to` one or N, and `from` ≤ `to` ≤ N.
    pub fn columns(&self, from: usize, to: usize) -> PackedB<'a> {
        let nr = self.geometry.nr;
        assert!(from <= to && to <= self.n, "columns {from}..{to} of {}", self.n);
        assert!(from.is_multiple_of(nr) && (to.is_multiple_of(nr) || to == self.n), "columns {from}..{to} cut a panel of {nr}");
        let panel = self.geometry.panel(self.k);
        PackedB { words: &self.words[from / nr * panel..to.div_ceil(nr) * panel], n: to - from, ..*self }
    }

    /// Depths `from..from + depth` of panel `index`; `from` is at the beginning of a step.
    #[inline]
    pub(super) fn panel(&self, index: usize, from: usize, depth: usize) -> &'a [u32] {
        let start = index * self.geometry.panel(self.k) + self.geometry.panel(from);
        &self.words[start..start + self.geometry.panel(depth)]
    }
}
