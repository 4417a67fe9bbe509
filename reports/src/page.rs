//! The report page as data: what a caller fills in, and the one call that turns it into HTML.
//!
//! Every part may be missing. A missing part keeps its place on the page and says that it is missing and, when
//! [`Page::missing`] knows, why. Nothing here ranks or measures; [`Verdict::of`] applies the tie rule to figures
//! it is given.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Flame, GflopsPlot, Heatmap, ReportError, Roofline, Scatter, Tier, render};

/// A report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// Heading of the page.
    pub title: String,
    /// One line under it, such as the machine's name and the date.
    pub subtitle: Option<String>,
    /// Warnings that concern the whole page, such as a high noise floor.
    pub notices: Vec<String>,
    /// The machine: processor, caches, ISA, measured peaks and bandwidths.
    pub machine: Vec<Row>,
    /// GFLOPS plots.
    pub gflops: Vec<GflopsPlot>,
    /// Default against winner for kernels, in GFLOP/s or GB/s.
    pub kernels: Vec<Comparison>,
    /// Default against winner for the model, in tokens/s.
    pub tokens: Vec<Comparison>,
    /// What was verified.
    pub verification: Option<Verification>,
    /// Heat maps of tiles.
    pub heatmaps: Vec<Heatmap>,
    /// Rooflines.
    pub rooflines: Vec<Roofline>,
    /// Predicted against measured times.
    pub scatters: Vec<Scatter>,
    /// How far predictions are off, problem by problem.
    pub residuals: Vec<Residual>,
    /// The same in the medians over all problems, as the last line.
    pub residual: Option<Residual>,
    /// Counters.
    pub counters: Vec<Counter>,
    /// Flame graphs.
    pub flames: Vec<Flame>,
    /// Text a model wrote.
    pub generated: Option<Generated>,
    /// How all of it came to be: time, versions, compiler, flags, commands, noise floor.
    pub provenance: Vec<Row>,
    /// Why a part is missing.
    pub missing: BTreeMap<Section, String>,
}

/// A part of the page, in the order of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// [`Page::machine`].
    Machine,
    /// [`Page::gflops`].
    Gflops,
    /// [`Page::kernels`].
    Kernels,
    /// [`Page::tokens`].
    Tokens,
    /// [`Page::verification`].
    Verification,
    /// [`Page::heatmaps`].
    Heatmaps,
    /// [`Page::rooflines`].
    Rooflines,
    /// [`Page::scatters`] and [`Page::residuals`].
    Model,
    /// [`Page::counters`].
    Counters,
    /// [`Page::flames`].
    Flames,
    /// [`Page::generated`].
    Generated,
    /// [`Page::provenance`].
    Provenance,
}

/// A name and its value; without a value the page prints 'not available'.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The name.
    pub key: String,
    /// The value, with its unit.
    pub value: Option<String>,
}

impl Row {
    /// A row with a value.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Row {
        Row { key: key.into(), value: Some(value.into()) }
    }

    /// A row whose value is not available.
    pub fn missing(key: impl Into<String>) -> Row {
        Row { key: key.into(), value: None }
    }
}

/// The default choice against the winner, from paired runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was compared, such as `gemm f32` or `decode`.
    pub what: String,
    /// The shape or setting, such as `512 x 512 x 512` or `prompt 128, 64 tokens`.
    pub shape: String,
    /// Number of threads.
    pub threads: usize,
    /// Unit of the medians, where more is better, such as `GFLOP/s` or `tokens/s`.
    pub unit: String,
    /// The choice without tuning.
    pub default: Side,
    /// The tuned choice.
    pub winner: Side,
    /// Median of winner / default over the pairs; above 1 the winner is faster.
    pub ratio: Option<f64>,
    /// Interval of the ratio: 99 % of pairs, 95 % of what was measured apart.
    pub ratio_ci: Option<(f64, f64)>,
    /// The conclusion, see [`Verdict::of`].
    pub verdict: Verdict,
    /// Where the figures come from.
    pub tier: Tier,
}

/// One side of a [`Comparison`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Name of the kernel or profile.
    pub name: String,
    /// Median in the comparison's unit.
    pub median: Option<f64>,
    /// 95 % interval of the median.
    #[serde(default)]
    pub ci: Option<(f64, f64)>,
}

/// The conclusion of a [`Comparison`], from the winner's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The winner is faster than the default.
    Faster,
    /// The winner is slower than the default.
    Slower,
    /// They cannot be told apart.
    Tie,
    /// There is no interval to decide by.
    Undecided,
}

impl Verdict {
    /// Ratios within this of 1 are a tie whatever their interval.
    pub const TIE_BAND: f64 = 0.02;

    /// A tie when the interval of the ratio holds 1 or the ratio is within 2 % of 1; otherwise faster or slower
    /// by the side of 1 it lies on. Undecided without both figures.
    pub fn of(ratio: Option<f64>, ci: Option<(f64, f64)>) -> Verdict {
        match (ratio, ci) {
            (Some(r), Some((lo, hi))) if [r, lo, hi].iter().all(|v| v.is_finite()) => {
                if (lo <= 1.0 && hi >= 1.0) || (r - 1.0).abs() <= Verdict::TIE_BAND {
                    Verdict::Tie
                } else if r > 1.0 {
                    Verdict::Faster
                } else {
                    Verdict::Slower
                }
            }
            _ => Verdict::Undecided,
        }
    }

    /// The word the page prints.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Tie => "tie",
            Verdict::Undecided => "undecided",
        }
    }
}

/// How far a model is off at one problem, by candidates that were predicted and measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    /// What was predicted and measured, such as `gemm f32`.
    pub what: String,
    /// The shape and what else tells it from others.
    pub shape: String,
    /// Candidates.
    pub candidates: usize,
    /// A remark on them, such as how many were not measured in full.
    pub note: String,
    /// Spearman's rank correlation over tiles; a model that has the order right has 1.
    pub rank_of_tiles: Option<f64>,
    /// The same over all candidates.
    pub rank: Option<f64>,
    /// What the model would have chosen.
    pub first: String,
    /// Measured time of its choice over the least measured, less 1.
    pub regret: f64,
    /// Median of |ln(measured / predicted)| once both are on one scale.
    pub median: f64,
    /// What nine in ten of them do not exceed.
    pub ninth: f64,
    /// What measuring could not tell from no difference, as a fraction.
    pub noise_floor: f64,
}

/// The outcome of verification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// One row per ISA and place it ran.
    pub rows: Vec<VerifiedIsa>,
    /// One line for each failure.
    #[serde(default)]
    pub failures: Vec<String>,
}

/// Verification of one ISA's kernels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedIsa {
    /// The ISA, such as `avx2` or `sve`.
    pub isa: String,
    /// Where it ran, such as `native` or `emulated, 256-bit vectors`.
    pub place: String,
    /// Kernels that agree with the reference.
    pub passed: usize,
    /// Kernels that do not.
    pub failed: usize,
    /// Kernels that could not run.
    pub skipped: usize,
    /// A remark, such as why kernels were skipped.
    #[serde(default)]
    pub note: Option<String>,
}

/// One counter of one kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    /// What ran, such as a kernel's name and shape.
    pub what: String,
    /// The counter or derived metric.
    pub name: String,
    /// Its value; a counter that never counted has none (and never 0).
    pub value: Option<f64>,
    /// Unit of the value; empty for a plain count.
    pub unit: String,
    /// What provided it, such as `PMU`, `software event` or `emulator`.
    pub source: String,
    /// The share of the run it was counting, 1 when it was not multiplexed; the value is already scaled.
    #[serde(default)]
    pub counted: Option<f64>,
    /// Where the value comes from.
    pub tier: Tier,
}

/// Text a model wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// The model, its type and size.
    pub model: String,
    /// The profile whose kernels ran.
    pub profile: Option<String>,
    /// What it was given.
    pub prompt: String,
    /// What it wrote.
    pub text: String,
    /// How: greedy or sampled, number of tokens.
    pub how: Option<String>,
}

impl Page {
    /// The page as one HTML document that loads nothing from anywhere.
    ///
    /// A picture that cannot be drawn is replaced by the reason in its place.
    ///
    /// # Errors
    /// [`ReportError::Template`] when the template cannot be filled.
    pub fn html(&self) -> Result<String, ReportError> {
        render::html(self)
    }

    /// Writes [`Page::html`] to `path`, replacing a file there.
    ///
    /// # Errors
    /// Those of [`Page::html`], and [`ReportError::Write`] when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ReportError> {
        let html = self.html()?;
        std::fs::write(path, html).map_err(|source| ReportError::Write { path: path.display().to_string(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_tie_rule() {
        for (r, ci, want) in [
            (Some(1.3), Some((1.2, 1.4)), Verdict::Faster),
            (Some(0.8), Some((0.7, 0.9)), Verdict::Slower),
            (Some(1.1), Some((0.99, 1.2)), Verdict::Tie),
            (Some(1.015), Some((1.01, 1.02)), Verdict::Tie),
            (Some(1.3), None, Verdict::Undecided),
            (None, Some((1.2, 1.4)), Verdict::Undecided),
            (Some(f64::NAN), Some((1.2, 1.4)), Verdict::Undecided),
        ] {
            assert_eq!(Verdict::of(r, ci), want, "{r:?} {ci:?}");
        }
    }

    #[test]
    fn a_page_survives_json() {
        let page = Page {
            title: "t".into(),
            machine: vec![Row::new("a", "b"), Row::missing("c")],
            missing: BTreeMap::from([(Section::Flames, "no samples".to_string())]),
            ..Page::default()
        };
        let json = serde_json::to_string(&page).unwrap();
        assert_eq!(serde_json::from_str::<Page>(&json).unwrap(), page);
        assert_eq!(serde_json::from_str::<Page>("{}").unwrap(), Page::default());
    }
}
