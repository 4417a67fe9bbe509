//! Means and their standard errors, from sums. Values are taken as independent, which neighbouring tokens of a text are
//! not quite: `llama-perplexity` does the same, so that its ± and ours can be compared.

use serde::Serialize;

/// A value and its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Its standard error; nothing when a single number went into it.
    pub error: Option<f64>,
}

/// Sums of numbers and of their squares, about the first of them so that little cancels.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Sums {
    count: usize,
    about: f64,
    sum: f64,
    squares: f64,
}

impl Sums {
    pub(crate) fn add(&mut self, value: f64) {
        if self.count == 0 {
            self.about = value;
        }
        let value = value - self.about;
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    /// The mean; 0 of nothing.
    pub(crate) fn mean(&self) -> Estimate {
        let count = self.count.max(1) as f64;
        let mean = self.sum / count;
        let spread = (self.squares / count - mean * mean).max(0.0);
        let error = (self.count > 1).then(|| (spread / (count - 1.0)).sqrt());
        Estimate { value: self.about + mean, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_an_error() {
        let mut sums = Sums::default();
        [1e6 + 1.0, 1e6 + 2.0, 1e6 + 3.0, 1e6 + 6.0].into_iter().for_each(|value| sums.add(value));
        let Estimate { value, error } = sums.mean();
        assert_eq!(value, 1e6 + 3.0);
        // Squared distances 4, 1, 0, 9; their mean over 3.
        assert!((error.unwrap() - (14.0f64 / 4.0 / 3.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn one_number_has_none() {
        let mut sums = Sums::default();
        sums.add(2.0);
        assert_eq!(sums.mean(), Estimate { value: 2.0, error: None });
    }
}
