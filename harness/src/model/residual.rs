//! How far predictions are off: predicted cycles of candidates beside their measured times, one problem of one machine at a
//! time.
//!
//! A prediction is of cycles and a result of nanoseconds, so that each problem has a scale, the median of their ratios. What
//! is off is each candidate by itself (its residual), the order of candidates (Spearman's rank correlation), and what it
//! costs to take the one that is predicted to be fastest (regret). It measures nothing, ranks no result by a prediction,
//! and takes none but measured results.

use crate::measure::statistics::median;
use crate::ranking;
use crate::replay;
use crate::space::Problem;
use crate::store::{Config, GENERATED, Record};
use kiln_kernels::registry::Op;
use kiln_profiles::schema::Tier;
use serde::Serialize;
use std::collections::BTreeMap;

/// One candidate: what was predicted and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The kernel and its parameters.
    pub label: String,
    /// The kernel's name.
    pub kernel: String,
    /// Its instruction set.
    pub isa: String,
    /// Predicted cycles of a call.
    pub cycles: f64,
    /// Median nanoseconds of a call.
    pub ns: f64,
}

/// Model against measurement at one problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual {
    /// The problem.
    pub problem: Problem,
    /// The key of the machine that the results are of.
    pub machine: String,
    /// The model's choice.
    pub first: Config,
    /// Of all others the [`RIVALS`] that were measured as fastest.
    pub rivals: Vec<Config>,
    /// Its candidates, in the order of the model: the first is its choice. At least [`FEWEST`].
    pub points: Vec<Point>,
    /// The figures.
    pub figures: Figures,
}

/// What is said of a problem, or of several in their medians.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Candidates that were measured and predicted.
    pub candidates: usize,
    /// Those of them that a search dropped after fewer samples than stand for their time.
    pub few: usize,
    /// Candidates that were measured, of whose kernels nothing is predicted; they count in the regret alone.
    pub unpredicted: usize,
    /// Tiles among the candidates: kernels of one instruction set that differ in unroll or in how far they ask ahead have one. Of
    /// operations on rows, kernels. Of several problems, the most at one of them.
    pub tiles: usize,
    /// Spearman's rank correlation over tiles, each by the least that is predicted of it and the least that was measured; `None`
    /// of fewer than [`FEWEST`].
    pub rank_of_tiles: Option<f64>,
    /// The same over all candidates.
    pub rank: Option<f64>,
    /// Measured time of the model's first choice over the least measured, less 1.
    pub regret: f64,
    /// Nanoseconds for each predicted cycle: the median of their ratios.
    pub ns_per_cycle: f64,
    /// Median of |ln(measured / predicted)| at that scale: 0.1 is about 10 %.
    pub median: f64,
    /// What nine in ten of them do not exceed.
    pub ninth: f64,
    /// The highest noise floor of the sessions that the results come from, as a fraction.
    pub noise_floor: f64,
}

/// Fewer candidates than this have no order to speak of.
pub const FEWEST: usize = 3;

/// How many of the fastest are known by name.
pub const RIVALS: usize = 3;

/// What could be said of results, and how much could not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Residuals {
    /// A line for each problem of each machine.
    pub problems: Vec<Residual>,
    /// Problems with fewer than [`FEWEST`] candidates that were both measured and predicted.
    pub left: usize,
}

/// Whether a result is a time that a machine really took.
pub fn is_measured(record: &Record) -> bool {
    record.tier == Tier::Measured && record.compiler != GENERATED && record.median_ns().is_some()
}

impl Residuals {
    /// Of the measured ones among results, by what `predict` says they take in cycles.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>, predict: impl Fn(&Config) -> Option<f64>) -> Residuals {
        let mut problems: BTreeMap<(Problem, &str), Vec<&Record>> = BTreeMap::new();
        for record in records.into_iter().filter(|r| is_measured(r)) {
            if let Some(problem) = record.config.problem() {
                problems.entry((problem, &record.machine)).or_default().push(record);
            }
        }
        let count = problems.len();
        let problems: Vec<Residual> =
            problems.into_iter().filter_map(|((problem, machine), records)| residual(problem, machine, &records, &predict)).collect();
        Residuals { left: count - problems.len(), problems }
    }

    /// Medians over the problems, and counts over all of them; `None` without any.
    pub fn overall(&self) -> Option<Figures> {
        let all: Vec<&Figures> = self.problems.iter().map(|r| &r.figures).collect();
        let middle = |of: &dyn Fn(&Figures) -> Option<f64>| median(&all.iter().filter_map(|f| of(f)).collect::<Vec<_>>());
        let sum = |of: &dyn Fn(&Figures) -> usize| all.iter().map(|f| of(f)).sum();
        Some(Figures {
            candidates: sum(&|f| f.candidates),
            few: sum(&|f| f.few),
            unpredicted: sum(&|f| f.unpredicted),
            tiles: all.iter().map(|f| f.tiles).max()?,
            rank_of_tiles: middle(&|f| f.rank_of_tiles),
            rank: middle(&|f| f.rank),
            regret: middle(&|f| Some(f.regret))?,
            ns_per_cycle: middle(&|f| Some(f.ns_per_cycle))?,
            median: middle(&|f| Some(f.median))?,
            ninth: middle(&|f| Some(f.ninth))?,
            noise_floor: middle(&|f| Some(f.noise_floor))?,
        })
    }
}

/// Of one problem of one machine.
fn residual(problem: Problem, machine: &str, records: &[&Record], predict: impl Fn(&Config) -> Option<f64>) -> Option<Residual> {
    let time = |r: &Record| r.median_ns().map_or(f64::INFINITY, |m| m.0);
    let mut predicted: Vec<(&Record, f64)> = records.iter().filter_map(|r| Some((*r, predict(&r.config)?))).collect();
    // What is predicted alike is settled as measured ties are.
    predicted.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| ranking::simpler(a.0).cmp(&ranking::simpler(b.0))));
    predicted.retain(|(r, cycles)| time(r) / cycles > 0.0 && (time(r) / cycles).is_finite());
    if predicted.len() < FEWEST {
        return None;
    }
    let best = records.iter().map(|r| time(r)).fold(f64::INFINITY, f64::min);
    let pairs: Vec<(f64, f64)> = predicted.iter().map(|(r, cycles)| (*cycles, time(r))).collect();
    let mut of_tiles = BTreeMap::new();
    for ((record, _), (cycles, ns)) in predicted.iter().zip(&pairs) {
        let Config { kernel, isa, tile, .. } = &record.config;
        let kernel = if problem.op == Op::Gemm { "" } else { kernel.as_str() };
        let least = of_tiles.entry((isa.as_str(), *tile, kernel)).or_insert((f64::INFINITY, f64::INFINITY));
        *least = (least.0.min(*cycles), least.1.min(*ns));
    }
    let of_tiles: Vec<(f64, f64)> = of_tiles.into_values().collect();
    let ns_per_cycle = median(&pairs.iter().map(|(cycles, ns)| ns / cycles).collect::<Vec<_>>())?;
    let mut off: Vec<f64> = pairs.iter().map(|(cycles, ns)| (ns / (ns_per_cycle * cycles)).ln().abs()).collect();
    off.sort_by(f64::total_cmp);
    let figures = Figures {
        candidates: predicted.len(),
        few: predicted.iter().filter(|(r, _)| !replay::stands(r.samples_ns(), best)).count(),
        unpredicted: records.len() - predicted.len(),
        tiles: of_tiles.len(),
        rank_of_tiles: spearman(&of_tiles),
        rank: spearman(&pairs),
        regret: pairs[0].1 / best - 1.0,
        ns_per_cycle,
        median: median(&off)?,
        ninth: off[(off.len() * 9).div_ceil(10) - 1],
        noise_floor: records.iter().map(|r| r.noise_floor).fold(0.0, f64::max),
    };
    let point = |(r, cycles): &(&Record, f64)| Point {
        label: r.config.label(),
        kernel: r.config.kernel.clone(),
        isa: r.config.isa.clone(),
        cycles: *cycles,
        ns: time(r),
    };
    let first = predicted[0].0.config.clone();
    let mut others: Vec<&&Record> = records.iter().filter(|r| r.config != first).collect();
    others.sort_by(|a, b| time(a).total_cmp(&time(b)));
    let rivals = others.iter().take(RIVALS).map(|r| r.config.clone()).collect();
    Some(Residual { problem, machine: machine.to_owned(), first, rivals, points: predicted.iter().map(point).collect(), figures })
}

/// Spearman's rank correlation, from -1 to 1; what is equal shares the mean of its ranks. `None` of fewer than [`FEWEST`]
/// pairs, or where one side is all the same.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < FEWEST {
        return None;
    }
    let (x, y) = (ranks(pairs.iter().map(|p| p.0)), ranks(pairs.iter().map(|p| p.1)));
    let centre = (pairs.len() + 1) as f64 / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - centre) * (b - centre)).sum::<f64>();
    let scale = (product(&x, &x) * product(&y, &y)).sqrt();
    (scale > 0.0).then(|| (product(&x, &y) / scale).clamp(-1.0, 1.0))
}

/// The rank of each value, from 1.
fn ranks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut ranks, mut first) = (vec![0.0; values.len()], 1);
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let last = first + equal.len() - 1;
        equal.iter().for_each(|i| ranks[*i] = (first + last) as f64 / 2.0);
        first = last + 1;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Outcome;
    use crate::store::tests::record;

    /// Kernels by name with their times, five samples each.
    fn records(times: &[(&str, f64)]) -> Vec<Record> {
        times.iter().map(|(kernel, ns)| record(kernel, "64x64x64", &[*ns; 5])).collect()
    }

    /// A model that knows kernels by a number at the end of their names.
    fn by_name(config: &Config) -> Option<f64> {
        config.kernel.trim_start_matches(char::is_alphabetic).parse().ok()
    }

    #[test]
    fn ranks_correlate_whatever_the_scale() {
        let of = |y: &[f64]| spearman(&y.iter().enumerate().map(|(x, y)| (x as f64, *y)).collect::<Vec<_>>());
        assert_eq!(of(&[1.0, 10.0, 100.0, 1e9]), Some(1.0));
        assert_eq!(of(&[4.0, 3.0, -2.0, -1e9]), Some(-1.0));
        // Against 1 2 3 4 5 the ranks are 2 1 4 3 5: 1 - 6 * 4 / (5 * 24).
        assert!((of(&[2.0, 1.0, 4.0, 3.0, 5.0]).expect("ranks") - 0.8).abs() < 1e-12);
        // The ranks are 1 2.5 2.5 4 against 1 2 3 4: 4.5 / sqrt(5 * 4.5).
        assert!((of(&[0.0, 7.0, 7.0, 9.0]).expect("ranks") - 0.9f64.sqrt()).abs() < 1e-12);
        assert_eq!((of(&[5.0, 5.0, 5.0]), of(&[1.0, 2.0]), of(&[])), (None, None, None));
    }

    #[test]
    fn a_model_that_is_right_up_to_a_factor_is_off_by_nothing() {
        let mut some = records(&[("a100", 300.0), ("a200", 600.0), ("a400", 1200.0), ("a150", 450.0)]);
        some.iter_mut().enumerate().for_each(|(at, record)| record.config.tile = (at + 1, 8));
        let residuals = Residuals::of(&some, by_name);
        let f = &residuals.problems[0].figures;
        assert_eq!((f.candidates, f.tiles, f.few, f.unpredicted), (4, 4, 0, 0));
        assert_eq!((f.rank_of_tiles, f.rank, f.regret, f.ns_per_cycle), (Some(1.0), Some(1.0), 0.0, 3.0));
        assert!(f.median < 1e-12 && f.ninth < 1e-12);
    }

    #[test]
    fn the_first_choice_is_held_against_the_best_of_all_and_the_residual_against_the_median_scale() {
        // The best has no prediction; the first choice takes 1.5 times its time.
        let some = records(&[("a100", 300.0), ("a200", 400.0), ("a300", 600.0), ("none", 200.0)]);
        let residuals = Residuals::of(&some, by_name);
        let Residual { figures: f, points, .. } = &residuals.problems[0];
        assert_eq!((f.candidates, f.unpredicted, points[0].label.starts_with("a100")), (3, 1, true));
        assert!((f.regret - 0.5).abs() < 1e-12, "{f:?}");
        let Residual { first, rivals, .. } = &residuals.problems[0];
        let rivals: Vec<&str> = rivals.iter().map(|rival| rival.kernel.as_str()).collect();
        assert_eq!((first.kernel.as_str(), rivals), ("a100", vec!["none", "a200", "a300"]));
        // Ratios of 3, 2 and 2: two are on the scale, the third is off by ln 1.5.
        assert_eq!((f.ns_per_cycle, f.median), (2.0, 0.0));
        assert!((f.ninth - 1.5f64.ln()).abs() < 1e-12, "{f:?}");
    }

    #[test]
    fn a_tile_counts_by_the_best_that_is_predicted_and_measured_of_its_kernels() {
        let mut some = records(&[("a1", 10.0), ("a4", 90.0), ("a2", 20.0), ("a3", 30.0), ("a5", 9.0)]);
        for (record, (isa, tile)) in some.iter_mut().zip([("x", (4, 8)), ("x", (4, 8)), ("x", (8, 8)), ("x", (2, 8)), ("y", (4, 8))]) {
            (record.config.isa, record.config.tile) = (isa.into(), tile);
        }
        // Four tiles: 1 2 3 5 predicted, 10 20 30 9 measured. Of the first one's two kernels the slow one counts for nothing.
        let f = &Residuals::of(&some, by_name).problems[0].figures;
        assert_eq!((f.tiles, f.candidates), (4, 5));
        assert!((f.rank_of_tiles.expect("ranks") - -0.2).abs() < 1e-12, "{f:?}");
    }

    #[test]
    fn what_halving_dropped_is_used_and_counted_and_what_a_probe_found_hopeless_is_just_used() {
        let mut some = records(&[("a1", 10.0), ("a2", 20.0), ("a3", 30.0)]);
        some[1].outcome = Outcome::timed(&[15.0, 15.0], Some("round 1".into())).expect("samples");
        some[2].outcome = Outcome::timed(&[30.0, 30.0], Some("hopeless".into())).expect("samples");
        let f = &Residuals::of(&some, by_name).problems[0].figures;
        assert_eq!((f.candidates, f.few), (3, 1));
    }

    #[test]
    fn machines_are_kept_apart_and_only_what_was_measured_counts() {
        let mut some = records(&[("a1", 10.0), ("a2", 20.0), ("a3", 30.0), ("a1", 1.0), ("a2", 2.0), ("a3", 3.0), ("a4", 4.0)]);
        some[3..].iter_mut().for_each(|r| r.machine = "another".into());
        let both = Residuals::of(&some, by_name);
        assert_eq!((both.problems.len(), both.left), (2, 0));
        assert_eq!(both.overall().map(|f| (f.candidates, f.regret, f.rank)), Some((7, 0.0, Some(1.0))));
        some[0].tier = Tier::Predicted;
        some[3].compiler = GENERATED.into();
        let one = Residuals::of(&some, by_name);
        assert_eq!((one.problems.len(), one.left, one.problems[0].figures.candidates), (1, 1, 3));
        assert_eq!(Residuals::of(&some, |_| None), Residuals { problems: vec![], left: 2 });
        assert_eq!(Residuals::default().overall(), None);
    }
}
