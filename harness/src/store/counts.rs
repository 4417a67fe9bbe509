//! Which of several results of one configuration counts. A store only grows: what was measured again stands behind what it
//! replaces, and what turned out to be wrong behind the time that it once took. This is the only place that says what holds;
//! all that reads a store for who won, by problems or in memory, goes by it.
//!
//! It goes by hashes alone, so that results may stay the lines that they are, and it drops nothing from any store.

use super::{Config, Outcome, Record, Thoroughness};
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a result says, and of what: enough to tell whether it counts beside others.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// Machine, tier and configuration.
    of: u64,
    /// Compiler and flags.
    build: u64,
    says: Says,
    weight: Weight,
}

/// What orders several results: whether it was taken whole and on a steady machine, how thoroughly, and not by force.
type Weight = (bool, Thoroughness, bool);

#[derive(Clone, Copy, Debug)]
enum Says {
    /// A time, or cycles; by that name comparisons know it.
    Cost { name: u64 },
    /// That it is wrong.
    Wrong,
    /// How it compares with another one in a role; the other's name, if nothing tells what sources that had.
    Pair { with: u64, unnamed: Option<u64> },
}

impl Claim {
    pub(super) fn of(record: &Record) -> Claim {
        let Record { machine, tier, config, compiler, flags, .. } = record;
        let place = (machine, tier.name());
        let name = |label: &str| {
            let Config { op, format, shape, threads, packed, operands, .. } = config;
            hashed(&(place, (op, format, shape, threads, packed, operands), label))
        };
        Claim {
            of: hashed(&(place, config)),
            build: hashed(&(compiler, flags)),
            says: match &record.outcome {
                Outcome::Timed { .. } | Outcome::Predicted { .. } => Says::Cost { name: name(&config.label()) },
                Outcome::Invalid { .. } => Says::Wrong,
                Outcome::Paired { against, role, against_fingerprint, .. } => {
                    let unnamed = against_fingerprint.is_none().then(|| name(against));
                    Says::Pair { with: hashed(&(role, against)), unnamed }
                }
            },
            weight: (!record.was_cut_short() && !record.was_unsteady(), record.thoroughness(), !record.forced),
        }
    }
}

/// It in 64 bits, the same within one process.
pub(super) fn hashed(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Whether each of some results counts; they come in the order of the store.
///
/// Of a configuration the results of one build count: of the compiler and flags that were last. If one of them says that it is
/// wrong, nothing else of it counts. Of its times, and of its comparisons with each other one, that counts which was taken
/// whole and on a steady machine before one that was not, the more thorough before the less, what was not forced before what
/// was, and then the last. A comparison with
/// another one whose sources it does not name, as older ones do not, counts if a result of that stands before it.
pub(super) fn which<'a>(claims: impl Iterator<Item = &'a Claim> + Clone) -> Vec<bool> {
    let builds: HashMap<u64, u64> = claims.clone().map(|c| (c.of, c.build)).collect();
    let (mut known, mut wrong) = (HashSet::new(), HashSet::new());
    let mut best: HashMap<(u64, Option<u64>), (usize, Weight)> = HashMap::new();
    let mut counts = Vec::with_capacity(builds.len());
    for (at, claim) in claims.clone().enumerate() {
        let mut is_it = builds.get(&claim.of) == Some(&claim.build);
        let slot = match claim.says {
            Says::Cost { name } => {
                known.insert(name);
                None
            }
            Says::Wrong => {
                // Once is enough.
                counts.push(is_it && wrong.insert(claim.of));
                continue;
            }
            Says::Pair { with, unnamed } => {
                is_it &= unnamed.is_none_or(|name| known.contains(&name));
                Some(with)
            }
        };
        if is_it {
            match best.get_mut(&(claim.of, slot)) {
                Some((_, weight)) if *weight > claim.weight => is_it = false,
                Some(before) => counts[std::mem::replace(before, (at, claim.weight)).0] = false,
                None => drop(best.insert((claim.of, slot), (at, claim.weight))),
            }
        }
        counts.push(is_it);
    }
    for (claim, counts) in claims.zip(&mut counts) {
        *counts &= matches!(claim.says, Says::Wrong) || !wrong.contains(&claim.of);
    }
    counts
}

/// Those of some results, in the order of their store, that count.
pub fn counting<R: Borrow<Record>>(records: Vec<R>) -> Vec<R> {
    let claims: Vec<Claim> = records.iter().map(|r| Claim::of(r.borrow())).collect();
    records.into_iter().zip(which(claims.iter())).filter(|(_, counts)| *counts).map(|(record, _)| record).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use crate::store::{TIME_RAN_OUT, UNSTEADY};

    fn with(effort: Thoroughness, ns: f64) -> Record {
        Record { effort: Some(effort), ..record("a", "8x8x8", &[ns; 5]) }
    }

    fn medians(records: &[Record]) -> Vec<f64> {
        counting(records.iter().collect()).iter().filter_map(|r| r.median_ns()).map(|m| m.0).collect()
    }

    #[test]
    fn the_last_result_of_the_better_effort_counts_wherever_it_stands() {
        use Thoroughness::{Full, Quick};
        assert_eq!(medians(&[with(Quick, 1.0), with(Full, 2.0)]), [2.0]);
        assert_eq!(medians(&[with(Full, 2.0), with(Quick, 1.0)]), [2.0]);
        assert_eq!(medians(&[with(Full, 1.0), with(Full, 2.0)]), [2.0]);
        let other = record("b", "8x8x8", &[5.0]);
        assert_eq!(medians(&[with(Full, 2.0), other, with(Full, 3.0)]), [5.0, 3.0]);
    }

    #[test]
    fn what_was_cut_short_or_taken_in_unrest_counts_only_where_there_is_nothing_else() {
        let cut =
            |why: &str| Record { outcome: Outcome::timed(&[1.0; 5], Some(why.into())).expect("samples"), ..with(Thoroughness::Full, 1.0) };
        for makeshift in [cut(TIME_RAN_OUT), cut(UNSTEADY)] {
            assert_eq!(medians(std::slice::from_ref(&makeshift)), [1.0]);
            assert_eq!(medians(&[makeshift.clone(), with(Thoroughness::Quick, 2.0)]), [2.0]);
            assert_eq!(medians(&[with(Thoroughness::Quick, 2.0), makeshift]), [2.0]);
        }
        let forced = Record { forced: true, ..with(Thoroughness::Full, 1.0) };
        assert_eq!(medians(&[with(Thoroughness::Full, 2.0), forced.clone()]), [2.0]);
        assert_eq!(medians(&[with(Thoroughness::Quick, 2.0), forced]), [1.0], "what is noisy at a full effort may pass a quick look");
        assert_eq!(medians(&[with(Thoroughness::Quick, 2.0), cut("round 1: not in the fastest third")]), [1.0]);
    }

    #[test]
    fn nothing_counts_of_what_is_wrong_but_that_and_only_under_the_build_that_it_is_of() {
        let timed = with(Thoroughness::Full, 1.0);
        let wrong = Record { outcome: Outcome::Invalid { reason: "died".into() }, ..timed.clone() };
        for records in [vec![timed.clone(), wrong.clone()], vec![wrong.clone(), timed.clone(), wrong.clone()]] {
            assert_eq!(counting(records), std::slice::from_ref(&wrong));
        }
        let later = Record { compiler: "another".into(), ..timed.clone() };
        assert_eq!(counting(vec![timed, wrong, later.clone()]), [later]);
    }

    #[test]
    fn a_comparison_with_what_is_not_there_any_more_counts_only_if_it_says_with_what() {
        let (one, other) = (record("a", "8x8x8", &[1.0; 5]), record("b", "8x8x8", &[2.0; 5]));
        let pair = Outcome::paired(other.config.label(), "best", &[(1.0, 2.0); 4], 1).expect("pairs");
        let old = Record { outcome: pair.clone(), ..one.clone() };
        let new = Record { outcome: pair.with(&other.config), ..one.clone() };
        let pairs = |records: Vec<Record>| counting(records).iter().filter(|r| matches!(r.outcome, Outcome::Paired { .. })).count();
        assert_eq!(pairs(vec![one.clone(), other.clone(), old.clone()]), 1);
        assert_eq!(pairs(vec![one.clone(), old.clone()]), 0, "all that was measured of the other one is of sources that are gone");
        assert_eq!(pairs(vec![one.clone(), old, other]), 0, "what it was compared with came before the other's sources changed");
        assert_eq!(pairs(vec![one, new]), 1);
    }
}
