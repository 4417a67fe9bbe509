//! Choosing the next token from logits: greedy, or at random after temperature, top-k and top-p, in that order.
//! Draws come from a seed alone, so a text can be made again. Tokens that stand for nothing are never chosen.

use std::cmp::Ordering;

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
    /// Start of the random sequence.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 }
    }
}

/// Chooses tokens, one after the other.
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    banned: Vec<u32>,
    draws: u64,
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
    /// [`Error::Usage`] when the temperature is negative or top-p outside of 0 to 1.
    pub fn new(options: SamplerOptions, banned: &[u32]) -> Result<Self, Error> {
        if !(options.temperature >= 0.0 && options.temperature.is_finite()) {
            return Err(Error::Usage(format!("the temperature is {}; it must be 0 or more", options.temperature)));
        }
        if !(options.top_p > 0.0 && options.top_p <= 1.0) {
            return Err(Error::Usage(format!("top-p is {}; it must lie above 0 and not above 1", options.top_p)));
        }
        let mut banned = banned.to_vec();
        banned.sort_unstable();
        Ok(Self { options, banned, draws: 0, candidates: Vec::new(), values: Vec::new(), places: Vec::new() })
    }

    /// The next token.
    ///
    /// # Errors
    /// [`Error::NoLogits`] when no allowed token has a finite logit.
    pub fn choose(&mut self, ops: &Ops, logits: &[f32]) -> Result<u32, Error> {
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
        let kept = kept.len();
        let mut left = self.draw() * total;
        for &(id, weight) in &self.candidates[..kept] {
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

    /// Orders the candidates, likeliest first, turns logits into weights and returns those that are kept.
    fn keep(&mut self) -> &[(u32, f32)] {
        let SamplerOptions { temperature, top_p, .. } = self.options;
        let candidates = &mut self.candidates;
        candidates.sort_unstable_by(likelier);
        let Some(&(_, largest)) = candidates.first() else { return &[] };
        for (_, weight) in candidates.iter_mut() {
            *weight = ((*weight - largest) / temperature).exp();
        }
        let enough = top_p * candidates.iter().map(|(_, weight)| weight).sum::<f32>();
        let mut reached = 0.0;
        let mut kept = candidates.len();
        if top_p < 1.0 {
            for (index, (_, weight)) in candidates.iter().enumerate() {
                reached += weight;
                if reached >= enough {
                    kept = index + 1;
                    break;
                }
            }
        }
        &candidates[..kept]
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
        Sampler::new(SamplerOptions { temperature, top_k, top_p, seed }, &[3]).unwrap()
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
        let chosen =
            |mut sampler: Sampler| (0..500).map(|_| sampler.choose(&ops(), &logits).unwrap()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(chosen(sampler(5.0, 2, 1.0, 1)), [2, 4].into());
        assert_eq!(chosen(sampler(1.0, 0, 0.6, 1)), [4].into());
    }

    #[test]
    fn senseless_options_are_refused() {
        for (temperature, top_p) in [(-1.0, 1.0), (f32::NAN, 1.0), (1.0, 0.0), (1.0, 1.5)] {
            assert!(Sampler::new(SamplerOptions { temperature, top_p, ..Default::default() }, &[]).is_err());
        }
    }
}
