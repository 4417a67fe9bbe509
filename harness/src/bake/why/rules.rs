//! Which rule decided, at one shape and over a class, told step by step: medians, pairs, the tie band with its fixed order,
//! and the gate that keeps the default where nothing is shown to be faster.
//!
//! The decisions themselves are taken by [`ranking`] and [`choose`]; here they are only retold.

use super::{AtShape, Compared, Costed, OverClass, Verdict, Wrong};
use crate::bake::choose::{Chosen, Row, choose};
use crate::bake::objective::Objective;
use crate::bake::way::Way;
use crate::filter::by_name;
use crate::measure::statistics::Ratio;
use crate::ranking::{self, BAND, Current, Standing, simpler};
use crate::space::Shape;
use crate::store::{Outcome, Record};
use kiln_profiles::schema::{Choice, extents};
use std::cmp::Ordering::Equal;

impl Verdict {
    fn by(&mut self, rule: &'static str, step: String) {
        self.decided_by = rule;
        self.steps.push(step);
    }
}

/// What orders those that cannot be told apart, in words.
const SIMPLER: &str = "fewer accumulators, then name, blocking, split and spin";

/// What the results of one problem say. `None` if there are none.
pub(super) fn at_shape(records: &[&Record], choice: &Choice) -> Option<AtShape> {
    let problem = records.first()?.config.problem()?;
    let standing = ranking::standing(problem, records);
    let mut costed: Vec<(&Record, f64)> = records.iter().filter_map(|r| Some((*r, r.cost()?))).collect();
    costed.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| simpler(a.0).cmp(&simpler(b.0))));
    let (current, winner) = (Current::of_this_build(), winner(records));
    let chosen = at(records, problem.shape, &Way::at(choice, problem.shape));
    let runner_up = costed.iter().map(|c| c.0).find(|r| choice.runner_up.as_ref() == Some(&r.config.kernel));
    let default = costed.iter().map(|c| c.0).find(|r| r.default);
    let least = costed.first().map_or(1.0, |c| c.1);
    let candidate = |(r, cost): &(&Record, f64)| {
        let is = |other: Option<&Record>| other.is_some_and(|o| o.config == r.config);
        let roles = [("choice", chosen), ("default", default), ("runner-up", runner_up), ("winner here", winner)];
        Costed {
            label: r.config.label(),
            roles: roles.into_iter().filter(|(_, record)| is(*record)).map(|(role, _)| role).collect(),
            config: r.config.clone(),
            tier: r.tier,
            median_ns: r.median_ns().map(|m| m.0),
            ci_ns: r.median_ns().map(|m| m.1),
            cycles: cycles(r),
            over_best: cost / least,
            dropped: match &r.outcome {
                Outcome::Timed { dropped, .. } => dropped.clone(),
                _ => None,
            },
            current: current.has(r),
        }
    };
    let predicted = || {
        let first = costed.first()?.0.config.label();
        let step = format!("predictions: {first} takes the fewest cycles of {}; it is over the class that they are compared", costed.len());
        Some(Verdict { decided_by: "predictions", steps: vec![step] })
    };
    Some(AtShape {
        threads: problem.threads,
        packed: problem.packed,
        operands: problem.operands,
        winner: winner.map(|w| w.config.label()),
        verdict: standing.as_ref().map(|s| settled(s, records)).or_else(predicted),
        candidates: costed.iter().map(candidate).collect(),
        pairs: records.iter().filter_map(|r| compared(r)).collect(),
        invalid: records.iter().filter_map(|r| wrong(r)).collect(),
    })
}

/// Who wins at one problem: by the rules for what was timed, or with the fewest predicted cycles. `None` of nothing.
pub(super) fn winner<'a>(records: &[&'a Record]) -> Option<&'a Record> {
    let standing = ranking::standing(records.first()?.config.problem()?, records);
    let predicted =
        || records.iter().copied().filter(|r| cycles(r).is_some()).min_by(|a, b| cycles(a).partial_cmp(&cycles(b)).unwrap_or(Equal));
    standing.map(|s| s.winner).or_else(predicted)
}

/// The cycles of a call, if they were predicted.
pub(super) fn cycles(record: &Record) -> Option<f64> {
    match record.outcome {
        Outcome::Predicted { cycles, .. } => Some(cycles),
        _ => None,
    }
}

fn compared(record: &Record) -> Option<Compared> {
    let Outcome::Paired { against, role, pairs_ns, processes, ratio, ratio_ci, .. } = &record.outcome else { return None };
    let time = Ratio { value: *ratio, ci: *ratio_ci };
    Some(Compared {
        label: record.config.label(),
        against: against.clone(),
        role: role.clone(),
        pairs: Some(pairs_ns.len()).filter(|n| *n > 0),
        processes: *processes,
        time: time.into(),
        verdict: match time.value {
            _ if time.is_tie(BAND) => "tie",
            value if value < 1.0 => "faster",
            _ => "slower",
        },
    })
}

fn wrong(record: &Record) -> Option<Wrong> {
    match &record.outcome {
        Outcome::Invalid { reason } => Some(Wrong { label: record.config.label(), reason: reason.clone() }),
        _ => None,
    }
}

/// How one problem was settled.
fn settled(standing: &Standing, records: &[&Record]) -> Verdict {
    let Standing { timed, best, default, gain, .. } = standing;
    let mut verdict = Verdict { decided_by: "medians", steps: Vec::new() };
    let Some(fastest) = timed.first() else { return verdict };
    let (fastest, name, best_name) = (*fastest, fastest.config.label(), best.config.label());
    verdict.steps.push(format!("medians: {name} has the lowest of {}", timed.len()));
    let rivals: Vec<(&Record, Ratio)> = records.iter().filter_map(|r| Some((*r, rival(r, &name)?))).collect();
    let tied = rivals.iter().filter(|(_, r)| (r.value - 1.0).abs() <= BAND).count();
    let band = 100.0 * BAND;
    match rivals.iter().find(|(r, _)| r.config == best.config) {
        Some((_, ratio)) if best.config != fastest.config && ratio.value < 1.0 && !ratio.is_tie(BAND) => {
            verdict.by("pairs", format!("pairs beat medians: {best_name} takes {} of the time of {name}", shown(*ratio)));
        }
        Some((_, ratio)) if best.config != fastest.config => verdict.by(
            "tie band",
            format!(
                "pairs: {best_name} takes {} of its time, which is within the tie band of {band} %, and is the simplest there: {SIMPLER}",
                shown(*ratio)
            ),
        ),
        _ if rivals.is_empty() => verdict.steps.push("pairs: none was compared with it, so that its median decides".into()),
        _ if tied > 0 => verdict.by(
            "tie band",
            format!("pairs: {tied} of {} are within the tie band of {band} %, and it is the simplest of them: {SIMPLER}", rivals.len()),
        ),
        _ => verdict.by("pairs", format!("pairs: of {} that were compared with it none is faster beyond doubt", rivals.len())),
    }
    match (default, gain) {
        (None, _) => verdict.steps.push("no-harm gate: the default was not timed here".into()),
        (Some(default), _) if default.config == best.config => verdict.steps.push("no-harm gate: it is the default".into()),
        (Some(default), None) => verdict.by(
            "no-harm gate",
            format!(
                "no-harm gate: {} stays, since the samples that would show a gain were left out of the evidence",
                default.config.label()
            ),
        ),
        (Some(default), Some(gain)) => {
            let how = if gain.paired { "in pairs" } else { "not in pairs" };
            let (default, ratio) = (default.config.label(), shown(gain.ratio));
            if gain.is_shown() {
                verdict.steps.push(format!("no-harm gate: passed, the default {default} takes {ratio} times as long, {how}"));
            } else {
                let step =
                    format!("no-harm gate: the default {default} stays: it takes {ratio} times as long, {how}, which is not beyond doubt");
                verdict.by("no-harm gate", step);
            }
        }
    }
    verdict
}

/// The time of a record over that of the best by median, if it was compared with it in that role.
fn rival(record: &Record, best: &str) -> Option<Ratio> {
    match &record.outcome {
        Outcome::Paired { against, role, ratio, ratio_ci, .. } if against == best && role == "best" => {
            Some(Ratio { value: *ratio, ci: *ratio_ci })
        }
        _ => None,
    }
}

/// The decision of a class by its results, among kernels of a packed layout if one is given. `None` if there is nothing to
/// choose from.
pub(super) fn over_class(records: &[&Record], choice: &Choice, layout: Option<&str>, objective: Objective) -> Option<OverClass> {
    let fits = |kernel: &str| layout.is_none_or(|layout| by_name(kernel).is_ok_and(|e| e.meta.layout == layout));
    let chosen = choose(records, &fits, objective)?;
    let rows = choice.table.iter().map(|row| (row.bounds(), Way::row(choice, row)));
    let same = chosen.way == Way::chosen(choice) && rows.eq(chosen.table.iter().map(|row| (row.upto, row.way.clone())));
    let over_best = |shape: &Shape| {
        let timed = records.iter().filter(|r| r.config.shape == *shape && fits(&r.config.kernel));
        let least = timed.filter_map(|r| r.cost()).fold(f64::INFINITY, f64::min);
        (*shape, time(records, *shape, &Way::at(choice, *shape)).map(|ns| ns / least))
    };
    Some(OverClass {
        shapes: chosen.shapes.iter().map(over_best).collect(),
        agrees: same,
        winner: match chosen.table.len() {
            0 => chosen.way.to_string(),
            n => format!("{} with a table of {n} row(s)", chosen.way),
        },
        gain: chosen.gain.map(Into::into),
        verdict: settled_over(&chosen, layout, objective),
    })
}

/// How a class was settled.
fn settled_over(chosen: &Chosen, layout: Option<&str>, objective: Objective) -> Verdict {
    let mut verdict = Verdict { decided_by: "mean", steps: Vec::new() };
    let (name, n) = (chosen.best.to_string(), chosen.shapes.len());
    if let Some(layout) = layout {
        verdict.steps.push(format!("layout: only kernels that take weights packed as {layout}, as the choice for more rows does"));
    }
    match &chosen.faster {
        Some((other, ratio)) => verdict.by(
            "tie band",
            format!(
                "mean: over {n} shape(s) {other} takes {ratio:.3} of the time of {name}, which at none is behind by more than half the \
                 tie band of {} %: the simplest there is taken ({}{SIMPLER})",
                100.0 * BAND,
                objective.first()
            ),
        ),
        None => verdict.steps.push(format!("mean: over {n} shape(s) {name} takes the least, each counted relative to the best there")),
    }
    let default = chosen.way.to_string();
    match (chosen.default_stays, chosen.harmed) {
        (true, Some(shape)) => verdict.by(
            "no-harm gate",
            format!("no-harm gate: the default {default} stays, since {name} is slower than it beyond doubt at {shape}, in pairs"),
        ),
        (true, None) if chosen.refused.is_some() => {
            let shape = chosen.refused.map(|s| s.to_string()).unwrap_or_default();
            verdict.by(
                "no-harm gate",
                format!("no-harm gate: the default {default} stays, since what is chosen without {shape} is slower than it there"),
            );
        }
        (true, None) if chosen.way == chosen.best => verdict.steps.push("no-harm gate: it is the default".into()),
        (true, None) => {
            let takes = chosen.behind.map(|ratio| format!(": it takes {ratio:.3} of the time of {name}")).unwrap_or_default();
            let step = format!("no-harm gate: the default {default} stays, since nothing is shown to be faster{takes}");
            verdict.by("no-harm gate", step);
        }
        (false, _) => verdict.steps.push(match chosen.gain {
            Some(gain) => format!(
                "no-harm gate: passed, the default takes {} times as long; {}",
                shown(gain),
                match chosen.open.len() {
                    0 => "in pairs throughout".to_owned(),
                    open => format!("{open} comparison(s) would make it surer"),
                }
            ),
            None => "no-harm gate: the default is of another layout, or was not measured at all of these shapes".into(),
        }),
    }
    if let (false, Some(shape)) = (chosen.default_stays, chosen.refused) {
        verdict.steps.push(format!("no-harm gate: a finer table is refused, since what it has without {shape} is slower there"));
    }
    verdict.steps.extend(chosen.table.iter().map(row));
    if !chosen.table.is_empty() {
        verdict.steps.push(format!("table: {} at all others, at worst {:.3} times the best one's time", chosen.way, chosen.worst));
    }
    verdict
}

/// What a row of a table says.
fn row(Row { upto, way, .. }: &Row) -> String {
    format!("table: {way} with {}", extents(*upto))
}

fn time(records: &[&Record], shape: Shape, way: &Way) -> Option<f64> {
    at(records, shape, way)?.cost()
}

/// The result of a way at a shape.
fn at<'a>(records: &[&'a Record], shape: Shape, way: &Way) -> Option<&'a Record> {
    way.find(records.iter().copied().filter(|r| r.config.shape == shape && r.cost().is_some()))
}

fn shown(Ratio { value, ci: (low, high) }: Ratio) -> String {
    format!("{value:.3} [{low:.3}, {high:.3}]")
}
