//! The results of a store that matter to who ranks them, in bounded memory: see [`Limits`] for the bound. What is left out
//! is counted and said.

use super::kept::Kept;
use super::problems::{Of, parse, walk};
use super::{Limits, Record, Walked};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

/// What was kept.
#[derive(Debug)]
pub struct Reduced {
    /// The results, in the order of the store; if there were so many that they had to be split, problem by problem.
    pub records: Vec<Record>,
    /// What was seen.
    pub walked: Walked,
    /// Problems that were left out, with all their results: those with the fewest.
    pub left_problems: u64,
    limits: Limits,
}

impl Reduced {
    /// A line for each thing that the reader should know.
    pub fn notes(&self, path: &Path) -> Vec<String> {
        let Walked { problems, left, unreadable } = &self.walked;
        let mut notes: Vec<String> = unreadable.complaint(path).into_iter().collect();
        if *left > 0 {
            notes.push(format!(
                "{left} results are beyond the fastest {} of their problem and the fastest of each kernel, and are left out",
                self.limits.of_a_problem
            ));
        }
        if self.left_problems > 0 {
            notes.push(format!(
                "{} of {problems} problems, those with the fewest results, are left out: at most {} problems and {} MB of results are looked at",
                self.left_problems,
                self.limits.problems,
                self.limits.bytes >> 20
            ));
        }
        notes
    }
}

/// Reads the results that are `wanted`, and of those what the limits keep: of every problem what ranking needs, and of the
/// problems those with most results. `wanted` sees every result once, in the order of the store.
///
/// # Errors
/// If the store cannot be read, or what does not fit into memory cannot be put aside.
pub fn reduce(path: &Path, limits: &Limits, mut wanted: impl FnMut(&Record) -> bool) -> anyhow::Result<Reduced> {
    let mut problems: BTreeMap<(usize, Reverse<Of>), Kept> = BTreeMap::new();
    let (mut bytes, mut left_problems) = (0, 0);
    let walked = walk(path, limits, &mut wanted, &mut |of, kept| {
        bytes += kept.bytes();
        problems.insert((kept.len(), Reverse(of)), kept);
        while problems.len() > limits.problems.max(1) || (bytes > limits.bytes && problems.len() > 1) {
            let Some((_, kept)) = problems.pop_first() else { break };
            bytes -= kept.bytes();
            left_problems += 1;
        }
        Ok(())
    })?;
    let mut records = Vec::new();
    for kept in problems.into_values() {
        for (at, line) in kept.into_lines() {
            records.push((at, parse(&line)?));
        }
    }
    records.sort_by_key(|r| r.0);
    Ok(Reduced { records: records.into_iter().map(|r| r.1).collect(), walked, left_problems, limits: *limits })
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::super::{Outcome, each_problem};
    use super::*;
    use crate::ranking;

    const WIDE: Limits = Limits { of_a_problem: 1000, problems: 1000, bytes: 64 << 20 };

    /// Problems of several sizes with candidates of which some are compared in pairs; interleaved, as merged stores are.
    fn results(problems: usize, candidates: usize) -> Vec<Record> {
        let mut all = Vec::new();
        for c in 0..candidates {
            for p in 1..=problems {
                let time = 100.0 + ((c * 7 + p) % candidates) as f64;
                let mut timed = record(&format!("k{}", c % 5), &format!("8x8x{}", 8 * p), &[time, time, time]);
                timed.config.blocking = Some(super::super::Blocks(8 + c, 8, 8, Default::default()));
                timed.default = c == candidates / 2;
                all.push(timed.clone());
                if time < 103.0 {
                    let best = all
                        .iter()
                        .filter(|r| r.config.shape == timed.config.shape)
                        .min_by(|a, b| a.median_ns().partial_cmp(&b.median_ns()).expect("order"));
                    let label = best.expect("a result").config.label();
                    timed.outcome = Outcome::paired(label, "best", &[(1.0, 1.0); 4], 1).expect("pairs");
                    all.push(timed);
                }
            }
        }
        all
    }

    fn store(records: &[Record], tail: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("store.jsonl");
        let lines: String = records.iter().map(|r| serde_json::to_string(r).expect("JSON") + "\n").collect();
        std::fs::write(&path, lines + tail).expect("written");
        (dir, path)
    }

    fn winners(records: &[Record]) -> Vec<(String, String, String)> {
        let name = |r: &Record| r.config.label();
        let standings = ranking::standings(records);
        standings.iter().map(|s| (s.problem.shape.to_string(), name(s.winner), s.default.map(name).unwrap_or_default())).collect()
    }

    #[test]
    fn within_the_limits_everything_is_kept_in_its_order() {
        let all = results(6, 20);
        let (_dir, path) = store(&all, "{\"torn");
        let reduced = reduce(&path, &WIDE, |_| true).expect("reduced");
        assert_eq!(reduced.records, all);
        assert_eq!((reduced.walked.problems, reduced.walked.left, reduced.left_problems), (6, 0, 0));
        assert!(matches!(reduced.notes(&path).as_slice(), [one] if one.contains("1 line")));
    }

    #[test]
    fn what_is_kept_of_a_problem_has_the_same_winner_and_default() {
        let all = results(6, 60);
        let (_dir, path) = store(&all, "");
        // With the second limit they do not fit into memory at once, with the third hardly two problems do.
        for bytes in [64 << 20, 40_000, 20_000] {
            let limits = Limits { of_a_problem: 4, bytes, ..WIDE };
            let mut found: Vec<Record> = Vec::new();
            let walked = each_problem(
                &path,
                &limits,
                |_| true,
                |problem, records| {
                    assert!(records.iter().all(|r| r.config.problem() == Some(problem)));
                    let timed = records.iter().filter(|r| r.median_ns().is_some()).count();
                    assert!((4..=4 + 5 + 1).contains(&timed), "{timed} results");
                    found.extend(records);
                    Ok(())
                },
            );
            let walked = walked.expect("walked");
            assert_eq!(winners(&found), winners(&all), "{bytes} bytes at a time");
            assert_eq!((walked.problems, walked.left), (6, (all.len() - found.len()) as u64));
        }
    }

    #[test]
    fn results_that_are_split_over_files_are_all_there_and_the_files_gone() {
        let all = results(40, 6);
        let (dir, path) = store(&all, "");
        let limits = Limits { bytes: 30_000, ..WIDE };
        let mut seen = 0;
        let wanted = |_: &Record| {
            seen += 1;
            true
        };
        let mut found: Vec<Record> = Vec::new();
        let walked = each_problem(&path, &limits, wanted, |_, records| {
            found.extend(records);
            Ok(())
        });
        assert_eq!((walked.expect("walked").problems, seen), (40, all.len()));
        let sorted = |mut records: Vec<Record>| {
            records.sort_by_key(|r| serde_json::to_string(r).expect("JSON"));
            records
        };
        assert_eq!(sorted(found), sorted(all));
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn problems_with_the_fewest_results_are_left_out_first() {
        let mut all = results(3, 4);
        all.extend(results(1, 20));
        let (_dir, path) = store(&all, "");
        let reduced = reduce(&path, &Limits { problems: 1, ..WIDE }, |_| true).expect("reduced");
        assert!(reduced.records.iter().all(|r| r.config.shape.to_string() == "8x8x8") && reduced.records.len() > 20);
        assert_eq!(reduced.left_problems, 2);
        assert!(reduced.notes(&path).iter().any(|n| n.contains("2 of 3 problems")), "{:?}", reduced.notes(&path));
    }

    #[test]
    fn what_is_predicted_takes_no_place_of_what_is_measured() {
        let mut all = results(1, 6);
        let mut predicted = all.clone();
        predicted.iter_mut().for_each(|r| r.tier = kiln_profiles::schema::Tier::Predicted);
        all.extend(predicted);
        let (_dir, path) = store(&all, "");
        let reduced = reduce(&path, &Limits { of_a_problem: 1, ..WIDE }, |_| true).expect("reduced");
        let (measured, predicted): (Vec<_>, Vec<_>) = reduced.records.iter().partition(|r| r.tier == kiln_profiles::schema::Tier::Measured);
        assert!(reduced.walked.problems == 2 && measured.len() == predicted.len() && measured.len() < 12, "{}", measured.len());
    }

    #[test]
    fn of_what_was_measured_again_or_found_wrong_since_only_the_last_word_is_kept() {
        let (slow, fast) = (record("a", "8x8x8", &[9.0; 15]), record("a", "8x8x8", &[1.0; 15]));
        let (other, quick) = (record("b", "8x8x8", &[5.0; 15]), record("b", "8x8x8", &[1.0; 7]));
        let died = Record { outcome: Outcome::Invalid { reason: "died".into() }, ..record("c", "8x8x8", &[1.0]) };
        let all = [fast, record("c", "8x8x8", &[1.0; 15]), other.clone(), slow.clone(), quick, died.clone()];
        let (_dir, path) = store(&all, "");
        for of_a_problem in [1000, 1] {
            let reduced = reduce(&path, &Limits { of_a_problem, ..WIDE }, |_| true).expect("reduced");
            assert_eq!(reduced.records, [other.clone(), slow.clone(), died.clone()], "{of_a_problem} of a problem");
            assert_eq!(reduced.walked.left, 0);
        }
    }

    #[test]
    fn one_problem_that_does_not_fit_is_cut_short() {
        let all = results(1, 60);
        let (_dir, path) = store(&all, "");
        let reduced = reduce(&path, &Limits { bytes: 10_000, ..WIDE }, |_| true).expect("reduced");
        assert!(!reduced.records.is_empty() && reduced.records.len() < 30, "{}", reduced.records.len());
        assert_eq!(reduced.walked.left as usize, all.len() - reduced.records.len());
    }
}
