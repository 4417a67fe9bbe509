//! `kiln bake --why OP SHAPE`: prints why a profile has the kernel that it has there. It writes nothing.

use super::Args;
use crate::bake::{self, Answer, AtShape, Costed, Figure, OverClass, Question, RowAt, Sources, Verdict};
use crate::cli::sweep::time;
use crate::cli::{Table, emit, emit_json};
use crate::space::shape;
use anyhow::{anyhow, ensure};
use kiln_kernels::registry::Op;
use kiln_profiles::schema::Choice;
use std::fmt::Write;
use std::path::Path;

/// Candidates that the table shows, beside those that have a part in the decision; a document has all.
const SHOWN: usize = 10;

/// Answers.
///
/// # Errors
/// If the operation, shape or CPU is unknown, the profile has no such choice, or its results cannot be read.
pub(super) fn run(args: &Args, (op, text): (&str, &str), root: &Path) -> anyhow::Result<i32> {
    let op: Op = op.parse()?;
    let specs = shape::parse(text, op).map_err(|e| anyhow!(e))?;
    let [spec] = specs.as_slice() else { anyhow::bail!("'{text}' is {} shapes: ask for one", specs.len()) };
    let format = args.format.unwrap_or(op.format());
    ensure!(
        op.formats().any(|f| f == format),
        "there is no {format} {op}: choose among {}",
        op.formats().map(|f| f.name()).collect::<Vec<_>>().join(" ")
    );
    let (cpu, store) = (args.cpu.as_deref(), args.store.as_deref());
    let question = Question { op, format, shape: spec.shape, cpu, threads: args.threads, objective: super::objective(args)?, store, root };
    let answer = bake::why(&question)?;
    for note in &answer.notes {
        eprintln!("note: {note}");
    }
    if args.json { emit_json(&answer) } else { emit(text_of(&answer).trim_end()) }
}

fn text_of(answer: &Answer) -> String {
    let Answer { op, format, shape, class, choice, cpu, .. } = answer;
    let mut text = format!("{op} of {format} at {shape} on {cpu}: class {}\n", choice.class.name());
    if choice.class != *class {
        let (m, rows) = (shape.product_rows().unwrap_or(0), choice.rows());
        let why = match choice.class < *class {
            true => format!("but this profile's choice for {} goes up to M = {rows}, as far as it is not slower", choice.class.name()),
            false => format!("but this profile's choice for {} ends below, or there is none", class.name()),
        };
        text += &format!("M = {m} is {} by the usual bounds, {why}\n", class.name());
    }
    text += &format!("\nprofile {}{}\n", answer.profile.display(), after(", baked ", &answer.created));
    text += &format!("results {}\n\n", answer.results.as_ref().map_or("none".into(), |p| p.display().to_string()));
    text += &choice_of(answer, choice);
    match &answer.over_class {
        Some(over) => text += &class_of(over, choice),
        None => text += &format!("\nNo result of {} counts: the profile's own word is all there is.\n", choice.class.name()),
    }
    text += &answer.at_shape.as_ref().map(|at| shape_of(answer, at)).unwrap_or_default();
    if answer.at_shape.as_ref().is_none_or(|at| at.candidates.is_empty()) {
        text += &nearest_of(answer);
    }
    text
}

fn after(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}

/// What the profile says.
fn choice_of(answer: &Answer, choice: &Choice) -> String {
    let not = || "not available".to_owned();
    let over = answer.over_class.as_ref().filter(|o| o.agrees);
    let gain = match (over.and_then(|o| o.gain), over) {
        (Some(gain), _) => ratio(gain),
        (None, Some(_)) => "none: the default stays, or no result of it counts".into(),
        (None, None) => not(),
    };
    let margin = match (choice.margin, choice.margin_ci) {
        (Some(value), Some([low, high])) => ratio(Figure { ratio: value, ci: (low, high) }),
        _ => not(),
    };
    let sources = match answer.sources {
        Sources::Same => "as when it was chosen",
        Sources::Changed => "changed since it was chosen: sweep and bake again",
        Sources::Gone => "gone: this build has no such kernel",
        Sources::Unnamed => "not named by the profile",
    };
    let here = bake::at(choice, answer.shape);
    let row = match &answer.row {
        Some(RowAt { number, rows, when }) => {
            format!("row {number} of {rows} holds this shape: {when}; else it is {}", bake::label(choice))
        }
        None if choice.table.is_empty() => "none: one way for all shapes".into(),
        None => format!("none of its {} row(s) holds this shape", choice.table.len()),
    };
    let mut table = Table::new(["choice", &here.kernel]);
    let rows = [
        ("table", row),
        ("blocking", here.blocking.map_or("none".into(), |b| b.to_string())),
        ("split", here.split.map_or("computed".into(), |s| s.to_string())),
        ("spin", choice.spin.map_or("usual".into(), |s| s.to_string())),
        ("layout", here.layout),
        ("threads", choice.threads.to_string()),
        ("instruction sets", answer.isas.join(", ")),
        ("tier", choice.tier.name().into()),
        ("reason", choice.note.clone()),
        ("default / choice", gain),
        ("runner-up", choice.runner_up.clone().unwrap_or_else(not)),
        ("runner-up / choice", margin),
        ("regret", choice.regret.map_or_else(not, |r| format!("{r:.3}"))),
        ("worst regret", choice.worst_regret.map_or_else(not, |r| format!("{r:.3}"))),
        ("its sources", sources.into()),
    ];
    rows.iter().for_each(|(name, value)| table.row([*name, value]));
    format!("{table}\n")
}

/// What decided the class.
fn class_of(over: &OverClass, choice: &Choice) -> String {
    let shapes = over.shapes.iter().map(|(shape, over)| format!("{shape} {}", over.map_or("not measured".into(), |o| format!("{o:.3}"))));
    let mut text = format!("\nOver the class {}, decided by: {}\n{}", choice.class.name(), over.verdict.decided_by, steps(&over.verdict));
    text += &format!("  time of the choice over the best's: {}\n", shapes.collect::<Vec<_>>().join(", "));
    if !over.agrees {
        text += &format!("  These results lead to {} instead of {}.\n", over.winner, bake::label(choice));
    }
    text
}

fn steps(verdict: &Verdict) -> String {
    verdict.steps.iter().map(|step| format!("  {step}\n")).collect()
}

/// What the results say at the very shape.
fn shape_of(answer: &Answer, at: &AtShape) -> String {
    let packed = if at.packed { "packed" } else { "not packed" };
    let by = at.verdict.as_ref().map(|v| format!(", decided by: {}\n{}", v.decided_by, steps(v)));
    let by = by.unwrap_or_else(|| ": no candidate gave right answers".into());
    let mut text = format!("\nAt {} alone ({} operands, {packed}, {} thread(s)){by}\n", answer.shape, at.operands.name(), at.threads);
    let shown: Vec<&Costed> = at.candidates.iter().enumerate().filter(|(i, c)| *i < SHOWN || !c.roles.is_empty()).map(|c| c.1).collect();
    let mut table = Table::new(["candidate", "time of a call", "over the best", "tier", "what it is", "dropped"]);
    for c in &shown {
        let cost = match (c.ci_ns, c.median_ns) {
            (Some((low, high)), Some(median)) => format!("{} [{}, {}]", time(median), time(low), time(high)),
            _ => cost(c.median_ns, c.cycles),
        };
        let roles = c.roles.iter().copied().chain((!c.current).then_some("changed since")).collect::<Vec<_>>().join(", ");
        let dropped = c.dropped.as_deref().unwrap_or("");
        table.row([c.label.as_str(), &cost, &format!("{:.3}", c.over_best), c.tier.name(), &roles, dropped]);
    }
    if !shown.is_empty() {
        let _ = writeln!(text, "{table}\n{} of {} candidates", shown.len(), at.candidates.len());
    }
    if !shown.is_empty() && !shown.iter().any(|c| c.roles.contains(&"choice")) {
        let _ = writeln!(text, "The choice itself has no result at this shape.");
    }
    if !at.pairs.is_empty() {
        let mut table = Table::new(["in pairs", "against", "which is", "pairs", "time over the other's", "verdict"]);
        for p in &at.pairs {
            let pairs = p.pairs.map_or("left out".into(), |n| n.to_string()) + &of_processes(p.processes);
            table.row([&p.label, &p.against, &p.role, &pairs, &ratio(p.time), p.verdict]);
        }
        let _ = writeln!(text, "\n{table}");
    }
    if !at.invalid.is_empty() {
        let mut table = Table::new(["gave wrong answers", "what was wrong"]);
        at.invalid.iter().for_each(|w| table.row([w.label.as_str(), &w.reason]));
        let _ = writeln!(text, "\n{table}");
    }
    text
}

fn of_processes(n: usize) -> String {
    if n > 1 { format!(" in {n} processes") } else { String::new() }
}

/// The shapes that were measured instead.
fn nearest_of(answer: &Answer) -> String {
    let no = if answer.at_shape.is_some() { "has no time" } else { "was not measured" };
    let mut text = format!("\n{} {no}", answer.shape);
    if answer.nearest.is_empty() {
        return text + ", nor was any other shape of this operation and format.\n";
    }
    text += match &answer.over_class {
        Some(_) => ": the choice comes from other shapes of its class.\n\n",
        None => ", nor was any other shape of the choice's class.\n\n",
    };
    let mut table =
        Table::new(["nearest measured", "class it decided", "candidates", "winner there", "its time", "the profile's choice for it"]);
    for near in &answer.nearest {
        let choice = near.choice.as_deref().unwrap_or("none");
        table.row([
            &near.shape.to_string(),
            near.class.name(),
            &near.candidates.to_string(),
            &near.winner,
            &cost(near.median_ns, near.cycles),
            choice,
        ]);
    }
    let _ = writeln!(text, "{table}");
    text
}

fn ratio(Figure { ratio, ci: (low, high) }: Figure) -> String {
    format!("{ratio:.3} [{low:.3}, {high:.3}]")
}

fn cost(median_ns: Option<f64>, cycles: Option<f64>) -> String {
    median_ns.map(time).or_else(|| cycles.map(|c| format!("{c:.0} cycles"))).unwrap_or_default()
}
