//! The operands of a problem: random values at random offsets, once if they are to be hot, in
//! rotation over more than twice the last cache if they are to be cold.

use super::statistics::Random;
use crate::space::{Problem, Shape, Temperature};
use bytemuck::Pod;
use kiln_kernels::attention::{Kv, Layout};
use kiln_kernels::format::{Format, SPAN};
use kiln_kernels::gemm::product::Product;
use kiln_kernels::mat::Mat;
use kiln_kernels::pages::Pages;
use kiln_kernels::row::{Access, Extent, Operand};
use kiln_kernels::with_product;
use std::marker::PhantomData;

/// Memory for elements, beginning at a random multiple of a cache line within a page; on huge pages, where
/// the system gives them, if it is large enough to fill one.
pub struct Buffer<T> {
    pages: Pages<u8>,
    offset: usize,
    elements: PhantomData<T>,
}

const LINE: usize = 64;
const PAGE: usize = 4096;

impl<T: Pod> Buffer<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn new(len: usize, random: &mut Random) -> anyhow::Result<Buffer<T>> {
        let bytes = len * size_of::<T>();
        let offset = random.below(PAGE / LINE) * LINE;
        let pages =
            Pages::zeroed(offset + bytes).map_err(|e| anyhow::anyhow!("cannot get {} MiB of memory for operands: {e}", bytes >> 20))?;
        Ok(Buffer { pages, offset, elements: PhantomData })
    }

    /// The elements.
    pub fn get(&self) -> &[T] {
        bytemuck::cast_slice(&self.pages[self.offset..])
    }

    /// The elements, to be written.
    pub fn get_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.pages[self.offset..])
    }
}

/// What an operation on rows reads, or what it writes, operand by operand.
pub type RowBuffers = Vec<Buffer<u8>>;

/// What one call reads, beside what all share.
pub struct Input {
    /// The left operand of a product.
    a: Buffer<u8>,
    /// The right operand, where it is not shared.
    b: Option<Buffer<u8>>,
    /// What an operation on rows reads, operand by operand.
    pub rows: RowBuffers,
}

/// What one call writes.
pub struct Output {
    /// Of a product: f32 elements, or s32 ones of the same size.
    pub floats: Buffer<f32>,
    /// What an operation on rows writes, operand by operand.
    pub rows: RowBuffers,
}

/// What the calls of a problem read.
pub struct Inputs {
    /// What they are for.
    pub problem: Problem,
    /// In rotation; at least one.
    pub sets: Vec<Input>,
    /// The N × K right operand before packing, which every call shares.
    unpacked: Buffer<u8>,
}

/// All operands of one problem.
pub struct Operands {
    /// What is read.
    pub inputs: Inputs,
    /// What is written, one for each set of inputs.
    pub outputs: Vec<Output>,
}

/// What the machine allows.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes of the last cache, 0 if unknown.
    pub last_cache: usize,
    /// Bytes that operands may take.
    pub memory: usize,
}

/// Sizes of the parts of a set, and of what all share: bytes of operands, elements of the rest.
#[derive(Default)]
struct Sizes {
    a_bytes: usize,
    b_bytes: usize,
    out: usize,
    unpacked_bytes: usize,
    /// Bytes of all operands of an operation on rows.
    rows_bytes: usize,
    /// About the bytes of a set's packed right operand.
    panel_bytes: usize,
}

fn sizes(problem: &Problem) -> Sizes {
    let none = Sizes::default();
    match (problem.op, problem.shape) {
        (_, Shape::Product { m, n, k }) => {
            let (a_bytes, b_bytes) = with_product!(problem.format, P => (m * k * size_of::<<P as Product>::A>(), n * P::b_bytes(k)));
            if problem.packed {
                Sizes { a_bytes, out: m * n, unpacked_bytes: b_bytes, panel_bytes: b_bytes, ..none }
            } else {
                Sizes { a_bytes, b_bytes, out: m * n, ..none }
            }
        }
        (_, Shape::Attention { .. }) => Sizes { rows_bytes: problem.bytes() as usize, ..none },
        (op, Shape::Rows { rows, cols }) => {
            let operands = op.operands(problem.format).unwrap_or_default();
            Sizes { rows_bytes: operands.iter().map(|o| o.bytes(rows, cols)).sum(), ..none }
        }
    }
}

/// Sets that a problem's temperature asks for, and the bytes of everything with two packed copies (two
/// kernels are compared at a time).
fn plan(problem: &Problem, room: Room) -> (usize, usize) {
    let s = sizes(problem);
    let per_set = s.a_bytes + s.b_bytes + s.panel_bytes + 4 * s.out + s.rows_bytes;
    let sets = match problem.operands {
        Temperature::Hot => 1,
        Temperature::Cold => {
            // A cache of unknown size is taken to be a large one.
            let cache = if room.last_cache > 0 { room.last_cache } else { 32 << 20 };
            // Each thread may have such a cache of its own, which then holds its part of every set.
            (2 * cache * problem.threads).div_ceil(per_set.max(1)) + 1
        }
    };
    let sets = sets.min(4096);
    (sets, sets * (per_set + s.panel_bytes) + s.unpacked_bytes)
}

/// Bytes of a problem's operands, with room for two packed copies of what is packed.
pub fn bytes(problem: &Problem, room: Room) -> usize {
    plan(problem, room).1
}

/// Refuses a problem whose operands would not fit, or that its format cannot hold.
///
/// # Errors
/// One line with the bytes needed and allowed, or with what the format takes.
pub fn fits(problem: &Problem, room: Room) -> anyhow::Result<()> {
    if let Shape::Attention { dim, .. } = problem.shape {
        let fits = !problem.format.is_blocks() || dim.is_multiple_of(SPAN);
        anyhow::ensure!(fits, "heads of {dim} elements: a cache of {} takes multiples of {SPAN}", problem.format);
    }
    let (_, bytes) = plan(problem, room);
    anyhow::ensure!(
        bytes <= room.memory,
        "shape {} needs {} MiB for its operands, but {} MiB may be used here: choose a smaller one",
        problem.shape,
        bytes.div_ceil(1 << 20),
        room.memory >> 20
    );
    Ok(())
}

impl Operands {
    /// Allocates and fills the operands of a problem.
    ///
    /// # Errors
    /// If they do not fit.
    pub fn new(problem: &Problem, room: Room, seed: u64) -> anyhow::Result<Operands> {
        fits(problem, room)?;
        let s = sizes(problem);
        let random = &mut Random::new(seed);
        let (mut sets, mut outputs) = (Vec::new(), Vec::new());
        for _ in 0..plan(problem, room).0 {
            let b = if s.b_bytes > 0 { Some(right(problem, s.b_bytes, random)?) } else { None };
            let (read, written) = row_operands(problem, random)?;
            sets.push(Input { a: left(problem, s.a_bytes, random)?, b, rows: read });
            let mut output = Output { floats: Buffer::new(s.out, random)?, rows: written };
            // Touched here, so that no timed call meets a page for the first time.
            output.floats.get_mut().fill(0.0);
            outputs.push(output);
        }
        let unpacked = right(problem, s.unpacked_bytes, random)?;
        Ok(Operands { inputs: Inputs { problem: *problem, sets, unpacked }, outputs })
    }

    /// Replaces every value of operands of f32, such as by the nearest one that a narrower format has.
    pub fn replace(&mut self, value: impl Fn(f32) -> f32) {
        for buffer in self.inputs.sets.iter_mut().map(|s| &mut s.a).chain([&mut self.inputs.unpacked]) {
            bytemuck::cast_slice_mut(buffer.get_mut()).iter_mut().for_each(|x: &mut f32| *x = value(*x));
        }
    }

    /// Spoils what the first call writes without reading it: NaN, and all bits of operations on rows.
    pub fn spoil(&mut self) {
        let output = &mut self.outputs[0];
        output.floats.get_mut().fill(f32::NAN);
        if let Shape::Attention { .. } = self.inputs.problem.shape {
            output.rows.iter_mut().for_each(|row| row.get_mut().fill(u8::MAX));
        }
        for (operand, buffer) in written(&self.inputs.problem).zip(&mut output.rows) {
            if operand.access == Access::Write {
                buffer.get_mut().fill(u8::MAX);
            }
        }
    }

    /// Gives operands that calls on rows update new random values: many calls in place leave what tells nothing.
    pub fn renew(&mut self, seed: u64) {
        let problem = self.inputs.problem;
        let Shape::Rows { cols, .. } = problem.shape else { return };
        let random = &mut Random::new(seed);
        for output in &mut self.outputs {
            for (operand, buffer) in written(&problem).zip(&mut output.rows) {
                if operand.access == Access::Update {
                    randomise(&operand, cols, buffer, random);
                }
            }
        }
    }

    /// The first set of these operands, which are of f32 with weights to be packed, in another format:
    /// `unit` brings each value into −1..1, where the format takes it from.
    ///
    /// # Errors
    /// If they do not fit.
    pub fn converted(&self, format: Format, room: Room, unit: impl Fn(f32) -> f32) -> anyhow::Result<Operands> {
        let problem = Problem { format, ..self.inputs.problem };
        let mut operands = Operands::new(&problem, room, 0)?;
        let a: &[f32] = bytemuck::cast_slice(self.inputs.sets[0].a.get());
        let b: &[f32] = bytemuck::cast_slice(self.inputs.unpacked.get());
        with_product!(format, P => {
            let to: &mut [<P as Product>::A] = bytemuck::cast_slice_mut(operands.inputs.sets[0].a.get_mut());
            to.iter_mut().zip(a).for_each(|(to, x)| *to = P::a_of(unit(*x)));
            let to: &mut [<P as Product>::B] = bytemuck::cast_slice_mut(operands.inputs.unpacked.get_mut());
            for (to, values) in to.iter_mut().zip(b.chunks_exact(P::B_DEPTH)) {
                *to = P::b_of(&values.iter().map(|x| unit(*x)).collect::<Vec<_>>());
            }
        });
        Ok(operands)
    }
}

/// The operands of an operation on rows, those that are read and those that are written; random values in all.
fn row_operands(problem: &Problem, random: &mut Random) -> anyhow::Result<(RowBuffers, RowBuffers)> {
    let (mut read, mut written) = (Vec::new(), Vec::new());
    if let Shape::Attention { tokens, context, heads, kv_heads, dim } = problem.shape {
        let mut queries = Buffer::<u8>::new(4 * tokens * heads * dim, random)?;
        bytemuck::cast_slice_mut(queries.get_mut()).iter_mut().for_each(|x: &mut f32| *x = random.unit());
        let [keys, values] = cache(problem, (context, kv_heads, dim), random)?;
        return Ok((vec![queries, keys, values], vec![Buffer::new(4 * tokens * heads * dim, random)?]));
    }
    let Shape::Rows { rows, cols } = problem.shape else { return Ok((read, written)) };
    for operand in problem.op.operands(problem.format).unwrap_or_default() {
        let mut buffer = Buffer::<u8>::new(operand.bytes(rows, cols), random)?;
        randomise(&operand, cols, &mut buffer, random);
        if operand.access == Access::Read { read.push(buffer) } else { written.push(buffer) }
    }
    Ok((read, written))
}

/// The keys and the values of a context.
fn cache(problem: &Problem, (context, heads, dim): (usize, usize, usize), random: &mut Random) -> anyhow::Result<[Buffer<u8>; 2]> {
    let layout = Layout::new(problem.format, context, dim);
    let (key_words, value_words) = (layout.key_words(), layout.value_words());
    let mut keys = Buffer::<u8>::new(4 * heads * key_words, random)?;
    let mut values = Buffer::<u8>::new(4 * heads * value_words, random)?;
    let mut tokens = vec![0.0; 2 * dim];
    for head in 0..heads {
        let keys: &mut [u32] = &mut bytemuck::cast_slice_mut(keys.get_mut())[head * key_words..][..key_words];
        let values: &mut [u32] = &mut bytemuck::cast_slice_mut(values.get_mut())[head * value_words..][..value_words];
        for position in 0..context {
            tokens.iter_mut().for_each(|x| *x = random.unit());
            let (key, value) = tokens.split_at(dim);
            layout.store((&mut *keys, &mut *values), position, key, value);
        }
    }
    Ok([keys, values])
}

/// Random values in all rows of an operand.
fn randomise(operand: &Operand, cols: usize, buffer: &mut Buffer<u8>, random: &mut Random) {
    let mut values = vec![0.0; operand.width(cols)];
    for row in buffer.get_mut().chunks_exact_mut(operand.row_bytes(cols).max(1)) {
        if operand.extent == Extent::Head {
            // Cosines and sines of angles: with other numbers rows that are turned in place, call after call, would grow beyond all
            // measure, or vanish.
            let half = values.len() / 2;
            let (cosines, sines) = values.split_at_mut(half);
            cosines.iter_mut().zip(sines).for_each(|(cosine, sine)| (*sine, *cosine) = (std::f32::consts::PI * random.unit()).sin_cos());
        } else {
            values.iter_mut().for_each(|x| *x = random.unit());
        }
        operand.encode(&values, row);
    }
}

/// The operands of an operation on rows that it writes.
fn written(problem: &Problem) -> impl Iterator<Item = Operand> {
    problem.op.operands(problem.format).unwrap_or_default().into_iter().filter(|o| o.access != Access::Read)
}

/// Random elements of A.
fn left(problem: &Problem, bytes: usize, random: &mut Random) -> anyhow::Result<Buffer<u8>> {
    let mut buffer = Buffer::new(bytes, random)?;
    with_product!(problem.format, P => {
        let elements: &mut [<P as Product>::A] = bytemuck::cast_slice_mut(buffer.get_mut());
        elements.iter_mut().for_each(|a| *a = P::a_of(random.unit()));
    });
    Ok(buffer)
}

/// Random elements of B.
fn right(problem: &Problem, bytes: usize, random: &mut Random) -> anyhow::Result<Buffer<u8>> {
    let mut buffer = Buffer::new(bytes, random)?;
    with_product!(problem.format, P => {
        let elements: &mut [<P as Product>::B] = bytemuck::cast_slice_mut(buffer.get_mut());
        let mut values = vec![0.0; P::B_DEPTH];
        for b in elements {
            values.iter_mut().for_each(|x| *x = random.unit());
            *b = P::b_of(&values);
        }
    });
    Ok(buffer)
}

impl Inputs {
    /// The left operand of a set.
    pub fn left<P: Product>(&self, set: usize) -> Mat<'_, P::A> {
        let Shape::Product { m, k, .. } = self.problem.shape else { return Mat::new(&[], 0, 0, 0) };
        Mat::new(bytemuck::cast_slice(self.sets[set].a.get()), m, k, k)
    }

    /// The right operand of a set, K × N. Rows have none.
    pub fn right<P: Product>(&self, set: usize) -> Mat<'_, P::B> {
        let Shape::Product { n, k, .. } = self.problem.shape else { return Mat::new(&[], 0, 0, 0) };
        let k = k.div_ceil(P::B_DEPTH);
        match &self.sets[set].b {
            Some(b) => Mat::new(bytemuck::cast_slice(b.get()), k, n, n),
            None => Mat::new(bytemuck::cast_slice(self.unpacked.get()), n, k, k).transposed(),
        }
    }

    /// The right operand that every call shares, N × K row-major, of operands of f32.
    pub fn weights(&self) -> &[f32] {
        bytemuck::cast_slice(self.unpacked.get())
    }

    /// The keys and values of a set that attention reads. Other problems have none.
    pub fn kv(&self, set: usize) -> Option<Kv<'_>> {
        let Shape::Attention { context, kv_heads, dim, .. } = self.problem.shape else { return None };
        let [_, keys, values] = self.sets[set].rows.as_slice() else { return None };
        let layout = Layout::new(self.problem.format, context, dim);
        Some(Kv::new(layout, kv_heads, bytemuck::cast_slice(keys.get()), bytemuck::cast_slice(values.get())))
    }

    /// The left operand of a set of f32, M × K row-major.
    pub fn left_values(&self, set: usize) -> &[f32] {
        bytemuck::cast_slice(self.sets[set].a.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_kernels::registry::Op;

    const ROOM: Room = Room { last_cache: 1 << 20, memory: 1 << 30 };

    fn problem(shape: &str, packed: bool, operands: Temperature) -> Problem {
        Problem { op: Op::Gemm, format: Op::Gemm.format(), shape: shape.parse().expect("a shape"), packed, threads: 1, operands }
    }

    #[test]
    fn cold_operands_exceed_twice_the_last_cache() {
        let (sets, _) = plan(&problem("1x256x256", true, Temperature::Cold), ROOM);
        assert!(sets * 256 * 256 * 4 > 2 * ROOM.last_cache);
        assert_eq!(plan(&problem("1x256x256", true, Temperature::Hot), ROOM).0, 1);
        let two = Problem { threads: 2, ..problem("1x256x256", true, Temperature::Cold) };
        assert!(plan(&two, ROOM).0 * 256 * 256 * 4 > 4 * ROOM.last_cache);
    }

    #[test]
    fn what_does_not_fit_is_refused_in_one_line() {
        let attention = Problem { op: Op::Attention, format: Format::Q8_0, ..problem("1x16x4x2x48", false, Temperature::Hot) };
        let error = fits(&attention, ROOM).expect_err("no whole spans").to_string();
        assert!(error.contains("multiples of 32") && !error.contains('\n'), "{error}");
        let error = fits(&problem("65536x65536x65536", false, Temperature::Hot), ROOM).expect_err("too large").to_string();
        assert!(error.contains("65536x65536x65536") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn buffers_begin_at_a_cache_line_and_hold_their_length() {
        let mut random = Random::new(1);
        for len in [0, 1, 1000, 600_000] {
            let b = Buffer::<f32>::new(len, &mut random).expect("memory");
            assert_eq!(b.get().len(), len);
            assert_eq!(b.get().as_ptr() as usize % LINE, 0);
        }
    }

    #[test]
    fn what_is_updated_can_be_had_anew_and_what_is_written_is_spoilt() {
        let problem = Problem { op: Op::AddRmsNorm, ..problem("3x8", false, Temperature::Hot) };
        let mut operands = Operands::new(&problem, ROOM, 3).expect("operands");
        let bytes = |operands: &Operands, index: usize| operands.outputs[0].rows[index].get()[..3 * 8 * 4].to_vec();
        let (x, y) = (bytes(&operands, 0), bytes(&operands, 1));
        operands.renew(4);
        assert!(bytes(&operands, 0) != x && bytes(&operands, 1) == y);
        operands.spoil();
        assert!(bytes(&operands, 0) != x && bytes(&operands, 1).iter().all(|b| *b == u8::MAX));
    }
}
