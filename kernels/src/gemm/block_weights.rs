//! The weights of a panel as the micro-kernels of the block formats take them: out of packed blocks, or out
//! of a panel that was unpacked before. Nothing is multiplied with activations here.
//!
//! Unpacked panel, for each span of [`SPAN`] depths: NR scales for each of its parts, as f32 and with their
//! factors; NR minimums likewise, where there are any; then for each four depths the quants, a word a column.
//! For instructions that multiply signed bytes quants become weights, without their offset: see [`moved`].

use super::block_pack::{GROUPS, Layout};
use crate::format::{Block, SPAN};
use crate::isa::{IntDot, Simd};
use core::marker::PhantomData;

/// A span of weights.
pub(super) trait Weights<I: IntDot, const NV: usize> {
    /// Quants have an offset, which sums must be corrected for.
    const OFFSET: bool;
    /// The scales of a part of the span.
    fn scales(&self, part: usize) -> [I::F32; NV];
    /// The minimums, if there are any.
    fn minimums(&self) -> [I::F32; NV];
    /// The quants of group `g` of four depths, as bytes.
    fn group(&self, g: usize) -> [I::I32; NV];
}

/// A span of packed blocks.
pub(super) struct Packed<'a, I: Simd, B, const NV: usize> {
    head: Head<'a, I, B, NV>,
    /// Which span of the block.
    span: usize,
    quants: &'a [u32],
}

impl<'a, I: IntDot, B: Block, const NV: usize> Packed<'a, I, B, NV> {
    /// The spans of NV vectors of blocks; those that come `AHEAD` blocks later are asked for, if it is not 0.
    #[inline(always)]
    pub(super) fn spans<const AHEAD: usize>(isa: I, block: &'a [u32]) -> impl Iterator<Item = Self> {
        let nr = NV * I::LANES;
        let ahead = AHEAD * block.len();
        let (head, quants) = block.split_at(Layout::<I, B, false>::head(nr));
        if AHEAD > 0 {
            isa.prefetch_ahead(head, ahead, head.len());
        }
        let head = Head::<I, B, NV>::new(isa, head);
        quants.chunks_exact(B::BITS * nr).enumerate().map(
            #[inline(always)]
            move |(span, quants)| {
                // Span by span: of a long block's lines only so many can be asked for at once.
                if AHEAD > 0 {
                    isa.prefetch_ahead(quants, ahead, quants.len());
                }
                Packed { head, span, quants }
            },
        )
    }
}

impl<I: IntDot, B: Block, const NV: usize> Weights<I, NV> for Packed<'_, I, B, NV> {
    const OFFSET: bool = !B::MINIMUM && Layout::<I, B, false>::START != 0;

    #[inline(always)]
    fn scales(&self, part: usize) -> [I::F32; NV] {
        self.head.times(self.head.scales, self.span * B::PARTS + part)
    }
    #[inline(always)]
    fn minimums(&self) -> [I::F32; NV] {
        self.head.times(self.head.minimums, Layout::<I, B, false>::PARTS + self.span)
    }
    #[inline(always)]
    fn group(&self, g: usize) -> [I::I32; NV] {
        group::<I, B, NV>(self.head.isa, self.quants, g)
    }
}

/// What stands before the quants of NV vectors of blocks.
#[derive(Clone, Copy)]
struct Head<'a, I: Simd, B, const NV: usize> {
    isa: I,
    scales: [I::F32; NV],
    minimums: [I::F32; NV],
    factors: &'a [i8],
    block: PhantomData<B>,
}

impl<'a, I: IntDot, B: Block, const NV: usize> Head<'a, I, B, NV> {
    #[inline(always)]
    fn new(isa: I, words: &'a [u32]) -> Self {
        let nr = NV * I::LANES;
        let halves: &[u16] = bytemuck::cast_slice(words);
        let (mut scales, mut minimums) = ([isa.splat(0.0); NV], [isa.splat(0.0); NV]);
        for j in 0..NV {
            scales[j] = isa.load_scales(&halves[j * I::LANES..]);
            if B::MINIMUM {
                minimums[j] = isa.load_scales(&halves[nr + j * I::LANES..]);
            }
        }
        let factors =
            if Layout::<I, B, false>::FACTORS { &bytemuck::cast_slice(words)[2 * nr * (1 + usize::from(B::MINIMUM))..] } else { &[] };
        Head { isa, scales, minimums, factors, block: PhantomData }
    }

    #[inline(always)]
    fn times(&self, mut v: [I::F32; NV], line: usize) -> [I::F32; NV] {
        if Layout::<I, B, false>::FACTORS {
            for (j, v) in v.iter_mut().enumerate() {
                *v = self.isa.mul(*v, self.isa.load_i8(&self.factors[(line * NV + j) * I::LANES..]));
            }
        }
        v
    }
}

/// A span of an unpacked panel.
pub(super) struct Unpacked<'a, I, B, const NV: usize> {
    isa: I,
    words: &'a [u32],
    block: PhantomData<B>,
}

impl<'a, I: IntDot, B: Block, const NV: usize> Unpacked<'a, I, B, NV> {
    /// Vectors of scales and minimums for each vector of columns.
    const HEAD: usize = B::PARTS + B::MINIMUM as usize;
    /// Words of a span.
    const WORDS: usize = (Self::HEAD + GROUPS) * NV * I::LANES;

    /// Words of memory for a panel of that depth, wherever they begin.
    pub(super) const fn len(depth: usize) -> usize {
        depth.div_ceil(SPAN) * Self::WORDS + LINE - 1
    }

    #[inline(always)]
    pub(super) fn spans(isa: I, panel: &'a [u32]) -> impl Iterator<Item = Self> {
        panel.chunks_exact(Self::WORDS).map(
            #[inline(always)]
            move |words| Unpacked { isa, words, block: PhantomData },
        )
    }

    #[inline(always)]
    fn floats(&self, line: usize) -> [I::F32; NV] {
        let mut out = [self.isa.splat(0.0); NV];
        for (j, out) in out.iter_mut().enumerate() {
            *out = self.isa.load(&bytemuck::cast_slice(self.words)[(line * NV + j) * I::LANES..]);
        }
        out
    }
}

impl<I: IntDot, B: Block, const NV: usize> Weights<I, NV> for Unpacked<'_, I, B, NV> {
    const OFFSET: bool = Packed::<I, B, NV>::OFFSET && moved::<I, B>() == 0;

    #[inline(always)]
    fn scales(&self, part: usize) -> [I::F32; NV] {
        self.floats(part)
    }
    #[inline(always)]
    fn minimums(&self) -> [I::F32; NV] {
        self.floats(B::PARTS)
    }
    #[inline(always)]
    fn group(&self, g: usize) -> [I::I32; NV] {
        let mut out = [self.isa.splat_i32(0); NV];
        for (j, out) in out.iter_mut().enumerate() {
            *out = self.isa.load_u32(&self.words[((Self::HEAD + g) * NV + j) * I::LANES..]);
        }
        out
    }
}

/// Words of a cache line, which vectors must not straddle.
pub(super) const LINE: usize = 16;

/// So many words of `out`, which begin with a line if they leave [`LINE`] − 1.
#[inline(always)]
pub(super) fn aligned(out: &mut [u32], words: usize) -> &mut [u32] {
    let from = out.as_ptr().align_offset(LINE * size_of::<u32>()).min(LINE - 1);
    &mut out[from..][..words]
}

/// Unpacks as many spans of a packed panel as `out`, of [`Unpacked::len`] words, has room for, and returns
/// the part of `out` that holds them.
#[inline(always)]
pub(super) fn unpack<'a, I: IntDot, B: Block, const NV: usize, const AHEAD: usize>(isa: I, panel: &[u32], out: &'a mut [u32]) -> &'a [u32] {
    let spans = out.len() / Unpacked::<I, B, NV>::WORDS;
    let out = aligned(out, spans * Unpacked::<I, B, NV>::WORDS);
    let block = Layout::<I, B, false>::geometry(1, NV * I::LANES).b_words;
    let blocks = out.chunks_mut(Layout::<I, B, false>::SPANS * Unpacked::<I, B, NV>::WORDS);
    for (block, out) in panel.chunks_exact(block).zip(blocks) {
        for (weights, out) in Packed::<I, B, NV>::spans::<AHEAD>(isa, block).zip(out.chunks_exact_mut(Unpacked::<I, B, NV>::WORDS)) {
            let vectors: &mut [i32] = bytemuck::cast_slice_mut(out);
            for part in 0..B::PARTS {
                put(isa, signed_scales::<I, B, NV>(isa, weights.scales(part)), vectors, part);
            }
            if B::MINIMUM {
                put(isa, weights.minimums(), vectors, B::PARTS);
            }
            for g in 0..GROUPS {
                let group = signed::<I, B, NV>(isa, weights.group(g));
                for (j, v) in group.into_iter().enumerate() {
                    isa.store_i32(v, &mut vectors[((Unpacked::<I, B, NV>::HEAD + g) * NV + j) * I::LANES..]);
                }
            }
        }
    }
    out
}

/// The places by which quants are moved to fill their bytes, where weights are to be signed: moved, the offset is
/// the sign bit. What the weights are multiplied with then, their scales are divided by.
pub(super) const fn moved<I: IntDot, B: Block>() -> u32 {
    if !I::UNSIGNED && B::BITS < 8 && B::OFFSET == 1 << (B::BITS - 1) { 8 - B::BITS as u32 } else { 0 }
}

/// Quants as signed weights, if these are wanted.
#[inline(always)]
pub(super) fn signed<I: IntDot, B: Block, const NV: usize>(isa: I, mut quants: [I::I32; NV]) -> [I::I32; NV] {
    if moved::<I, B>() > 0 {
        let sign = isa.of_bits(isa.splat_i32(i32::from_ne_bytes([0x80; 4])));
        for v in &mut quants {
            *v = isa.to_bits(isa.xor(isa.of_bits(isa.shl_i32(*v, moved::<I, B>())), sign));
        }
    }
    quants
}

/// The scales of [`signed`] weights.
#[inline(always)]
pub(super) fn signed_scales<I: IntDot, B: Block, const NV: usize>(isa: I, mut scales: [I::F32; NV]) -> [I::F32; NV] {
    if moved::<I, B>() > 0 {
        let divisor = isa.splat(1.0 / (1u32 << moved::<I, B>()) as f32);
        for v in &mut scales {
            *v = isa.mul(*v, divisor);
        }
    }
    scales
}

/// Vectors of f32 as line `line` of a span.
#[inline(always)]
fn put<I: Simd, const NV: usize>(isa: I, floats: [I::F32; NV], span: &mut [i32], line: usize) {
    for (j, v) in floats.into_iter().enumerate() {
        isa.store_i32(isa.to_bits(v), &mut span[(line * NV + j) * I::LANES..]);
    }
}

/// The weights of group `g` of four depths, as bytes.
#[inline(always)]
fn group<I: IntDot, B: Block, const NV: usize>(isa: I, quants: &[u32], g: usize) -> [I::I32; NV] {
    let mut out = [isa.splat_i32(0); NV];
    let line = |w: usize, j: usize| isa.load_u32(&quants[(w * NV + j) * I::LANES..]);
    let mask = |byte: u8| isa.splat_i32(i32::from_ne_bytes([byte; 4]));
    for (j, out) in out.iter_mut().enumerate() {
        if B::BITS == 8 {
            *out = line(g, j);
            continue;
        }
        let high = B::BITS - 4;
        let pair = line(high + g / 2, j);
        *out = if g.is_multiple_of(2) { isa.and_i32(pair, mask(0x0f)) } else { isa.upper_halves(pair) };
        // What exceeds four bits, moved to the place above them.
        let (plane, place, bits) = match high {
            0 => continue,
            1 => (0, g, 0x10),
            _ => (g / 4, 2 * (g % 4), 0x30),
        };
        let plane = line(plane, j);
        let moved = match place {
            0..4 => isa.shl_i32(plane, 4 - place as u32),
            4 => plane,
            _ => isa.shr_i32(plane, place as u32 - 4),
        };
        *out = isa.or_i32(*out, isa.and_i32(moved, mask(bits)));
    }
    out
}
