//! How well a model predicts a text: the mean negative log-likelihood of its tokens, and how far another model's
//! predictions are from a recorded [`baseline`].
//!
//! The text is cut into windows that do not overlap; each is read on its own, and what is left at the end is not scored.
//! Two ways are known: every token of a window but its first is scored, or the second half as `llama-perplexity` does it.
//! Qwen2 texts have no token at their start, so none is put there. This module computes; it reads no text and prints nothing.

pub mod baseline;
mod divergence;
mod statistics;

use serde::Serialize;

use crate::error::Error;
use crate::graph::{DEFAULT_CHUNK, Session};
use crate::model::Model;
pub use divergence::{Comparison, Divergence};
pub use statistics::Estimate;
use statistics::Sums;

/// How a text is cut and what of it is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Tokens of a window.
    window: usize,
    /// The first token of a window whose prediction of the next one is scored.
    first: usize,
    /// How many windows there are.
    count: usize,
}

impl Windows {
    /// Windows of `window` tokens, each scored from its second token on; of a text of `tokens` at most `limit` windows.
    ///
    /// # Errors
    /// [`Error::Usage`] when a window has fewer than two tokens or the text fewer than a window.
    pub fn whole(window: usize, tokens: usize, limit: Option<usize>) -> Result<Self, Error> {
        Self::new(window, 0, tokens, limit)
    }

    /// As `llama-perplexity -c window`: of each window the predictions of its second half but the last are scored.
    ///
    /// # Errors
    /// As [`whole`](Self::whole); a window needs four tokens.
    pub fn llama(window: usize, tokens: usize, limit: Option<usize>) -> Result<Self, Error> {
        Self::new(window, window / 2, tokens, limit)
    }

    fn new(window: usize, first: usize, tokens: usize, limit: Option<usize>) -> Result<Self, Error> {
        if window < 2 || first + 1 >= window {
            return Err(Error::Usage(format!("a window of {window} tokens leaves nothing to score; give --window 4 or more")));
        }
        let count = (tokens / window).min(limit.unwrap_or(usize::MAX));
        if count == 0 {
            let why = if limit == Some(0) {
                "no window is asked for; give --windows 1 or more".to_owned()
            } else {
                format!("the text has {tokens} tokens, fewer than a window of {window}; give a longer one or a smaller --window")
            };
            return Err(Error::Usage(why));
        }
        Ok(Self { window, first, count })
    }

    /// Tokens of a window.
    pub fn window(self) -> usize {
        self.window
    }

    /// How many windows there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// Tokens of all windows.
    pub fn tokens(self) -> usize {
        self.window * self.count
    }

    /// Tokens that are scored, of all windows.
    pub fn scored(self) -> usize {
        (self.window - 1 - self.first) * self.count
    }
}

/// How well a text was predicted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Perplexity {
    /// Windows read.
    pub windows: usize,
    /// Tokens of a window.
    pub window: usize,
    /// Tokens scored.
    pub scored: usize,
    /// Negative log-likelihood per token, in nats.
    pub nll: Estimate,
    /// Its exponential.
    pub perplexity: Estimate,
}

/// A prediction that was scored.
#[derive(Debug, Clone, Copy)]
pub struct Prediction<'a> {
    /// The logits.
    pub logits: &'a [f32],
    /// The logarithm of the sum of their exponentials: a logit less this is a log-likelihood, in nats.
    pub log_sum: f64,
    /// The token that did follow.
    pub token: u32,
}

impl Prediction<'_> {
    /// Negative log-likelihood of the token that did follow, in nats.
    pub fn nll(&self) -> f64 {
        self.log_sum - f64::from(self.logits[self.token as usize])
    }
}

/// Scores `tokens`, cut as `windows` says. `each` sees every scored prediction in order; `progress` the number of windows
/// that are done.
///
/// # Errors
/// A window exceeds the model's context, tokens that do not exist or are too few, logits that are not finite, no memory,
/// and whatever `each` returns.
pub fn score(
    model: &Model,
    tokens: &[u32],
    windows: Windows,
    mut each: impl FnMut(Prediction<'_>) -> Result<(), Error>,
    mut progress: impl FnMut(usize),
) -> Result<Perplexity, Error> {
    let Windows { window, first, count } = windows;
    if tokens.len() < windows.tokens() {
        return Err(Error::Usage(format!("{count} windows of {window} tokens need more than the {} of the text", tokens.len())));
    }
    // Nothing follows the last token of a window, so it is not read.
    let mut session = Session::new(model, window - 1, DEFAULT_CHUNK)?;
    let mut sums = Sums::default();
    for (number, tokens) in tokens.chunks_exact(window).take(count).enumerate() {
        session.rewind(0);
        let mut failed = Ok(());
        session.feed_each(&tokens[..window - 1], first, |at, logits| {
            if failed.is_err() {
                return;
            }
            let prediction = Prediction { logits, log_sum: log_sum_exp(logits), token: tokens[at + 1] };
            let nll = prediction.nll();
            failed = if nll.is_finite() { each(prediction) } else { Err(Error::NoLogits) };
            sums.add(nll);
        })?;
        failed?;
        progress(number + 1);
    }
    let nll = sums.mean();
    let perplexity = nll.value.exp();
    // The error of a function of a mean, to first order.
    let perplexity = Estimate { value: perplexity, error: nll.error.map(|error| error * perplexity) };
    Ok(Perplexity { windows: count, window, scored: windows.scored(), nll, perplexity })
}

/// The logarithm of the sum of the exponentials of `logits`. Not a number where one of them is none or infinite.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Terms are rounded to f32, which costs 6e-8 of each; summed so they would lose more.
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    f64::from(largest) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_whole() {
        let windows = Windows::whole(512, 34_000, None).unwrap();
        assert_eq!((windows.count(), windows.scored()), (66, 66 * 511));
        let windows = Windows::llama(512, 34_000, Some(3)).unwrap();
        assert_eq!((windows.count(), windows.tokens(), windows.scored()), (3, 1536, 3 * 255));
        for bad in [Windows::whole(1, 100, None), Windows::whole(0, 100, None), Windows::llama(2, 100, None)] {
            assert!(bad.unwrap_err().to_string().contains("nothing to score"));
        }
        assert!(Windows::whole(101, 100, None).unwrap_err().to_string().contains("has 100 tokens"));
        assert!(Windows::whole(10, 100, Some(0)).is_err());
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert!((log_sum_exp(&[1000.0, 1000.0]) - (1000.0 + 2f64.ln())).abs() < 1e-9);
        assert!((log_sum_exp(&[-1000.0, -1000.0, -2000.0]) - (-1000.0 + 2f64.ln())).abs() < 1e-9);
        assert!(log_sum_exp(&[1.0, f32::NAN]).is_nan());
        assert!(!log_sum_exp(&[1.0, f32::INFINITY]).is_finite());
    }
}
