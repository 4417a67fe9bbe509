//! Successive halving (Karnin, Koren and Somekh 2013), by thirds as Hyperband has it (Li et al. 2018): all candidates of a
//! round get as many samples, and the fastest third goes on to a round of three times as many, with all that a few samples cannot
//! tell from the best.
//!
//! Variations of a kernel join what is left when the kernel has stood its own rounds, so that no time goes to variations of
//! what is slow anyway; and kernels that took half as long again as the best at a smaller problem do not take part: they are most
//! kernels, and a probe takes as long as they are slow. By model it is the same among the candidates that are predicted to be fastest.

use super::{BLOCK, HOPELESS, LEFT_BEHIND, PROBE, REPEATS, Run, SURVIVORS, Samples, TIME_RAN_OUT, Verdict, between, usual_number};
use anyhow::ensure;

/// Kernels whose variations are tried.
const VARIED: usize = 2;

/// Of so many candidates one goes on, to as many times the samples…
const PARTS: usize = 3;
/// …and all that take no more than this many times the best, from which a few samples cannot tell them.
const ALIKE: f64 = 1.03;

/// A candidate with its samples so far.
type Sampled = (usize, Samples);

impl Run<'_> {
    pub(super) fn halving(&mut self) -> anyhow::Result<()> {
        let (parents, hopeless) = (&self.search.landscape.parents, &self.search.landscape.hopeless);
        let (mut own, variations): (Vec<usize>, Vec<usize>) = (0..parents.len()).partition(|c| *c == 0 || parents[*c].is_none());
        own.retain(|c| *c == 0 || !hopeless[*c]);
        let mut alive = self.halve(self.fresh(own))?;
        if variations.is_empty() {
            return self.conclude(alive);
        }
        // Known ones too: a search that is taken up again must come to the same.
        let mut order: Vec<(usize, f64)> = alive.iter().filter_map(|(c, s)| Some((*c, s.time()?))).collect();
        order.extend(
            self.search
                .known
                .iter()
                .filter_map(|(c, time)| Some((*c, (*time)?)))
                .filter(|(c, _)| self.search.landscape.parents[*c].is_none()),
        );
        order.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        let varied: Vec<usize> = order.iter().take(VARIED).map(|o| o.0).collect();
        let joins = |c: &usize| self.search.landscape.parents[*c].is_some_and(|parent| varied.contains(&parent));
        alive.extend(self.fresh(variations.into_iter().filter(joins).collect()));
        let survivors = self.halve(alive)?;
        self.conclude(survivors)
    }

    /// Those of some candidates that nothing is known of, without any samples.
    fn fresh(&self, mut candidates: Vec<usize>) -> Vec<Sampled> {
        candidates.retain(|c| !self.search.known.contains_key(c));
        candidates.into_iter().map(|c| (c, Samples::default())).collect()
    }

    pub(super) fn by_model(&mut self) -> anyhow::Result<()> {
        let predicted = &self.search.landscape.predicted;
        let mut order: Vec<(usize, f64)> = predicted.iter().enumerate().filter_map(|(c, p)| Some((c, (*p)?))).collect();
        ensure!(!order.is_empty(), "no candidate has a prediction to search by");
        order.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        order.truncate(usual_number(predicted.len()));
        let mut chosen: Vec<usize> = order.into_iter().map(|o| o.0).filter(|c| *c != 0).collect();
        chosen.insert(0, 0);
        let survivors = self.halve(self.fresh(chosen))?;
        self.conclude(survivors)
    }

    /// Rounds among candidates until few are left, or one more round would be a full measurement.
    fn halve(&mut self, mut alive: Vec<Sampled>) -> anyhow::Result<Vec<Sampled>> {
        let mut target = PROBE.min(self.search.samples);
        loop {
            alive = self.sampled(alive, target)?;
            self.rounds += 1;
            let round = self.rounds;
            let keep = alive.len().div_ceil(PARTS).max(SURVIVORS);
            let best = alive.first().and_then(|s| s.1.time()).unwrap_or(f64::INFINITY).min(self.best());
            let mut kept = Vec::new();
            for (place, (candidate, samples)) in alive.into_iter().enumerate() {
                let time = samples.time().unwrap_or(f64::INFINITY);
                let dropped = match (time > HOPELESS * best, place >= keep && time > ALIKE * best) {
                    // The default is kept to the end, so that gains over it rest on a full measurement.
                    _ if candidate == 0 => None,
                    (true, _) => Some(format!("round {round}: more than {HOPELESS} times the best")),
                    (_, true) => Some(format!("round {round}: {LEFT_BEHIND}")),
                    _ => None,
                };
                match dropped {
                    None => kept.push((candidate, samples)),
                    dropped => self.finish(candidate, samples.verdict(dropped))?,
                }
            }
            alive = kept;
            target *= PARTS;
            if alive.len() <= SURVIVORS || target >= self.search.samples {
                break;
            }
        }
        Ok(alive)
    }

    /// Measures what is left in full.
    fn conclude(&mut self, alive: Vec<Sampled>) -> anyhow::Result<()> {
        for (candidate, samples) in self.sampled(alive, self.search.samples)? {
            self.finish(candidate, samples.verdict(None))?;
        }
        Ok(())
    }

    /// Brings all of `alive` to `target` samples, fastest first. When the budget ends, what was sampled is a result all
    /// the same, and the rest is counted.
    fn sampled(&mut self, alive: Vec<Sampled>, target: usize) -> anyhow::Result<Vec<Sampled>> {
        let (mut done, alive): (Vec<Sampled>, Vec<Sampled>) = alive.into_iter().partition(|(_, samples)| samples.taken.len() >= target);
        let mut alive = alive.into_iter().peekable();
        while alive.peek().is_some() {
            let mut block: Vec<Sampled> = Vec::with_capacity(BLOCK);
            for (candidate, samples) in alive.by_ref().take(BLOCK) {
                let new = samples.taken.is_empty();
                let spent = if new { self.is_spent(candidate) } else { candidate != 0 && self.sampler.out_of_time() };
                match (spent, new) {
                    (true, true) => self.unmeasured += 1,
                    (true, false) => self.finish(candidate, samples.verdict(Some(TIME_RAN_OUT.into())))?,
                    (false, _) => {
                        self.begun += usize::from(new);
                        block.push((candidate, samples));
                    }
                }
            }
            done.extend(self.block(block, target)?);
        }
        let time = |s: &Sampled| s.1.time().unwrap_or(f64::INFINITY);
        done.sort_by(|a, b| time(a).total_cmp(&time(b)).then(a.0.cmp(&b.0)));
        Ok(done)
    }

    /// Brings a block to `target` samples, taken while the machine was steady if it can be had. Candidates that are not valid
    /// are finished.
    fn block(&mut self, block: Vec<Sampled>, target: usize) -> anyhow::Result<Vec<Sampled>> {
        for repeat in 1..=REPEATS {
            let mut more = Vec::with_capacity(block.len());
            for (candidate, samples) in &block {
                more.push(self.sampler.samples(*candidate, target.saturating_sub(samples.taken.len()))?);
            }
            // Not before: the first sample of all has the machine looked at.
            let before = self.sampler.drift();
            if !block.is_empty() && !self.sampler.is_steady()? {
                if repeat < REPEATS {
                    continue;
                }
                self.unsteady.extend(block.iter().map(|sampled| sampled.0));
            }
            let drift = between(before, self.sampler.drift());
            let mut valid = Vec::with_capacity(block.len());
            for ((candidate, mut samples), more) in block.into_iter().zip(more) {
                match more {
                    Ok(more) => {
                        samples.add(more, drift);
                        valid.push((candidate, samples));
                    }
                    Err(why) => self.finish(candidate, Verdict::Invalid(why))?,
                }
            }
            return Ok(valid);
        }
        Ok(Vec::new())
    }
}
