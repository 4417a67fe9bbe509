//! How keys and values lie in memory, for every instruction set alike; the caller owns that memory.
//!
//! Each head that has keys and values of its own has two pieces. Its keys lie in panels of [`PANEL`] tokens with the
//! dimensions one after another: dimension 0 of all tokens of a panel, then dimension 1, and so on. Its values lie
//! token by token. Of Q8_0, a panel has for each span of 32 dimensions the scales of its tokens (halves), then the
//! bytes of those dimensions; a token's values are the blocks of the format. Both pieces end on a line of the cache.

use crate::format::q8_0::Block;
use crate::format::{Block as _, Format, bf16, f16};
use crate::isa::Simd;
use bytemuck::{Pod, Zeroable};

/// Tokens whose keys lie side by side.
pub const PANEL: usize = 16;

/// Words of a line of the cache: pieces are whole lines.
const LINE_WORDS: usize = 16;

/// A format that keys and values are stored in.
pub trait Cached: Copy + Send + Sync + 'static {
    /// Which one.
    const FORMAT: Format;
    /// Dimensions that share a scale: 1 where there are none.
    const SPAN: usize;
    /// [`Cached::SPAN`] dimensions of the keys of a panel.
    type Keys: Pod;
    /// [`Cached::SPAN`] dimensions of one value.
    type Value: Pod;

    /// The scales of the keys from `at` on.
    fn scales<I: Simd>(isa: I, keys: &Self::Keys, at: usize) -> I::F32;
    /// Dimension `line` of the keys from `at` on.
    fn key<I: Simd>(isa: I, keys: &Self::Keys, line: usize, at: usize, scales: I::F32) -> I::F32;
    /// A vector of a value, from dimension `at` on.
    fn value<I: Simd>(isa: I, value: &[Self::Value], at: usize) -> I::F32;
    /// As [`Cached::value`] where less than a vector is left; the rest is 0.
    fn value_end<I: Simd>(isa: I, value: &[Self::Value], at: usize) -> I::F32;
    /// The keys as they are, where they need no widening.
    fn plain_keys(_: &[Self::Keys]) -> Option<&[[f32; PANEL]]> {
        None
    }
    /// The values as they are, where they need no widening.
    fn plain_values(_: &[Self::Value]) -> Option<&[f32]> {
        None
    }

    /// Stores [`Cached::SPAN`] dimensions of the key of token `at` of a panel.
    fn set_key(keys: &mut Self::Keys, at: usize, x: &[f32]);
    /// [`Cached::SPAN`] dimensions of a value.
    fn of_value(x: &[f32]) -> Self::Value;
}

/// Keys and values as f32.
#[derive(Clone, Copy, Debug)]
pub enum F32 {}

/// Keys and values as halves.
#[derive(Clone, Copy, Debug)]
pub enum F16 {}

/// Keys and values as bfloat16.
#[derive(Clone, Copy, Debug)]
pub enum Bf16 {}

/// Keys and values as bytes with scales.
#[derive(Clone, Copy, Debug)]
pub enum Q8_0 {}

impl Cached for F32 {
    const FORMAT: Format = Format::F32;
    const SPAN: usize = 1;
    type Keys = [f32; PANEL];
    type Value = f32;

    #[inline(always)]
    fn scales<I: Simd>(isa: I, _: &[f32; PANEL], _: usize) -> I::F32 {
        isa.splat(1.0)
    }
    #[inline(always)]
    fn key<I: Simd>(isa: I, keys: &[f32; PANEL], _: usize, at: usize, _: I::F32) -> I::F32 {
        isa.load(&keys[at..])
    }
    #[inline(always)]
    fn value<I: Simd>(isa: I, value: &[f32], at: usize) -> I::F32 {
        isa.load(&value[at..])
    }
    #[inline(always)]
    fn value_end<I: Simd>(isa: I, value: &[f32], at: usize) -> I::F32 {
        isa.load_partial(&value[at..])
    }
    #[inline(always)]
    fn plain_keys(keys: &[[f32; PANEL]]) -> Option<&[[f32; PANEL]]> {
        Some(keys)
    }
    #[inline(always)]
    fn plain_values(values: &[f32]) -> Option<&[f32]> {
        Some(values)
    }
    fn set_key(keys: &mut [f32; PANEL], at: usize, x: &[f32]) {
        keys[at] = x[0];
    }
    fn of_value(x: &[f32]) -> f32 {
        x[0]
    }
}

/// A format of 16-bit elements: which functions widen a vector and round a number.
macro_rules! halves {
    ($type:ident, $load:ident, $round:path) => {
        impl Cached for $type {
            const FORMAT: Format = Format::$type;
            const SPAN: usize = 1;
            type Keys = [u16; PANEL];
            type Value = u16;

            #[inline(always)]
            fn scales<I: Simd>(isa: I, _: &[u16; PANEL], _: usize) -> I::F32 {
                isa.splat(1.0)
            }
            #[inline(always)]
            fn key<I: Simd>(isa: I, keys: &[u16; PANEL], _: usize, at: usize, _: I::F32) -> I::F32 {
                isa.$load(&keys[at..])
            }
            #[inline(always)]
            fn value<I: Simd>(isa: I, value: &[u16], at: usize) -> I::F32 {
                isa.$load(&value[at..])
            }
            #[inline(always)]
            fn value_end<I: Simd>(isa: I, value: &[u16], at: usize) -> I::F32 {
                isa.$load(&isa.halves_partial(&value[at..]))
            }
            fn set_key(keys: &mut [u16; PANEL], at: usize, x: &[f32]) {
                keys[at] = $round(x[0]);
            }
            fn of_value(x: &[f32]) -> u16 {
                $round(x[0])
            }
        }
    };
}
halves!(F16, load_f16, f16::from_f32);
halves!(Bf16, load_bf16, bf16::from_f32);

/// 32 dimensions of the keys of a panel, in Q8_0.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Bytes {
    /// Halves.
    scales: [u16; PANEL],
    quants: [[i8; PANEL]; 32],
}

impl Cached for Q8_0 {
    const FORMAT: Format = Format::Q8_0;
    const SPAN: usize = 32;
    type Keys = Bytes;
    type Value = Block;

    #[inline(always)]
    fn scales<I: Simd>(isa: I, keys: &Bytes, at: usize) -> I::F32 {
        isa.load_f16(&keys.scales[at..])
    }
    #[inline(always)]
    fn key<I: Simd>(isa: I, keys: &Bytes, line: usize, at: usize, scales: I::F32) -> I::F32 {
        isa.mul(isa.load_i8(&keys.quants[line][at..]), scales)
    }
    #[inline(always)]
    fn value<I: Simd>(isa: I, value: &[Block], at: usize) -> I::F32 {
        let block = &value[at / 32];
        let [scale, ..] = isa.four_f16([block.d.to_bits(), 0, 0, 0]);
        isa.mul(isa.load_i8(&block.quants[at % 32..]), isa.splat(scale))
    }
    /// Spans are whole vectors.
    #[inline(always)]
    fn value_end<I: Simd>(isa: I, value: &[Block], at: usize) -> I::F32 {
        Self::value(isa, value, at)
    }
    fn set_key(keys: &mut Bytes, at: usize, x: &[f32]) {
        let block = Block::quantise(x);
        keys.scales[at] = block.d.to_bits();
        keys.quants.iter_mut().zip(block.quants).for_each(|(line, quant)| line[at] = quant);
    }
    fn of_value(x: &[f32]) -> Block {
        Block::quantise(x)
    }
}

/// `with_cached!(format, E => expression)`: the expression with `E` the type of a format that caches have.
macro_rules! with_cached {
    ($format:expr, $e:ident => $body:expr) => {
        match $format {
            $crate::format::Format::F32 => {
                type $e = $crate::attention::cache::F32;
                $body
            }
            $crate::format::Format::F16 => {
                type $e = $crate::attention::cache::F16;
                $body
            }
            $crate::format::Format::Bf16 => {
                type $e = $crate::attention::cache::Bf16;
                $body
            }
            $crate::format::Format::Q8_0 => {
                type $e = $crate::attention::cache::Q8_0;
                $body
            }
            other => panic!("no cache of keys and values has format {}", other.name()),
        }
    };
}

/// How the keys and values of one head lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    format: Format,
    capacity: usize,
    dim: usize,
}

impl Layout {
    /// The formats that there are.
    pub const FORMATS: [Format; 4] = [Format::F32, Format::F16, Format::Bf16, Format::Q8_0];

    /// Of `capacity` tokens with `dim` elements each.
    ///
    /// # Panics
    /// If a cache cannot have the format, or `dim` is 0 or no multiple of 2 (of Q8_0: of 32).
    pub fn new(format: Format, capacity: usize, dim: usize) -> Layout {
        let span = with_cached!(format, E => E::SPAN.max(2));
        assert!(dim > 0 && dim.is_multiple_of(span), "heads of {dim} elements: {} takes multiples of {span}", format.name());
        Layout { format, capacity, dim }
    }

    /// The format of keys and values.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Tokens that there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Elements of a head.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Words that the keys of one head fill.
    pub fn key_words(&self) -> usize {
        let bytes = with_cached!(self.format, E => size_of::<<E as Cached>::Keys>() * (self.dim / E::SPAN));
        words(self.capacity.div_ceil(PANEL) * bytes)
    }

    /// Words that the values of one head fill.
    pub fn value_words(&self) -> usize {
        let bytes = with_cached!(self.format, E => size_of::<<E as Cached>::Value>() * (self.dim / E::SPAN));
        words(self.capacity * bytes)
    }

    /// Stores the key and the value of the token at `position` in the pieces of one head, which are
    /// [`Layout::key_words`] and [`Layout::value_words`] long.
    ///
    /// # Panics
    /// If there is no room for the token, or anything is of another length.
    pub fn store(&self, (keys, values): (&mut [u32], &mut [u32]), position: usize, key: &[f32], value: &[f32]) {
        assert!(position < self.capacity, "token {position} in a cache for {}", self.capacity);
        let fits = (keys.len(), values.len()) == (self.key_words(), self.value_words());
        assert!(fits, "{} and {} words are no head of {self:?}", keys.len(), values.len());
        assert!(key.len() == self.dim && value.len() == self.dim, "a key of {} and a value of {} elements", key.len(), value.len());
        with_cached!(self.format, E => store::<E>(self, (keys, values), position, key, value));
    }
}

fn store<E: Cached>(layout: &Layout, (keys, values): (&mut [u32], &mut [u32]), position: usize, key: &[f32], value: &[f32]) {
    let (spans, panel, at) = (layout.dim / E::SPAN, position / PANEL, position % PANEL);
    let keys = &mut units_mut::<E::Keys>(keys, (panel + 1) * spans)[panel * spans..];
    for (keys, x) in keys.iter_mut().zip(key.chunks_exact(E::SPAN)) {
        E::set_key(keys, at, x);
    }
    let values = &mut units_mut::<E::Value>(values, (position + 1) * spans)[position * spans..];
    for (stored, x) in values.iter_mut().zip(value.chunks_exact(E::SPAN)) {
        *stored = E::of_value(x);
    }
}

/// Words of whole lines that hold so many bytes.
fn words(bytes: usize) -> usize {
    bytes.div_ceil(4).next_multiple_of(LINE_WORDS)
}

/// The first `count` units of a piece.
fn units<T: Pod>(words: &[u32], count: usize) -> &[T] {
    bytemuck::cast_slice(&bytemuck::cast_slice::<u32, u8>(words)[..count * size_of::<T>()])
}

fn units_mut<T: Pod>(words: &mut [u32], count: usize) -> &mut [T] {
    bytemuck::cast_slice_mut(&mut bytemuck::cast_slice_mut::<u32, u8>(words)[..count * size_of::<T>()])
}

/// The keys and values of all heads of a layer, to be read: the pieces of one head after those of another. Kernels are
/// fastest where both begin on a line of the cache.
#[derive(Clone, Copy, Debug)]
pub struct Kv<'a> {
    layout: Layout,
    heads: usize,
    keys: &'a [u32],
    values: &'a [u32],
}

impl<'a> Kv<'a> {
    /// `heads` heads.
    ///
    /// # Panics
    /// If there are none, or `keys` or `values` have not as many words as they need.
    pub fn new(layout: Layout, heads: usize, keys: &'a [u32], values: &'a [u32]) -> Kv<'a> {
        assert!(heads > 0, "a cache without heads");
        let fits = (keys.len(), values.len()) == (heads * layout.key_words(), heads * layout.value_words());
        assert!(fits, "{} and {} words are not {heads} heads of {layout:?}", keys.len(), values.len());
        Kv { layout, heads, keys, values }
    }

    /// How each head lies.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Heads that have keys and values of their own.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// The key and the value of a token in a head, widened: for oracles, not fast.
    ///
    /// # Panics
    /// If there is no such token or head.
    #[cfg(feature = "sweep")]
    pub fn token(&self, head: usize, position: usize) -> (Vec<f32>, Vec<f32>) {
        let Layout { format, capacity, dim } = self.layout;
        assert!(position < capacity && head < self.heads, "token {position} of head {head}");
        with_cached!(format, E => {
            let isa = <crate::isa::Scalar as crate::isa::Isa>::of_this_cpu().expect("any CPU has it");
            let ((keys, values), at) = (self.head::<E>(head), position % PANEL);
            let key = |i: usize| {
                let span = &keys[(position / PANEL * dim + i) / E::SPAN];
                E::key(isa, span, i - i / E::SPAN * E::SPAN, at, E::scales(isa, span, at))
            };
            let value = |i: usize| E::value(isa, &values[position * dim / E::SPAN..], i);
            ((0..dim).map(key).collect(), (0..dim).map(value).collect())
        })
    }

    /// The keys of a head, panel by panel, and its values, token by token.
    pub(super) fn head<E: Cached>(&self, head: usize) -> (&'a [E::Keys], &'a [E::Value]) {
        let (keys, values) = (self.layout.key_words(), self.layout.value_words());
        let spans = self.layout.dim / E::SPAN;
        let panels = self.layout.capacity.div_ceil(PANEL) * spans;
        (units(&self.keys[head * keys..][..keys], panels), units(&self.values[head * values..][..values], self.layout.capacity * spans))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines_and_hold_what_was_stored() {
        for format in Layout::FORMATS {
            let layout = Layout::new(format, 37, 64);
            let (mut keys, mut values) = (vec![0; layout.key_words()], vec![0; layout.value_words()]);
            assert!(keys.len() % LINE_WORDS == 0 && values.len() % LINE_WORDS == 0);
            let of = |token: usize, i: usize| (token * 64 + i) as f32 / 4096.0;
            for token in 0..37 {
                let key: Vec<f32> = (0..64).map(|i| of(token, i)).collect();
                let value: Vec<f32> = key.iter().map(|x| -x).collect();
                layout.store((&mut keys, &mut values), token, &key, &value);
            }
            let kv = Kv::new(layout, 1, &keys, &values);
            with_cached!(format, E => {
                let isa = <crate::isa::Scalar as crate::isa::Isa>::detect().expect("any CPU has it");
                let (keys, values) = kv.head::<E>(0);
                for token in 0..37 {
                    for i in 0..64 {
                        let span = &keys[(token / PANEL * 64 + i) / E::SPAN];
                        let key = E::key(isa, span, i - i / E::SPAN * E::SPAN, token % PANEL, E::scales(isa, span, token % PANEL));
                        let value = E::value(isa, &values[token * 64 / E::SPAN..], i);
                        let near = |x: f32, y: f32| (x - y).abs() <= y.abs() / 256.0 + 0.6 / 127.0;
                        assert!(near(key, of(token, i)) && near(-value, of(token, i)), "{format:?} {token} {i}: {key} {value}");
                    }
                }
            });
        }
    }

    #[test]
    #[should_panic(expected = "multiples of 32")]
    fn odd_dimensions_are_refused() {
        Layout::new(Format::Q8_0, 1, 48);
    }
}
