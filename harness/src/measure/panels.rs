//! The packed right operands of all sets of a problem, in one piece of memory: small ones too lie on huge
//! pages then, as the weights of a model do.

use super::operands::Buffer;
use super::statistics::Random;

/// Words of a cache line, at which each operand begins.
const LINE: usize = 16;

/// Words from one operand of `len` words to the next.
fn stride(len: usize) -> usize {
    len.next_multiple_of(LINE)
}

/// So many packed operands of one size.
pub struct Panels {
    words: Buffer<u32>,
    /// Words of one.
    len: usize,
    count: usize,
}

impl Panels {
    /// Room for `count` operands of `len` words.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn new(count: usize, len: usize, random: &mut Random) -> anyhow::Result<Panels> {
        Ok(Panels { words: Buffer::new(count * stride(len), random)?, len, count })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of one.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<u32>()
    }

    /// The operand of a set, if there are any.
    pub fn get(&self, set: usize) -> Option<&[u32]> {
        (set < self.count).then(|| &self.words.get()[set * stride(self.len)..][..self.len])
    }

    /// Each operand in turn, to be written.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u32]> {
        let len = self.len;
        self.words.get_mut().chunks_exact_mut(stride(len).max(1)).map(move |words| &mut words[..len])
    }
}
