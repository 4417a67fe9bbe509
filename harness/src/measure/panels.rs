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

    /// Makes them all alike: the first is written by `pack`, and copied, which takes a fraction of the time.
    pub fn fill(&mut self, pack: impl FnOnce(&mut [u32])) {
        let (len, stride) = (self.len, stride(self.len));
        if self.count == 0 || len == 0 {
            return;
        }
        let (first, rest) = self.words.get_mut().split_at_mut(stride);
        pack(&mut first[..len]);
        rest.chunks_exact_mut(stride).for_each(|words| words[..len].copy_from_slice(&first[..len]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_alike_and_begin_at_cache_lines() {
        for (count, len) in [(0, 5), (1, 16), (3, 0), (3, 21)] {
            let mut panels = Panels::new(count, len, &mut Random::new(3)).expect("memory");
            panels.fill(|words| words.iter_mut().zip(1..).for_each(|(word, number)| *word = number));
            for set in 0..count {
                let words = panels.get(set).expect("a set");
                assert!(words.iter().copied().eq((1u32..).take(len)) && (words.as_ptr() as usize).is_multiple_of(4 * LINE));
            }
            assert_eq!((panels.get(count), panels.count()), (None, count));
        }
    }
}
