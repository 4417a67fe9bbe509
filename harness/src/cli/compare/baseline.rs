//! `kiln compare --write-baseline`, `--baseline` and `--counts`: ours by itself, now and before.

use super::{Args, DEFAULT_SIZES, unique, writable, write};
use crate::cli::{Table, emit, emit_json};
use crate::compare::Failed;
use crate::compare::baseline::counts::Counter;
use crate::compare::baseline::judge::{Judged, Judgement, Verdict};
use crate::compare::baseline::{Baseline, Figures, Row, Wanted, clock, counts, judge, rivals};
use crate::machine::Machine;
use crate::peers::{Choice, Task};
use crate::space::{Shape, Temperature, shape};
use anyhow::ensure;
use kiln_kernels::registry::Op;
use serde::Serialize;
use std::path::PathBuf;

/// What turns a comparison with others into one with ours as it was.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Ours as it was, without other systems (products with weights packed before)")]
pub(super) struct Gate {
    /// Judges ours by a baseline: exit status 1 where it got slower. Sizes and threads are the baseline's unless given
    #[arg(long, value_name = "FILE.json")]
    baseline: Option<PathBuf>,
    /// Writes what ours takes now into a baseline
    #[arg(long, value_name = "FILE.json")]
    write_baseline: Option<PathBuf>,
    /// Judges ours by an older kiln, which is run in turn with this one; with --baseline that says which kernels it runs
    #[arg(long, value_name = "KILN", conflicts_with = "counts")]
    baseline_binary: Option<PathBuf>,
    /// Counts the instructions of a call instead of timing it, on one thread, with callgrind or with qemu [default: callgrind]
    #[arg(long, value_name = "WITH", num_args = 0..=1, default_missing_value = "callgrind")]
    counts: Option<Counter>,
    /// Takes the judgement of a clock that noise hides a slow-down by a fifth from
    #[arg(long)]
    force: bool,
    /// More instructions than this many per cent more are slower
    #[arg(long, value_name = "PERCENT", default_value = "0.5", requires = "counts", value_parser = percent)]
    tolerance: f64,
    /// The kiln whose instructions are counted, such as one built for Arm [default: this one]
    #[arg(long, value_name = "KILN", requires = "counts")]
    program: Option<PathBuf>,
}

fn percent(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|p| (0.0..=100.0).contains(p)).ok_or_else(|| "write a number from 0 to 100".into())
}

impl Gate {
    /// Whether any of it was asked for.
    pub(super) fn is_on(&self) -> bool {
        self.baseline.is_some() || self.write_baseline.is_some() || self.baseline_binary.is_some() || self.counts.is_some()
    }

    /// Refuses what only a comparison with others has, or what cannot be counted.
    fn alone(&self, args: &Args) -> anyhow::Result<()> {
        let counted = self.counts.is_some();
        let given = [
            ("--peers", args.peers.as_ref().is_some_and(|p| !p.is_empty())),
            ("--plot", args.plot.is_some()),
            ("--read", args.read),
            ("--cold", counted && args.cold),
            ("--split", counted && args.split.is_some()),
            ("--spin", counted && args.spin.is_some()),
            ("--quick", counted && args.quick),
            ("--force", counted && self.force),
        ];
        let wrong: Vec<_> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        let what = if counted { "instructions of ours are counted" } else { "ours is measured by itself" };
        ensure!(wrong.is_empty(), "{what}, so that there is no {}: leave it out", wrong.join(", "));
        Ok(())
    }

    /// What to measure: as the command line says, and as the baseline does where that says nothing.
    fn wanted(&self, args: &Args, before: Option<&Baseline>) -> anyhow::Result<Wanted> {
        let of = before.map(Baseline::of).transpose()?;
        let format = args.format.or(of.filter(|(task, _)| task.op == args.op).map(|(task, _)| task.format));
        let (hot, cold) = (Temperature::Hot, Temperature::Cold);
        let rows = before.map_or(&[][..], |b| &b.rows);
        let mut at: Vec<(Shape, usize)> = rows.iter().map(|r| (r.config.shape, r.config.threads)).collect();
        if args.sizes.is_some() || args.threads.is_some() || before.is_none() {
            let mut shapes: Vec<Shape> = Vec::new();
            match (&args.sizes, before) {
                (None, Some(_)) => at.iter().for_each(|(shape, _)| {
                    if !shapes.contains(shape) {
                        shapes.push(*shape);
                    }
                }),
                (sizes, _) => {
                    let sizes = sizes.as_deref().unwrap_or(DEFAULT_SIZES);
                    shapes = shape::parse(sizes, args.op).map_err(anyhow::Error::msg)?.iter().map(|s| s.shape).collect();
                }
            }
            let threads = match (&args.threads, before) {
                (Some(threads), _) => unique(threads),
                (None, Some(_)) => unique(&at.iter().map(|(_, threads)| *threads).collect::<Vec<_>>()),
                (None, None) => vec![1],
            };
            at = threads.iter().flat_map(|threads| shapes.iter().map(move |shape| (*shape, *threads))).collect();
        }
        Ok(Wanted {
            task: Task { op: args.op, format: format.unwrap_or(args.op.format()) },
            at,
            operands: if args.cold { cold } else { of.map_or(hot, |(_, operands)| operands) },
            choice: Choice {
                kernel: args.kernel.clone(),
                blocking: args.blocking,
                packed: args.op == Op::Gemm,
                split: args.split,
                spin: args.spin,
            },
        })
    }
}

/// Measures or counts ours, judges and writes it, and prints: exit status 1 if anything got slower, 2 if that cannot be told.
///
/// # Errors
/// Bad input, a baseline that this cannot be judged by, or a file that cannot be written.
pub(super) fn run(args: &Args) -> anyhow::Result<i32> {
    let gate = &args.gate;
    gate.alone(args)?;
    gate.write_baseline.iter().chain(&args.out).try_for_each(|path| writable(path))?;
    let before = gate.baseline.as_deref().map(Baseline::read).transpose()?;
    let wanted = gate.wanted(args, before.as_ref())?;
    let machine = Machine::detect();
    if let Some(before) = &before {
        judge::comparable(before, &wanted, gate.counts, machine.key())?;
    }
    let (now, judged) = match measured(args, &wanted, before.as_ref(), &machine) {
        Err(error) if error.is::<Failed>() => {
            eprintln!("kiln: {error:#}");
            return Ok(1);
        }
        other => other?,
    };
    if let Some(path) = &gate.write_baseline {
        now.write(path)?;
        eprintln!("baseline: {}", path.display());
    }
    match judged {
        Some(judged) => {
            if judged.compiler != judged.compiler_before && !judged.alternated {
                eprintln!("note: the baseline was compiled by {}, this by {}", judged.compiler_before, judged.compiler);
            }
            print(args, &judged, text(&judged))?;
            if judged.slower > 0 {
                return Ok(1);
            }
            let nothing = judged.nothing_said(gate.force);
            nothing.iter().for_each(|why| eprintln!("kiln: {why}"));
            Ok(if nothing.is_some() { 2 } else { 0 })
        }
        None => print(args, &now, figures(&now)),
    }
}

fn measured(args: &Args, wanted: &Wanted, before: Option<&Baseline>, machine: &Machine) -> anyhow::Result<(Baseline, Option<Judgement>)> {
    let gate = &args.gate;
    let effort = args.effort();
    if let Some(older) = &gate.baseline_binary {
        let (judged, now) = rivals::judge(wanted, older, before, machine, &effort)?;
        return Ok((now, Some(judged)));
    }
    let now = match gate.counts {
        Some(counter) => counts::count(wanted, before, counter, gate.program.as_deref())?,
        None => clock::measure(wanted, before, machine, &effort)?,
    };
    let judged = before.map(|before| judge::judge(before, &now, gate.tolerance / 100.0)).transpose()?;
    Ok((now, judged))
}

fn print(args: &Args, document: &impl Serialize, text: String) -> anyhow::Result<i32> {
    if let Some(path) = &args.out {
        write(path, &serde_json::to_string_pretty(document)?)?;
    }
    if args.json { emit_json(document) } else { emit(&text) }
}

/// A time or a number of instructions.
fn amount(value: f64, unit: &str) -> String {
    match (unit, value) {
        ("ns", ns) if ns < 1e3 => format!("{ns:.1} ns"),
        ("ns", ns) if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ("ns", ns) => format!("{:.2} ms", ns / 1e6),
        (_, count) => format!("{count:.0}"),
    }
}

/// What was measured, without a judgement.
fn figures(now: &Baseline) -> String {
    let counted = now.counter.is_some();
    let last = if counted { ["instructions", "mean of calls"] } else { ["median", "95 %"] };
    let mut table = Table::new([&["shape", "threads", "kernel"][..], &last, if counted { &[] } else { &["noise floor"] }].concat());
    for Row { config, figures } in &now.rows {
        let mut cells = vec![config.shape.to_string(), config.threads.to_string(), config.label()];
        cells.extend(match figures {
            Figures::Timed { median_ns, ci_ns: (low, high), noise_floor, .. } => {
                let time = |ns: f64| amount(ns, "ns");
                vec![time(*median_ns), format!("{} … {}", time(*low), time(*high)), format!("{:.2} %", 100.0 * noise_floor)]
            }
            Figures::Counted { instructions, calls } => vec![amount(*instructions, "instructions"), calls.to_string()],
        });
        table.row(cells.iter().map(String::as_str));
    }
    let by = now.counter.map(|c| format!(" by {c}")).unwrap_or_default();
    let Ok((task, operands)) = now.of() else { return table.to_string() };
    format!("{table}\n{} {}, {} operands, tier {}{by}", task.format, task.op, operands.name(), now.tier)
}

/// The judgement.
fn text(judged: &Judgement) -> String {
    let unit = judged.unit;
    let by = judged.counter.map_or("time", |_| "instructions");
    let ratio = format!("{by} / before");
    let mut table =
        Table::new(["shape", "threads", "kernel before", "kernel now", "before", "now", ratio.as_str(), "95 %", "band", "verdict"]);
    for row in &judged.rows {
        table.row(cells(row, unit).iter().map(String::as_str));
    }
    let mut lines = vec![table.to_string()];
    for missing in &judged.not_measured {
        lines.push(format!("not measured now: {}, {} thread(s)", missing.shape, missing.threads));
    }
    let how = match judged.counter {
        Some(counter) => format!("tier {} by {counter}", judged.tier),
        None if judged.alternated => format!("tier {}, both in turn", judged.tier),
        None => format!("tier {}", judged.tier),
    };
    let floor = judged.noise_floor.map(|floor| format!(", noise floor {:.2} %", 100.0 * floor)).unwrap_or_default();
    lines.push(format!("{} {}, {} operands, {how}{floor}; before: {}", judged.format, judged.op, judged.operands.name(), before(judged)));
    if let Some(least) = judged.smallest_regression {
        lines.push(format!("the smallest slow-down that would have been found everywhere: {:.1} %", 100.0 * least));
    }
    let count = |verdict| judged.rows.iter().filter(|r| r.verdict == verdict).count();
    let mut counts: Vec<String> =
        [Verdict::Slower, Verdict::Same, Verdict::Faster].map(|v| format!("{} {}", count(v), v.name().to_lowercase())).into();
    for (number, what) in [
        (judged.not_in_baseline, "not in the baseline"),
        (judged.machine_differs, "of another machine"),
        (judged.not_measured.len(), "of the baseline not measured"),
    ] {
        if number > 0 {
            counts.push(format!("{number} {what}"));
        }
    }
    lines.push(counts.join(", "));
    lines.join("\n")
}

fn before(judged: &Judgement) -> String {
    if judged.alternated { judged.compiler_before.clone() } else { judged.time_before.clone() }
}

fn cells(row: &Judged, unit: &str) -> Vec<String> {
    let was = match (&row.kernel_before, row.same_sources) {
        (Some(before), Some(true)) if *before == row.kernel => "the same".into(),
        (Some(before), Some(false)) if *before == row.kernel => "the same, other sources".into(),
        (Some(before), _) => before.clone(),
        (None, _) => String::new(),
    };
    let some = |value: Option<String>| value.unwrap_or_default();
    vec![
        row.shape.to_string(),
        row.threads.to_string(),
        was,
        row.kernel.clone(),
        some(row.before.map(|b| amount(b, unit))),
        amount(row.now, unit),
        some(row.ratio.map(|r| format!("{r:.4}"))),
        some(row.ratio_ci.map(|(low, high)| format!("{low:.3} … {high:.3}"))),
        some(row.band.map(|b| format!("{:.2} %", 100.0 * b))),
        row.verdict.name().to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_fitting_units() {
        let of = |value, unit| amount(value, unit);
        assert_eq!([of(12.34, "ns"), of(12_345.0, "ns"), of(1.2345e7, "ns")], ["12.3 ns", "12.35 µs", "12.35 ms"].map(str::to_owned));
        assert_eq!(of(1_234_567.0, "instructions"), "1234567");
        assert!(percent("0.5").is_ok() && percent("-1").is_err() && percent("nan").is_err() && percent("x").is_err());
    }
}
