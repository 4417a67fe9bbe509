//! Products of s8 with scales: C (f32) ← diag(rows) · (A·B) · diag(columns), as int8 models have them, with
//! any s8 kernel.
//!
//! A·B is summed exactly in s32 over the whole depth, in tiles of the workspace; C is written once, when
//! the sums of a tile are complete and still in the first cache. Where one block holds the whole depth
//! there is only one tile of sums.

use super::loops::Place;
use super::product::Byte;
use super::{Blocking, Gemm, Geometry, Operands, Split, finish_empty};
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512, Isa, Simd};
use crate::mat::MatMut;
use crate::team::Workers;

/// What rows and columns of a product are multiplied by.
#[derive(Clone, Copy, Debug)]
pub struct Scales<'a> {
    /// A scale for each row of A: M of them.
    pub rows: &'a [f32],
    /// A scale for each column of B: N of them.
    pub columns: &'a [f32],
}

/// Words of sums that a thread has at most, if more than one panel of columns is to be summed at a time.
const MOST_SUMS: usize = 4 << 20;

impl Gemm<Byte> {
    /// Words of workspace that [`Gemm::run_scaled`] needs for a product of M × N × K.
    pub fn scaled_workspace_len(&self, blocking: &Blocking, split: Split, b_is_packed: bool, (m, n, k): (usize, usize, usize)) -> usize {
        let (blocking, sums) = self.sums(blocking, split, (m, n, k));
        self.workspace_len(&blocking, split, b_is_packed, (m, n, k)) + split.threads() * sums
    }

    /// The product on `split.threads()` threads of `workers`, on the caller's alone with [`Split::ALONE`]:
    /// each element of C is the exact product of its row's scale, its column's and its sum (and, when
    /// accumulating, what C held added to it), each step in f64, rounded to f32 at the end. Sums are
    /// exact as long as K is below 2^17.
    ///
    /// # Panics
    /// If the shapes do not fit each other, there are more or fewer scales than rows or columns, B is packed
    /// for another layout, `ws` is shorter than [`Gemm::scaled_workspace_len`], or there are fewer workers
    /// than the split asks for.
    pub fn run_scaled(
        &self,
        operands: Operands<'_, i8, i8, f32>,
        scales: Scales<'_>,
        blocking: &Blocking,
        split: Split,
        workers: &dyn Workers,
        ws: &mut [u32],
    ) {
        let (m, n, k) = self.check(&operands);
        assert_eq!((scales.rows.len(), scales.columns.len()), (m, n), "scales for another shape than that of C");
        if k == 0 {
            return finish_empty(operands.c, operands.accumulate);
        }
        let (blocking, sums) = self.sums(blocking, split, (m, n, k));
        let own = self.own_len(&blocking, m, k) + sums;
        let (blocks, width) = (self.blocks(&blocking), Width::widest());
        let Geometry { mr, nr, .. } = self.geometry;
        self.share_out(operands, &blocking, (split, workers), (ws, own), |share| {
            let Operands { a, b, mut c, accumulate } = share.operands;
            let (sums, strips) = share.own.split_at_mut(sums);
            let sums: &mut [i32] = bytemuck::cast_slice_mut(sums);
            let (rows, columns) = (&scales.rows[share.at.0..], &scales.columns[share.at.1..]);
            let panels = blocks.nc.min(c.cols()).div_ceil(nr);
            self.loops((a, b), blocks, share.room, strips, |strip, panel, at| {
                let Place { row, col, first, last, .. } = at;
                let number = if first && last { 0 } else { row / mr * panels + at.panel };
                let sums = &mut sums[number * mr * nr..][..mr * nr];
                self.micro.tile(strip, panel, MatMut::new(sums, mr, nr, nr), !first);
                if last {
                    let by = Scales { rows: &rows[row..], columns: &columns[col..][..at.cols] };
                    width.scale(sums, nr, by, c.block(row, col, at.rows, at.cols), accumulate);
                }
            });
        });
    }

    /// The blocking with as many columns at a time as there may be sums for, and the words of a thread's
    /// sums: of one tile, or of all that are begun before the first is complete.
    fn sums(&self, blocking: &Blocking, split: Split, (m, n, k): (usize, usize, usize)) -> (Blocking, usize) {
        let Geometry { mr, nr, .. } = self.geometry;
        let blocks = self.blocks(blocking);
        if blocks.kc >= k {
            return (*blocking, mr * nr);
        }
        let strips = m.div_ceil(mr).div_ceil(split.rows).max(1);
        let widest = n.div_ceil(nr).div_ceil(split.cols).max(1);
        let panels = (MOST_SUMS / (strips * mr * nr)).clamp(1, widest.min(blocks.nc / nr));
        (Blocking { nc: panels * nr, ..*blocking }, strips * panels * mr * nr)
    }
}

/// The vectors that sums are scaled with: the widest that this CPU has. Numbers are the same with all.
#[derive(Clone, Copy)]
enum Width {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// What every CPU of the target has: on aarch64 NEON.
    Plain,
}

impl Width {
    fn widest() -> Width {
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = Avx512::detect().map(Width::Avx512).or_else(|| Avx2::detect().map(Width::Avx2)) {
            return isa;
        }
        Width::Plain
    }

    fn scale(self, sums: &[i32], nr: usize, by: Scales<'_>, c: MatMut<'_, f32>, accumulate: bool) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Width::Avx512(isa) => isa.vectorize(
                #[inline(always)]
                || scale(sums, nr, by, c, accumulate),
            ),
            #[cfg(target_arch = "x86_64")]
            Width::Avx2(isa) => isa.vectorize(
                #[inline(always)]
                || scale(sums, nr, by, c, accumulate),
            ),
            Width::Plain => scale(sums, nr, by, c, accumulate),
        }
    }
}

/// A tile of C from rows of `nr` sums. The product of two scales is exact in f64.
#[inline(always)]
fn scale(sums: &[i32], nr: usize, by: Scales<'_>, mut c: MatMut<'_, f32>, accumulate: bool) {
    for (i, (sums, row)) in sums.chunks_exact(nr).zip(by.rows).take(c.rows()).enumerate() {
        let row = f64::from(*row);
        let elements = c.row_mut(i).iter_mut().zip(sums).zip(by.columns);
        if accumulate {
            elements.for_each(|((c, sum), column)| *c = (f64::from(*c) + row * f64::from(*column) * f64::from(*sum)) as f32);
        } else {
            elements.for_each(|((c, sum), column)| *c = (row * f64::from(*column) * f64::from(*sum)) as f32);
        }
    }
}
