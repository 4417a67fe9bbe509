//! Model against measurement as part of a report page: what [`super::residual`] finds, as pictures and a table.
//!
//! It predicts for this machine, so that it is given results of this machine alone. What cannot be predicted is named on the
//! page.

use super::Predictor;
use super::residual::{Figures, Point, Residual, Residuals, is_measured};
use crate::filter::{self, Filter};
use crate::measure::statistics::median;
use crate::progress::Progress;
use crate::store::Record;
use kiln_kernels::registry::Op;
use kiln_reports::page::{self, Section};
use kiln_reports::scatter::{Axis, Cloud};
use kiln_reports::{Page, Scatter, Tier};
use std::collections::{BTreeMap, BTreeSet};

/// Points of a picture; more would be a blot.
const POINTS: usize = 3000;

/// Puts the model's part on a page of this machine's results, or the reason why it is missing.
pub fn add(page: &mut Page, records: &[Record]) {
    let mut reasons = BTreeSet::new();
    let mut all = Residuals::default();
    for op in Op::ALL.iter().filter(|op| super::knows(**op)) {
        match of(*op, records) {
            Ok(residuals) => {
                page.scatters.extend(scatter(*op, &residuals.problems));
                all.left += residuals.left;
                all.problems.extend(residuals.problems);
            }
            Err(error) => {
                reasons.insert(format!("{error:#}"));
            }
        }
    }
    page.residuals = all.problems.iter().map(line).collect();
    page.residual = all
        .overall()
        .filter(|_| all.problems.len() > 1)
        .map(|figures| page::Residual { what: format!("medians of {}", all.problems.len()), ..figures_of(&figures) });
    let reasons: Vec<String> = reasons.into_iter().collect();
    if page.residuals.is_empty() {
        let why = if reasons.is_empty() {
            "no problem has enough candidates of which the model knows something".to_owned()
        } else {
            reasons.join("; ")
        };
        leave_out(page, &why);
    } else {
        page.notices.extend(reasons.iter().map(|why| format!("The model is held against a part of the results only: {why}.")));
    }
}

/// Names the reason why a page has no such part.
pub fn leave_out(page: &mut Page, why: &str) {
    page.missing.insert(Section::Model, why.into());
}

/// Of the results of one operation.
fn of(op: Op, records: &[Record]) -> anyhow::Result<Residuals> {
    let records: Vec<&Record> = records.iter().filter(|r| is_measured(r) && r.config.op == op.name()).collect();
    let formats: BTreeSet<_> = records.iter().filter_map(|r| filter::format(&r.config.format).ok()).collect();
    if formats.is_empty() {
        return Ok(Residuals::default());
    }
    let filter = Filter { op: vec![op], format: formats.into_iter().collect(), ..Filter::default() };
    let count = filter.entries()?.iter().filter(|e| filter::of_this_architecture(e.meta.isa)).count();
    let progress = Progress::new(count as u64, "predicting");
    let predictor = Predictor::here(&filter, |kernel| {
        progress.at(kernel);
        progress.advance(1);
    })?;
    Ok(Residuals::of(records, |config| predictor.cycles(config)))
}

/// The picture of an operation: a colour for each format, or for each instruction set if there is but one format. Predicted
/// cycles become time by one scale for all of it.
fn scatter(op: Op, problems: &[Residual]) -> Option<Scatter> {
    let points = || problems.iter().flat_map(|r| r.points.iter().map(move |p| (r.problem.format, p)));
    let total = points().count();
    let ns_per_cycle = median(&points().map(|(_, p)| p.ns / p.cycles).collect::<Vec<_>>())?;
    let formats: BTreeSet<_> = problems.iter().map(|r| r.problem.format).collect();
    let mut clouds: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (format, Point { isa, cycles, ns, .. }) in points().step_by(total.div_ceil(POINTS)) {
        let label = if formats.len() > 1 { format.name().to_owned() } else { format!("{format} {isa}") };
        clouds.entry(label).or_default().push((cycles * ns_per_cycle, *ns));
    }
    let shown = match clouds.values().map(Vec::len).sum::<usize>() {
        shown if shown < total => format!(", {shown} of them shown"),
        _ => String::new(),
    };
    Some(Scatter {
        title: format!("{op}: predicted against measured time"),
        note: format!(
            "{total} candidates of {} problems{shown}; a predicted cycle is {ns_per_cycle:.3} ns, which is the median of all",
            problems.len()
        ),
        x: Axis { label: "time of a call".into(), tier: Tier::Predicted },
        y: Axis { label: "time of a call".into(), tier: Tier::Measured },
        clouds: clouds.into_iter().map(|(label, points)| Cloud { label, points }).collect(),
    })
}

/// The line of a problem.
fn line(r: &Residual) -> page::Residual {
    let p = &r.problem;
    page::Residual {
        what: format!("{} {}{}", p.op, p.format, if p.packed { ", packed" } else { "" }),
        shape: format!("{}, {}, {} thread(s)", p.shape, p.operands.name(), p.threads),
        first: r.first.label(),
        ..figures_of(&r.figures)
    }
}

fn figures_of(f: &Figures) -> page::Residual {
    let parts = [(f.few, "in part"), (f.unpredicted, "not predicted")];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
    page::Residual {
        candidates: f.candidates,
        note: format!("{} tiles{}", f.tiles, parts.collect::<String>()),
        rank_of_tiles: f.rank_of_tiles,
        rank: f.rank,
        regret: f.regret,
        median: f.median,
        ninth: f.ninth,
        noise_floor: f.noise_floor,
        ..page::Residual::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    fn residuals(count: usize, formats: &[&str]) -> Residuals {
        let mut records = Vec::new();
        for format in formats {
            for at in 0..count {
                let mut record = record(&format!("k{at:05}"), "64x64x64", &[2.0 * (1000 + at) as f64; 5]);
                record.config.format = (*format).into();
                record.config.isa = ["avx2", "avx512"][at % 2].into();
                records.push(record);
            }
        }
        Residuals::of(&records, |config| config.kernel[1..].parse::<f64>().ok().map(|at| 1000.0 + at))
    }

    #[test]
    fn colours_are_of_formats_or_of_instruction_sets_and_cycles_become_time() {
        let labels = |s: &Scatter| s.clouds.iter().map(|c| c.label.clone()).collect::<Vec<_>>();
        let one = scatter(Op::Gemm, &residuals(10, &["f32"]).problems).expect("a picture");
        assert_eq!(labels(&one), ["f32 avx2", "f32 avx512"]);
        // Every candidate takes two nanoseconds a cycle: all lie on the diagonal.
        assert!(one.clouds.iter().flat_map(|c| &c.points).all(|(x, y)| (x / y - 1.0).abs() < 1e-12), "{one:?}");
        let two = scatter(Op::Gemm, &residuals(10, &["f32", "bf16"]).problems).expect("a picture");
        assert_eq!(labels(&two), ["bf16", "f32"]);
        assert_eq!(scatter(Op::Gemm, &[]), None);
    }

    #[test]
    fn a_picture_has_a_limit_and_says_what_it_leaves_out() {
        let many = scatter(Op::Gemm, &residuals(2 * POINTS + 1, &["f32"]).problems).expect("a picture");
        let shown: usize = many.clouds.iter().map(|c| c.points.len()).sum();
        assert!(shown <= POINTS && shown > POINTS / 2 && many.note.contains(&format!("{shown} of them shown")), "{}", many.note);
    }

    #[test]
    fn lines_name_the_problem_and_what_is_behind_its_figures() {
        let lines: Vec<page::Residual> = residuals(4, &["f32"]).problems.iter().map(line).collect();
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((line.what.as_str(), line.shape.as_str()), ("gemm f32, packed", "64x64x64, hot, 1 thread(s)"));
        assert_eq!((line.candidates, line.note.as_str(), line.regret), (4, "2 tiles", 0.0));
        assert!(line.first.starts_with("k00000"), "{line:?}");
    }

    #[test]
    fn without_results_the_section_says_why() {
        let mut page = Page::default();
        add(&mut page, &[]);
        assert!(page.missing[&Section::Model].contains("no problem"), "{:?}", page.missing);
    }
}
