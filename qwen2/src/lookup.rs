//! Look-up decoding: what followed the last few tokens where they occurred before is proposed as what comes next, and read
//! in one pass with the token that was just chosen. As far as the sampler agrees, one pass of the weights through memory
//! gives several tokens; from the first disagreement on, what was read is forgotten.
//!
//! The text is that of [`generate`](crate::generate::generate), to the last token: [`Session::feed_singly`] computes the
//! same bits for tokens that are read together as for tokens that are read alone, and the sampler is asked the same questions
//! in the same order. No margin decides anything here, so no tie can be broken in another way. A test holds it to that.

use std::time::Instant;

use serde::Serialize;

use crate::error::Error;
use crate::generate::{Flow, Generated, Stop};
use crate::graph::Session;
use crate::sampler::Sampler;

/// What to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup {
    /// Tokens proposed at a time, at most; fewer for a while after some were refused.
    pub most: usize,
    /// How many of the last tokens must have occurred before: this many or, where they did not, fewer...
    pub longest: usize,
    /// ...but not fewer than this.
    pub shortest: usize,
}

impl Default for Lookup {
    fn default() -> Self {
        Self { most: 8, longest: 4, shortest: 2 }
    }
}

/// How much of what was proposed came true.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Passes through the model after the prompt.
    pub passes: usize,
    /// Of these, how many had proposals.
    pub looked_up: usize,
    /// Tokens proposed.
    pub proposed: usize,
    /// Of these, how many were chosen.
    pub accepted: usize,
}

impl Lookup {
    /// At most `room` tokens that followed the latest earlier occurrence of the end of `text`.
    fn propose<'t>(&self, text: &'t [u32], room: usize) -> &'t [u32] {
        for length in (self.shortest.max(1)..=self.longest).rev() {
            if length >= text.len() {
                continue;
            }
            let end = &text[text.len() - length..];
            // The last one is the end itself.
            let earlier = &text[..text.len() - 1];
            if let Some(at) = earlier.windows(length).rposition(|tokens| tokens == end) {
                let follows = &text[at + length..];
                return &follows[..follows.len().min(self.most).min(room)];
            }
        }
        &[]
    }
}

/// As [`generate`](crate::generate::generate), with proposals looked up in `before`, which is what the session has read
/// already, the prompt and the text made since.
///
/// # Errors
/// [`Error::Usage`] when the sampler is not greedy; else as `generate`.
#[expect(clippy::too_many_arguments, reason = "those of generate, and two more")]
pub fn generate<F: Into<Flow>>(
    session: &mut Session<'_>,
    lookup: Lookup,
    before: &[u32],
    prompt: &[u32],
    count: usize,
    stops: &[u32],
    sampler: &mut Sampler,
    mut each: impl FnMut(u32) -> Result<F, Error>,
) -> Result<(Generated, Statistics), Error> {
    if sampler.options().temperature != 0.0 {
        return Err(Error::Usage("look-up decoding is for temperature 0 alone; give --temp 0 or leave --lookup out".to_owned()));
    }
    let ops = session.ops();
    let read = session.position() + prompt.len();
    let start = Instant::now();
    let logits = session.feed(prompt)?;
    let prompt_time = start.elapsed();
    sampler.observe(prompt);
    let start = Instant::now();
    let mut text = [before, prompt].concat();
    let made = text.len();
    let mut statistics = Statistics::default();
    // How many are proposed next: a proposal that is refused costs, so what went wrong is tried with few.
    let mut trust = lookup.most;
    // Tokens that were chosen and not yet told of.
    let mut chosen = Vec::new();
    if count > 0 {
        chosen.push(sampler.choose(ops, logits)?);
    }
    let stop = 'text: loop {
        for &token in &chosen {
            if stops.contains(&token) {
                break 'text Stop::EndMark;
            }
            text.push(token);
            if let Flow::End(why) = each(token)?.into() {
                break 'text why;
            }
        }
        let left = count - (text.len() - made);
        if left == 0 {
            break Stop::Length;
        }
        let position = session.position();
        let room = session.capacity() - position;
        if room == 0 {
            break Stop::Context;
        }
        // The pass itself gives one token more than it confirms.
        let proposed = lookup.propose(&text, (room - 1).min(left - 1).min(trust));
        let pass = [&text[text.len() - 1..], proposed].concat();
        chosen.clear();
        let mut failed = None;
        let mut agreed = true;
        session.feed_singly(&pass, |at, logits| {
            if !agreed {
                return;
            }
            match sampler.choose(ops, logits) {
                Ok(token) => {
                    agreed = pass.get(at + 1) == Some(&token) && !stops.contains(&token);
                    chosen.push(token);
                }
                Err(error) => {
                    agreed = false;
                    failed = Some(error);
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let accepted = chosen.len() - 1;
        session.rewind(position + 1 + accepted);
        if !proposed.is_empty() {
            trust = if accepted == proposed.len() { lookup.most.min(2 * trust.max(1)) } else { accepted + 1 };
        }
        statistics.passes += 1;
        statistics.looked_up += usize::from(!proposed.is_empty());
        statistics.proposed += proposed.len();
        statistics.accepted += accepted;
    };
    let tokens = text.split_off(made);
    // As many as would have been read back one by one.
    let steps = tokens.len().saturating_sub(usize::from(stop != Stop::EndMark));
    session.rewind(read + steps);
    Ok((Generated { tokens, stop, prompt_time, token_time: start.elapsed(), steps }, statistics))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKUP: Lookup = Lookup { most: 3, longest: 3, shortest: 2 };

    #[test]
    fn the_latest_and_longest_occurrence_counts() {
        assert_eq!(LOOKUP.propose(&[1, 2, 3, 4, 1, 2, 5, 1, 2], 9), [5, 1, 2]);
        assert_eq!(LOOKUP.propose(&[7, 1, 2, 3, 4, 5, 1, 2, 6, 7, 1, 2], 9), [3, 4, 5]);
        assert_eq!(LOOKUP.propose(&[7, 1, 2, 3, 4, 5, 1, 2, 6, 7, 1, 2], 1), [3]);
    }

    #[test]
    fn an_occurrence_may_overlap_the_end() {
        assert_eq!(LOOKUP.propose(&[9, 9, 9, 9], 9), [9]);
    }

    #[test]
    fn nothing_is_proposed_without_one() {
        assert!(LOOKUP.propose(&[1, 2, 3, 4], 9).is_empty());
        assert!(LOOKUP.propose(&[1], 9).is_empty());
        assert!(LOOKUP.propose(&[], 9).is_empty());
        assert!(LOOKUP.propose(&[1, 2, 3, 1, 2], 0).is_empty());
    }
}
