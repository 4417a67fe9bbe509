//! `kiln model --against STORE --pairs`: what the model's first choice costs, in fresh pairs with what a store has as fastest. The
//! fastest of many times is there by luck too; pairs say what is.

use crate::cli::fresh::{self, Question};
use crate::machine::Machine;
use crate::measure::clock::Effort;
use crate::measure::statistics::{Ratio, median};
use crate::model::residual::Residual;
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
    let question = |r| {
        let Residual { problem, first, rivals, .. }: &Residual = r;
        Question { problem, pairs: rivals.iter().map(|rival| (first, rival)).collect() }
    };
    let questions: Vec<Question> = problems.iter().map(question).collect();
    let (ratios, remark) = fresh::compared(&machine, &Effort::FULL, &questions)?;
    if let Some(remark) = remark {
        eprintln!("note: {remark}");
    }
    let most = |(r, ratios): (&Residual, Vec<Ratio>)| {
        let all = r.rivals.iter().zip(ratios).map(|(rival, ratio)| InPairs { rival: rival.label(), ratio });
        all.max_by(|a, b| a.ratio.value.total_cmp(&b.ratio.value))
    };
    Ok(problems.iter().zip(ratios).map(most).collect())
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
