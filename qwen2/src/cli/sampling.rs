//! Options of the commands that make text: how tokens are chosen, where a text ends, and look-up decoding. Names and
//! meanings are llama.cpp's.

use qwen2::Error;
use qwen2::generate::{Flow, Generated, generate};
use qwen2::graph::Session;
use qwen2::lookup::{self, Lookup, Statistics};
use qwen2::sampler::{Sampler, SamplerOptions};
use qwen2::text::TextStream;

/// How to choose tokens.
#[derive(Debug, clap::Args)]
pub(super) struct SamplingArgs {
    /// Temperature; 0 always takes the likeliest token [default: 0, of chat 0.7]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temp: Option<f32>,
    /// Choose among the K likeliest tokens; 0: among all
    #[arg(long, value_name = "K", default_value_t = 40)]
    top_k: usize,
    /// Choose among the likeliest tokens that reach this probability together
    #[arg(long, value_name = "P", default_value_t = 0.95, allow_negative_numbers = true)]
    top_p: f32,
    /// Choose among tokens at least this share as likely as the likeliest
    #[arg(long, value_name = "P", default_value_t = 0.05, allow_negative_numbers = true)]
    min_p: f32,
    /// Make tokens of the text so far less likely; 1: do not
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// How many of the last tokens that concerns; -1: all
    #[arg(long, value_name = "N", default_value_t = 64, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    repeat_last_n: i64,
    /// Seed of the random choices
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// End the text before this string; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Propose up to N tokens at a time from the text so far [default: 8]; the text is the same, and temperature 0 needed
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "8", value_parser = clap::value_parser!(u16).range(1..=64))]
    lookup: Option<u16>,
}

impl SamplingArgs {
    /// How to choose, at `temperature` unless another is given.
    ///
    /// # Errors
    /// Options that make no sense, also together.
    pub(super) fn options(&self, temperature: f32) -> Result<SamplerOptions, Error> {
        let options = SamplerOptions {
            temperature: self.temp.unwrap_or(if self.lookup.is_some() { 0.0 } else { temperature }),
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: usize::try_from(self.repeat_last_n).unwrap_or(usize::MAX),
            seed: self.seed,
        };
        Sampler::new(options, &[])?;
        if self.lookup.is_some() && options.temperature != 0.0 {
            return Err(Error::Usage("--lookup is for temperature 0 alone; give --temp 0 or leave it out".to_owned()));
        }
        self.text()?;
        Ok(options)
    }

    /// The text up to a stop string.
    pub(super) fn text(&self) -> Result<TextStream, Error> {
        TextStream::new(&self.stop)
    }

    /// Makes text with or without look-up; `before` is what the session has read already.
    #[expect(clippy::too_many_arguments, reason = "those of the library's functions")]
    pub(super) fn generate(
        &self,
        session: &mut Session<'_>,
        before: &[u32],
        prompt: &[u32],
        count: usize,
        stops: &[u32],
        sampler: &mut Sampler,
        each: impl FnMut(u32) -> Result<Flow, Error>,
    ) -> Result<(Generated, Option<Statistics>), Error> {
        let Some(most) = self.lookup else {
            return Ok((generate(session, prompt, count, stops, sampler, each)?, None));
        };
        let lookup = Lookup { most: most.into(), ..Lookup::default() };
        let (generated, statistics) = lookup::generate(session, lookup, before, prompt, count, stops, sampler, each)?;
        Ok((generated, Some(statistics)))
    }
}

/// What came of look-up, for people; `steps` is how many passes it would have been without.
pub(super) fn told(statistics: &Statistics, steps: usize) -> String {
    let Statistics { passes, looked_up, proposed, accepted } = *statistics;
    let share = if proposed > 0 { format!(" ({:.1} %)", 100.0 * accepted as f64 / proposed as f64) } else { String::new() };
    format!(
        "[look-up: {accepted} of {proposed} proposed tokens accepted{share}; {passes} passes instead of {steps}, {looked_up} with proposals]"
    )
}
