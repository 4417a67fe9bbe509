//! Whether tunings agree: what a profile baked from each of several stores would run at the problems that all of them measured.
//!
//! It measures nothing: what those differ by is for who asks.

use super::decide::{counted, decide};
use super::way::Way;
use super::why::serving;
use crate::ranking::{self, Standing};
use crate::space::Problem;
use crate::store::{Config, Record};
use kiln_profiles::schema::Variant;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What tunings run at one problem.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// The problem.
    pub problem: Problem,
    /// What most of them run, and how many do.
    pub commonest: (Config, usize),
    /// The same of every other answer.
    pub others: Vec<(Config, usize)>,
}

/// What profiles baked from each of `tunings`, all of one machine and of kernels as they are, would run at the problems that
/// all of them have.
///
/// # Errors
/// Those of [`decide`].
pub fn agreements(tunings: &[Vec<Record>]) -> anyhow::Result<Vec<Agreement>> {
    let mut all: BTreeMap<Problem, Vec<Config>> = BTreeMap::new();
    for records in tunings {
        for (problem, config) in answers(records)? {
            all.entry(problem).or_default().push(config);
        }
    }
    all.retain(|_, configs| configs.len() == tunings.len());
    let agreement = |(problem, configs)| {
        let mut answers = tally(configs).into_iter();
        Some(Agreement { problem, commonest: answers.next()?, others: answers.collect() })
    };
    Ok(all.into_iter().filter_map(agreement).collect())
}

/// What a profile baked from some results runs at each problem that counted for it.
fn answers(records: &[Record]) -> anyhow::Result<Vec<(Problem, Config)>> {
    let all: Vec<&Record> = records.iter().collect();
    let variant = Variant { isas: Vec::new(), choices: decide(&all)?.choices };
    let answer = |Standing { problem, timed, .. }: Standing| {
        let choice = serving(&variant, problem.op, problem.format, problem.shape)?;
        let (op, format) = (problem.op.name(), problem.format.name());
        let alike: Vec<&Record> = all.iter().copied().filter(|r| r.config.op == op && r.config.format == format).collect();
        let counts = counted(&alike, problem.shape.class(), choice.threads).iter().any(|r| r.config.problem() == Some(problem));
        let found = Way::at(choice, problem.shape).find(timed.iter().copied())?;
        counts.then(|| (problem, found.config.clone()))
    };
    Ok(ranking::standings(records).into_iter().filter_map(answer).collect())
}

/// Each answer once, with how often it was given: the commonest first, and of those the first.
fn tally(configs: Vec<Config>) -> Vec<(Config, usize)> {
    let mut answers: Vec<(Config, usize)> = Vec::new();
    for config in configs {
        match answers.iter_mut().find(|a| a.0 == config) {
            Some(answer) => answer.1 += 1,
            None => answers.push((config, 1)),
        }
    }
    answers.sort_by_key(|a| Reverse(a.1));
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;
    use kiln_kernels::format::Format;
    use kiln_kernels::registry::{self, Op};

    #[test]
    fn the_commonest_answer_comes_first_and_what_one_tuning_lacks_is_left_out() {
        let names: Vec<&str> =
            registry::all().map(|e| e.meta).filter(|m| (m.op, m.format) == (Op::Gemm, Format::F32)).map(|m| m.name).take(2).collect();
        let tuning = |a: f64, b: f64, shape: &str| vec![record(names[0], shape, &[a; 5]), record(names[1], shape, &[b; 5])];
        let shape = "512x512x512";
        let mut first = tuning(10.0, 20.0, shape);
        first.extend(tuning(10.0, 20.0, "640x640x640"));
        let agreed = agreements(&[first, tuning(20.0, 10.0, shape), tuning(20.0, 10.0, shape)]).expect("answers");
        assert_eq!(agreed.len(), 1, "{agreed:?}");
        let of = |(config, count): &(Config, usize)| (config.kernel.clone(), *count);
        assert_eq!(of(&agreed[0].commonest), (names[1].to_owned(), 2));
        assert_eq!(agreed[0].others.iter().map(of).collect::<Vec<_>>(), [(names[0].to_owned(), 1)]);
    }
}
