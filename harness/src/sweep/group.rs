//! One problem of a sweep: has its candidates verified and timed as the search asks, and the finalists compared in pairs.

use super::session::Session;
use super::{Group, Options};
use crate::measure::apart::{Reply, Request, Sampling};
use crate::measure::clock::Effort;
use crate::measure::statistics::median;
use crate::ranking;
use crate::search::{Bench, Order, Search, Verdict};
use crate::space::landscape;
use crate::store::{Config, Outcome, Record};
use anyhow::bail;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A problem that is being measured.
pub(super) struct GroupRun<'a, 's> {
    session: &'a mut Session<'s>,
    group: &'a Group,
    configs: Vec<Config>,
    /// What places and values of operands are drawn from, from the first candidate on that is measured.
    seed: Option<u64>,
    /// What the default took when it was last looked at.
    anchor: Option<f64>,
    /// Verification error of each candidate as a fraction of its tolerance.
    errors: HashMap<usize, f64>,
    began: Instant,
    time: Option<Duration>,
}

/// The share of a problem's time that the search may take; the rest is for the finals.
const SEARCH: f64 = 0.7;
/// Samples of the default that tell whether the machine is as it was…
const ANCHOR: usize = 3;
/// …which it is not when they differ by more than this.
const DRIFT: f64 = 0.1;
/// Fewer pairs than this say nothing.
const FEWEST_PAIRS: usize = 6;

impl GroupRun<'_, '_> {
    /// Measures what the store does not hold yet of a problem, within about `time`.
    pub(super) fn measure_missing(session: &mut Session, group: &Group, time: Option<Duration>) -> anyhow::Result<()> {
        let configs: Vec<Config> = group.candidates.iter().map(|c| Config::new(&group.problem, c)).collect();
        let known = known(&session.records, &configs);
        session.progress.at(format!("{} {}", group.problem.op, group.problem.shape));
        session.progress.advance(known.len() as u64);
        let mut landscape = landscape::of(&configs);
        if let Some(predictor) = &session.predictor {
            landscape.predicted = configs.iter().map(|config| predictor.cycles(config)).collect();
        }
        let mut run = GroupRun { session, group, configs, seed: None, anchor: None, errors: HashMap::new(), began: Instant::now(), time };
        let Options { strategy, effort: Effort { samples, .. }, evaluations, seed, .. } = *run.session.options;
        let search = Search { strategy, samples, evaluations, seed, known, landscape: &landscape };
        let order = search.run(&mut run)?;
        run.session.unmeasured += order.unmeasured;
        run.session.passed_over += order.passed_over;
        run.session.progress.advance((order.unmeasured + order.passed_over) as u64);
        if finals_are_there(&run.session.records, &run.configs) {
            return Ok(());
        }
        run.finals(&order)
    }

    /// Makes ready for measuring, once, in a process of its own: what places and values of operands are drawn from.
    fn begin(&mut self) -> anyhow::Result<u64> {
        if let Some(seed) = self.seed {
            return Ok(seed);
        }
        self.session.noise(self.group)?;
        self.session.bench.renew();
        // The noise floor is the session's: this problem's time begins after it.
        self.began = Instant::now();
        let seed = (self.session.records.len() as u64) << 8 | self.group.problem.threads as u64;
        Ok(*self.seed.insert(seed))
    }

    /// Compares the fastest with one another, and the best with the default.
    fn finals(&mut self, order: &Order) -> anyhow::Result<()> {
        let Some(&(best, _)) = order.ranking.first() else { return Ok(()) };
        let finalists: Vec<usize> = order.ranking.iter().take(self.session.options.effort.finalists).map(|r| r.0).collect();
        for &rival in finalists.iter().filter(|f| **f != best) {
            self.compare(rival, best, "best", finalists.len())?;
        }
        let records: Vec<&Record> = self.session.records.iter().filter(|r| r.config.problem() == Some(self.group.problem)).collect();
        let best = ranking::standing(self.group.problem, &records).and_then(|s| self.configs.iter().position(|c| *c == s.best.config));
        let default = self.group.candidates.iter().position(|c| c.default);
        match (best, default) {
            (Some(best), Some(default)) if best != default => self.compare(best, default, "default", 1),
            _ => Ok(()),
        }
    }

    /// Time of `one` over time of `other`, in pairs; `shares` comparisons share what time is left.
    fn compare(&mut self, one: usize, other: usize, role: &str, shares: usize) -> anyhow::Result<()> {
        let against = self.configs[other].label();
        let stored = |r: &&Record| {
            r.config == self.configs[one] && matches!(&r.outcome, Outcome::Paired { against: a, role: r, .. } if *a == against && r == role)
        };
        if self.session.records.iter().any(|r| stored(&r)) {
            return Ok(());
        }
        let effort = self.session.options.effort;
        // What a quadruple takes at least; a budget may allow for fewer of them.
        let quadruple = effort.sample * 4;
        let left = self.time.map(|t| t.saturating_sub(self.began.elapsed()) / shares.max(1) as u32);
        let affordable = left.map_or(usize::MAX, |left| (left.as_nanos() / quadruple.as_nanos().max(1)) as usize);
        let count = effort.pairs.min(affordable).max(FEWEST_PAIRS.min(effort.pairs));
        self.session.pair(self.group, (&self.configs[one], &self.configs[other]), role, count)
    }
}

impl Bench for GroupRun<'_, '_> {
    fn samples(&mut self, candidate: usize, count: usize) -> anyhow::Result<Result<Vec<f64>, String>> {
        if count == 0 {
            return Ok(Ok(Vec::new()));
        }
        let seed = self.begin()?;
        let config = &self.configs[candidate];
        // The grid has its say once a kernel; the very call is checked too.
        let grid = match self.session.verified(&config.kernel)? {
            Ok(worst) => worst,
            Err(reason) => return Ok(Err(reason)),
        };
        let Options { effort, .. } = self.session.options;
        let sampling = Sampling::new(config, count, effort, self.session.room, seed);
        let samples = match self.session.bench.ask(&Request::Samples(sampling))? {
            Reply::Samples(samples, error) => {
                self.errors.insert(candidate, grid.max(error));
                samples
            }
            Reply::Invalid(reason) => return Ok(Err(reason)),
            other => bail!("a bench was asked for samples and said {other:?}"),
        };
        if candidate == 0 && self.anchor.is_none() {
            self.anchor = median(&samples);
        }
        Ok(Ok(samples))
    }

    fn finish(&mut self, candidate: usize, verdict: Verdict) -> anyhow::Result<()> {
        let config = self.configs[candidate].clone();
        let outcome = match verdict {
            Verdict::Timed { samples, dropped } => Outcome::timed(&samples, dropped),
            Verdict::Invalid(reason) => {
                self.session.progress.note(&format!("not valid, so not timed: {}: {reason}", config.label()));
                Some(Outcome::Invalid { reason })
            }
        };
        self.session.progress.advance(1);
        match outcome {
            Some(outcome) => {
                let error = self.errors.get(&candidate).copied();
                self.session.keep(config, self.group.candidates[candidate].default, error, outcome)
            }
            None => Ok(()),
        }
    }

    /// By the default, which is timed again each time.
    fn is_steady(&mut self) -> anyhow::Result<bool> {
        let Ok(samples) = self.samples(0, ANCHOR)? else { return Ok(true) };
        let (now, before) = (median(&samples), self.anchor);
        self.anchor = now;
        Ok(!before.zip(now).is_some_and(|(before, now)| (now / before - 1.0).abs() > DRIFT))
    }

    fn out_of_time(&self) -> bool {
        self.time.is_some_and(|t| self.began.elapsed() > t.mul_f64(SEARCH))
    }
}

/// Candidates whose results are stored: their medians, `None` for those that were not valid.
fn known(records: &[Record], configs: &[Config]) -> HashMap<usize, Option<f64>> {
    let mut known = HashMap::new();
    for record in records {
        let Some(index) = configs.iter().position(|c| *c == record.config) else { continue };
        match &record.outcome {
            Outcome::Timed { median_ns, .. } => known.insert(index, Some(*median_ns)),
            Outcome::Invalid { .. } => known.insert(index, None),
            Outcome::Paired { .. } | Outcome::Predicted { .. } => None,
        };
    }
    known
}

/// Whether the comparisons of a fully measured problem are stored as well.
fn finals_are_there(records: &[Record], configs: &[Config]) -> bool {
    let Some(problem) = configs.first().and_then(Config::problem) else { return true };
    let mine: Vec<&Record> = records.iter().filter(|r| r.config.problem() == Some(problem)).collect();
    let paired = |with: &str| mine.iter().any(|r| matches!(&r.outcome, Outcome::Paired { role, .. } if role == with));
    match ranking::standing(problem, &mine) {
        Some(s) => (s.timed.len() < 2 || paired("best")) && s.gain.is_none_or(|g| g.paired),
        None => true,
    }
}
