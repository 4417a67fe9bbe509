//! Coordinate descent: along one parameter at a time to its best value, as long as any of them helps; then again
//! from a place drawn by lot.

use super::{Run, Step, usual_number};

/// Places to begin at beside the default.
const RESTARTS: usize = 2;

impl Run<'_> {
    pub(super) fn descent(&mut self) -> anyhow::Result<()> {
        let count = self.search.landscape.places.len();
        let most = self.search.evaluations.unwrap_or(usual_number(count).max(count / 2));
        self.search.evaluations = Some(most);
        let mut start = Some(0);
        for _ in 0..=RESTARTS {
            let Some(from) = start else { break };
            if self.descend(from)?.is_none() {
                self.count_the_rest();
                break;
            }
            let new: Vec<usize> = (0..count).filter(|c| !self.search.known.contains_key(c)).collect();
            start = new.get(self.random.below(new.len())).copied();
        }
        Ok(())
    }

    /// Goes down from a candidate. `None` when the budget ends before the bottom.
    fn descend(&mut self, from: usize) -> anyhow::Result<Option<()>> {
        let Step::Time(time) = self.time(from)? else { return Ok(None) };
        let (mut at, mut least) = (from, time.unwrap_or(f64::INFINITY));
        let axes = self.search.landscape.places[from].len();
        let (mut axis, mut stood_still) = (0, 0);
        while stood_still < axes {
            let before = at;
            for other in self.along(before, axis) {
                match self.time(other)? {
                    Step::Stop => return Ok(None),
                    Step::Time(Some(time)) if time < least => (at, least) = (other, time),
                    Step::Time(_) => {}
                }
            }
            stood_still = if at == before { stood_still + 1 } else { 1 };
            axis = (axis + 1) % axes;
        }
        Ok(Some(()))
    }

    /// The candidates that differ from `from` in one parameter alone.
    fn along(&self, from: usize, axis: usize) -> Vec<usize> {
        let places = &self.search.landscape.places;
        let differs = |c: &usize| *c != from && places[*c].iter().zip(&places[from]).enumerate().all(|(i, (a, b))| i == axis || a == b);
        (0..places.len()).filter(differs).collect()
    }
}
