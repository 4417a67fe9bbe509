//! Linear layers: weights as a file has them, packed once, for rows of f32; whatever their format is.
//!
//! Here kernels of all formats look alike, so that an engine need not know which product it computes. No threads are
//! started and no memory is taken: packed words and workspaces are the caller's.

use super::product::Product;
use super::{Blocking, Caches, Gemm, Geometry, Operands, Split};
use crate::format::Format;
use crate::mat::{Mat, MatMut};
use crate::registry::Meta;
use crate::team::Workers;
use core::fmt::Debug;

/// A kernel that multiplies rows of f32 by packed weights of one format.
pub trait LinearKernel: Debug + Send + Sync {
    /// What the registry says of it.
    fn meta(&self) -> &'static Meta;

    /// How its packed operands are laid out.
    fn geometry(&self) -> Geometry;

    /// The blocking that is computed for caches of those sizes.
    fn blocking(&self, caches: Caches) -> Blocking;

    /// Words of the packed weights from `inputs` to `outputs`.
    fn packed_len(&self, inputs: usize, outputs: usize) -> usize;

    /// Packs the weights of some outputs: rows of `inputs` elements (or the blocks that hold as many), one after another as
    /// they lie in a file. Parts that begin at a multiple of the columns of a tile can be packed apart.
    ///
    /// # Panics
    /// If `rows` are not whole or not aligned to 4 bytes, or `out` is shorter than [`LinearKernel::packed_len`] of them.
    fn pack(&self, rows: &[u8], inputs: usize, out: &mut [u32]);

    /// Words of workspace that [`LinearKernel::run`] needs with up to so many threads for up to so many rows.
    fn workspace_len(&self, blocking: &Blocking, threads: usize, rows: usize, inputs: usize) -> usize;

    /// `c` ← or += `a` · weights, where the rows of `a` are as long as the weights have inputs.
    ///
    /// # Panics
    /// If the shapes do not fit each other, `ws` is shorter than [`LinearKernel::workspace_len`], or there are fewer
    /// workers than the split asks for.
    fn run(&self, product: Linear<'_>, split: Split, workers: &dyn Workers, ws: &mut [u32]);

    /// Words of workspace that [`LinearKernel::row`] needs.
    fn row_workspace_len(&self) -> usize;

    /// Writes the weights of one output: the row of the original matrix, off by what a product is off at most.
    ///
    /// # Panics
    /// If there is no such output, `out` has another length than there are inputs, or `ws` is shorter than
    /// [`LinearKernel::row_workspace_len`].
    fn row(&self, packed: &[u32], outputs: usize, output: usize, out: &mut [f32], ws: &mut [u32]);
}

/// The operands of a linear layer.
#[derive(Debug)]
pub struct Linear<'a> {
    /// Rows of inputs.
    pub a: Mat<'a, f32>,
    /// Packed weights.
    pub weights: &'a [u32],
    /// Rows of outputs.
    pub c: MatMut<'a, f32>,
    /// The product is added to what `c` holds.
    pub accumulate: bool,
    /// The cache blocking.
    pub blocking: Blocking,
}

impl<P: Product<A = f32, C = f32>> LinearKernel for Gemm<P> {
    fn meta(&self) -> &'static Meta {
        Gemm::meta(self)
    }

    fn geometry(&self) -> Geometry {
        Gemm::geometry(self)
    }

    fn blocking(&self, caches: Caches) -> Blocking {
        Gemm::blocking(self, caches)
    }

    fn packed_len(&self, inputs: usize, outputs: usize) -> usize {
        self.packed_b_len(inputs, outputs)
    }

    fn pack(&self, rows: &[u8], inputs: usize, out: &mut [u32]) {
        let bytes = P::b_bytes(inputs);
        assert!(bytes > 0 && rows.len().is_multiple_of(bytes) && inputs.is_multiple_of(P::B_DEPTH), "rows of weights are whole");
        let (blocks, count) = (inputs / P::B_DEPTH, rows.len() / bytes);
        self.pack_b(Mat::new(bytemuck::cast_slice(rows), count, blocks, blocks).transposed(), out);
    }

    fn workspace_len(&self, blocking: &Blocking, threads: usize, rows: usize, inputs: usize) -> usize {
        Gemm::workspace_len(self, blocking, Split { rows: 1, cols: threads }, true, (rows, 0, inputs))
    }

    fn run(&self, product: Linear<'_>, split: Split, workers: &dyn Workers, ws: &mut [u32]) {
        let Linear { a, weights, c, accumulate, blocking } = product;
        let weights = self.packed_b(weights, a.cols(), c.cols());
        self.run_parallel(Operands::new(a, weights, c).accumulate(accumulate), &blocking, split, workers, ws);
    }

    fn row_workspace_len(&self) -> usize {
        let Geometry { mr, nr, .. } = self.geometry;
        let depth = self.row_depth();
        let rows = depth.next_multiple_of(mr);
        rows * depth + self.geometry.strips(rows, depth) + mr * nr + self.micro.unpacked_len(depth)
    }

    /// The product of the weights with unit vectors, a block of depths at a time: it needs to know no layout.
    fn row(&self, packed: &[u32], outputs: usize, output: usize, out: &mut [f32], ws: &mut [u32]) {
        assert!(output < outputs && out.len().is_multiple_of(P::B_DEPTH), "row {output} of {outputs}");
        let weights = self.packed_b(packed, out.len(), outputs);
        let Geometry { mr, nr, .. } = self.geometry;
        let depth = self.row_depth();
        let rows = depth.next_multiple_of(mr);
        let (units, ws) = ws.split_at_mut(rows * depth);
        let (strips, ws) = ws.split_at_mut(self.geometry.strips(rows, depth));
        let (tile, ws) = ws.split_at_mut(mr * nr);
        let unpacked = &mut ws[..self.micro.unpacked_len(depth)];
        // Vector i has its one at depth i.
        let (units, tile): (&mut [f32], &mut [f32]) = (bytemuck::cast_slice_mut(units), bytemuck::cast_slice_mut(tile));
        units.fill(0.0);
        units.iter_mut().step_by(depth + 1).take(depth).for_each(|one| *one = 1.0);
        self.micro.pack_a(Mat::new(units, rows, depth, depth), strips);
        for (block, out) in out.chunks_mut(depth).enumerate() {
            let packed = weights.panel(output / nr, block * depth, out.len());
            let panel = if unpacked.is_empty() { packed } else { self.micro.unpack(packed, unpacked) };
            // At the end as few depths as the panel has: a tile takes both sides to be as deep.
            let deep = self.geometry.strip(out.len());
            for (strip, out) in strips.chunks_exact(self.geometry.strip(depth)).zip(out.chunks_mut(mr)) {
                self.micro.tile(&strip[..deep], panel, MatMut::new(tile, mr, nr, nr), false);
                out.iter_mut().zip(tile.iter().skip(output % nr).step_by(nr)).for_each(|(out, weight)| *out = *weight);
            }
        }
    }
}

impl<P: Product<A = f32, C = f32>> Gemm<P> {
    /// Depths that a row is read at a time: whole steps, and enough that a tile is worth its while.
    fn row_depth(&self) -> usize {
        DEPTH.next_multiple_of(self.geometry.step)
    }
}

/// Depths that a row is read at a time at least.
const DEPTH: usize = 32;

/// How exactly rows of f32 are multiplied by weights that are floats: an accuracy class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// As f32: neither side is rounded.
    #[default]
    F32,
    /// Both sides are rounded to bf16; sums are of f32.
    Bf16,
}

impl Arithmetic {
    /// All of them.
    pub const ALL: [Arithmetic; 2] = [Arithmetic::F32, Arithmetic::Bf16];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Arithmetic::F32 => "f32",
            Arithmetic::Bf16 => "bf16",
        }
    }
}

/// The format that weights stored in `format` are multiplied in by rows of f32. Blocks have an arithmetic of their own.
pub const fn for_rows_of_f32(format: Format, arithmetic: Arithmetic) -> Format {
    match (arithmetic, format) {
        (Arithmetic::F32, Format::F16) => Format::F16Weights,
        (Arithmetic::F32, Format::Bf16) => Format::Bf16Weights,
        (Arithmetic::Bf16, Format::F32 | Format::F16 | Format::Bf16) => Format::Bf16Rounded,
        (_, other) => other,
    }
}
