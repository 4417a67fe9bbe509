//! `kiln model --against STORE --pairs`: what the model's first choice costs, in fresh pairs with what a store has as fastest. The
//! fastest of many times is there by luck too; pairs say what is.

use crate::machine::others::Watch;
use crate::machine::{Machine, lock};
use crate::measure::apart::{self, Bench, Job};
use crate::measure::clock::Effort;
use crate::measure::comparison::compare;
use crate::measure::statistics::{Ratio, median};
use crate::model::residual::Residual;
use crate::progress::Progress;
use crate::sweep::room;
use serde_json::{Value, json};

/// The model's first choice beside the rival that it loses most to.
#[derive(Clone, Debug)]
pub(super) struct InPairs {
    /// What the choice is compared with.
    rival: String,
    /// The time of the choice over that of the rival.
    ratio: Ratio,
}

impl InPairs {
    /// What it takes longer, for people.
    pub(super) fn text(&self) -> String {
        let percent = |ratio: f64| format!("{:.1}", 100.0 * (ratio - 1.0));
        let Ratio { value, ci } = self.ratio;
        format!("{} % ({} to {})", percent(value), percent(ci.0), percent(ci.1))
    }

    /// The same as part of a document.
    pub(super) fn document(&self) -> Value {
        json!({ "rival": self.rival, "ratio": self.ratio.value, "ratio_ci": self.ratio.ci })
    }
}

/// The median of what choices take longer, as a fraction.
pub(super) fn overall(all: &[Option<InPairs>]) -> Option<f64> {
    median(&all.iter().flatten().map(|pairs| pairs.ratio.value - 1.0).collect::<Vec<_>>())
}

/// Compares, a problem after the other; `None` where the choice is the fastest and there is nothing else.
///
/// # Errors
/// If the results are of another machine, this one is too noisy, or a comparison fails.
pub(super) fn compared(problems: &[Residual]) -> anyhow::Result<Vec<Option<InPairs>>> {
    let machine = Machine::detect();
    if let Some(other) = problems.iter().find(|r| r.machine != machine.key()) {
        anyhow::bail!("--pairs measures, so that results must be of this machine ({}), not of {}", machine.key(), other.machine);
    }
    machine.allow_timing(&problems.iter().map(|r| r.problem.threads).collect::<Vec<_>>())?;
    let _machine = lock::machine(|note| eprintln!("note: {note}"))?;
    let (effort, mut bench) = (Effort::FULL, Bench::new(Some(&apart::this_program()?)));
    let to_do: usize = problems.iter().map(|r| r.rivals.len()).sum();
    let (progress, watch) = (Progress::new(to_do as u64, "comparing"), Watch::start());
    let mut all = Vec::new();
    for (seed, Residual { problem, first, rivals, .. }) in problems.iter().enumerate() {
        progress.at(format!("{} {}", problem.op, problem.shape));
        let mut most: Option<InPairs> = None;
        for rival in rivals {
            let job = Job::new((first.clone(), rival.clone()), &effort, 0, room(&machine), seed as u64);
            let ratio = compare(&mut bench, &job, (&effort, effort.pairs))?.map_err(anyhow::Error::msg)?.ratio;
            if most.as_ref().is_none_or(|most| ratio.value > most.ratio.value) {
                most = Some(InPairs { rival: rival.label(), ratio });
            }
            progress.advance(1);
        }
        all.push(most);
    }
    drop(progress);
    if let Some(remark) = watch.and_then(|watch| watch.remark()) {
        eprintln!("note: {remark}");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_choice_takes_longer_is_said_with_its_interval_and_the_median_leaves_out_what_was_not_compared() {
        let pairs = |value: f64| InPairs { rival: "b".into(), ratio: Ratio { value, ci: (value - 0.01, value + 0.01) } };
        assert_eq!(pairs(1.025).text(), "2.5 % (1.5 to 3.5)");
        assert_eq!(pairs(0.99).document()["rival"], "b");
        let median = overall(&[Some(pairs(1.04)), None, Some(pairs(0.98)), Some(pairs(1.01))]).expect("three");
        assert!((median - 0.01).abs() < 1e-12, "{median}");
        assert_eq!(overall(&[None]), None);
    }
}
