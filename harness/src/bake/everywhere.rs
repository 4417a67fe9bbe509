//! What did well at one shape of a class, at the others: a choice is made for a class, of what has a result at every shape of it.

use super::way::Way;
use crate::ranking::standings;
use crate::space::Problem;
use crate::store::{Config, Record};

/// So many of the fastest at a problem are tried at the others.
const FASTEST: usize = 4;

/// The places of those of a problem's configurations whose ways were among the fastest at other problems of the same class, of those
/// that were measured in full.
pub fn fastest_elsewhere(records: &[&Record], problem: &Problem, configs: &[Config]) -> Vec<usize> {
    let mine = records.iter().copied().filter(|r| r.config.problem().is_some_and(|p| p != *problem && p.is_of_class(problem)));
    let standings = standings(mine);
    let fastest = standings.iter().flat_map(|standing| standing.timed.iter().filter(|record| record.is_whole()).take(FASTEST));
    let of_way = |record: &&Record| configs.iter().position(|config| Way::of(&record.config).is_of(config));
    let mut places: Vec<usize> = fastest.filter_map(of_way).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    #[test]
    fn what_did_well_at_another_shape_of_the_class_is_found_among_the_configurations_of_a_problem() {
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
        assert_eq!(fastest_elsewhere(&records, &problem, &configs), [2, 3, 4]);
        // On other threads it is another class.
        let apart = Problem { threads: 2, ..problem };
        assert_eq!(fastest_elsewhere(&records, &apart, &configs), [0usize; 0]);
    }
}
