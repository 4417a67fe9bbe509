//! How far predictions are from those of a baseline, token by token: Kullback–Leibler divergence, agreement on the
//! likeliest token, and the ratio of perplexities. All of them are paired, so that most of the text's own noise cancels.

use serde::Serialize;

use super::statistics::{Estimate, Sums};
use super::{Prediction, log_sum_exp};

/// Collects the differences, prediction by prediction.
#[derive(Debug, Default, Clone)]
pub struct Comparison {
    divergences: Vec<f64>,
    divergence: Sums,
    baseline: Sums,
    log_ratio: Sums,
    same: usize,
}

/// What was found. Divergences are in nats per token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Divergence {
    /// Mean divergence of the predictions from the baseline's.
    pub mean: Estimate,
    /// The middle one.
    pub median: f64,
    /// That which 99 in 100 do not exceed.
    pub percentile_99: f64,
    /// The largest.
    pub max: f64,
    /// Share of predictions whose likeliest token is the baseline's.
    pub same_top: Estimate,
    /// The baseline's perplexity, of the recorded numbers.
    pub baseline_perplexity: f64,
    /// Perplexity over that of the baseline.
    pub perplexity_ratio: Estimate,
}

impl Comparison {
    /// Compares `prediction` with the baseline's log-likelihoods of all tokens, in nats.
    ///
    /// # Panics
    /// When there are not as many of them as logits.
    pub fn add(&mut self, prediction: &Prediction<'_>, baseline: &[f32]) {
        assert_eq!(prediction.logits.len(), baseline.len(), "a log-likelihood for each logit");
        // What was recorded was rounded; scaled so that it sums to 1 again, rounding cancels to first order.
        let scale = log_sum_exp(baseline);
        let mut divergence = 0.0;
        for (&logit, &recorded) in prediction.logits.iter().zip(baseline) {
            let theirs = f64::from(recorded) - scale;
            let ours = f64::from(logit) - prediction.log_sum;
            divergence += f64::from((theirs as f32).exp()) * (theirs - ours);
        }
        let divergence = divergence.max(0.0);
        self.divergences.push(divergence);
        self.divergence.add(divergence);
        let theirs = scale - f64::from(baseline[prediction.token as usize]);
        self.baseline.add(theirs);
        self.log_ratio.add(prediction.nll() - theirs);
        // Of a recorded tie either is right.
        let ours = prediction.logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        let largest = baseline.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.same += usize::from(ours.is_some_and(|(id, _)| baseline[id] == largest));
    }

    /// The differences so far; nothing where there are none.
    pub fn finish(mut self) -> Option<Divergence> {
        self.divergences.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| self.divergences.get(((self.divergences.len() as f64 * share).ceil() as usize).max(1) - 1).copied();
        let count = self.divergences.len() as f64;
        let share = self.same as f64 / count;
        let ratio = self.log_ratio.mean();
        Some(Divergence {
            mean: self.divergence.mean(),
            median: at(0.5)?,
            percentile_99: at(0.99)?,
            max: self.divergences.last().copied()?,
            same_top: Estimate { value: share, error: (count > 1.0).then(|| (share * (1.0 - share) / (count - 1.0)).sqrt()) },
            baseline_perplexity: self.baseline.mean().value.exp(),
            perplexity_ratio: Estimate { value: ratio.value.exp(), error: ratio.error.map(|error| error * ratio.value.exp()) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(logits: &[f32]) -> Prediction<'_> {
        Prediction { logits, log_sum: log_sum_exp(logits), token: 1 }
    }

    #[test]
    fn the_same_predictions_do_not_diverge() {
        let logits = [1.0, 3.0, -2.0];
        let mut comparison = Comparison::default();
        let recorded = logits.map(|logit| (f64::from(logit) - log_sum_exp(&logits)) as f32);
        comparison.add(&prediction(&logits), &recorded);
        let found = comparison.finish().unwrap();
        assert!(found.max < 1e-6 && (found.perplexity_ratio.value - 1.0).abs() < 1e-6);
        assert_eq!(found.same_top.value, 1.0);
    }

    #[test]
    fn divergence_is_what_the_formula_says() {
        let (theirs, ours) = ([0.5f64, 0.25, 0.25], [0.25f64, 0.25, 0.5]);
        let logits = ours.map(|p| p.ln() as f32);
        let mut comparison = Comparison::default();
        comparison.add(&prediction(&logits), &theirs.map(|p| p.ln() as f32));
        let found = comparison.finish().unwrap();
        assert!((found.mean.value - 0.25 * 2f64.ln()).abs() < 1e-6, "{found:?}");
        assert_eq!(found.same_top.value, 0.0);
        assert!((found.perplexity_ratio.value - 1.0).abs() < 1e-6);
        assert!((found.baseline_perplexity - 4.0).abs() < 1e-5);
    }

    #[test]
    fn nothing_compared_is_nothing_found() {
        assert!(Comparison::default().finish().is_none());
    }
}
