//! Choosing the next token from logits, by the rules and in the order of llama.cpp: the penalty of repetition; then
//! the likeliest token, or top-k, top-p, min-p, temperature and a draw. Draws come from a seed alone, so a text can be made
//! again. Tokens that stand for nothing are never chosen.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::baked::Ops;
use crate::error::Error;
use crate::model::mix;

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Keeps the `k` likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps the tokens that are at least this share as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divides positive logits of tokens of the text so far and multiplies negative ones; 1 changes nothing.
    pub repeat_penalty: f32,
    /// How many tokens at the end of the text so far that concerns.
    pub repeat_last_n: usize,
    /// Start of the random sequence.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, repeat_last_n: 64, seed: 0 }
    }
}

/// Chooses tokens, one after the other.
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    banned: Vec<u32>,
    draws: u64,
    /// The end of the text so far, as far as it matters.
    recent: VecDeque<u32>,
    /// Logits after the penalty.
    penalised: Vec<f32>,
    candidates: Vec<(u32, f32)>,
    /// The largest logits and where they are.
    values: Vec<f32>,
    places: Vec<u32>,
}

/// Likelier tokens first, of equals the first first.
fn likelier(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0))
}

impl Sampler {
    /// A sampler that never chooses one of `banned`.
    ///
    /// # Errors
    /// [`Error::Usage`] when the temperature is negative, top-p or min-p outside of 0 to 1, or the penalty not above 0.
    pub fn new(options: SamplerOptions, banned: &[u32]) -> Result<Self, Error> {
        if !(options.temperature >= 0.0 && options.temperature.is_finite()) {
            return Err(Error::Usage(format!("the temperature is {}; it must be 0 or more", options.temperature)));
        }
        if !(options.top_p > 0.0 && options.top_p <= 1.0) {
            return Err(Error::Usage(format!("top-p is {}; it must lie above 0 and not above 1", options.top_p)));
        }
        if !(0.0..=1.0).contains(&options.min_p) {
            return Err(Error::Usage(format!("min-p is {}; it must lie between 0 and 1", options.min_p)));
        }
        if !(options.repeat_penalty > 0.0 && options.repeat_penalty.is_finite()) {
            return Err(Error::Usage(format!("the repeat penalty is {}; it must be above 0", options.repeat_penalty)));
        }
        let mut banned = banned.to_vec();
        banned.sort_unstable();
        Ok(Self {
            options,
            banned,
            draws: 0,
            recent: VecDeque::new(),
            penalised: Vec::new(),
            candidates: Vec::new(),
            values: Vec::new(),
            places: Vec::new(),
        })
    }

    /// How it chooses.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Takes `tokens` for the next of the text so far. Those that it [chooses](Self::choose) it knows of.
    pub fn observe(&mut self, tokens: &[u32]) {
        let SamplerOptions { repeat_penalty, repeat_last_n, .. } = self.options;
        if repeat_penalty == 1.0 {
            return;
        }
        self.recent.extend(&tokens[tokens.len().saturating_sub(repeat_last_n)..]);
        self.recent.drain(..self.recent.len().saturating_sub(repeat_last_n));
    }

    /// The next token.
    ///
    /// # Errors
    /// [`Error::NoLogits`] when no allowed token has a finite logit.
    pub fn choose(&mut self, ops: &Ops, logits: &[f32]) -> Result<u32, Error> {
        let token = if self.recent.is_empty() {
            self.choose_of(ops, logits)
        } else {
            let mut penalised = std::mem::take(&mut self.penalised);
            penalised.clear();
            penalised.extend_from_slice(logits);
            self.penalise(&mut penalised);
            let token = self.choose_of(ops, &penalised);
            self.penalised = penalised;
            token
        }?;
        self.observe(&[token]);
        Ok(token)
    }

    /// Makes the tokens of the text so far less likely, however often each occurred.
    fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.options.repeat_penalty;
        let mut tokens: Vec<u32> = self.recent.iter().copied().collect();
        tokens.sort_unstable();
        tokens.dedup();
        for token in tokens {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    fn choose_of(&mut self, ops: &Ops, logits: &[f32]) -> Result<u32, Error> {
        let wanted = match self.options {
            SamplerOptions { temperature: 0.0, .. } => 1,
            SamplerOptions { top_k: 0, .. } => logits.len(),
            SamplerOptions { top_k, .. } => top_k,
        };
        self.likeliest(ops, logits, wanted);
        if self.options.temperature == 0.0 {
            return self.candidates.first().map(|(id, _)| *id).ok_or(Error::NoLogits);
        }
        let kept = self.keep();
        let Some(&(last, _)) = kept.last() else { return Err(Error::NoLogits) };
        let total: f32 = kept.iter().map(|(_, weight)| weight).sum();
        let mut left = self.draw() * total;
        for &(id, weight) in &self.candidates {
            left -= weight;
            if left < 0.0 {
                return Ok(id);
            }
        }
        Ok(last)
    }

    /// Makes the `count` likeliest allowed tokens the candidates, likeliest first and of equals the first first; all of
    /// them, in their own order, where that many are asked for.
    fn likeliest(&mut self, ops: &Ops, logits: &[f32], count: usize) {
        let banned = &self.banned;
        let allowed = |(id, logit): &(u32, f32)| logit.is_finite() && banned.binary_search(id).is_err();
        self.candidates.clear();
        // Banned ones may be among the largest, so as many more are looked at.
        let few = count.saturating_add(banned.len());
        if few < logits.len() / 8 {
            self.values.resize(few, 0.0);
            self.places.resize(few, 0);
            ops.top_k.run(logits, &mut self.values, &mut self.places);
            let found = self.places.iter().copied().zip(self.values.iter().copied());
            self.candidates.extend(found.filter(allowed).take(count));
        }
        // What is not finite comes first and may have taken the places of others.
        if self.candidates.len() < count {
            self.candidates.clear();
            self.candidates.extend((0u32..).zip(logits.iter().copied()).filter(allowed));
            if count < self.candidates.len() {
                self.candidates.select_nth_unstable_by(count - 1, likelier);
                self.candidates.truncate(count);
                self.candidates.sort_unstable_by(likelier);
            }
        }
    }

    /// Orders the candidates, likeliest first, drops those that are not kept and turns the logits of the others into weights.
    fn keep(&mut self) -> &[(u32, f32)] {
        let SamplerOptions { temperature, top_p, min_p, .. } = self.options;
        let candidates = &mut self.candidates;
        candidates.sort_unstable_by(likelier);
        let Some(&(_, largest)) = candidates.first() else { return &[] };
        // Relative to the likeliest, whose weight is 1, and before the temperature.
        let weight = |logit: f32| (logit - largest).exp();
        if top_p < 1.0 {
            let enough = top_p * candidates.iter().map(|(_, logit)| weight(*logit)).sum::<f32>();
            let mut reached = 0.0;
            let enough_at = candidates.iter().position(|(_, logit)| {
                reached += weight(*logit);
                reached >= enough
            });
            candidates.truncate(enough_at.map_or(usize::MAX, |last| last + 1));
        }
        if min_p > 0.0 {
            candidates.truncate(candidates.partition_point(|(_, logit)| weight(*logit) >= min_p));
        }
        for (_, logit) in candidates.iter_mut() {
            *logit = ((*logit - largest) / temperature).exp();
        }
        candidates
    }

    /// The next number of the sequence, at least 0 and below 1.
    fn draw(&mut self) -> f32 {
        self.draws += 1;
        let bits = mix(mix(self.options.seed) ^ self.draws) >> 40;
        bits as f32 / (1 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baked;

    fn ops() -> Ops {
        baked::select(None).expect("kernels")
    }

    fn sampler(temperature: f32, top_k: usize, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(SamplerOptions { temperature, top_k, top_p, seed, ..Default::default() }, &[3]).unwrap()
    }

    fn chosen(mut sampler: Sampler, logits: &[f32]) -> std::collections::BTreeSet<u32> {
        (0..500).map(|_| sampler.choose(&ops(), logits).unwrap()).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_best_that_is_allowed() {
        assert_eq!(sampler(0.0, 0, 1.0, 0).choose(&ops(), &[0.0, 2.0, 2.0, 9.0]).unwrap(), 1);
        assert_eq!(sampler(0.0, 0, 1.0, 0).choose(&ops(), &[f32::NAN, -1.0]).unwrap(), 1);
    }

    #[test]
    fn nothing_to_choose_from_is_an_error() {
        for temperature in [0.0, 1.0] {
            assert!(matches!(sampler(temperature, 0, 1.0, 0).choose(&ops(), &[f32::NAN; 3]), Err(Error::NoLogits)));
            assert!(matches!(sampler(temperature, 0, 1.0, 0).choose(&ops(), &[]), Err(Error::NoLogits)));
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = sampler(1.0, 0, 1.0, 7);
        let logits = [1.0f32.ln(), 2.0f32.ln(), 5.0f32.ln(), 100.0];
        let mut counts = [0; 4];
        for _ in 0..8000 {
            counts[sampler.choose(&ops(), &logits).unwrap() as usize] += 1;
        }
        assert_eq!(counts[3], 0, "a banned token was chosen");
        for (count, share) in counts.iter().zip([1.0, 2.0, 5.0]) {
            assert!((f64::from(*count) - share * 1000.0).abs() < 150.0, "{counts:?}");
        }
    }

    #[test]
    fn a_seed_gives_one_text() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32).sin()).collect();
        let text = |seed| {
            let mut sampler = sampler(0.8, 20, 0.9, seed);
            (0..40).map(|_| sampler.choose(&ops(), &logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.0, 1.0, 2.0, 9.0, 3.0];
        assert_eq!(chosen(sampler(5.0, 2, 1.0, 1), &logits), [2, 4].into());
        assert_eq!(chosen(sampler(1.0, 0, 0.6, 1), &logits), [4].into());
    }

    #[test]
    fn min_p_cuts_before_the_temperature() {
        let logits = [0.0, 1.0, 2.0, 9.0, 3.0];
        let with = |min_p| SamplerOptions { temperature: 50.0, min_p, ..Default::default() };
        let of = |min_p| chosen(Sampler::new(with(min_p), &[3]).unwrap(), &logits);
        assert_eq!(of(0.0), [0, 1, 2, 4].into());
        assert_eq!(of(0.3), [2, 4].into()); // e^-1 is 0.37, e^-2 0.14
        assert_eq!(of(1.0), [4].into());
    }

    #[test]
    fn repetition_costs_and_is_forgotten() {
        let options = SamplerOptions { repeat_penalty: 2.0, repeat_last_n: 2, ..Default::default() };
        let mut sampler = Sampler::new(options, &[]).unwrap();
        let logits = [3.0, 2.5, 2.0, -1.0];
        sampler.observe(&[9, 9, 9, 0]);
        let text: Vec<u32> = (0..4).map(|_| sampler.choose(&ops(), &logits).unwrap()).collect();
        assert_eq!(text, [1, 2, 0, 1]);
        let mut sampler = Sampler::new(options, &[]).unwrap();
        sampler.observe(&[0]);
        assert_eq!(sampler.choose(&ops(), &[-1.0, -1.5]).unwrap(), 1, "a negative logit falls");
    }

    #[test]
    fn senseless_options_are_refused() {
        for (temperature, top_p) in [(-1.0, 1.0), (f32::NAN, 1.0), (1.0, 0.0), (1.0, 1.5)] {
            assert!(Sampler::new(SamplerOptions { temperature, top_p, ..Default::default() }, &[]).is_err());
        }
        for (min_p, repeat_penalty) in [(-0.1, 1.0), (1.1, 1.0), (f32::NAN, 1.0), (0.0, 0.0), (0.0, f32::INFINITY)] {
            assert!(Sampler::new(SamplerOptions { min_p, repeat_penalty, ..Default::default() }, &[]).is_err());
        }
    }
}
