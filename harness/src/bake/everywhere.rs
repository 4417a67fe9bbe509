//! What won at one shape of a class, at the others: a choice is made for a class, of what has a result at every shape of it.

use super::way::Way;
use crate::ranking::standings;
use crate::space::Problem;
use crate::store::{Config, Record};

/// The places of those of a problem's configurations whose ways won at other problems of the same class.
pub fn winners_elsewhere(records: &[&Record], problem: &Problem, configs: &[Config]) -> Vec<usize> {
    let of_class = |p: &Problem| Problem { shape: problem.shape, ..*p } == *problem && p.shape.class() == problem.shape.class();
    let mine = records.iter().copied().filter(|r| r.config.problem().is_some_and(|p| p != *problem && of_class(&p)));
    let ways: Vec<Way> = standings(mine).iter().map(|standing| Way::of(&standing.best.config)).collect();
    let of_way = |way: &Way| configs.iter().position(|config| way.is_of(config));
    let mut places: Vec<usize> = ways.iter().filter_map(of_way).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    #[test]
    fn what_won_at_another_shape_of_the_class_is_found_among_the_configurations_of_a_problem() {
        let timed = |kernel: &str, shape: &str, ns: f64| record(kernel, shape, &[ns; 5]);
        let records = [
            timed("a", "512x64x64", 10.0),
            timed("b", "512x64x64", 20.0),
            timed("c", "640x64x64", 10.0),
            // Of another class, and at the very problem.
            timed("d", "1x64x64", 10.0),
            timed("e", "768x64x64", 10.0),
        ];
        let records: Vec<&Record> = records.iter().collect();
        let configs = ["e", "d", "c", "b", "a"].map(|kernel| record(kernel, "768x64x64", &[1.0]).config);
        let problem = configs[0].problem().expect("a problem");
        assert_eq!(winners_elsewhere(&records, &problem, &configs), [2, 4]);
        // On other threads it is another class.
        let apart = Problem { threads: 2, ..problem };
        assert_eq!(winners_elsewhere(&records, &apart, &configs), [0usize; 0]);
    }
}
