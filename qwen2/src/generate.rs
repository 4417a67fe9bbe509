//! Making text: a prompt is read, then one token after the other is chosen and read back, until an end mark,
//! the number asked for, or the end of the room. Both phases are timed apart.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Error;
use crate::graph::Session;
use crate::sampler::Sampler;

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The model chose an end mark; it is not part of the text.
    EndMark,
    /// A stop string was met.
    StopString,
    /// The user stopped it.
    Interrupted,
    /// As many tokens as asked for.
    Length,
    /// The session has no room for more.
    Context,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndMark => "end mark",
            Self::StopString => "stop string",
            Self::Interrupted => "interrupted",
            Self::Length => "length",
            Self::Context => "context full",
        })
    }
}

/// Whether to go on after a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// With the next one.
    Continue,
    /// No: the text is over, for that reason.
    End(Stop),
}

impl From<()> for Flow {
    fn from((): ()) -> Self {
        Self::Continue
    }
}

/// What was made and how long it took.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The tokens, without the end mark.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub stop: Stop,
    /// Time to read the prompt.
    pub prompt_time: Duration,
    /// Time to choose and read back the tokens.
    pub token_time: Duration,
    /// How many tokens were read back in `token_time`: the last one chosen is not.
    pub steps: usize,
}

/// Continues `prompt` by at most `count` tokens, calling `each` with every one as soon as it is chosen; the text is over when
/// that says so. The last token chosen is not read back, and the sampler knows of the prompt.
///
/// # Errors
/// An empty prompt, tokens that do not exist or do not fit the session, and whatever `each` returns.
pub fn generate<F: Into<Flow>>(
    session: &mut Session<'_>,
    prompt: &[u32],
    count: usize,
    stops: &[u32],
    sampler: &mut Sampler,
    mut each: impl FnMut(u32) -> Result<F, Error>,
) -> Result<Generated, Error> {
    let ops = session.ops();
    let start = Instant::now();
    let mut logits = session.feed(prompt)?;
    let prompt_time = start.elapsed();
    sampler.observe(prompt);
    let start = Instant::now();
    let mut tokens = Vec::new();
    let mut steps = 0;
    let mut stop = Stop::Length;
    while tokens.len() < count {
        let token = sampler.choose(ops, logits)?;
        if stops.contains(&token) {
            stop = Stop::EndMark;
            break;
        }
        tokens.push(token);
        if let Flow::End(why) = each(token)?.into() {
            stop = why;
            break;
        }
        if tokens.len() < count {
            if session.position() == session.capacity() {
                stop = Stop::Context;
                break;
            }
            logits = session.feed(&[token])?;
            steps += 1;
        }
    }
    Ok(Generated { tokens, stop, prompt_time, token_time: start.elapsed(), steps })
}
