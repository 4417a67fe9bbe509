//! What did well at one shape of a class, at the others: a choice is made for a class, of what has a result at every shape of it.

use super::way::Way;
use crate::ranking::standings;
use crate::space::Problem;
use crate::store::{Config, Record};

/// So many of the fastest at a problem are tried at the others, and more at those where that takes less time.
const FASTEST: usize = 4;

/// The places of those of a problem's configurations whose ways were among the fastest at other problems of the same class.
pub struct Elsewhere {
    /// Of the four of each that did best of those that were measured in full.
    pub leading: Vec<usize>,
    /// Of as many as can be tried here in the time that four take at the problem of the class that takes longest.
    pub affordable: Vec<usize>,
}

impl Elsewhere {
    /// By the results of all problems.
    pub fn of(records: &[&Record], problem: &Problem, configs: &[Config]) -> Elsewhere {
        let mine = records.iter().copied().filter(|r| r.config.problem().is_some_and(|p| p != *problem && p.is_of_class(problem)));
        let standings = standings(mine);
        let longest = standings.iter().map(|standing| standing.problem.cost()).fold(problem.cost(), f64::max);
        let affordable = (FASTEST as f64 * longest / problem.cost()) as usize;
        let places = |count: usize, counts: &dyn Fn(&Record) -> bool| {
            let fastest = standings.iter().flat_map(|standing| standing.timed.iter().filter(|record| counts(record)).take(count));
            let of_way = |record: &&Record| configs.iter().position(|config| Way::of(&record.config).is_of(config));
            let mut places: Vec<usize> = fastest.filter_map(of_way).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        Elsewhere { leading: places(FASTEST, &Record::is_whole), affordable: places(affordable, &|_| true) }
    }
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
        assert_eq!(Elsewhere::of(&records, &problem, &configs).leading, [2, 3, 4]);
        // On other threads it is another class.
        let apart = Problem { threads: 2, ..problem };
        assert_eq!(Elsewhere::of(&records, &apart, &configs).leading, [0usize; 0]);
    }

    #[test]
    fn where_a_call_takes_less_time_more_of_what_was_measured_elsewhere_is_tried() {
        let shape = "512x64x64";
        let timed =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i"].iter().zip(1..).map(|(kernel, ns)| record(kernel, shape, &[f64::from(ns); 5]));
        let records: Vec<Record> = timed.collect();
        let records: Vec<&Record> = records.iter().collect();
        let found = |at: &str| {
            let configs: Vec<Config> = records.iter().map(|r| record(&r.config.kernel, at, &[1.0]).config).collect();
            let Elsewhere { leading, affordable } = Elsewhere::of(&records, &configs[0].problem().expect("a problem"), &configs);
            (leading.len(), affordable.len())
        };
        assert_eq!([found("1024x64x64"), found("256x64x64"), found("128x64x64")], [(4, 4), (4, 8), (4, 9)]);
    }
}
