//! Multiple choice: which of several continuations of a text a model finds likeliest. Two measures, as lm-eval has them:
//! by the sum of a continuation's log-likelihoods (acc), and by that sum over its length (acc_norm).
//!
//! What two texts have in common at their start is read once: the choices of a question share the question, all questions
//! share the examples before them. This module reads no files; [`task`] knows what questions look like.

pub mod task;

use serde::Serialize;

use crate::error::Error;
use crate::graph::{DEFAULT_CHUNK, Session};
use crate::model::Model;
use crate::perplexity::{Estimate, log_sum_exp};
use crate::tokenizer::Tokenizer;
use task::Question;

/// A question as tokens.
#[derive(Debug, Clone)]
pub struct Encoded {
    choices: Vec<Choice>,
    answer: usize,
}

#[derive(Debug, Clone)]
struct Choice {
    /// The text before it and it.
    ids: Vec<u32>,
    /// Where its own tokens begin, at least 1.
    from: usize,
    /// Length of its text.
    bytes: usize,
}

impl Encoded {
    /// `question` after `examples`, which may be empty, as tokens.
    ///
    /// A choice's tokens are those that it adds when it is encoded together with what comes before, as in lm-eval.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn new(tokenizer: &Tokenizer, examples: &str, question: &Question) -> Result<Self, Error> {
        let before = format!("{examples}{}", question.prompt);
        let shared = tokenizer.encode(&before)?.len();
        let choice = |text: &String| {
            let ids = tokenizer.encode(&format!("{before} {text}"))?;
            let from = shared.min(ids.len().saturating_sub(1)).max(1);
            Ok(Choice { ids, from, bytes: text.len() })
        };
        let choices = question.choices.iter().map(choice).collect::<Result<_, Error>>()?;
        Ok(Self { choices, answer: question.answer })
    }

    /// Tokens of its longest choice and what comes before.
    pub fn longest(&self) -> usize {
        self.choices.iter().map(|choice| choice.ids.len()).max().unwrap_or(0)
    }
}

/// A session that reads what it has read already only once.
#[derive(Debug)]
struct Reader<'m> {
    session: Session<'m>,
    read: Vec<u32>,
    /// How many tokens went through the model.
    tokens: usize,
}

impl Reader<'_> {
    /// The sum of the log-likelihoods of `ids[from..]`, in nats, each after what is before it.
    fn log_likelihood(&mut self, ids: &[u32], from: usize) -> Result<f64, Error> {
        let needed = &ids[..ids.len() - 1];
        let known = needed.iter().zip(&self.read).take_while(|(a, b)| a == b).count().min(from - 1);
        self.session.rewind(known);
        self.read.truncate(known);
        let mut sum = 0.0;
        self.session.feed_each(&needed[known..], from - 1 - known, |at, logits| {
            sum += f64::from(logits[ids[known + at + 1] as usize]) - log_sum_exp(logits);
        })?;
        self.read.extend(&needed[known..]);
        self.tokens += needed.len() - known;
        if sum.is_finite() { Ok(sum) } else { Err(Error::NoLogits) }
    }
}

/// How many questions were answered right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    /// Questions asked.
    pub questions: usize,
    /// Share of right answers, by the sum of log-likelihoods.
    pub acc: Estimate,
    /// The same by that sum over the bytes of the choice's text.
    pub acc_norm: Estimate,
    /// Questions whose beginning was left out, because they exceed the model's context.
    pub cut: usize,
    /// Tokens read.
    pub tokens: usize,
}

/// Asks `questions`; `progress` is told how many were asked, and how many of these were answered right.
///
/// # Errors
/// No questions, no memory, logits that are not finite.
pub fn ask(model: &Model, questions: &[Encoded], mut progress: impl FnMut(usize, usize)) -> Result<Accuracy, Error> {
    if questions.is_empty() {
        return Err(Error::Usage("there is no question to ask".to_owned()));
    }
    let longest = questions.iter().map(Encoded::longest).max().unwrap_or(0).saturating_sub(1);
    let room = longest.clamp(1, model.config().context);
    let mut reader = Reader { session: Session::new(model, room, DEFAULT_CHUNK)?, read: Vec::new(), tokens: 0 };
    let (mut right, mut right_norm, mut cut) = (0, 0, 0);
    for (number, question) in questions.iter().enumerate() {
        let mut scores = Vec::with_capacity(question.choices.len());
        for Choice { ids, from, bytes } in &question.choices {
            let drop = (ids.len() - 1).saturating_sub(room);
            let sum = reader.log_likelihood(&ids[drop..], from.saturating_sub(drop).max(1))?;
            scores.push((sum, sum / (*bytes).max(1) as f64));
        }
        // Of equals the first.
        let best = |score: fn(&(f64, f64)) -> f64| {
            (0..scores.len()).rev().max_by(|a, b| score(&scores[*a]).total_cmp(&score(&scores[*b]))) == Some(question.answer)
        };
        right += usize::from(best(|score| score.0));
        right_norm += usize::from(best(|score| score.1));
        cut += usize::from(question.longest() - 1 > room);
        progress(number + 1, right);
    }
    let share = |right: usize| {
        let (count, value) = (questions.len() as f64, right as f64 / questions.len() as f64);
        Estimate { value, error: (count > 1.0).then(|| (value * (1.0 - value) / (count - 1.0)).sqrt()) }
    };
    Ok(Accuracy { questions: questions.len(), acc: share(right), acc_norm: share(right_norm), cut, tokens: reader.tokens })
}
