//! Searches run again on paper: a strategy against results that are all there, so that strategies can be compared without
//! a machine.
//!
//! Samples are drawn from those that were stored, with a price in time for each, for every candidate's preparation and for each look at
//! whether the machine is steady; a warm-up is taken to last no longer than it has to. Making operands and comparing the fastest in pairs
//! have none. A strategy's regret is the stored time of what it found to be best over that of the best there is.

use crate::bake::promising;
use crate::measure::bench::Stage;
use crate::measure::clock::Effort;
use crate::measure::statistics::{Random, median};
use crate::model::Predictor;
use crate::search::{HOPELESS, Landscape, Sampler, Search, Strategy, Verdict};
use crate::space::Problem;
use crate::space::landscape::{self, Pace};
use crate::store::{Config, Outcome, Record};
use crate::sweep::LOOK;
use kiln_profiles::schema::Tier;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// One problem with a result for every candidate.
pub struct Recorded {
    /// The problem.
    pub problem: Problem,
    /// All candidates; the first is the default.
    configs: Vec<Config>,
    /// The stored result of the default.
    default: Record,
    /// Samples of each candidate in nanoseconds per call, as the machine was at first; or why it was not valid.
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
    /// Time that it took, with what was tried because it did well elsewhere, over that of an exhaustive search.
    pub share_of_time: f64,
    /// Candidates that it measured over all there are.
    pub share_of_candidates: f64,
}

/// Fewer samples than this do not stand for a candidate's time.
const FEWEST: usize = 5;

/// Whether a candidate's samples stand for its time where `best` is the least median. What was dropped after its probe was
/// hopeless, and whoever measures it will find that too; what halving dropped may not have been.
pub(crate) fn stands(samples: &[f64], best: f64) -> bool {
    samples.len() >= FEWEST || median(samples) > Some(HOPELESS * best)
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
        let default = records.first()?.clone();
        let samples = |record: &Record| match &record.outcome {
            Outcome::Invalid { reason } => Err(reason.clone()),
            _ => Ok(record.level_ns()),
        };
        let outcomes: Vec<Result<Vec<f64>, String>> = records.iter().map(samples).collect();
        let configs: Vec<Config> = records.into_iter().map(|record| record.config).collect();
        let best = least(&outcomes);
        let stands = |o: &Result<Vec<f64>, String>| o.as_ref().map_or(true, |s| stands(s, best));
        outcomes.iter().all(stands).then(|| Recorded { problem, landscape: landscape::of(&configs), configs, default, outcomes })
    }

    /// Candidates.
    pub fn count(&self) -> usize {
        self.outcomes.len()
    }

    /// Gives each candidate a prediction for searches by model.
    pub fn predict(&mut self, predictor: &Predictor) {
        self.landscape.predicted = self.configs.iter().map(|config| predictor.cycles(config)).collect();
    }

    /// The stored time of a candidate.
    fn time(&self, candidate: usize) -> f64 {
        self.outcomes[candidate].as_ref().ok().and_then(|samples| median(samples)).unwrap_or(f64::INFINITY)
    }
}

/// Runs a strategy, once for each of so many seeds, on problems of one machine that are searched one after another, the smaller first, as
/// a sweep does it: with what did well at one of a class tried at its others. How it did at each.
///
/// # Errors
/// Those of [`Search::run`].
pub fn run(problems: &[Recorded], strategy: Strategy, effort: &Effort, seeds: u64) -> anyhow::Result<Vec<Replayed>> {
    let sweep = |strategy, seed| -> anyhow::Result<Vec<Once>> {
        Ok(sweep(problems, strategy, effort, seed)?.into_iter().map(|paper| paper.once()).collect())
    };
    let whole = sweep(Strategy::Exhaustive, 0)?;
    let runs: Vec<Vec<Once>> = (0..seeds.max(1)).map(|seed| sweep(strategy, seed)).collect::<anyhow::Result<_>>()?;
    let one = |(at, whole): (usize, &Once)| {
        let mean = |of: &dyn Fn(&Once) -> f64| runs.iter().map(|run| of(&run[at])).sum::<f64>() / runs.len() as f64;
        let regrets: Vec<f64> = runs.iter().map(|run| run[at].regret).collect();
        Replayed {
            strategy: strategy.name(),
            regret: median(&regrets).unwrap_or(0.0),
            worst_regret: regrets.iter().copied().fold(0.0, f64::max),
            share_of_time: mean(&|once| once.spent) / whole.spent,
            share_of_candidates: mean(&|once| once.measured as f64) / problems[at].count() as f64,
        }
    };
    Ok(whole.iter().enumerate().map(one).collect())
}

/// One sweep on paper.
fn sweep<'a>(problems: &'a [Recorded], strategy: Strategy, effort: &'a Effort, seed: u64) -> anyhow::Result<Vec<Paper<'a>>> {
    let mut papers: Vec<Paper> = problems.iter().map(|recorded| Paper::new(recorded, effort, seed)).collect();
    for at in 0..problems.len() {
        let Recorded { configs, landscape, .. } = &problems[at];
        let paces: Vec<Pace> = papers[..at].iter().map(Paper::pace).collect();
        let landscape = Landscape { hopeless: landscape::hopeless(configs, &paces), ..landscape.clone() };
        let (samples, known) = (effort.samples, HashMap::new());
        Search { strategy, samples, evaluations: None, seed, known, landscape: &landscape }.run(&mut papers[at])?;
    }
    let mut tried = true;
    while tried {
        tried = false;
        for (at, Recorded { problem, configs, landscape, .. }) in problems.iter().enumerate() {
            let results: Vec<&Record> = papers.iter().flat_map(|paper| paper.results.values()).collect();
            let untried = promising::untried(&results, problem, configs);
            if untried.is_empty() {
                continue;
            }
            tried = true;
            // As a search that is taken up again looks at the machine first.
            papers[at].is_steady()?;
            let known = papers[at].results.iter().filter(|(candidate, _)| !untried.contains(candidate));
            let known = known.map(|(candidate, record)| (*candidate, record.cost())).collect();
            Search { strategy, samples: effort.samples, evaluations: None, seed, known, landscape }.only(untried, &mut papers[at])?;
        }
    }
    Ok(papers)
}

fn ns(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// The least median.
fn least(outcomes: &[Result<Vec<f64>, String>]) -> f64 {
    outcomes.iter().filter_map(|o| median(o.as_ref().ok()?)).fold(f64::INFINITY, f64::min)
}

/// What came of one problem in one sweep.
struct Once {
    regret: f64,
    spent: f64,
    measured: usize,
}

/// Stored results of a problem as a sampler, with what came of a search.
struct Paper<'a> {
    recorded: &'a Recorded,
    effort: &'a Effort,
    random: Random,
    /// Nanoseconds that the machine would have taken, at the least.
    spent: f64,
    /// How far each candidate has warmed up; none that was not sampled.
    stages: Vec<Option<Stage>>,
    /// The one that was sampled last.
    last: Option<usize>,
    /// The results of candidates.
    results: BTreeMap<usize, Record>,
}

impl<'a> Paper<'a> {
    fn new(recorded: &'a Recorded, effort: &'a Effort, seed: u64) -> Paper<'a> {
        let (random, stages) = (Random::new(seed ^ 0x7265_706c), vec![None; recorded.count()]);
        Paper { recorded, effort, random, spent: 0.0, stages, last: None, results: BTreeMap::new() }
    }

    fn once(&self) -> Once {
        Once { regret: self.regret(), spent: self.spent, measured: self.stages.iter().flatten().count() }
    }

    /// How kernels did.
    fn pace(&self) -> Pace {
        Pace::of_results(self.recorded.problem, self.results.values())
    }

    /// The stored time of what was found to be best over the least there is, less 1.
    fn regret(&self) -> f64 {
        let timed = self.results.iter().filter_map(|(candidate, record)| Some((*candidate, record.cost()?)));
        let found = timed.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(f64::INFINITY, |(candidate, _)| self.recorded.time(candidate));
        found / least(&self.recorded.outcomes) - 1.0
    }
}

impl Sampler for Paper<'_> {
    fn samples(&mut self, candidate: usize, count: usize) -> anyhow::Result<Result<Vec<f64>, String>> {
        if count == 0 {
            return Ok(Ok(Vec::new()));
        }
        let Effort { warm_up, sample, .. } = *self.effort;
        let stage = match self.stages[candidate] {
            None if self.last.is_none() => Stage::First,
            None => Stage::New,
            Some(stage) if self.last == Some(candidate) => stage,
            Some(_) => Stage::Back,
        };
        self.last = Some(candidate);
        let (time, then) = stage.warm_up(warm_up, (count, sample));
        let new = self.stages[candidate].replace(then).is_none();
        let stored = match &self.recorded.outcomes[candidate] {
            Ok(stored) => stored,
            Err(why) => return Ok(Err(why.clone())),
        };
        let call = median(stored).unwrap_or(0.0);
        // A call is checked first; a warm-up finds how many calls a sample has, and lasts as long as one.
        self.spent += if new { call } else { 0.0 };
        self.spent += time.map_or(0.0, |time| ns(time.max(sample)).max(call));
        self.spent += count as f64 * call.max(ns(sample));
        Ok(Ok((0..count).map(|_| stored[self.random.below(stored.len())]).collect()))
    }

    fn finish(&mut self, candidate: usize, verdict: Verdict) -> anyhow::Result<()> {
        if let Some(outcome) = verdict.outcome() {
            let (config, default) = (self.recorded.configs[candidate].clone(), candidate == 0);
            self.results.insert(candidate, Record { config, default, outcome, ..self.recorded.default.clone() });
        }
        Ok(())
    }

    fn is_steady(&mut self) -> anyhow::Result<bool> {
        // It is, but a look has its price.
        self.samples(0, LOOK).map(|_| true)
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
        let problems = [recorded];
        let run = |strategy| super::run(&problems, strategy, &Effort::FULL, 3).expect("a replay").remove(0);
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
        let problems = [recorded(&some).expect("an exhaustive search")];
        for strategy in Strategy::ALL.into_iter().filter(|s| *s != Strategy::Model) {
            assert_eq!(run(&problems, strategy, &Effort::QUICK, 1).expect("a replay")[0].regret, 0.0, "{strategy:?}");
        }
        assert!(run(&problems, Strategy::Model, &Effort::QUICK, 1).is_err(), "nothing was predicted");
    }

    #[test]
    fn what_did_well_at_another_problem_is_tried_and_has_its_price() {
        let at = |shape: &str, times: &mut dyn Iterator<Item = f64>| {
            let times: Vec<f64> = times.collect();
            let mut some = records(&times);
            for record in &mut some {
                record.config.shape = shape.parse().expect("a shape");
            }
            recorded(&some).expect("an exhaustive search")
        };
        let time = |i: i32| 1e6 * (1.0 + f64::from(i * 7 % 60) / 30.0);
        // One fewer at the other, so that lots are not the same; and what is fast at the one is so there.
        let alone = run(&[at("256x64x64", &mut (0..60).map(time))], Strategy::Random, &Effort::FULL, 8).expect("a replay").remove(0);
        let both = [at("256x64x64", &mut (0..60).map(time)), at("512x64x64", &mut (0..59).map(|i| 2.0 * time(i)))];
        let together = run(&both, Strategy::Random, &Effort::FULL, 8).expect("a replay");
        assert!(together[0].share_of_candidates > alone.share_of_candidates && together[0].share_of_time > alone.share_of_time);
        assert!(together[0].regret <= alone.regret, "{together:?} {alone:?}");
    }
}
