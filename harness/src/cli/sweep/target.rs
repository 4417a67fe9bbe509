//! `kiln sweep --target`: predicts for a CPU that is not here.

use super::Args;
use crate::cli::{Table, emit, emit_json};
use crate::space::{Blockings, Spec};
use crate::store::{Outcome, Record};
use crate::target::{self, Options, Row, Summary};
use kiln_profiles::lookup;
use serde_json::json;

/// Predicts and prints who should win where.
///
/// # Errors
/// Bad input, a tool or an emulator that is not installed, or a store that cannot be written.
pub(super) fn run(args: &Args, cpu: &str, specs: Vec<Spec>) -> anyhow::Result<i32> {
    anyhow::ensure!(args.isa.is_empty(), "--isa is not for --target: what the CPU lacks is left out by itself");
    let cpu = lookup::machine(lookup::default_root(), cpu)?;
    let emulator = match &args.emulator {
        Some(command) => command.split_whitespace().map(str::to_owned).collect(),
        None => target::emulator(&cpu)?,
    };
    let options = Options {
        binary: args.binary.clone().map_or_else(std::env::current_exe, Ok)?,
        emulator,
        op: args.op,
        format: args.format.unwrap_or(args.op.format()),
        specs,
        threads: args.threads.clone(),
        operands: args.operands,
        near: args.blockings == Blockings::Near,
        store: args.store.clone(),
        cpu,
    };
    let summary = target::run(&options)?;
    if args.json {
        emit_json(&document(&options, &summary))?;
    } else {
        emit(&text(&options, &summary))?;
    }
    Ok(i32::from(!summary.invalid.is_empty()))
}

/// Cycles and what takes most of them.
fn predicted(record: &Record) -> (f64, &str) {
    match &record.outcome {
        Outcome::Predicted { cycles, limit } => (*cycles, limit),
        _ => (f64::NAN, ""),
    }
}

fn text(options: &Options, summary: &Summary) -> String {
    let mut table = Table::new(["operation", "shape", "threads", "winner", "cycles", "a cycle", "most of them", "runner-up", "its cycles"]);
    for Row { problem, winner, runner_up, .. } in &summary.rows {
        let (cycles, limit) = predicted(winner);
        let rate = match problem.shape.flops() {
            Some(flops) => format!("{:.1} multiply-adds", flops / 2.0 / cycles),
            None => format!("{:.1} bytes", problem.bytes() / cycles),
        };
        let (second, its) =
            runner_up.as_ref().map_or_else(|| ("none".into(), String::new()), |r| (r.config.label(), format!("{:.0}", predicted(r).0)));
        table.row([
            problem.op.name(),
            &problem.shape.to_string(),
            &problem.threads.to_string(),
            &winner.config.label(),
            &format!("{cycles:.0}"),
            &rate,
            limit,
            &second,
            &its,
        ]);
    }
    let mut lines = vec![table.to_string()];
    lines.extend(summary.invalid.iter().map(|(kernel, reason)| format!("not valid: {kernel}: {reason}")));
    let (predicted, all): (usize, usize) = summary.rows.iter().fold((0, 0), |sum, row| (sum.0 + row.predicted, sum.1 + row.candidates));
    lines.push(format!(
        "{} results stored, {} were there, {} of {all} candidates have no prediction; for {}, tier predicted: nothing was timed",
        summary.stored,
        summary.resumed,
        all - predicted,
        options.cpu.title
    ));
    lines.join("\n")
}

fn document(options: &Options, summary: &Summary) -> serde_json::Value {
    let side = |r: &Record| {
        let (cycles, limit) = predicted(r);
        json!({ "kernel": r.config.kernel, "blocking": r.config.blocking, "split": r.config.split, "spin": r.config.spin,
            "cycles": cycles, "limit": limit, "verification_error": r.verification_error })
    };
    let rows = summary.rows.iter().map(|row| {
        json!({
            "op": row.problem.op.name(), "shape": row.problem.shape.to_string(), "threads": row.problem.threads,
            "packed": row.problem.packed, "operands": row.problem.operands, "winner": side(&row.winner),
            "runner_up": row.runner_up.as_ref().map(side), "candidates": row.candidates, "predicted": row.predicted,
        })
    });
    json!({
        "cpu": options.cpu.name, "tier": "predicted", "stored": summary.stored, "resumed": summary.resumed,
        "invalid": summary.invalid.iter().map(|(kernel, reason)| json!({ "kernel": kernel, "reason": reason })).collect::<Vec<_>>(),
        "rows": rows.collect::<Vec<_>>(),
    })
}
