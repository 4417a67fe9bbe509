//! One problem of a sweep: has its candidates verified and timed as the search asks, what did well at other problems timed too,
//! and the finalists compared in pairs.

use super::anchor::{Anchor, LOOK};
use super::session::Session;
use super::{Group, Options};
use crate::bake::promising;
use crate::measure::apart::{Reply, Request, Sampling};
use crate::measure::clock::Effort;
use crate::measure::statistics::median;
use crate::ranking;
use crate::search::{Landscape, Sampler, Search, Verdict, ranked};
use crate::space::landscape::{self, Pace};
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
    /// Whether the machine is as it was.
    anchor: Anchor,
    /// Verification error of each candidate as a fraction of its tolerance.
    errors: HashMap<usize, f64>,
    began: Instant,
    time: Option<Duration>,
}

/// Fewer pairs than this say nothing.
const FEWEST_PAIRS: usize = 8;

impl<'a, 's> GroupRun<'a, 's> {
    /// Searches a problem for what the store does not hold yet, within about `time`.
    pub(super) fn search_missing(session: &mut Session, group: &Group, time: Option<Duration>) -> anyhow::Result<()> {
        let (mut run, known) = GroupRun::new(session, group, time);
        run.session.progress.at(format!("{} {}", group.problem.op, group.problem.shape));
        run.session.progress.advance(known.len() as u64);
        let mut landscape = landscape::of(&run.configs);
        landscape.hopeless = landscape::hopeless(&run.configs, &run.paces());
        if let Some(predictor) = &run.session.predictor {
            landscape.predicted = run.configs.iter().map(|config| predictor.cycles(config)).collect();
        }
        let order = run.search(&landscape, known).run(&mut run)?;
        run.session.unmeasured += order.unmeasured;
        run.session.passed_over += order.passed_over;
        run.session.progress.advance((order.unmeasured + order.passed_over) as u64);
        Ok(())
    }

    /// Compares the fastest of a problem in pairs, if the store does not hold that yet, within about `time`.
    pub(super) fn compare_missing(session: &mut Session, group: &Group, time: Option<Duration>) -> anyhow::Result<()> {
        let (mut run, known) = GroupRun::new(session, group, time);
        if finals_are_there(&run.session.counting(), &run.configs) {
            return Ok(());
        }
        run.session.progress.at(format!("{} {}: the fastest in pairs", group.problem.op, group.problem.shape));
        run.finals(&ranked(&known))
    }

    /// Measures what did well at other problems of the class, or may well do so here, and was not measured in full at this one, within
    /// about `time`. Whether there was anything.
    pub(super) fn try_fastest(session: &mut Session, group: &Group, time: Option<Duration>) -> anyhow::Result<bool> {
        let (mut run, mut known) = GroupRun::new(session, group, time);
        let counting = run.session.counting();
        let mut fastest = promising::untried(&counting, &group.problem, &run.configs);
        // Once: what is measured again on a restless machine may count for less than what is there.
        fastest.retain(|at| !run.session.tried.contains(&run.configs[*at]));
        if fastest.is_empty() {
            return Ok(false);
        }
        run.session.tried.extend(fastest.iter().map(|at| run.configs[*at].clone()));
        let (landscape, before) = (landscape::of(&run.configs), run.session.stored);
        let new: Vec<usize> = fastest.iter().copied().filter(|at| !known.contains_key(at)).collect();
        known.retain(|at, _| !fastest.contains(at));
        run.session.progress.more(fastest.len() as u64);
        run.session.progress.at(format!("{} {}: {} near what did well", group.problem.op, group.problem.shape, fastest.len()));
        run.search(&landscape, known).only(fastest, &mut run)?;
        // The search had counted them as passed over, or as left.
        let is_there = |at: &&usize| run.session.records.iter().any(|record| record.config == run.configs[**at]);
        let measured = new.iter().filter(is_there).count();
        let left = measured.saturating_sub(run.session.passed_over);
        run.session.passed_over -= measured - left;
        run.session.unmeasured = run.session.unmeasured.saturating_sub(left);
        Ok(run.session.stored > before)
    }

    /// With the candidates whose results are there.
    fn new(session: &'a mut Session<'s>, group: &'a Group, time: Option<Duration>) -> (GroupRun<'a, 's>, Known) {
        let configs: Vec<Config> = group.candidates.iter().map(|c| Config::new(&group.problem, c)).collect();
        let known = known(&session.counting(), &configs);
        let anchor = Anchor::since(known.get(&0).copied().flatten());
        (GroupRun { session, group, configs, seed: None, anchor, errors: HashMap::new(), began: Instant::now(), time }, known)
    }

    /// How kernels did at each problem that has results.
    fn paces(&self) -> Vec<Pace> {
        let standings = ranking::standings(self.session.counting());
        let pace = |standing: &ranking::Standing| Pace::of_results(standing.problem, standing.timed.iter().copied());
        standings.iter().map(pace).collect()
    }

    fn search<'l>(&self, landscape: &'l Landscape, known: Known) -> Search<'l> {
        let Options { strategy, effort: Effort { samples, .. }, evaluations, seed, .. } = *self.session.options;
        Search { strategy, samples, evaluations, seed, known, landscape }
    }

    /// Makes ready for measuring, once: what places and values of operands are drawn from.
    fn begin(&mut self) -> anyhow::Result<u64> {
        if let Some(seed) = self.seed {
            return Ok(seed);
        }
        self.session.noise(self.group)?;
        // The noise floor is the session's: this problem's time begins after it.
        self.began = Instant::now();
        // The same each time: where operands lie makes a difference of several percent, and what is timed now is held against what was
        // timed before, often on the very same operands.
        let seed = self.group.problem.cost().to_bits() ^ self.group.problem.threads as u64;
        self.seed = Some(seed);
        if self.anchor.has_begun() {
            // What an earlier session measured was on the machine as it was then.
            let _ = self.samples(0, LOOK)?;
        }
        Ok(seed)
    }

    /// Compares the fastest with one another, and the best with the default.
    fn finals(&mut self, ranking: &[(usize, f64)]) -> anyhow::Result<()> {
        // A comparison may show that one of the two is wrong. If it is the best, the others are compared with the next.
        loop {
            let sound = ranking.iter().map(|r| r.0).filter(|c| !self.session.is_wrong(&self.configs[*c]));
            let finalists: Vec<usize> = sound.take(self.session.options.effort.finalists).collect();
            let Some((&best, rivals)) = finalists.split_first() else { return Ok(()) };
            for &rival in rivals {
                self.compare(rival, best, "best", finalists.len())?;
                if self.session.is_wrong(&self.configs[best]) {
                    break;
                }
            }
            if !self.session.is_wrong(&self.configs[best]) {
                break;
            }
        }
        let default = self.group.candidates.iter().position(|c| c.default);
        loop {
            let records: Vec<&Record> = self.session.counting().into_iter().filter(|r| self.is_of_group(r)).collect();
            let best = ranking::standing(self.group.problem, &records).and_then(|s| self.configs.iter().position(|c| *c == s.best.config));
            let (Some(best), Some(default)) = (best, default) else { return Ok(()) };
            if best == default || self.session.is_wrong(&self.configs[default]) {
                return Ok(());
            }
            self.compare(best, default, "default", 1)?;
            if !self.session.is_wrong(&self.configs[best]) {
                return Ok(());
            }
        }
    }

    fn is_of_group(&self, record: &Record) -> bool {
        record.config.problem() == Some(self.group.problem)
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
        let quadruple = effort.place();
        let left = self.time.map(|t| t.saturating_sub(self.began.elapsed()) / shares.max(1) as u32);
        let affordable = left.map_or(usize::MAX, |left| (left.as_nanos() / quadruple.as_nanos().max(1)) as usize);
        let count = effort.pairs.min(affordable).max(FEWEST_PAIRS.min(effort.pairs));
        let patience = left.map_or(effort.patience, |left| effort.patience.min(left.saturating_sub(quadruple * count as u32)));
        self.session.pair(self.group, (&self.configs[one], &self.configs[other]), role, (count, patience))
    }
}

impl Sampler for GroupRun<'_, '_> {
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
        if candidate == 0
            && self.anchor.is_new()
            && let Some(now) = median(&samples)
        {
            self.anchor.look(now);
        }
        Ok(Ok(samples))
    }

    fn finish(&mut self, candidate: usize, verdict: Verdict) -> anyhow::Result<()> {
        let config = self.configs[candidate].clone();
        if let Verdict::Invalid(reason) = &verdict {
            self.session.progress.note(&format!("not valid, so not timed: {}: {reason}", config.label()));
        }
        self.session.progress.advance(1);
        match verdict.outcome() {
            Some(outcome) => {
                let error = self.errors.get(&candidate).copied();
                self.session.keep(config, self.group.candidates[candidate].default, error, outcome)
            }
            None => Ok(()),
        }
    }

    /// By the default, which is timed again each time.
    fn is_steady(&mut self) -> anyhow::Result<bool> {
        let Ok(samples) = self.samples(0, LOOK)? else { return Ok(true) };
        Ok(median(&samples).is_none_or(|now| self.anchor.look(now)))
    }

    fn drift(&self) -> f64 {
        self.anchor.drift()
    }

    fn out_of_time(&self) -> bool {
        self.time.is_some_and(|t| self.began.elapsed() > t)
    }
}

/// Candidates whose results are there: their medians, `None` for those that were not valid.
type Known = HashMap<usize, Option<f64>>;

fn known(records: &[&Record], configs: &[Config]) -> Known {
    let mut known = HashMap::new();
    for record in records {
        let Some(index) = configs.iter().position(|c| *c == record.config) else { continue };
        match &record.outcome {
            Outcome::Timed { .. } => known.insert(index, record.cost()),
            Outcome::Invalid { .. } => known.insert(index, None),
            Outcome::Paired { .. } | Outcome::Predicted { .. } => None,
        };
    }
    known
}

/// Whether the comparisons of a fully measured problem are stored as well.
fn finals_are_there(records: &[&Record], configs: &[Config]) -> bool {
    let Some(problem) = configs.first().and_then(Config::problem) else { return true };
    let mine: Vec<&Record> = records.iter().copied().filter(|r| r.config.problem() == Some(problem)).collect();
    let paired = |with: &str| mine.iter().any(|r| matches!(&r.outcome, Outcome::Paired { role, .. } if role == with));
    match ranking::standing(problem, &mine) {
        Some(s) => (s.timed.len() < 2 || paired("best")) && s.gain.is_none_or(|g| g.paired),
        None => true,
    }
}
