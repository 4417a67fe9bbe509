//! Reading the clock around calls: warming up by time until the rate stands still, then samples of
//! equal numbers of calls. It keeps no results and compares nothing.

use std::convert::Infallible;
use std::time::{Duration, Instant};

/// How much time a measurement may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// A session's first warm-up lasts at least this long: clocks take a while to rise.
    pub session_warm_up: Duration,
    /// Each candidate's own warm-up, beyond its first call.
    pub warm_up: Duration,
    /// A sample repeats calls for at least this long.
    pub sample: Duration,
    /// Samples of a candidate that is measured in full.
    pub samples: usize,
    /// Pairs of a final comparison, each at a place in memory of its own, to begin with…
    pub pairs: usize,
    /// …and how long it may go on where those are not precise enough.
    pub patience: Duration,
    /// Candidates that enter the final comparison.
    pub finalists: usize,
    /// Processes that share its pairs.
    pub processes: usize,
    /// A noise floor above this makes results worthless.
    pub noisy: f64,
}

/// Samples that the quadruples of a place in memory take at least, where a sample has one call: one quadruple.
pub const QUADRUPLE: u32 = 4;

impl Effort {
    /// What the quadruples of one place in memory take at least.
    pub fn place(&self) -> Duration {
        self.sample * QUADRUPLE
    }

    /// For results that are kept.
    pub const FULL: Effort = Effort {
        session_warm_up: Duration::from_millis(600),
        warm_up: Duration::from_millis(20),
        sample: Duration::from_millis(4),
        samples: 15,
        pairs: 24,
        patience: Duration::from_secs(8),
        finalists: 3,
        processes: 3,
        noisy: 0.05,
    };

    /// For a first look.
    pub const QUICK: Effort = Effort {
        session_warm_up: Duration::from_millis(150),
        warm_up: Duration::from_millis(4),
        sample: Duration::from_millis(1),
        samples: 7,
        pairs: 8,
        patience: Duration::ZERO,
        finalists: 2,
        processes: 1,
        noisy: 0.2,
    };
}

/// Nanoseconds per call, over `calls` calls.
pub fn sample(calls: usize, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        call();
    }
    start.elapsed().as_nanos() as f64 / calls.max(1) as f64
}

/// Warms up for at least `atleast`, until three rates in a row are within 2 % or four times that has
/// passed, and returns how many calls a sample of length `target` needs (at least 1).
pub fn warm_up(atleast: Duration, target: Duration, mut call: impl FnMut()) -> usize {
    let Ok(calls) = warm_up_by(atleast, target, |calls| Ok::<_, Infallible>(sample(calls, &mut call)));
    calls
}

/// As [`warm_up`], for what reads the clock itself: `sample` makes so many calls and tells nanoseconds
/// per call.
///
/// # Errors
/// The first of a sample.
pub fn warm_up_by<E>(atleast: Duration, target: Duration, mut sample: impl FnMut(usize) -> Result<f64, E>) -> Result<usize, E> {
    let began = Instant::now();
    let mut calls = 1;
    let mut last = [f64::INFINITY, f64::INFINITY, sample(1)?];
    loop {
        let per_call = last[2].max(1.0);
        calls = ((target.as_nanos() as f64 / per_call).ceil() as usize).clamp(1, 4 * calls.max(1));
        let enough = calls as f64 * per_call >= 0.8 * target.as_nanos() as f64;
        let high = last.iter().copied().fold(f64::MIN, f64::max);
        let low = last.iter().copied().fold(f64::MAX, f64::min);
        let elapsed = began.elapsed();
        if enough && ((elapsed >= atleast && high - low <= 0.02 * low) || elapsed >= atleast * 4) {
            return Ok(calls);
        }
        last = [last[1], last[2], sample(calls)?];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_long_enough_and_counts_its_calls() {
        let mut count = 0usize;
        let calls = warm_up(Duration::ZERO, Duration::from_micros(500), || std::thread::sleep(Duration::from_micros(50)));
        assert!((1..=10).contains(&calls), "{calls}");
        sample(7, || count += 1);
        assert_eq!(count, 7);
    }

    #[test]
    fn a_long_call_is_called_once_a_sample() {
        assert_eq!(warm_up(Duration::ZERO, Duration::from_micros(10), || std::thread::sleep(Duration::from_millis(1))), 1);
    }
}
