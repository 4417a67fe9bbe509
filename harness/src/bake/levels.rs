//! What several ways take at one shape, on one scale: by the pairs in which they were compared, wherever they were, and by their
//! own times elsewhere.
//!
//! Times that were taken apart differ by places in memory and by minutes as much as good candidates differ by what they are;
//! pairs do not. So whatever was compared with the default, or with something that was, takes what the default does times the
//! ratios on the way there; where several ways lead there, by least squares, each comparison counting by the square of how sure it
//! is.

use crate::store::{Outcome, Record};
use std::collections::HashMap;

/// Rounds of relaxation: each hands on what a result has from its neighbours by one comparison, and few are farther apart than a few.
const ROUNDS: usize = 200;
/// No comparison is surer than this, in logarithms: identical samples would count for everything.
const SUREST: f64 = 1e-4;

/// One end of a comparison, as the other sees it.
struct Neighbour {
    at: usize,
    /// The logarithm of its time over the other's.
    ratio: f64,
    weight: f64,
}

/// Where a result stands.
pub(super) struct Level {
    /// The logarithm of its cost.
    pub log: f64,
    /// Another of the row was compared with it in pairs.
    pub was_compared: bool,
}

/// The level of each result, with that of the default, whose place is given, as its own times have it. A result may be
/// there more than once: blocks that are larger than a matrix come to the same. `pairs` may be of other shapes and results too.
pub(super) fn levels(row: &[&Record], default: Option<usize>, pairs: &[&Record]) -> Vec<Level> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let first: Vec<usize> = row.iter().enumerate().map(|(at, record)| *places.entry(record.config.label()).or_insert(at)).collect();
    let neighbours = neighbours(row, &places, pairs);
    let own: Vec<f64> = row.iter().map(|record| record.cost().unwrap_or(f64::INFINITY).ln()).collect();
    let mut levels = own.clone();
    let mut seen = vec![false; row.len()];
    for begin in default.map(|default| first[default]).into_iter().chain(0..row.len()) {
        if seen[begin] {
            continue;
        }
        // Those that comparisons lead to from here, in the order in which they do.
        seen[begin] = true;
        let mut reached = vec![begin];
        let mut next = 0;
        while let Some(at) = reached.get(next).copied() {
            for neighbour in &neighbours[at] {
                if !std::mem::replace(&mut seen[neighbour.at], true) {
                    levels[neighbour.at] = levels[at] + neighbour.ratio;
                    reached.push(neighbour.at);
                }
            }
            next += 1;
        }
        for _ in 0..ROUNDS {
            for &at in &reached[1..] {
                let whole: f64 = neighbours[at].iter().map(|n| n.weight).sum();
                levels[at] = neighbours[at].iter().map(|n| n.weight * (levels[n.at] - n.ratio)).sum::<f64>() / whole;
            }
        }
    }
    first.into_iter().map(|at| Level { log: levels[at], was_compared: !neighbours[at].is_empty() }).collect()
}

/// For each result those that it was compared with, by the place of each label.
fn neighbours(row: &[&Record], places: &HashMap<String, usize>, pairs: &[&Record]) -> Vec<Vec<Neighbour>> {
    let mut neighbours: Vec<Vec<Neighbour>> = row.iter().map(|_| Vec::new()).collect();
    for record in pairs {
        let Outcome::Paired { against, ratio, ratio_ci: (low, high), .. } = &record.outcome else { continue };
        // The label does not tell the shape.
        let one = places.get(&record.config.label()).copied().filter(|one| row[*one].config == record.config);
        if let (Some(one), Some(other)) = (one, places.get(against).copied()) {
            let (ratio, weight) = (ratio.ln(), (high / low).ln().max(SUREST).powi(-2));
            neighbours[one].push(Neighbour { at: other, ratio: -ratio, weight });
            neighbours[other].push(Neighbour { at: one, ratio, weight });
        }
    }
    neighbours
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    #[test]
    fn pairs_say_how_ways_stand_to_the_default_and_times_where_there_are_none() {
        let timed = |kernel: &str, ns: f64| record(kernel, "8x8x8", &[ns; 5]);
        let row = [timed("a", 90.0), timed("d", 100.0), timed("b", 70.0), timed("c", 80.0), timed("e", 10.0), timed("f", 20.0)];
        let pair = |one: &Record, other: &Record, ratio: f64| Record {
            outcome: Outcome::paired(other.config.label(), "best", &[(ratio, 1.0); 8], 1).expect("pairs"),
            ..one.clone()
        };
        let mut elsewhere = pair(&row[3], &row[1], 0.1);
        elsewhere.config.shape = "9x9x9".parse().expect("a shape");
        // a stands to d through b; e and f know each other alone; what was compared at another shape does not count.
        let pairs = [pair(&row[2], &row[1], 0.9), pair(&row[2], &row[0], 0.9), pair(&row[5], &row[4], 3.0), elsewhere];
        assert_eq!(times(&row, &pairs), [100.0, 100.0, 90.0, 80.0, 10.0, 30.0]);
    }

    #[test]
    fn comparisons_that_do_not_agree_count_by_how_sure_they_are() {
        let row = ["a", "d", "b"].map(|kernel| record(kernel, "8x8x8", &[100.0; 5]));
        // a is at 0.9 of d by pairs, and at 0.8 through b; the way through b has two comparisons.
        let close = |ratio: f64| vec![(ratio * 0.99, 1.0), (ratio / 0.99, 1.0)];
        let pair = |one: &Record, other: &Record, ratio: f64| Record {
            outcome: Outcome::paired(other.config.label(), "best", &close(ratio), 1).expect("pairs"),
            ..one.clone()
        };
        let pairs = [pair(&row[0], &row[1], 0.9), pair(&row[2], &row[1], 0.8), pair(&row[0], &row[2], 1.0)];
        let [a, d, b] = times(&row, &pairs)[..] else { panic!("three") };
        let (ln9, ln8) = (0.9f64.ln(), 0.8f64.ln());
        let expected = [(2.0 * ln9 + ln8) / 3.0, (ln9 + 2.0 * ln8) / 3.0].map(|log: f64| 100.0 * log.exp());
        assert!((a - expected[0]).abs() < 1e-4 && (b - expected[1]).abs() < 1e-4 && d == 100.0, "{a} {b} {expected:?}");
    }

    #[test]
    fn a_result_that_is_there_twice_stands_where_its_pairs_have_it_both_times() {
        let row = ["a", "d", "b", "d", "a"].map(|kernel| record(kernel, "8x8x8", &[100.0; 5]));
        let mut pair = row[0].clone();
        pair.outcome = Outcome::paired(row[1].config.label(), "best", &[(0.8, 1.0); 8], 1).expect("pairs");
        assert_eq!(times(&row, &[pair]), [80.0, 100.0, 100.0, 100.0, 80.0]);
    }

    #[test]
    fn a_comparison_with_what_is_not_there_leaves_a_result_to_its_own_times_and_does_not_count() {
        let row = ["a", "d", "b", "c"].map(|kernel| record(kernel, "8x8x8", &[100.0; 5]));
        let pair = |one: &Record, against: &str| Record {
            outcome: Outcome::paired(record(against, "8x8x8", &[1.0]).config.label(), "best", &[(0.8, 1.0); 8], 1).expect("pairs"),
            ..one.clone()
        };
        let pairs = [pair(&row[0], "d"), pair(&row[2], "gone"), pair(&record("gone", "8x8x8", &[1.0]), "c")];
        assert_eq!(times(&row, &pairs), [80.0, 100.0, 100.0, 100.0]);
        let levels = levels(&row.iter().collect::<Vec<_>>(), Some(1), &pairs.iter().collect::<Vec<_>>());
        assert_eq!(levels.iter().map(|level| level.was_compared).collect::<Vec<_>>(), [true, true, false, false]);
    }

    /// The levels of results, the second of which is the default, as times.
    fn times(row: &[Record], pairs: &[Record]) -> Vec<f64> {
        let levels = levels(&row.iter().collect::<Vec<_>>(), Some(1), &pairs.iter().collect::<Vec<_>>());
        levels.iter().map(|level| (level.log.exp() * 1e6).round() / 1e6).collect()
    }
}
