//! `kiln model --against`: predictions beside a CPU's measured results, a line for each problem.

use super::pairs::{self, InPairs};
use crate::cli::{Table, emit, emit_json};
use crate::filter::Filter;
use crate::machine::cpu;
use crate::model::Predictor;
use crate::model::residual::{Figures, Residual, Residuals, is_measured};
use crate::progress::Progress;
use crate::ranking::Current;
use crate::store::{self, Limits, Record};
use anyhow::bail;
use kiln_kernels::format::Format;
use kiln_profiles::machine::Machine;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is held at a time; more candidates than that no sweep has.
const LIMITS: Limits = Limits { of_a_problem: 100_000, problems: usize::MAX, bytes: 256 << 20 };

/// What is held against what.
pub(super) struct Options<'a> {
    pub store: &'a Path,
    /// The CPU that is predicted, whose results count.
    pub machine: &'a Machine,
    pub binary: &'a Path,
    /// Kernels of one operation that count.
    pub kernels: Filter,
    /// Whether its first choices are measured in pairs with the fastest.
    pub pairs: bool,
    pub json: bool,
}

/// Results that do not count, by the reason.
#[derive(Default, serde::Serialize)]
struct Left {
    other_machines: u64,
    stale: u64,
    not_measured: u64,
    problems_with_few_candidates: usize,
}

/// Prints a line for each problem and the medians over all.
///
/// # Errors
/// If the store cannot be read or has no such result, or nothing can be predicted.
pub(super) fn run(options: &Options) -> anyhow::Result<i32> {
    let Options { store, machine, kernels, .. } = options;
    let (current, mut left, mut others) = (Current::of_this_build(), Left::default(), BTreeSet::new());
    let mut wanted = |record: &Record| {
        let op_and_isa = kernels.op.iter().any(|op| op.name() == record.config.op)
            && (kernels.isa.is_empty() || kernels.isa.iter().any(|isa| isa.name() == record.config.isa))
            && (kernels.format.is_empty() || kernels.format.iter().any(|f| f.name() == record.config.format));
        if !op_and_isa {
            return false;
        }
        // Comparisons in pairs are of results that are there by themselves.
        let paired = matches!(record.outcome, store::Outcome::Paired { .. });
        let counted = match () {
            () if !current.has(record) => &mut left.stale,
            () if !cpu::of_key(&record.machine).is_some_and(|cpu| machine.recognises(&cpu)) => {
                if others.len() < 4 {
                    others.insert(record.machine.clone());
                }
                &mut left.other_machines
            }
            () if !is_measured(record) => &mut left.not_measured,
            () => return true,
        };
        *counted += u64::from(!paired);
        false
    };
    let mut predictors: BTreeMap<Format, Result<Predictor, String>> = BTreeMap::new();
    let mut residuals = Residuals::default();
    let walked = store::each_problem(store, &LIMITS, &mut wanted, |problem, records| {
        match predictors.entry(problem.format).or_insert_with(|| options.predictor(problem.format)) {
            Ok(predictor) => {
                let mut found = Residuals::of(&records, |config| predictor.cycles(config));
                // Only a document has every candidate.
                if !options.json {
                    found.problems.iter_mut().for_each(|r| r.points = Vec::new());
                }
                residuals.problems.append(&mut found.problems);
                residuals.left += found.left;
            }
            Err(_) => residuals.left += 1,
        }
        Ok(())
    })?;
    left.problems_with_few_candidates = residuals.left;
    let failed: Vec<String> = predictors.iter().filter_map(|(f, p)| Some(format!("{f}: {}", p.as_ref().err()?))).collect();
    let Some(overall) = residuals.overall() else {
        let reason = match (failed.first(), others.first()) {
            (Some(failed), _) => failed.clone(),
            (None, _) if residuals.left > 0 => {
                "no problem has enough candidates of which the model knows something: sweep more of them".into()
            }
            (None, Some(other)) => format!("its results are of other machines, such as {other}"),
            (None, None) if left.stale > 0 => "its results are of kernels that have changed since: run kiln sweep again".into(),
            (None, None) => "run kiln sweep first".into(),
        };
        bail!("{} has no {} to hold against {}: {reason}", store.display(), kernels.op[0], machine.title);
    };
    let notes = walked.unreadable.complaint(store).into_iter().chain(failed);
    let beyond =
        (walked.left > 0).then(|| format!("{} results are beyond the fastest {} of their problem", walked.left, LIMITS.of_a_problem));
    notes.chain(beyond).for_each(|note| eprintln!("note: {note}"));
    let pairs = if options.pairs { pairs::compared(&residuals.problems)? } else { vec![None; residuals.problems.len()] };
    if options.json {
        let problems: Vec<Value> = residuals.problems.iter().zip(&pairs).map(|(r, pairs)| document(r, pairs.as_ref())).collect();
        let tiers = json!({ "cycles": "predicted", "ns": "measured" });
        return emit_json(&json!({ "cpu": machine.name, "tiers": tiers, "problems": problems, "overall": overall, "left": left }));
    }
    emit(&text((&residuals, &pairs), &overall, &left, machine))
}

impl Options<'_> {
    /// What is known of the kernels of a format.
    fn predictor(&self, format: Format) -> Result<Predictor, String> {
        let filter = Filter { format: vec![format], ..self.kernels.clone() };
        let of_machine = |m: &kiln_kernels::registry::Meta| filter.takes(m) && m.isa.arch() == self.machine.arch;
        let count = kiln_kernels::registry::all().filter(|e| of_machine(e.meta)).count();
        let progress = Progress::new(count as u64, "predicting");
        let at = |kernel: &str| {
            progress.at(kernel);
            progress.advance(1);
        };
        Predictor::new(self.machine, self.binary, &filter, at).map_err(|e| format!("{e:#}"))
    }
}

/// A problem as part of a document.
fn document(r: &Residual, pairs: Option<&InPairs>) -> Value {
    let p = &r.problem;
    json!({
        "op": p.op.name(), "format": p.format.name(), "shape": p.shape.to_string(), "threads": p.threads, "packed": p.packed,
        "operands": p.operands.name(), "machine": r.machine, "first": r.first.label(), "figures": r.figures,
        "points": r.points, "in_pairs": pairs.map(InPairs::document),
    })
}

/// The table, and what to know of it.
fn text((residuals, pairs): (&Residuals, &[Option<InPairs>]), overall: &Figures, left: &Left, cpu: &Machine) -> String {
    let machines: Vec<&str> = residuals.problems.iter().map(|r| r.machine.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    let mut table = Table::new([
        "problem",
        "machine",
        "candidates",
        "in part",
        "tiles",
        "rank, tiles",
        "rank, all",
        "first choice",
        "regret",
        "in pairs",
        "noise",
        "residual",
        "9 in 10",
    ]);
    let rank = |rank: Option<f64>| rank.map_or_else(|| "-".to_owned(), |r| format!("{r:.2}"));
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let factor = |log: f64| format!("{:.2}x", log.exp());
    let mut row = |problem: &str, machine: &str, first: &str, f: &Figures, pairs: Option<String>| {
        table.row([
            problem,
            machine,
            &f.candidates.to_string(),
            &f.few.to_string(),
            &f.tiles.to_string(),
            &rank(f.rank_of_tiles),
            &rank(f.rank),
            first,
            &percent(f.regret),
            &pairs.unwrap_or_else(|| "-".into()),
            &percent(f.noise_floor),
            &factor(f.median),
            &factor(f.ninth),
        ]);
    };
    for (r, pairs) in residuals.problems.iter().zip(pairs) {
        let p = &r.problem;
        let packed = if p.packed { ", packed" } else { "" };
        let problem = format!("{} {} {}{packed}, {}, {} thread(s)", p.op, p.format, p.shape, p.operands.name(), p.threads);
        let number = machines.iter().position(|m| *m == r.machine).map_or(0, |at| at + 1);
        row(&problem, &number.to_string(), &r.first.label(), &r.figures, pairs.as_ref().map(InPairs::text));
    }
    row("medians, and all candidates", "", "", overall, pairs::overall(pairs).map(percent));
    let machines: Vec<String> = machines.iter().enumerate().map(|(at, key)| format!("machine {}: {key}", at + 1)).collect();
    format!(
        "{table}\n{}\n{} problems on {}; predicted cycles against measured times, each problem on its own scale (the median over problems is \
         {:.3} ns a cycle); residuals are factors either way; {} candidates have no prediction; left aside: {} results of other CPUs, {} of \
         kernels that have changed, {} that are no measured times, {} problems with too few candidates",
        machines.join("\n"),
        residuals.problems.len(),
        cpu.title,
        overall.ns_per_cycle,
        overall.unpredicted,
        left.other_machines,
        left.stale,
        left.not_measured,
        left.problems_with_few_candidates,
    )
}
