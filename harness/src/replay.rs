//! Searches run again on paper: a strategy against results that are all there, so that strategies can be compared without
//! a machine.
//!
//! Samples are drawn from those that were stored, with a price in time for each and for every candidate's preparation. A
//! strategy's regret is the stored time of what it found to be best over that of the best there is.

use crate::measure::clock::Effort;
use crate::measure::statistics::{Random, median};
use crate::model::Predictor;
use crate::search::{Landscape, Sampler, Search, Strategy, Verdict};
use crate::space::Problem;
use crate::space::landscape::{self, Pace};
use crate::store::{Config, Outcome, Record};
use kiln_profiles::schema::Tier;
use std::collections::HashMap;

/// One problem with a result for every candidate.
pub struct Recorded {
    /// The problem.
    pub problem: Problem,
    configs: Vec<Config>,
    /// Samples of each candidate in nanoseconds per call, or why it was not valid.
    outcomes: Vec<Result<Vec<f64>, String>>,
    landscape: Landscape,
}

/// How a strategy did at a problem, on average over seeds.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Replayed {
    /// Which.
    pub strategy: &'static str,
    /// Time of what it found over that of the best, less 1: the median over seeds.
    pub regret: f64,
    /// The worst of them.
    pub worst_regret: f64,
    /// Time that it took over that of an exhaustive search.
    pub share_of_time: f64,
    /// Candidates that it measured over all there are.
    pub share_of_candidates: f64,
}

/// Fewer samples than this do not stand for a candidate's time.
const FEWEST: usize = 5;

/// Whether a candidate's samples stand for its time where `best` is the least median. What was dropped after its probe was
/// hopeless, and whoever measures it will find that too; what halving dropped may not have been.
pub(crate) fn stands(samples: &[f64], best: f64) -> bool {
    samples.len() >= FEWEST || median(samples) > Some(2.0 * best)
}

impl Recorded {
    /// Whether a result is what came of measuring a candidate by itself: nothing else is looked at here.
    pub fn is_made_of(record: &Record) -> bool {
        record.tier == Tier::Measured && matches!(record.outcome, Outcome::Timed { .. } | Outcome::Invalid { .. })
    }

    /// A problem from all of its results on one machine. `None` unless it was searched exhaustively: with a full result, or the
    /// reason why there is none, for every candidate, the default among them.
    pub fn new(problem: Problem, mut records: Vec<Record>) -> Option<Recorded> {
        records.retain(Recorded::is_made_of);
        records.sort_by_key(|r| !r.default);
        if !records.first()?.default || records.len() < 2 {
            return None;
        }
        let (mut configs, mut outcomes) = (Vec::new(), Vec::new());
        for record in records {
            outcomes.push(match record.outcome {
                Outcome::Timed { samples_ns, .. } => Ok(samples_ns),
                Outcome::Invalid { reason } => Err(reason),
                Outcome::Paired { .. } | Outcome::Predicted { .. } => continue,
            });
            configs.push(record.config);
        }
        let best = least(&outcomes);
        let stands = |o: &Result<Vec<f64>, String>| o.as_ref().map_or(true, |s| stands(s, best));
        outcomes.iter().all(stands).then(|| Recorded { problem, landscape: landscape::of(&configs), configs, outcomes })
    }

    /// Candidates.
    pub fn count(&self) -> usize {
        self.outcomes.len()
    }

    /// Gives each candidate a prediction for searches by model.
    pub fn predict(&mut self, predictor: &Predictor) {
        self.landscape.predicted = self.configs.iter().map(|config| predictor.cycles(config)).collect();
    }

    /// How its kernels did.
    pub fn pace(&self) -> Pace {
        let time =
            |(config, outcome): (&'_ Config, &'_ Result<Vec<f64>, String>)| Some((config.kernel.clone(), median(outcome.as_ref().ok()?)?));
        let times: Vec<(String, f64)> = self.configs.iter().zip(&self.outcomes).filter_map(time).collect();
        Pace::of(self.problem, times.iter().map(|(kernel, time)| (kernel.as_str(), *time)))
    }

    /// Has searches know how kernels did at other problems, which are taken for searched before.
    pub fn after(&mut self, paces: &[Pace]) {
        self.landscape.hopeless = landscape::hopeless(&self.configs, paces);
    }

    /// Runs a strategy once for each of so many seeds.
    ///
    /// # Errors
    /// Those of [`Search::run`].
    pub fn run(&self, strategy: Strategy, effort: &Effort, seeds: u64) -> anyhow::Result<Replayed> {
        let whole = self.once(Strategy::Exhaustive, effort, 0)?.spent;
        let (mut regrets, mut spent, mut measured) = (Vec::new(), 0.0, 0);
        for seed in 0..seeds.max(1) {
            let paper = self.once(strategy, effort, seed)?;
            regrets.push(paper.regret);
            spent += paper.spent;
            measured += paper.measured;
        }
        let runs = regrets.len() as f64;
        Ok(Replayed {
            strategy: strategy.name(),
            regret: median(&regrets).unwrap_or(0.0),
            worst_regret: regrets.iter().copied().fold(0.0, f64::max),
            share_of_time: spent / runs / whole,
            share_of_candidates: measured as f64 / runs / self.count() as f64,
        })
    }

    fn once(&self, strategy: Strategy, effort: &Effort, seed: u64) -> anyhow::Result<Once> {
        let mut paper =
            Paper { recorded: self, effort, random: Random::new(seed ^ 0x7265_706c), spent: 0.0, begun: vec![false; self.count()] };
        let (samples, known) = (effort.samples, HashMap::new());
        let search = Search { strategy, samples, evaluations: None, seed, known, landscape: &self.landscape };
        let found = search.run(&mut paper)?.ranking.first().map(|r| r.0);
        let time = |c: usize| self.outcomes[c].as_ref().ok().and_then(|s| median(s)).unwrap_or(f64::INFINITY);
        let regret = found.map_or(f64::INFINITY, time) / least(&self.outcomes) - 1.0;
        Ok(Once { regret, spent: paper.spent, measured: paper.begun.iter().filter(|b| **b).count() })
    }
}

/// The least median.
fn least(outcomes: &[Result<Vec<f64>, String>]) -> f64 {
    outcomes.iter().filter_map(|o| median(o.as_ref().ok()?)).fold(f64::INFINITY, f64::min)
}

/// What came of one search.
struct Once {
    regret: f64,
    spent: f64,
    measured: usize,
}

/// Stored results as a sampler.
struct Paper<'a> {
    recorded: &'a Recorded,
    effort: &'a Effort,
    random: Random,
    /// Nanoseconds that the machine would have taken.
    spent: f64,
    begun: Vec<bool>,
}

impl Sampler for Paper<'_> {
    fn samples(&mut self, candidate: usize, count: usize) -> anyhow::Result<Result<Vec<f64>, String>> {
        let warm_up = self.effort.warm_up.as_nanos() as f64;
        let first = !std::mem::replace(&mut self.begun[candidate], true);
        let stored = match &self.recorded.outcomes[candidate] {
            Ok(stored) => stored,
            Err(why) => {
                self.spent += warm_up;
                return Ok(Err(why.clone()));
            }
        };
        let call = median(stored).unwrap_or(0.0);
        // A warm-up goes before samples in a row; before the first a call is checked too.
        self.spent += if count > 0 { warm_up.max(call) + if first { call } else { 0.0 } } else { 0.0 };
        self.spent += count as f64 * call.max(self.effort.sample.as_nanos() as f64);
        Ok(Ok((0..count).map(|_| stored[self.random.below(stored.len())]).collect()))
    }

    fn finish(&mut self, _: usize, _: Verdict) -> anyhow::Result<()> {
        Ok(())
    }

    fn is_steady(&mut self) -> anyhow::Result<bool> {
        Ok(true)
    }

    fn drift(&self) -> f64 {
        1.0
    }

    fn out_of_time(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    /// Results of made-up kernels at a shape, the first of which is the default.
    fn records(times: &[f64]) -> Vec<Record> {
        let one = |(at, time): (usize, &f64)| {
            let mut record = record(&format!("kernel_{at:03}"), "8x8x8", &[*time, time * 1.01, time * 0.99, *time, *time]);
            record.default = at == 0;
            record
        };
        times.iter().enumerate().map(one).collect()
    }

    fn recorded(records: &[Record]) -> Option<Recorded> {
        Recorded::new(records[0].config.problem().expect("a problem"), records.to_vec())
    }

    #[test]
    fn halving_on_paper_finds_the_best_in_less_time() {
        let times: Vec<f64> = (0..60).map(|i| 1e6 * (1.0 + f64::from(i * 7 % 60) / 30.0)).collect();
        let recorded = recorded(&records(&times)).expect("an exhaustive search");
        let run = |strategy| recorded.run(strategy, &Effort::FULL, 3).expect("a replay");
        let (whole, half) = (run(Strategy::Exhaustive), run(Strategy::Halving));
        assert!((whole.share_of_time - 1.0).abs() < 0.05 && whole.share_of_candidates == 1.0, "{whole:?}");
        assert!(half.regret < 0.02 && half.share_of_time < 0.8, "{half:?}");
    }

    #[test]
    fn what_was_not_searched_exhaustively_is_left() {
        let mut some = records(&[5.0, 4.0, 3.0]);
        some[1].outcome = Outcome::timed(&[4.0, 4.0], Some("round 1: not in the faster half".into())).expect("samples");
        assert!(recorded(&some).is_none());
        some[1].outcome = Outcome::timed(&[40.0, 40.0], Some("hopeless".into())).expect("samples");
        assert_eq!(recorded(&some).map(|r| r.count()), Some(3));
        some[0].default = false;
        assert!(recorded(&some).is_none(), "without the default there is nothing to begin with");
    }

    #[test]
    fn what_was_not_valid_is_found_not_to_be() {
        let mut some = records(&[5.0, 4.0, 3.0]);
        some[2].outcome = Outcome::Invalid { reason: "wrong".into() };
        // What was compared in pairs, or predicted, is no candidate's result.
        some.push(Record { outcome: Outcome::paired("best".into(), "best", &[(1.0, 1.0); 4], 1).expect("pairs"), ..some[1].clone() });
        some.push(Record { tier: Tier::Predicted, ..some[1].clone() });
        let recorded = recorded(&some).expect("an exhaustive search");
        for strategy in Strategy::ALL.into_iter().filter(|s| *s != Strategy::Model) {
            assert_eq!(recorded.run(strategy, &Effort::QUICK, 1).expect("a replay").regret, 0.0, "{strategy:?}");
        }
        assert!(recorded.run(Strategy::Model, &Effort::QUICK, 1).is_err(), "nothing was predicted");
    }
}
