//! What did well at one shape of a class, at the others, and with the blocking of one another: a choice is made for a class, of what
//! has a result at every shape of it.

use super::way::Way;
use crate::ranking::standings;
use crate::space::Problem;
use crate::store::{Config, Outcome, Record};
use std::collections::{BTreeMap, BTreeSet};

/// So many of the fastest at a problem are tried at the others, and more at those where that takes less time.
const FASTEST: usize = 4;

/// What a few samples had this many times as slow as the best is not as fast as the best: of a hundred such none was within 2 %.
const FAR: f64 = 1.12;

/// The places of those of a problem's configurations that are to be tried, by the results of all problems: of those whose ways are near
/// what was among the fastest those that were not measured here, and those that did best elsewhere and were left behind here by
/// successive halving on a few samples, if these had them near the best.
pub fn untried(records: &[&Record], problem: &Problem, configs: &[Config]) -> Vec<usize> {
    let here: Vec<&Record> = records.iter().copied().filter(|r| r.config.problem() == Some(*problem)).collect();
    let best = here.iter().filter_map(|r| r.cost()).fold(f64::INFINITY, f64::min);
    let measured = here.iter().filter(|r| matches!(r.outcome, Outcome::Timed { .. } | Outcome::Invalid { .. }));
    let was_near = |r: &Record| r.was_halved() && r.cost().is_some_and(|cost| cost <= FAR * best);
    let measured: BTreeMap<&Config, bool> = measured.map(|r| (&r.config, was_near(r))).collect();
    let Promising { leading, affordable, crossed } = Promising::of(records, problem, configs);
    let halved = leading.iter().copied().filter(|at| measured.get(&configs[*at]) == Some(&true));
    let near = leading.iter().copied().chain(affordable).chain(crossed);
    let new = near.filter(|at| !measured.contains_key(&configs[*at]));
    halved.chain(new).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The places of those of a problem's configurations whose ways are near those that were among the fastest.
struct Promising {
    /// The four ways that did best at each other problem of the same class, of those that were measured in full.
    leading: Vec<usize>,
    /// As many as can be tried here in the time that four take at the problem of the class that takes longest.
    affordable: Vec<usize>,
    /// The four that did best here, and the default, each with the blocking of another one.
    crossed: Vec<usize>,
}

impl Promising {
    /// By the results of all problems.
    fn of(records: &[&Record], problem: &Problem, configs: &[Config]) -> Promising {
        let mine = records.iter().copied().filter(|r| r.config.problem().is_some_and(|p| p != *problem && p.is_of_class(problem)));
        let standings = standings(mine);
        let longest = standings.iter().map(|standing| standing.problem.cost()).fold(problem.cost(), f64::max);
        let affordable = (FASTEST as f64 * longest / problem.cost()) as usize;
        let places = |count: usize, counts: &dyn Fn(&Record) -> bool| {
            let fastest = standings.iter().flat_map(|standing| standing.timed.iter().filter(|record| counts(record)).take(count));
            let of_way = |record: &&Record| {
                let way = Way::of(&record.config);
                configs.iter().position(|config| way.is_of(config))
            };
            let mut places: Vec<usize> = fastest.filter_map(of_way).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        let crossed = crossed(records.iter().copied().filter(|r| r.config.problem() == Some(*problem)), configs);
        Promising { leading: places(FASTEST, &Record::is_whole), affordable: places(affordable, &|_| true), crossed }
    }
}

/// The places of what comes of those of a problem's results that are of its fastest, or of the default, if two exchange blockings.
fn crossed<'a>(here: impl Iterator<Item = &'a Record>, configs: &[Config]) -> Vec<usize> {
    let standings = standings(here);
    let timed = || standings.iter().flat_map(|standing| &standing.timed);
    let fastest = timed().filter(|record| record.is_whole()).take(FASTEST).chain(timed().filter(|record| record.default));
    let fastest: Vec<&Config> = fastest.map(|record| &record.config).collect();
    let is_crossed = |config: &Config| {
        let with_its_blocking = |kernel: &Config| Config { blocking: config.blocking, ..kernel.clone() } == *config;
        fastest.iter().any(|f| f.tile == config.tile && f.blocking == config.blocking) && fastest.iter().any(|f| with_its_blocking(f))
    };
    (0..configs.len()).filter(|at| is_crossed(&configs[*at])).collect()
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
        assert_eq!(Promising::of(&records, &problem, &configs).leading, [2, 3, 4]);
        // On other threads it is another class.
        let apart = Problem { threads: 2, ..problem };
        assert_eq!(Promising::of(&records, &apart, &configs).leading, [0usize; 0]);
    }

    #[test]
    fn of_what_was_measured_here_that_is_tried_again_which_did_best_elsewhere_and_was_left_behind() {
        use crate::store::LEFT_BEHIND;
        let halved = |kernel: &str, ns: f64| {
            let outcome = Outcome::timed(&[ns, ns], Some(format!("round 1: {LEFT_BEHIND}"))).expect("samples");
            Record { outcome, ..record(kernel, "512x64x64", &[1.0]) }
        };
        let records = [
            record("near", "256x64x64", &[1.0; 5]),
            record("far", "256x64x64", &[2.0; 5]),
            record("wrong", "256x64x64", &[3.0; 5]),
            record("new", "256x64x64", &[4.0; 5]),
            // Beyond the four that did best.
            record("slower", "256x64x64", &[5.0; 5]),
            halved("near", 9.0),
            halved("far", 10.5),
            halved("slower", 9.0),
            Record { outcome: Outcome::Invalid { reason: "wrong".into() }, ..record("wrong", "512x64x64", &[1.0]) },
        ];
        let records: Vec<&Record> = records.iter().collect();
        let configs = ["near", "far", "wrong", "new", "slower", "other"].map(|kernel| record(kernel, "512x64x64", &[1.0]).config);
        assert_eq!(untried(&records, &configs[0].problem().expect("a problem"), &configs), [0, 3]);
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
            let Promising { leading, affordable, .. } = Promising::of(&records, &configs[0].problem().expect("a problem"), &configs);
            (leading.len(), affordable.len())
        };
        assert_eq!([found("1024x64x64"), found("256x64x64"), found("128x64x64")], [(4, 4), (4, 8), (4, 9)]);
    }

    #[test]
    fn the_fastest_and_the_default_are_tried_with_the_blocking_of_one_another_where_their_tiles_are_the_same() {
        let of = |kernel: &str, kc: usize, tile: (usize, usize), ns: f64| {
            let mut record = record(kernel, "512x64x64", &[ns; 5]);
            record.config.blocking = Some(crate::store::Blocks(kc, 240, 1024, Default::default()));
            record.config.tile = tile;
            record
        };
        let mut records = vec![of("a", 128, (12, 2), 1.0), of("d", 256, (12, 2), 9.0), of("b", 512, (8, 2), 2.0)];
        records[1].default = true;
        records.extend([3.0, 4.0].map(|ns| of("c", 64, (6, 2), ns)));
        records.push(of("e", 64, (12, 2), 5.0));
        let kinds = [("a", (12, 2)), ("d", (12, 2)), ("b", (8, 2)), ("e", (12, 2))];
        let configs: Vec<Config> =
            kinds.iter().flat_map(|(kernel, tile)| [64, 128, 256, 512].map(|kc| of(kernel, kc, *tile, 1.0).config)).collect();
        let records: Vec<&Record> = records.iter().collect();
        let found = Promising::of(&records, &configs[0].problem().expect("a problem"), &configs).crossed;
        let named: Vec<(&str, usize)> =
            found.iter().map(|at| (configs[*at].kernel.as_str(), configs[*at].blocking.map_or(0, |b| b.0))).collect();
        assert_eq!(named, [("a", 128), ("a", 256), ("d", 128), ("d", 256), ("b", 512)]);
    }
}
