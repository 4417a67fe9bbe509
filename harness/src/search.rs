//! Which candidates are measured, and how thoroughly: all of them, or by successive halving.
//!
//! Either way each is probed first, and one slower than twice the best is dropped at once. The search
//! only orders the candidates; who wins is decided afterwards, in pairs. It does not know what a
//! candidate is.

use crate::measure::statistics::median;
use std::collections::HashMap;

/// How to go about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Strategy {
    /// Every candidate in full, unless its probe is hopeless.
    Exhaustive,
    /// Rounds that double the samples and keep the faster half.
    Halving,
}

/// Takes samples of candidates, and keeps what is final.
pub trait Bench {
    /// `count` more samples of `candidate` in nanoseconds per call, or why it is not valid.
    ///
    /// # Errors
    /// What makes going on impossible.
    fn samples(&mut self, candidate: usize, count: usize) -> anyhow::Result<Result<Vec<f64>, String>>;

    /// Takes the verdict on a candidate; each has one.
    ///
    /// # Errors
    /// What makes going on impossible.
    fn finish(&mut self, candidate: usize, verdict: Verdict) -> anyhow::Result<()>;

    /// Whether time has run out.
    fn out_of_time(&self) -> bool;
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It was measured.
    Timed {
        /// Nanoseconds per call.
        samples: Vec<f64>,
        /// Why not in full, if not.
        dropped: Option<String>,
    },
    /// It gave a wrong answer.
    Invalid(String),
}

/// The order that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Candidates and their medians in nanoseconds per call, fastest first.
    pub ranking: Vec<(usize, f64)>,
    /// Candidates that time did not suffice for.
    pub unmeasured: usize,
}

/// Samples of a probe.
const PROBE: usize = 2;
/// Times the best median beyond which a candidate is dropped.
const HOPELESS: f64 = 2.0;
/// Halving ends with no more than this many, which are then measured in full.
const SURVIVORS: usize = 4;

/// One search.
pub struct Search {
    /// How.
    pub strategy: Strategy,
    /// Samples of a candidate that is measured in full.
    pub samples: usize,
    /// Candidates that need no measuring any more: their median, or `None` if they were not valid.
    pub known: HashMap<usize, Option<f64>>,
}

impl Search {
    /// Searches candidates `0..count`; the first, which should be the default, is measured in any case.
    ///
    /// # Errors
    /// Those of the bench.
    pub fn run(mut self, count: usize, bench: &mut dyn Bench) -> anyhow::Result<Order> {
        let new: Vec<usize> = (0..count).filter(|c| !self.known.contains_key(c)).collect();
        let unmeasured = match self.strategy {
            Strategy::Exhaustive => self.exhaustive(&new, bench)?,
            Strategy::Halving => self.halving(&new, bench)?,
        };
        let mut ranking: Vec<_> = self.known.iter().filter_map(|(c, m)| m.map(|m| (*c, m))).collect();
        ranking.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        Ok(Order { ranking, unmeasured })
    }

    fn best(&self) -> f64 {
        self.known.values().flatten().copied().fold(f64::INFINITY, f64::min)
    }

    fn finish(&mut self, bench: &mut dyn Bench, candidate: usize, verdict: Verdict) -> anyhow::Result<()> {
        let middle = match &verdict {
            Verdict::Timed { samples, .. } => median(samples),
            Verdict::Invalid(_) => None,
        };
        self.known.insert(candidate, middle);
        bench.finish(candidate, verdict)
    }

    fn exhaustive(&mut self, new: &[usize], bench: &mut dyn Bench) -> anyhow::Result<usize> {
        for (done, &candidate) in new.iter().enumerate() {
            if candidate != 0 && bench.out_of_time() {
                return Ok(new.len() - done);
            }
            let mut samples = match bench.samples(candidate, PROBE.min(self.samples))? {
                Ok(samples) => samples,
                Err(why) => {
                    self.finish(bench, candidate, Verdict::Invalid(why))?;
                    continue;
                }
            };
            let hopeless = median(&samples).is_some_and(|m| m > HOPELESS * self.best());
            let mut dropped = hopeless.then(|| format!("its probe took more than {HOPELESS} times the best"));
            if dropped.is_none() {
                match bench.samples(candidate, self.samples.saturating_sub(samples.len()))? {
                    Ok(more) => samples.extend(more),
                    Err(why) => dropped = Some(why),
                }
            }
            self.finish(bench, candidate, Verdict::Timed { samples, dropped })?;
        }
        Ok(0)
    }

    fn halving(&mut self, new: &[usize], bench: &mut dyn Bench) -> anyhow::Result<usize> {
        let mut alive: Vec<(usize, Vec<f64>)> = new.iter().map(|c| (*c, Vec::new())).collect();
        let mut target = PROBE.min(self.samples);
        for round in 1.. {
            let last = alive.len() <= SURVIVORS || target >= self.samples;
            let target_now = if last { self.samples } else { target };
            let mut sampled = Vec::new();
            let mut rest = alive.into_iter();
            while let Some((candidate, mut samples)) = rest.next() {
                if candidate != 0 && bench.out_of_time() {
                    return self.give_up(bench, sampled, std::iter::once((candidate, samples)).chain(rest));
                }
                match bench.samples(candidate, target_now.saturating_sub(samples.len()))? {
                    Ok(more) => {
                        samples.extend(more);
                        sampled.push((candidate, samples));
                    }
                    Err(why) => self.finish(bench, candidate, Verdict::Invalid(why))?,
                }
            }
            sampled.sort_by(|a, b| median(&a.1).unwrap_or(f64::INFINITY).total_cmp(&median(&b.1).unwrap_or(f64::INFINITY)));
            if last {
                for (candidate, samples) in sampled {
                    self.finish(bench, candidate, Verdict::Timed { samples, dropped: None })?;
                }
                return Ok(0);
            }
            let best = sampled.first().and_then(|s| median(&s.1)).unwrap_or(f64::INFINITY).min(self.best());
            let keep = sampled.len().div_ceil(2).max(SURVIVORS);
            alive = Vec::new();
            for (place, (candidate, samples)) in sampled.into_iter().enumerate() {
                let hopeless = median(&samples).is_some_and(|m| m > HOPELESS * best);
                let dropped = match (hopeless, place >= keep) {
                    // The default is kept to the end, so that gains over it rest on a full measurement.
                    _ if candidate == 0 => None,
                    (true, _) => Some(format!("round {round}: more than {HOPELESS} times the best")),
                    (_, true) => Some(format!("round {round}: not in the faster half")),
                    _ => None,
                };
                match dropped {
                    None => alive.push((candidate, samples)),
                    dropped => self.finish(bench, candidate, Verdict::Timed { samples, dropped })?,
                }
            }
            target *= 2;
        }
        Ok(0)
    }

    /// Time has run out: what was sampled is a result all the same, the rest is counted.
    fn give_up(
        &mut self,
        bench: &mut dyn Bench,
        sampled: Vec<(usize, Vec<f64>)>,
        rest: impl Iterator<Item = (usize, Vec<f64>)>,
    ) -> anyhow::Result<usize> {
        let mut unmeasured = 0;
        for (candidate, samples) in sampled.into_iter().chain(rest) {
            if samples.is_empty() {
                unmeasured += 1;
            } else {
                self.finish(bench, candidate, Verdict::Timed { samples, dropped: Some("time ran out".into()) })?;
            }
        }
        Ok(unmeasured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Candidates whose times are given; a negative one is not valid. Counts samples.
    struct Fake {
        times: Vec<f64>,
        sampled: usize,
        verdicts: Vec<(usize, Verdict)>,
        asked: Cell<usize>,
        until: usize,
    }

    impl Bench for Fake {
        fn samples(&mut self, candidate: usize, count: usize) -> anyhow::Result<Result<Vec<f64>, String>> {
            self.sampled += count;
            let time = self.times[candidate];
            Ok(if time < 0.0 { Err("wrong".into()) } else { Ok(vec![time; count]) })
        }

        fn finish(&mut self, candidate: usize, verdict: Verdict) -> anyhow::Result<()> {
            self.verdicts.push((candidate, verdict));
            Ok(())
        }

        fn out_of_time(&self) -> bool {
            self.asked.set(self.asked.get() + 1);
            self.asked.get() > self.until
        }
    }

    fn search(strategy: Strategy, times: &[f64], known: &[(usize, Option<f64>)], until: usize) -> (Order, Vec<(usize, Verdict)>, usize) {
        let mut fake = Fake { times: times.to_vec(), sampled: 0, verdicts: Vec::new(), asked: Cell::new(0), until };
        let search = Search { strategy, samples: 8, known: known.iter().copied().collect() };
        let order = search.run(times.len(), &mut fake).expect("an order");
        (order, fake.verdicts, fake.sampled)
    }

    const BOTH: [Strategy; 2] = [Strategy::Exhaustive, Strategy::Halving];

    #[test]
    fn the_fastest_comes_first_and_each_candidate_has_one_verdict() {
        let times = [9.0, 7.0, 3.0, 100.0, 4.0, 5.0, -1.0, 3.5, 8.0, 6.0, 2.0, 11.0];
        for strategy in BOTH {
            let (order, verdicts, _) = search(strategy, &times, &[], usize::MAX);
            assert_eq!(order.ranking[0], (10, 2.0), "{strategy:?}");
            assert_eq!((order.ranking.len(), order.unmeasured), (11, 0));
            let mut seen: Vec<_> = verdicts.iter().map(|v| v.0).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..12).collect::<Vec<_>>());
            assert!(verdicts.contains(&(6, Verdict::Invalid("wrong".into()))));
            let full =
                |c| verdicts.iter().any(|v| v.0 == c && matches!(&v.1, Verdict::Timed { samples, dropped: None } if samples.len() == 8));
            assert!(full(10) && full(0), "{strategy:?}");
            assert!(!full(3), "a hopeless one was measured in full by {strategy:?}");
        }
    }

    #[test]
    fn halving_takes_fewer_samples() {
        let times: Vec<f64> = (0..64).map(|i| 10.0 + f64::from(i) / 10.0).collect();
        let all = search(Strategy::Exhaustive, &times, &[], usize::MAX).2;
        let half = search(Strategy::Halving, &times, &[], usize::MAX).2;
        assert!(half < all, "{half} {all}");
    }

    #[test]
    fn what_is_known_is_not_measured_again() {
        for strategy in BOTH {
            let (order, verdicts, _) = search(strategy, &[5.0, 4.0, 3.0], &[(0, Some(5.0)), (2, None)], usize::MAX);
            assert_eq!(verdicts.iter().map(|v| v.0).collect::<Vec<_>>(), [1]);
            assert_eq!(order.ranking, [(1, 4.0), (0, 5.0)]);
        }
    }

    #[test]
    fn when_time_runs_out_the_default_is_there_and_the_rest_is_counted() {
        for strategy in BOTH {
            let (order, _, _) = search(strategy, &[5.0, 4.0, 3.0, 2.0, 1.0, 6.0], &[], 0);
            assert_eq!(order.ranking, [(0, 5.0)], "{strategy:?}");
            assert_eq!(order.unmeasured, 5);
        }
    }
}
