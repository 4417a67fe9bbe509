//! A genetic search: of a population the faster breed, children take each parameter from one parent or the other,
//! now and then one changes, and the fastest of all make up the next population.

use super::{Run, Step, usual_number};

/// Candidates in a population.
const POPULATION: usize = 10;
/// Generations without a faster candidate that end the search.
const PATIENCE: usize = 3;

impl Run<'_> {
    pub(super) fn breed(&mut self) -> anyhow::Result<()> {
        let count = self.search.landscape.places.len();
        let most = self.search.evaluations.unwrap_or(usual_number(count).max(count / 2));
        self.search.evaluations = Some(most);
        let mut population: Vec<(usize, f64)> = Vec::new();
        let (mut next, mut waited) = (vec![0], 0);
        while next.len() < POPULATION.min(count) {
            let lot = self.random.below(count);
            if !next.contains(&lot) {
                next.push(lot);
            }
        }
        while waited < PATIENCE && !next.is_empty() {
            let best = population.first().map_or(f64::INFINITY, |p| p.1);
            for child in next {
                match self.time(child)? {
                    Step::Stop => {
                        self.count_the_rest();
                        return Ok(());
                    }
                    Step::Time(Some(time)) => population.push((child, time)),
                    Step::Time(None) => {}
                }
            }
            population.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            population.truncate(POPULATION);
            waited = if population.first().is_some_and(|p| p.1 < best) { 0 } else { waited + 1 };
            next = self.children(&population);
        }
        Ok(())
    }

    /// As many children as a population has, of which none was a member before; fewer when there are no more.
    fn children(&mut self, population: &[(usize, f64)]) -> Vec<usize> {
        let landscape = self.search.landscape;
        let mut children = Vec::new();
        for _ in 0..POPULATION.min(population.len().max(1)) {
            let (one, other) = (self.parent(population), self.parent(population));
            let (Some(one), Some(other)) = (one, other) else { break };
            let mut place: Vec<usize> = landscape.places[one]
                .iter()
                .zip(&landscape.places[other])
                .map(|(a, b)| if self.random.below(2) == 0 { *a } else { *b })
                .collect();
            let axis = self.random.below(place.len());
            if let Some(place) = place.get_mut(axis).filter(|_| self.random.below(2) == 0) {
                // The value that any candidate has there.
                *place = landscape.places[self.random.below(landscape.places.len())][axis];
            }
            let new = |c: &usize| !self.search.known.contains_key(c) && !children.contains(c);
            let distance = |c: &usize| landscape.places[*c].iter().zip(&place).filter(|(a, b)| a != b).count();
            children.extend((0..landscape.places.len()).filter(new).min_by_key(distance));
        }
        children
    }

    /// The faster of two drawn by lot.
    fn parent(&mut self, population: &[(usize, f64)]) -> Option<usize> {
        let (a, b) = (self.random.below(population.len()), self.random.below(population.len()));
        population.get(a.min(b)).map(|p| p.0)
    }
}
