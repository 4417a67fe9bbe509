//! Who wins at one problem, from its stored results: pairs decide before medians, what cannot be told
//! apart is settled by a fixed rule, and the default stays unless something is shown to be faster. So
//! the winner does not change from run to run.

use crate::measure::statistics::{Place, Ratio, pooled_ratio};
use crate::space::Problem;
use crate::store::{Blocks, Config, Outcome, Record};
use kiln_kernels::registry;
use kiln_kernels::team::DEFAULT_SPIN;
use kiln_profiles::schema::Parts;
use std::collections::{BTreeMap, HashMap};

/// Differences up to this are ties, whatever their interval says.
pub const BAND: f64 = kiln_reports::page::Verdict::TIE_BAND;

/// The state of affairs at one problem.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    /// The problem.
    pub problem: Problem,
    /// Timed candidates, fastest median first; at least one.
    pub timed: Vec<&'a Record>,
    /// The best of them, whether or not it is shown to be faster than the default.
    pub best: &'a Record,
    /// The winner: the best, or the default if the best is not shown to be faster.
    pub winner: &'a Record,
    /// The candidate that an untuned build would run, if it was timed.
    pub default: Option<&'a Record>,
    /// Time of the default over time of the best: above 1 is a gain. `None` without the default or when
    /// it is the best.
    pub gain: Option<Gain>,
}

/// A ratio and how it was obtained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// Time of the default over time of the other one.
    pub ratio: Ratio,
    /// From ABBA pairs; otherwise from separate samples.
    pub paired: bool,
}

impl Gain {
    /// Whether the other one is faster beyond doubt: the no-harm gate against the default.
    pub fn is_shown(&self) -> bool {
        self.ratio.is_above(BAND)
    }
}

/// Which results are of kernels as they are in this build. All others are stale: their sources have changed since, or they
/// are gone.
#[derive(Clone, Debug)]
pub struct Current(HashMap<&'static str, String>);

impl Current {
    /// That of this build.
    pub fn of_this_build() -> Current {
        Current(registry::all().map(|e| (e.meta.name, format!("{:016x}", e.meta.fingerprint))).collect())
    }

    /// Whether a result is of a kernel as it is; a comparison, of two that are. What an older comparison does not say of the other
    /// one, [other results](crate::store::counting) do.
    pub fn has(&self, record: &Record) -> bool {
        let opponent = match &record.outcome {
            Outcome::Paired { against, against_fingerprint: Some(fingerprint), .. } => {
                // A label begins with the kernel's name.
                against.split(' ').next().and_then(|kernel| self.0.get(kernel)) == Some(fingerprint)
            }
            _ => true,
        };
        opponent && self.has_config(&record.config)
    }

    /// Whether a configuration is.
    pub fn has_config(&self, config: &Config) -> bool {
        self.0.get(config.kernel.as_str()) == Some(&config.fingerprint)
    }
}

/// The standings of every problem that has a timed result, in the order of problems.
pub fn standings<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Standing<'a>> {
    let mut problems: BTreeMap<Problem, Vec<&Record>> = BTreeMap::new();
    for record in records {
        if let Some(problem) = record.config.problem() {
            problems.entry(problem).or_default().push(record);
        }
    }
    problems.into_iter().filter_map(|(problem, records)| standing(problem, &records)).collect()
}

/// The standing of one problem. `None` without a timed result.
pub fn standing<'a>(problem: Problem, records: &[&'a Record]) -> Option<Standing<'a>> {
    let mut timed: Vec<(&Record, f64)> = records.iter().filter_map(|r| Some((*r, r.median_ns().and(r.cost())?))).collect();
    timed.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| simpler(a.0).cmp(&simpler(b.0))));
    let timed: Vec<&Record> = timed.into_iter().map(|t| t.0).collect();
    let best = settle(*timed.first()?, &timed, records);
    let default = timed.iter().copied().find(|r| r.default);
    let gain = default.filter(|d| d.config != best.config).and_then(|d| gain(best, d, records));
    let winner = match (default, &gain) {
        (Some(_), Some(gain)) if gain.is_shown() => best,
        (Some(default), _) => default,
        (None, _) => best,
    };
    Some(Standing { problem, timed, best, winner, default, gain })
}

/// The winner among the best by median and those that were compared with it in pairs.
fn settle<'a>(best: &'a Record, timed: &[&'a Record], records: &[&'a Record]) -> &'a Record {
    let rivals: Vec<(&Record, Ratio)> = timed.iter().filter_map(|r| against(r, best, "best", records).map(|ratio| (*r, ratio))).collect();
    // One that is clearly faster in pairs takes the place of the best by median.
    let faster = rivals.iter().filter(|(_, r)| r.value < 1.0 && !r.is_tie(BAND));
    if let Some((record, _)) = faster.min_by(|a, b| a.1.value.total_cmp(&b.1.value)) {
        return record;
    }
    // A wide interval alone does not make a tie here: the choice must not cost more than the band.
    let tied = rivals.iter().filter(|(_, r)| (r.value - 1.0).abs() <= BAND).map(|(record, _)| *record);
    tied.chain([best]).min_by_key(|r| simpler(r)).unwrap_or(best)
}

/// What orders candidates that cannot be told apart: accumulators, name, blocking, then split and spin, of which
/// those that are computed or usual come first.
pub type Simplicity<'a> = (usize, &'a str, Option<Blocks>, (bool, Option<Parts>), (bool, Option<u32>));

/// Of candidates that cannot be told apart the one with fewer accumulators wins, then by name.
pub fn simpler(record: &Record) -> Simplicity<'_> {
    let Config { tile: (rows, columns), kernel, blocking, split, split_varied, spin, .. } = &record.config;
    (rows * columns, kernel, *blocking, (*split_varied, *split), (*spin != Some(DEFAULT_SPIN), *spin))
}

/// Time of `one` over time of `other` from their pairs in that role.
fn against(one: &Record, other: &Record, in_role: &str, records: &[&Record]) -> Option<Ratio> {
    let label = other.config.label();
    records.iter().filter(|r| r.config == one.config).find_map(|r| match &r.outcome {
        Outcome::Paired { against, role, ratio, ratio_ci, .. } if *against == label && role == in_role => {
            Some(Ratio { value: *ratio, ci: *ratio_ci })
        }
        _ => None,
    })
}

fn gain(one: &Record, default: &Record, records: &[&Record]) -> Option<Gain> {
    if let Some(ratio) = against(one, default, "default", records) {
        return Some(Gain { ratio: ratio.inverse(), paired: true });
    }
    pooled_ratio(&[Place::Apart(&default.level_ns(), &one.level_ns())]).map(|ratio| Gain { ratio, paired: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    fn paired(mut of: Record, against: &Record, role: &str, pairs: &[(f64, f64)]) -> Record {
        of.outcome = Outcome::paired(against.config.label(), role, pairs, 1).expect("pairs");
        of
    }

    fn winner(records: &[Record]) -> String {
        standings(records)[0].winner.config.kernel.clone()
    }

    #[test]
    fn pairs_overrule_medians() {
        let (a, b) = (record("a", "8x8x8", &[10.0; 5]), record("b", "8x8x8", &[11.0; 5]));
        assert_eq!(winner(&[a.clone(), b.clone()]), "a");
        let pairs = paired(b.clone(), &a, "best", &[(9.0, 10.0); 8]);
        assert_eq!(winner(&[a, b, pairs]), "b");
    }

    #[test]
    fn ties_go_to_the_simpler_tile_and_then_to_the_name() {
        let (mut a, b) = (record("a", "8x8x8", &[10.0; 5]), record("b", "8x8x8", &[10.1; 5]));
        let tie = |a: &Record, b: &Record| paired(b.clone(), a, "best", &[(10.1, 10.0); 8]);
        assert_eq!(winner(&[a.clone(), b.clone(), tie(&a, &b)]), "a");
        a.config.tile = (12, 16);
        assert_eq!(winner(&[a.clone(), b.clone(), tie(&a, &b)]), "b");
    }

    #[test]
    fn ties_go_to_the_computed_split_and_the_usual_spin() {
        let mut base = record("a", "8x8x8", &[10.1; 5]);
        (base.config.threads, base.config.split, base.config.spin) = (2, "2x1".parse().ok(), Some(DEFAULT_SPIN));
        let mut split = record("a", "8x8x8", &[10.0; 5]);
        split.config = Config { split: "1x2".parse().ok(), split_varied: true, ..base.config.clone() };
        let mut spin = record("a", "8x8x8", &[10.0; 5]);
        spin.config = Config { spin: Some(0), ..base.config.clone() };
        for other in [split, spin] {
            let tie = paired(base.clone(), &other, "best", &[(10.1, 10.0); 8]);
            let records = [base.clone(), other, tie];
            assert_eq!(standings(&records)[0].winner.config, base.config);
        }
    }

    #[test]
    fn a_gain_over_the_default_prefers_pairs_and_has_an_interval() {
        let (a, mut d) = (record("a", "8x8x8", &[10.0, 10.1, 9.9]), record("d", "8x8x8", &[20.0, 20.2, 19.8]));
        d.default = true;
        let records = [a.clone(), d.clone()];
        let gain = standings(&records)[0].gain.expect("a gain");
        assert!(!gain.paired && (gain.ratio.value - 2.0).abs() < 1e-9 && gain.ratio.ci.0 > 1.9);
        let records = [a.clone(), d.clone(), paired(a, &d, "default", &[(10.0, 15.0); 6])];
        let gain = standings(&records)[0].gain.expect("a gain");
        assert!(gain.paired && (gain.ratio.value - 1.5).abs() < 1e-9);
    }

    #[test]
    fn the_default_stays_unless_something_is_shown_to_be_faster() {
        let (a, mut d) = (record("a", "8x8x8", &[10.0, 11.0, 9.0]), record("d", "8x8x8", &[10.5, 10.6, 10.4]));
        d.default = true;
        let records = [a.clone(), d.clone()];
        let standing = &standings(&records)[0];
        assert_eq!((standing.best.config.kernel.as_str(), standing.winner.config.kernel.as_str()), ("a", "d"));
        assert_eq!(winner(&[a.clone(), d.clone(), paired(a, &d, "default", &[(9.0, 10.5); 8])]), "a");
    }

    #[test]
    fn results_of_changed_sources_are_set_aside() {
        let entry = registry::all().next().expect("a kernel");
        let mut fresh = record(entry.meta.name, "8x8x8", &[1.0]);
        let stale = fresh.clone();
        fresh.config.fingerprint = format!("{:016x}", entry.meta.fingerprint);
        let current = Current::of_this_build();
        assert_eq!([&fresh, &stale, &record("gone", "8x8x8", &[1.0])].map(|r| current.has(r)), [true, false, false]);
        // A comparison is stale if only the other one has changed.
        let pair = |other: &Record| paired(fresh.clone(), other, "best", &[(1.0, 1.0); 4]);
        let with = |other: &Record| Record { outcome: pair(other).outcome.with(&other.config), ..fresh.clone() };
        assert_eq!([with(&fresh), with(&stale), pair(&stale)].map(|r| current.has(&r)), [true, false, true]);
    }

    #[test]
    fn what_was_timed_on_a_slower_machine_counts_for_what_it_would_have_taken() {
        let (early, mut late) = (record("a", "8x8x8", &[10.0; 5]), record("b", "8x8x8", &[11.0; 5]));
        assert_eq!(winner(&[early.clone(), late.clone()]), "a");
        late.outcome = late.outcome.drifted(1.25);
        late.default = true;
        let records = [early, late];
        assert_eq!(winner(&records), "b");
        assert_eq!(standings(&records)[0].winner.median_ns().map(|m| m.0), Some(11.0), "it is said as it was timed");
    }
}
