//! Which candidates are measured, in which order, and how thoroughly.
//!
//! Each is probed first, and one slower than twice the best is dropped at once; of what a search had no need to look at, one that is a few
//! percent slower. A search only orders the
//! candidates; who wins is decided afterwards, in pairs. It does not know what a candidate is, beside where
//! it stands among the others, and reads no clock.

mod descent;
mod genetic;
mod halving;
#[cfg(test)]
mod tests;

use crate::measure::statistics::{Random, median};
use crate::store::{LEFT_BEHIND, Outcome, TIME_RAN_OUT, UNSTEADY};
use std::collections::{HashMap, HashSet};

/// How to go about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Strategy {
    /// Every candidate in full, unless its probe takes twice the best
    Exhaustive,
    /// Successive halving: rounds that treble the samples and keep the fastest third, of kernels first and then of those that are left
    /// with their variations (Li et al. 2018); without what took 1.5 times the best at a smaller problem
    Halving,
    /// The candidates that the model predicts to be fastest, by halving
    Model,
    /// One parameter at a time, as long as that helps, from the default and from other places
    Descent,
    /// A population of which the better breed
    Genetic,
    /// So many, drawn by lot
    Random,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 6] =
        [Strategy::Exhaustive, Strategy::Halving, Strategy::Model, Strategy::Descent, Strategy::Genetic, Strategy::Random];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Exhaustive => "exhaustive",
            Strategy::Halving => "halving",
            Strategy::Model => "model",
            Strategy::Descent => "descent",
            Strategy::Genetic => "genetic",
            Strategy::Random => "random",
        }
    }
}

/// Takes samples of candidates, and keeps what is final.
pub trait Sampler {
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

    /// Whether the machine is still as it was when this was last asked: what was measured in between holds only then.
    ///
    /// # Errors
    /// What makes going on impossible.
    fn is_steady(&mut self) -> anyhow::Result<bool>;

    /// How many times as long everything took when this was last looked at as when the search began: candidates are compared by
    /// what they would have taken then.
    fn drift(&self) -> f64;

    /// Whether time has run out.
    fn out_of_time(&self) -> bool;
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It was measured.
    Timed {
        /// Nanoseconds per call, as they were taken.
        samples: Vec<f64>,
        /// Their median over what it would have been when the search began.
        drift: f64,
        /// Why not in full, if not.
        dropped: Option<String>,
    },
    /// It gave a wrong answer.
    Invalid(String),
}

impl Verdict {
    /// Its median in nanoseconds per call, as it would have been when the search began, if it is valid.
    fn time(&self) -> Option<f64> {
        match self {
            Verdict::Timed { samples, drift, .. } => median(samples).map(|taken| taken / drift),
            Verdict::Invalid(_) => None,
        }
    }

    /// It as a result. `None` without a sample.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Verdict::Timed { samples, drift, dropped } => Outcome::timed(&samples, dropped).map(|timed| timed.drifted(drift)),
            Verdict::Invalid(reason) => Some(Outcome::Invalid { reason }),
        }
    }
}

/// Samples of a candidate in nanoseconds per call: as they were taken, and as they would have been when the search began.
#[derive(Clone, Debug, Default)]
struct Samples {
    taken: Vec<f64>,
    level: Vec<f64>,
}

impl Samples {
    /// Adds samples that were taken at a drift.
    fn add(&mut self, more: Vec<f64>, drift: f64) {
        self.level.extend(more.iter().map(|ns| ns / drift));
        self.taken.extend(more);
    }

    fn time(&self) -> Option<f64> {
        median(&self.level)
    }

    fn verdict(self, dropped: Option<String>) -> Verdict {
        let drift = median(&self.taken).zip(self.time()).map_or(1.0, |(taken, level)| taken / level);
        Verdict::Timed { samples: self.taken, drift, dropped }
    }
}

/// The drift between two looks, where a step and a slope are as likely.
fn between(before: f64, after: f64) -> f64 {
    (before * after).sqrt()
}

/// How candidates stand to one another. The first is the default.
#[derive(Clone, Debug, Default)]
pub struct Landscape {
    /// The value of each parameter, by its place among the values that the parameter has; all are as long.
    pub places: Vec<Vec<usize>>,
    /// The candidate that each is a variation of, if it is one.
    pub parents: Vec<Option<usize>>,
    /// What a model makes of each: its time, in any unit. Not every candidate has a prediction.
    pub predicted: Vec<Option<f64>>,
    /// Whether each is of a kernel that was too far from the best at a smaller problem.
    pub hopeless: Vec<bool>,
}

/// The order that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Candidates and their medians in nanoseconds per call, fastest first.
    pub ranking: Vec<(usize, f64)>,
    /// Candidates that the budget did not suffice for.
    pub unmeasured: usize,
    /// Candidates that the strategy saw no need to measure.
    pub passed_over: usize,
}

/// Candidates that are measured between two looks at whether the machine is steady, and again if it was not…
const BLOCK: usize = 8;
/// …so many times.
const REPEATS: usize = 3;
/// Samples of a probe.
const PROBE: usize = 2;
/// Times the best median beyond which a candidate is dropped.
pub(crate) const HOPELESS: f64 = 2.0;
/// What is measured in full, unless so many samples show that it takes so many times the best.
type Bars = [(usize, f64)];
/// Of what a search asks for.
const USUAL: &Bars = &[(PROBE, HOPELESS)];
/// Of what a search had no need to look at, and what may be among the fastest all the same.
const NARROW: &Bars = &[(PROBE, 1.1), (3 * PROBE, 1.06)];
/// Halving ends with no more than this many, which are then measured in full.
const SURVIVORS: usize = 4;
/// The share of all candidates that strategies take which could go on for ever, if no number is given…
const SHARE: f64 = 0.15;
/// …and the least.
const LEAST: usize = 8;

/// One search.
pub struct Search<'a> {
    /// How.
    pub strategy: Strategy,
    /// Samples of a candidate that is measured in full.
    pub samples: usize,
    /// Candidates that may be measured at most, known ones with them; `None`: what the strategy needs.
    pub evaluations: Option<usize>,
    /// What chance is drawn from: the same seed takes the same way.
    pub seed: u64,
    /// Candidates that need no measuring any more: their median, or `None` if they were not valid.
    pub known: HashMap<usize, Option<f64>>,
    /// How they stand to one another.
    pub landscape: &'a Landscape,
}

/// A search under way.
struct Run<'a> {
    search: Search<'a>,
    sampler: &'a mut dyn Sampler,
    random: Random,
    /// Candidates that samples were taken of, by this search or before it.
    begun: usize,
    /// Verdicts that hold if the machine is found to have been steady.
    pending: Vec<(usize, Verdict)>,
    /// Candidates that could not be measured while it was.
    unsteady: HashSet<usize>,
    unmeasured: usize,
    /// When a candidate is dropped that is measured by itself.
    bars: &'static Bars,
    /// Rounds of halving so far.
    rounds: usize,
}

/// What came of asking for a candidate's time.
enum Step {
    /// Its median, or `None` if it is not valid.
    Time(Option<f64>),
    /// The budget is used up.
    Stop,
}

impl Search<'_> {
    /// Searches all candidates of the landscape; the first, which should be the default, is measured in any case.
    ///
    /// # Errors
    /// Those of the sampler; a search by model without any prediction.
    pub fn run(self, sampler: &mut dyn Sampler) -> anyhow::Result<Order> {
        let count = self.landscape.places.len();
        let mut run = Run::new(self, sampler);
        match run.search.strategy {
            Strategy::Exhaustive => run.one_after_another((0..count).collect())?,
            Strategy::Random => run.by_lot(count)?,
            Strategy::Halving => run.halving()?,
            Strategy::Model => run.by_model()?,
            Strategy::Descent => run.descent()?,
            Strategy::Genetic => run.breed()?,
        }
        run.order()
    }

    /// Measures these candidates of the landscape and no others, whatever the strategy; what a few samples show to be several percent
    /// off the best is dropped.
    ///
    /// # Errors
    /// Those of the sampler.
    pub fn only(self, candidates: Vec<usize>, sampler: &mut dyn Sampler) -> anyhow::Result<Order> {
        let mut run = Run { bars: NARROW, ..Run::new(self, sampler) };
        run.one_after_another(candidates)?;
        run.order()
    }
}

impl<'a> Run<'a> {
    fn new(search: Search<'a>, sampler: &'a mut dyn Sampler) -> Run<'a> {
        let (random, begun) = (Random::new(search.seed), search.known.len());
        Run { search, sampler, random, begun, pending: Vec::new(), unsteady: HashSet::new(), unmeasured: 0, bars: USUAL, rounds: 0 }
    }

    /// Hands over what is still to be, and ends.
    fn order(mut self) -> anyhow::Result<Order> {
        self.settle()?;
        let (known, count) = (&self.search.known, self.search.landscape.places.len());
        Ok(Order { passed_over: count - known.len() - self.unmeasured, ranking: ranked(known), unmeasured: self.unmeasured })
    }

    fn best(&self) -> f64 {
        self.search.known.values().flatten().copied().fold(f64::INFINITY, f64::min)
    }

    /// Whether no further candidate may be begun. The default may always.
    fn is_spent(&self, candidate: usize) -> bool {
        candidate != 0 && (self.sampler.out_of_time() || self.search.evaluations.is_some_and(|most| self.begun >= most))
    }

    fn finish(&mut self, candidate: usize, mut verdict: Verdict) -> anyhow::Result<()> {
        if let Verdict::Timed { dropped, .. } = &mut verdict
            && self.unsteady.contains(&candidate)
        {
            // What is dropped for a few percent may have been so for want of peace.
            if dropped.is_none() || self.bars != USUAL {
                *dropped = Some(UNSTEADY.into());
            }
        }
        self.search.known.insert(candidate, verdict.time());
        self.sampler.finish(candidate, verdict)
    }

    /// The time of a candidate: what is known, or a probe and, unless that was hopeless, all samples.
    fn time(&mut self, candidate: usize) -> anyhow::Result<Step> {
        if let Some(known) = self.search.known.get(&candidate) {
            return Ok(Step::Time(*known));
        }
        if self.is_spent(candidate) {
            return Ok(Step::Stop);
        }
        self.begun += 1;
        let verdict = self.measure(candidate)?;
        let time = verdict.time();
        self.search.known.insert(candidate, time);
        self.pending.push((candidate, verdict));
        if self.pending.len() >= BLOCK {
            self.settle()?;
        }
        Ok(Step::Time(self.search.known.get(&candidate).copied().flatten()))
    }

    /// Probes a candidate and, unless it is beyond a bar, measures it in full.
    fn measure(&mut self, candidate: usize) -> anyhow::Result<Verdict> {
        let all = self.search.samples;
        let (mut samples, mut dropped) = (Samples::default(), None);
        let bars = self.bars.iter().copied().filter(|bar| bar.0 < all);
        for (count, bar) in bars.chain([(all, f64::INFINITY)]) {
            match self.sampler.samples(candidate, count - samples.taken.len())? {
                // The first sample of all has the machine looked at.
                Ok(more) => samples.add(more, self.sampler.drift()),
                Err(why) => return Ok(Verdict::Invalid(why)),
            }
            if candidate != 0 && samples.time().is_some_and(|time| time > bar * self.best()) {
                dropped = Some(format!("its first {count} samples took more than {bar} times the best"));
                break;
            }
        }
        Ok(samples.verdict(dropped))
    }

    /// Hands over what was measured since the machine was last looked at, if it was steady; else measures it again first.
    fn settle(&mut self) -> anyhow::Result<()> {
        for repeat in 1..=REPEATS {
            if self.pending.is_empty() || self.sampler.is_steady()? {
                break;
            }
            let again = std::mem::take(&mut self.pending);
            for (candidate, mut verdict) in again {
                if repeat == REPEATS {
                    self.unsteady.insert(candidate);
                } else if matches!(verdict, Verdict::Timed { .. }) {
                    // Without its own time among those that it is compared with.
                    self.search.known.remove(&candidate);
                    verdict = self.measure(candidate)?;
                }
                self.search.known.insert(candidate, verdict.time());
                self.pending.push((candidate, verdict));
            }
        }
        let after = self.sampler.drift();
        std::mem::take(&mut self.pending).into_iter().try_for_each(|(candidate, mut verdict)| {
            if let Verdict::Timed { drift, .. } = &mut verdict {
                *drift = between(*drift, after);
            }
            self.finish(candidate, verdict)
        })
    }

    /// Measures candidates in an order; what the budget does not suffice for is counted.
    fn one_after_another(&mut self, candidates: Vec<usize>) -> anyhow::Result<()> {
        for candidate in &candidates {
            if matches!(self.time(*candidate)?, Step::Stop) {
                self.unmeasured = candidates.iter().filter(|c| !self.search.known.contains_key(c)).count();
                break;
            }
        }
        Ok(())
    }

    /// Counts what a search that goes from one candidate to the next might still have measured when it had to end.
    fn count_the_rest(&mut self) {
        let left = self.search.landscape.places.len() - self.search.known.len();
        self.unmeasured = self.search.evaluations.map_or(left, |most| left.min(most.saturating_sub(self.begun)));
    }

    fn by_lot(&mut self, count: usize) -> anyhow::Result<()> {
        let mut lots: Vec<usize> = (1..count).collect();
        for at in (1..lots.len()).rev() {
            lots.swap(at, self.random.below(at + 1));
        }
        lots.insert(0, 0);
        lots.truncate(self.search.evaluations.unwrap_or(usual_number(count)).max(1));
        self.one_after_another(lots)
    }
}

/// Candidates that are valid, with their medians, fastest first.
pub fn ranked(known: &HashMap<usize, Option<f64>>) -> Vec<(usize, f64)> {
    let mut ranking: Vec<(usize, f64)> = known.iter().filter_map(|(candidate, median)| Some((*candidate, (*median)?))).collect();
    ranking.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    ranking
}

/// How many of so many candidates are measured by a strategy that could go on for ever.
fn usual_number(count: usize) -> usize {
    ((count as f64 * SHARE) as usize).max(LEAST)
}
