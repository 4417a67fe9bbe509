//! A comparison of two configurations, in processes of their own and at many places in memory: as many as it takes.
//!
//! Where code and data lie makes as much of a difference as the next best tile does, and stays the same as long as they do; so
//! the pairs of one place are one observation, and places are what the interval is computed over. How many it takes is
//! known after some: two stages, by the width that those show (Stein, "A two-sample test for a linear hypothesis whose power
//! is independent of the variance", 1945). What the ratio is has no say in when to stop, unless it is beyond any tie already.

use super::apart::{Bench, Job};
use super::clock::Effort;
use super::statistics::{Ratio, signed_rank_ratio};
use crate::ranking::BAND;
use std::time::Instant;

/// How far an interval may reach to either side, as a fraction: a difference of 1 % is then found more often than not.
const PRECISE: f64 = 0.007;

/// What came of one.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Nanoseconds per call of the one and the other, a pair for each place.
    pub pairs: Vec<(f64, f64)>,
    /// Processes that they come from, as many from each, one after another.
    pub processes: usize,
    /// Time of the one over time of the other.
    pub ratio: Ratio,
}

/// Compares the two of a job at about `places` places to begin with, in as many processes as that effort has, or in this
/// one if the bench has no program; and at more, where that is not precise enough, for as long as the effort has patience. Or why
/// one of the two is not valid.
///
/// # Errors
/// Those of the bench.
pub fn compare(bench: &mut Bench, job: &Job, (effort, places): (&Effort, usize)) -> anyhow::Result<Result<Comparison, String>> {
    let processes = if bench.is_apart() { effort.processes } else { 1 };
    let mut all = Comparison { pairs: Vec::new(), processes: 0, ratio: Ratio { value: 1.0, ci: (0.0, f64::INFINITY) } };
    // As many in each, so that what a process has of its own can be told from its pairs.
    let in_each = places.max(1).div_ceil(processes);
    let (began, mut wanted) = (Instant::now(), processes);
    for _ in 0..2 {
        for _ in 0..wanted {
            let seed = job.seed << 16 | all.processes as u64;
            bench.renew();
            match bench.pairs(Job { places: in_each, seed, ..job.clone() })? {
                Ok(more) => all.pairs.extend(more),
                Err(why) => return Ok(Err(why)),
            }
            all.processes += 1;
        }
        bench.renew();
        all.ratio = signed_rank_ratio(&all.pairs).unwrap_or(all.ratio);
        let of_a_process = began.elapsed().as_secs_f64() / all.processes as f64;
        let affordable = (effort.patience.as_secs_f64() / of_a_process.max(1e-9)) as usize;
        wanted = missing(&all.ratio, all.pairs.len()).div_ceil(in_each).min(affordable);
    }
    Ok(Ok(all))
}

/// Places that are missing after so many.
fn missing(Ratio { ci: (low, high), .. }: &Ratio, places: usize) -> usize {
    if *low > 1.0 + BAND || *high < 1.0 - BAND {
        return 0;
    }
    let reach = (high / low).ln() / 2.0;
    let needed = places as f64 * (reach / PRECISE).powi(2);
    (needed.ceil() as usize).saturating_sub(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_wanted_by_the_square_of_what_precision_lacks_and_none_beyond_a_tie() {
        let ratio = |low: f64, high: f64| Ratio { value: 1.0, ci: (low.exp(), high.exp()) };
        let missing = |low: f64, high: f64| missing(&ratio(low, high), 24);
        assert_eq!((missing(-0.014, 0.014), missing(-0.006, 0.006), missing(0.03, 0.2), missing(-0.2, -0.03)), (72, 0, 0, 0));
        assert!(missing(0.01, 0.05) > 24, "almost beyond is not beyond");
    }
}
