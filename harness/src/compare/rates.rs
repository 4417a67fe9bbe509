//! What a comparison says of each system at each problem: its rate, and how ours stands to it. It measures nothing.

use crate::measure::statistics::{Ratio, median, median_ci, paired_ratio};
use crate::peers::Chosen;
use crate::ranking;
use crate::space::{self, Problem, Shape};
use kiln_profiles::schema::Tier;
use kiln_reports::gflops::Unit;
use serde::Serialize;

/// One system at one problem.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The extent of a cube, or else the shape.
    pub size: Size,
    /// The extents.
    pub shape: Shape,
    /// Threads.
    pub threads: usize,
    /// The system's name; ours is `kiln`.
    pub system: &'static str,
    /// It computes nothing and shows what the machine allows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub limit: bool,
    /// How fast it is.
    #[serde(flatten)]
    pub rate: Rate,
    /// Our rate over this system's, in pairs; none for ours.
    pub kiln_over_system: Option<f64>,
    /// Its 95 % interval.
    pub kiln_over_system_ci: Option<(f64, f64)>,
    /// Whether ours is `ahead`, `level` or `behind`; none for ours.
    pub kiln_is: Option<&'static str>,
    /// Bytes of packed weights in a second, in 10⁹; only where weights were packed before.
    pub weights_gbs: Option<f64>,
    /// Multiply-adds that the machine managed around this problem by its best instruction set for the
    /// format, or by that of the kernel that was asked for; none where no loop of the format is known.
    /// Of the system that only reads: none.
    pub peak_gflops: Option<f64>,
    /// The median rate's share of that.
    pub fraction_of_peak: Option<f64>,
    /// Rounds, of two samples each, that the figures come from.
    pub rounds: usize,
    /// The largest error beside the oracle, as a fraction of its tolerance.
    pub verification_error: f64,
    /// Where the figures come from.
    pub tier: Tier,
    /// Version and build, as the system tells.
    pub version: Option<String>,
    /// The kernel that was run, if the system tells.
    pub kernel: Option<Chosen>,
}

/// A median rate with its 95 % interval, low end first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rate {
    /// Of operations, in 10⁹ a second.
    Operations {
        /// The median.
        gflops_median: f64,
        /// Its interval.
        gflops_ci: (f64, f64),
    },
    /// Of the bytes that must be moved, in 10⁹ a second.
    Bytes {
        /// The median.
        gbytes_per_s_median: f64,
        /// Its interval.
        gbytes_per_s_ci: (f64, f64),
    },
}

impl Rate {
    /// Of calls of a problem that take so many nanoseconds; `None` of none.
    fn new(problem: &Problem, ns: &[f64]) -> Option<Rate> {
        let (middle, (low, high)) = (median(ns)?, median_ci(ns)?);
        let rate = |work: f64| (work / middle, (work / high, work / low));
        Some(match problem.shape.flops().filter(|_| !space::is_counted_in_bytes(problem.op)) {
            Some(flops) => {
                let (gflops_median, gflops_ci) = rate(flops);
                Rate::Operations { gflops_median, gflops_ci }
            }
            None => {
                let (gbytes_per_s_median, gbytes_per_s_ci) = rate(problem.bytes());
                Rate::Bytes { gbytes_per_s_median, gbytes_per_s_ci }
            }
        })
    }

    /// The median.
    pub fn median(&self) -> f64 {
        match *self {
            Rate::Operations { gflops_median: median, .. } | Rate::Bytes { gbytes_per_s_median: median, .. } => median,
        }
    }

    /// Its interval.
    pub fn ci(&self) -> (f64, f64) {
        match *self {
            Rate::Operations { gflops_ci: ci, .. } | Rate::Bytes { gbytes_per_s_ci: ci, .. } => ci,
        }
    }

    /// What it counts.
    pub fn unit(&self) -> Unit {
        match self {
            Rate::Operations { .. } => Unit::Gflops,
            Rate::Bytes { .. } => Unit::Gbytes,
        }
    }
}

/// How large a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Size {
    /// M = N = K.
    Cube(usize),
    /// Any other shape.
    Other(Shape),
}

impl From<Shape> for Size {
    fn from(shape: Shape) -> Size {
        match shape {
            Shape::Product { m, .. } if shape.is_cube() => Size::Cube(m),
            _ => Size::Other(shape),
        }
    }
}

/// What a system says of itself.
#[derive(Clone)]
pub(super) struct About {
    pub system: &'static str,
    pub limit: bool,
    pub version: Option<String>,
    pub kernel: Option<Chosen>,
    /// Bytes of packed weights that a call reads.
    pub bytes: Option<usize>,
}

/// What the rows of a problem have in common.
pub(super) struct Figures<'a> {
    pub problem: &'a Problem,
    /// Our nanoseconds per call, round by round.
    pub ours: &'a [f64],
    pub peak: Option<f64>,
}

impl Figures<'_> {
    /// The row of a system; `None` without a sample.
    pub(super) fn row(&self, about: About, verification_error: f64, ns: &[f64], is_ours: bool) -> Option<Row> {
        let About { system, limit, version, kernel, bytes } = about;
        let rate = Rate::new(self.problem, ns)?;
        let peak = self.peak.filter(|_| !limit);
        let pairs: Vec<_> = ns.iter().zip(self.ours).map(|(theirs, ours)| (*theirs, *ours)).collect();
        let ratio = if is_ours { None } else { paired_ratio(&pairs) };
        Some(Row {
            size: self.problem.shape.into(),
            shape: self.problem.shape,
            threads: self.problem.threads,
            system,
            limit,
            rate,
            kiln_over_system: ratio.map(|r| r.value),
            kiln_over_system_ci: ratio.map(|r| r.ci),
            kiln_is: ratio.map(verdict),
            weights_gbs: bytes.zip(median(ns)).map(|(bytes, ns)| bytes as f64 / ns),
            peak_gflops: peak,
            fraction_of_peak: peak.map(|p| rate.median() / p),
            rounds: ns.len(),
            verification_error,
            tier: Tier::Measured,
            version,
            kernel,
        })
    }
}

/// Where our rate stands, by its ratio to another's.
fn verdict(ratio: Ratio) -> &'static str {
    match ratio {
        ratio if ratio.is_tie(ranking::BAND) => "level",
        ratio if ratio.value > 1.0 => "ahead",
        _ => "behind",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{about, rows};
    use super::*;
    use crate::space::Temperature;
    use kiln_kernels::registry::Op;

    fn problem(op: Op, shape: &str) -> Problem {
        let shape = shape.parse().expect("a shape");
        Problem { op, format: op.format(), shape, packed: false, threads: 1, operands: Temperature::Hot }
    }

    #[test]
    fn a_row_has_rates_and_the_ratio_of_pairs() {
        let problem = problem(Op::Gemm, "100x100x100");
        let figures = Figures { problem: &problem, ours: &[1000.0, 2000.0, 1000.0], peak: Some(4000.0) };
        let about = about("other");
        // Twice as long as ours in every round, whatever the drift.
        let row = figures.row(about.clone(), 0.5, &[2000.0, 4000.0, 2000.0], false).expect("a row");
        assert_eq!((row.rate.median(), row.rate.unit(), row.fraction_of_peak), (1000.0, Unit::Gflops, Some(0.25)));
        assert!(row.rate.ci().0 <= 1000.0 && row.rate.ci().1 >= 1000.0);
        assert_eq!((row.kiln_over_system, row.kiln_over_system_ci, row.kiln_is), (Some(2.0), Some((2.0, 2.0)), Some("ahead")));
        let ours = figures.row(about, 0.5, figures.ours, true).expect("a row");
        assert_eq!((ours.kiln_over_system, ours.kiln_is), (None, None));
        let document = serde_json::to_value(&ours).expect("JSON");
        assert_eq!((&document["size"], &document["gflops_median"]), (&100.into(), &2000.0.into()));
        assert!(document["gflops_ci"].is_array() && document.get("gbytes_per_s_median").is_none() && document.get("limit").is_none());
    }

    #[test]
    fn rows_of_operations_on_rows_count_bytes() {
        // 4 bytes in and 2 out for each of 2000 elements.
        let problem = problem(Op::F32ToF16, "2x1000");
        let figures = Figures { problem: &problem, ours: &[1000.0; 3], peak: None };
        let limit = About { limit: true, ..about("copy") };
        let row = figures.row(limit, 0.0, &[500.0; 3], false).expect("a row");
        assert_eq!((row.rate.median(), row.rate.unit(), row.kiln_is), (24.0, Unit::Gbytes, Some("behind")));
        let document = serde_json::to_value(&row).expect("JSON");
        assert_eq!((&document["size"], &document["gbytes_per_s_median"]), (&"2x1000".into(), &24.0.into()));
        assert!(document["gbytes_per_s_ci"].is_array() && document.get("gflops_median").is_none() && document["limit"] == true);
    }

    #[test]
    fn a_limit_is_no_share_of_a_peak() {
        let of = |limit| rows("2x3x4", &[About { limit, ..about("read") }])[0].fraction_of_peak.is_some();
        assert!(of(false) && !of(true));
    }

    #[test]
    fn differences_within_the_band_are_none() {
        let of = |value: f64, reach: f64| verdict(Ratio { value, ci: (value - reach, value + reach) });
        assert_eq!([of(1.5, 0.1), of(0.5, 0.1), of(1.5, 0.6), of(1.01, 0.001)], ["ahead", "behind", "level", "level"]);
    }
}
