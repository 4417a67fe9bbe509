//! The choice for one operation and class of shapes: the candidate with the lowest time over all of
//! the class's shapes, each counted relative to the best there.

use super::way::Way;
use crate::measure::statistics::{Place, Ratio, paired_ratio_apart, pooled_ratio};
use crate::ranking::{BAND, simpler};
use crate::space::Shape;
use crate::store::{Outcome, Record};
use std::collections::{BTreeMap, BTreeSet};

/// What was chosen and why.
#[derive(Clone, Debug)]
pub(super) struct Chosen<'a> {
    /// The winner's result at the first shape: its configuration.
    pub winner: &'a Record,
    /// The winner.
    pub way: Way,
    /// The best way of another kernel.
    pub runner_up: Option<String>,
    /// Time of the runner-up over time of the winner.
    pub margin: Option<Ratio>,
    /// Time of the default over time of the winner, if another way won.
    pub gain: Option<Ratio>,
    /// The default stayed, because nothing was shown to be faster.
    pub default_stays: bool,
    /// It stayed although another was faster over all shapes, because that one is slower at this.
    pub harmed: Option<Shape>,
    /// The best and the default at shapes where they were not compared in pairs: what would decide.
    pub open: Vec<(&'a Record, &'a Record)>,
    /// Worst time over the best one's when each shape in turn is held out of the choice.
    pub regret: Option<f64>,
    /// The shapes that counted.
    pub shapes: Vec<Shape>,
}

/// Results of one class, by shape.
struct Class<'a> {
    shapes: BTreeMap<Shape, Vec<&'a Record>>,
    /// Comparisons in pairs.
    pairs: Vec<&'a Record>,
}

/// Chooses among `records`, which are of one operation, class, number of threads and temperature.
/// `allowed` restricts the kernels. `None` if no candidate is left.
pub(super) fn choose<'a>(records: &[&'a Record], allowed: &dyn Fn(&str) -> bool) -> Option<Chosen<'a>> {
    let mut class = Class { shapes: BTreeMap::new(), pairs: Vec::new() };
    for record in records.iter().copied().filter(|r| allowed(&r.config.kernel)) {
        match &record.outcome {
            Outcome::Timed { .. } | Outcome::Predicted { .. } => class.shapes.entry(record.config.shape).or_default().push(record),
            Outcome::Paired { .. } => class.pairs.push(record),
            Outcome::Invalid { .. } => {}
        }
    }
    let ways: BTreeSet<Way> = class.shapes.values().flatten().map(|r| Way::of(&r.config)).collect();
    let default = class.shapes.values().flatten().find(|r| r.default).map(|r| Way::of(&r.config));
    let shapes = class.well_covered(&ways);
    let ways: Vec<Way> = ways.into_iter().filter(|w| shapes.iter().all(|s| class.at(*s, w).is_some())).collect();
    let best = class.best(&ways, &shapes)?;
    let default = default.filter(|d| ways.contains(d));
    let gain = default.as_ref().filter(|d| **d != best).and_then(|d| class.ratio(d, &best, &shapes));
    let harmed = default.as_ref().and_then(|d| class.harmed(d, &best, &shapes));
    let default_stays = default.is_some() && (harmed.is_some() || !gain.is_some_and(|g| g.value > 1.0 && !g.is_tie(BAND)));
    let open = default.as_ref().filter(|d| **d != best).map(|d| class.open(&best, d, &shapes)).unwrap_or_default();
    let winner = default.filter(|_| default_stays).unwrap_or(best);

    let others: Vec<Way> = ways.iter().filter(|w| w.kernel != winner.kernel).cloned().collect();
    let runner_up = class.best(&others, &shapes);
    let margin = runner_up.as_ref().and_then(|r| class.ratio(r, &winner, &shapes));
    Some(Chosen {
        winner: class.at(*shapes.first()?, &winner)?,
        way: winner,
        runner_up: runner_up.map(|r| r.kernel),
        margin,
        gain: gain.filter(|_| !default_stays),
        default_stays,
        harmed: harmed.filter(|_| gain.is_some_and(|g| g.value > 1.0 && !g.is_tie(BAND))),
        open,
        regret: class.regret(&ways, &shapes),
        shapes,
    })
}

impl<'a> Class<'a> {
    /// The result of a way at a shape.
    fn at(&self, shape: Shape, way: &Way) -> Option<&'a Record> {
        way.find(self.shapes.get(&shape)?.iter().copied())
    }

    fn time(&self, shape: Shape, way: &Way) -> Option<f64> {
        self.at(shape, way)?.cost()
    }

    /// The shapes at which candidates can be compared: those where at least half as many were measured
    /// as at any. A shape that time did not suffice for must not decide by whom it lacks.
    fn well_covered(&self, ways: &BTreeSet<Way>) -> Vec<Shape> {
        let count = |shape: Shape| ways.iter().filter(|w| self.at(shape, w).is_some()).count();
        let most = self.shapes.keys().map(|s| count(*s)).max().unwrap_or(0);
        self.shapes.keys().copied().filter(|s| 2 * count(*s) >= most).collect()
    }

    /// Mean of the logarithms of the time over the best one's, over shapes.
    fn score(&self, way: &Way, ways: &[Way], shapes: &[Shape]) -> Option<f64> {
        let mut sum = 0.0;
        for shape in shapes {
            let least = ways.iter().filter_map(|w| self.time(*shape, w)).fold(f64::INFINITY, f64::min);
            sum += (self.time(*shape, way)? / least).ln();
        }
        Some(sum / shapes.len().max(1) as f64)
    }

    /// The way with the lowest score; of those within the tie band the simplest.
    fn best(&self, ways: &[Way], shapes: &[Shape]) -> Option<Way> {
        let scored: Vec<(&Way, f64)> = ways.iter().filter_map(|w| Some((w, self.score(w, ways, shapes)?))).collect();
        let least = scored.iter().map(|s| s.1).fold(f64::INFINITY, f64::min);
        let first = *shapes.first()?;
        let tied = scored.iter().filter(|s| s.1 - least <= BAND.ln_1p());
        tied.min_by_key(|s| self.at(first, s.0).map(simpler)).map(|s| s.0.clone())
    }

    /// Time of `one` over time of `other` over all shapes; from pairs where there are some.
    fn ratio(&self, one: &Way, other: &Way, shapes: &[Shape]) -> Option<Ratio> {
        let mut flipped = Vec::new();
        for shape in shapes {
            let (a, b) = (self.at(*shape, one)?, self.at(*shape, other)?);
            flipped.push((self.pairs_of(a, b), a, b));
        }
        let places: Vec<Place> = flipped
            .iter()
            .map(|(pairs, a, b)| match pairs {
                Some((pairs, processes)) => Place::Paired(pairs, *processes),
                None => Place::Apart(a.costs(), b.costs()),
            })
            .collect();
        pooled_ratio(&places)
    }

    /// The shape at which `other` is slower than `one` beyond doubt, in pairs; of several the one where it is worst.
    fn harmed(&self, one: &Way, other: &Way, shapes: &[Shape]) -> Option<Shape> {
        let ratio = |shape: &Shape| {
            let (pairs, processes) = self.pairs_of(self.at(*shape, other)?, self.at(*shape, one)?)?;
            let ratio = paired_ratio_apart(&pairs, processes)?;
            (ratio.value > 1.0 && !ratio.is_tie(BAND)).then_some((*shape, ratio.value))
        };
        shapes.iter().filter_map(ratio).max_by(|a, b| a.1.total_cmp(&b.1)).map(|worst| worst.0)
    }

    /// The results of two ways at shapes where they were not compared in pairs.
    fn open(&self, one: &Way, other: &Way, shapes: &[Shape]) -> Vec<(&'a Record, &'a Record)> {
        let both = shapes.iter().filter_map(|shape| Some((self.at(*shape, one)?, self.at(*shape, other)?)));
        both.filter(|(a, b)| a.config != b.config && self.pairs_of(a, b).is_none()).collect()
    }

    /// Pairs of `a` and `b` at their shape, whichever was compared with the other, and the processes they come from.
    fn pairs_of(&self, a: &Record, b: &Record) -> Option<(Vec<(f64, f64)>, usize)> {
        let find = |one: &Record, other: &Record| {
            let label = other.config.label();
            self.pairs.iter().find_map(|r| match &r.outcome {
                Outcome::Paired { against, pairs_ns, processes, .. } if r.config == one.config && *against == label => {
                    Some((pairs_ns.clone(), *processes))
                }
                _ => None,
            })
        };
        let turned = || find(b, a).map(|(pairs, processes)| (pairs.into_iter().map(|(x, y)| (y, x)).collect(), processes));
        find(a, b).or_else(turned).filter(|(pairs, _)| !pairs.is_empty())
    }

    fn regret(&self, ways: &[Way], shapes: &[Shape]) -> Option<f64> {
        if shapes.len() < 2 {
            return None;
        }
        let held_out = shapes.iter().map(|out| {
            let rest: Vec<Shape> = shapes.iter().copied().filter(|s| s != out).collect();
            let chosen = self.best(ways, &rest)?;
            let least = ways.iter().filter_map(|w| self.time(*out, w)).fold(f64::INFINITY, f64::min);
            Some(self.time(*out, &chosen)? / least)
        });
        held_out.collect::<Option<Vec<f64>>>().map(|all| all.into_iter().fold(1.0, f64::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Config;
    use crate::store::tests::record;
    use kiln_kernels::team::DEFAULT_SPIN;

    fn all(records: &[Record]) -> Chosen<'_> {
        choose(&records.iter().collect::<Vec<_>>(), &|_| true).expect("a choice")
    }

    #[test]
    fn the_best_over_all_shapes_wins_not_the_best_at_one() {
        let records = [
            record("a", "8x8x8", &[10.0; 5]),
            record("a", "9x9x9", &[10.0; 5]),
            record("b", "8x8x8", &[8.0; 5]),
            record("b", "9x9x9", &[20.0; 5]),
        ];
        let chosen = all(&records);
        assert_eq!((chosen.way.kernel.as_str(), chosen.runner_up.as_deref()), ("a", Some("b")));
        let margin = chosen.margin.expect("a margin");
        assert!((margin.value - 1.6f64.sqrt()).abs() < 1e-9, "{margin:?}");
        // Choosing from one shape alone costs a factor of 2 at the other, or of 1.25.
        assert_eq!(chosen.regret, Some(2.0));
    }

    #[test]
    fn the_default_stays_unless_the_gain_is_shown() {
        let mut default = record("d", "8x8x8", &[10.0, 10.4, 9.6]);
        default.default = true;
        let slight = [default.clone(), record("a", "8x8x8", &[9.7, 10.1, 9.3])];
        assert!(all(&slight).default_stays && all(&slight).way.kernel == "d");
        let clear = [default, record("a", "8x8x8", &[5.0, 5.1, 4.9])];
        let chosen = all(&clear);
        assert!(!chosen.default_stays && chosen.way.kernel == "a" && chosen.gain.is_some_and(|g| g.value > 1.9));
    }

    #[test]
    fn what_was_not_compared_in_pairs_is_asked_for_and_harm_at_a_shape_keeps_the_default() {
        let default = |shape: &str| Record { default: true, ..record("d", shape, &[10.0; 5]) };
        let mut records = vec![default("8x8x8"), default("9x9x9"), record("a", "8x8x8", &[5.0; 5]), record("a", "9x9x9", &[9.0; 5])];
        let open = |records: &[Record]| -> Vec<String> { all(records).open.iter().map(|(a, _)| a.config.shape.to_string()).collect() };
        assert_eq!((open(&records), all(&records).way.kernel.as_str()), (vec!["8x8x8".to_owned(), "9x9x9".to_owned()], "a"));
        let mut answer = |shape: &str, ratio: f64| {
            let mut pair = record("a", shape, &[1.0]);
            pair.outcome = Outcome::paired(default(shape).config.label(), "class", &[(10.0 * ratio, 10.0); 9], 3).expect("pairs");
            records.push(pair);
            let chosen = all(&records);
            (chosen.way.kernel.clone(), chosen.harmed.map(|s| s.to_string()), chosen.open.len())
        };
        assert_eq!(answer("8x8x8", 0.5), ("a".into(), None, 1));
        assert_eq!(answer("9x9x9", 1.2), ("d".into(), Some("9x9x9".into()), 0));
    }

    #[test]
    fn candidates_without_all_shapes_do_not_win() {
        let records = [record("a", "8x8x8", &[10.0]), record("a", "9x9x9", &[10.0]), record("b", "8x8x8", &[1.0])];
        assert_eq!(all(&records).way.kernel, "a");
    }

    #[test]
    fn a_shape_that_time_did_not_suffice_for_does_not_count() {
        let mut records = vec![record("d", "8x8x8", &[10.0])];
        for (name, ns) in [("a", 4.0), ("b", 6.0), ("c", 7.0), ("d", 10.0)] {
            records.push(record(name, "9x9x9", &[ns]));
        }
        let chosen = all(&records);
        assert_eq!((chosen.way.kernel.as_str(), chosen.shapes.len()), ("a", 1));
    }

    /// A result on two threads.
    fn shared(shape: &str, split: &str, split_varied: bool, spin: u32, ns: f64) -> Record {
        let mut record = record("a", shape, &[ns; 5]);
        let config = Config { threads: 2, split: split.parse().ok(), split_varied, spin: Some(spin), ..record.config };
        record.config = config;
        record
    }

    #[test]
    fn a_split_wins_at_all_shapes_or_the_computed_one_at_each_and_spins_are_kept() {
        let computed = [("8x8x8", "1x2", "2x1"), ("9x9x9", "2x1", "1x2")];
        let base = |ns: f64| computed.map(|(shape, split, _)| shared(shape, split, false, DEFAULT_SPIN, ns));
        let varied = |ns: [f64; 2]| [0, 1].map(|i| shared(computed[i].0, computed[i].2, true, DEFAULT_SPIN, ns[i]));
        // 1x2 takes 10 where it is computed and 4 where it is not: over both it beats what is computed.
        let records: Vec<Record> = base(10.0).into_iter().chain(varied([10.0, 4.0])).collect();
        let chosen = all(&records);
        assert_eq!((chosen.way.split, chosen.way.spin), ("1x2".parse().ok(), Some(DEFAULT_SPIN)));
        let records: Vec<Record> = base(10.0).into_iter().chain(varied([20.0, 20.0])).collect();
        assert_eq!(all(&records).way.split, None);
        let parked = computed.map(|(shape, split, _)| shared(shape, split, false, 0, 5.0));
        let records: Vec<Record> = base(10.0).into_iter().chain(varied([9.0, 9.0])).chain(parked).collect();
        assert_eq!((all(&records).way.split, all(&records).way.spin), (None, Some(0)));
    }

    #[test]
    fn results_without_split_and_spin_are_of_the_computed_and_the_usual() {
        let mut old = record("a", "8x8x8", &[9.0; 5]);
        old.config.threads = 2;
        let records = [old, shared("9x9x9", "2x1", false, DEFAULT_SPIN, 10.0), shared("9x9x9", "1x2", true, DEFAULT_SPIN, 1.0)];
        let chosen = all(&records);
        assert_eq!((chosen.shapes.len(), chosen.way.split, chosen.way.spin), (2, None, Some(DEFAULT_SPIN)));
    }

    #[test]
    fn nothing_allowed_gives_nothing() {
        let records = [record("a", "8x8x8", &[10.0])];
        assert!(choose(&records.iter().collect::<Vec<_>>(), &|_| false).is_none());
    }
}
