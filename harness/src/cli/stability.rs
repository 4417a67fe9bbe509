//! `kiln stability`: whether several tunings of the same problems choose the same, and what it costs where they do not.

use super::fresh::{self, Question};
use super::{Table, emit, emit_json};
use crate::bake::{Agreement, agreements};
use crate::machine::Machine;
use crate::measure::clock::Effort;
use crate::measure::statistics::Ratio;
use crate::ranking::{BAND, Current};
use crate::store::{self, Config, Limits, Record};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Compares what profiles baked from several stores would run, each the store of a tuning of its own.
///
/// Where tunings do not choose the same, each other choice is compared with the commonest in pairs, in fresh processes, as a sweep
/// compares its finalists. The exit status is 1 if one is slower or faster beyond the tie band and its interval.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  for i in 1 2 3; do kiln sweep gemm --shapes 256,1024 --store tuning$i.jsonl; done\n  \
kiln stability tuning1.jsonl tuning2.jsonl tuning3.jsonl\n  kiln stability tuning*.jsonl --json")]
pub struct Args {
    /// The stores, at least two
    #[arg(required = true, num_args = 2.., value_name = "STORE")]
    stores: Vec<PathBuf>,
    /// Fewer and shorter samples
    #[arg(long)]
    quick: bool,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// What is kept of a store: as much as baking looks at of a machine's weeks of sweeping, split among many tunings.
const LIMITS: Limits = Limits { of_a_problem: 4096, problems: 1000, bytes: 64 << 20 };

/// What a choice other than the commonest takes.
struct Other {
    /// The choice.
    config: Config,
    /// Tunings that made it.
    tunings: usize,
    /// Its time over that of the commonest.
    ratio: Ratio,
}

impl Other {
    fn verdict(&self) -> &'static str {
        match self.ratio {
            ratio if !ratio.is_tie(BAND) => "beyond the tie band",
            Ratio { value, .. } if (value - 1.0).abs() <= BAND => "within the tie band",
            _ => "cannot be told",
        }
    }
}

/// Compares and prints.
///
/// # Errors
/// If a store cannot be read, none of its results count, or a comparison fails.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let machine = Machine::detect();
    let tunings = args.stores.iter().map(|path| read(path, machine.key())).collect::<anyhow::Result<Vec<_>>>()?;
    let agreed = agreements(&tunings)?;
    anyhow::ensure!(!agreed.is_empty(), "the {} stores have no problem in common that all of them measured", args.stores.len());
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let question = |a| {
        let Agreement { problem, commonest, others }: &Agreement = a;
        Question { problem, pairs: others.iter().map(|(config, _)| (config, &commonest.0)).collect() }
    };
    let questions: Vec<Question> = agreed.iter().map(question).collect();
    let (ratios, remark) = fresh::compared(&machine, &effort, &questions)?;
    let other = |((config, tunings), ratio): (&(Config, usize), Ratio)| Other { config: config.clone(), tunings: *tunings, ratio };
    let others: Vec<Vec<Other>> = agreed.iter().zip(ratios).map(|(a, ratios)| a.others.iter().zip(ratios).map(other).collect()).collect();
    let rows: Vec<(Agreement, Vec<Other>)> = agreed.into_iter().zip(others).collect();
    let beyond = rows.iter().flat_map(|r| &r.1).filter(|other| !other.ratio.is_tie(BAND)).count();
    if args.json {
        emit_json(&document(&machine, args.stores.len(), &rows))?;
    } else {
        let remark = remark.map(|r| format!("\n{r}")).unwrap_or_default();
        emit(&(text(args.stores.len(), &rows, beyond) + &remark))?;
    }
    Ok(i32::from(beyond > 0))
}

/// The results of a store that count: of this machine and of kernels as they are.
fn read(path: &Path, key: &str) -> anyhow::Result<Vec<Record>> {
    let current = Current::of_this_build();
    let reduced = store::reduce(path, &LIMITS, |record| record.machine == key && current.has(record))?;
    for note in reduced.notes(path) {
        eprintln!("note: {note}");
    }
    anyhow::ensure!(!reduced.records.is_empty(), "{} has no result of this machine and these kernels", path.display());
    Ok(reduced.records)
}

fn text(tunings: usize, rows: &[(Agreement, Vec<Other>)], beyond: usize) -> String {
    let mut table = Table::new(["operation", "format", "shape", "threads", "choice", "tunings", "its time / the commonest's", "verdict"]);
    for (Agreement { problem, commonest, .. }, others) in rows {
        let [op, format] = [problem.op.name(), problem.format.name()];
        let (shape, threads) = (problem.shape.to_string(), problem.threads.to_string());
        table.row([op, format, &shape, &threads, &commonest.0.label(), &commonest.1.to_string(), "1", ""]);
        for other in others {
            let Ratio { value, ci } = other.ratio;
            let ratio = format!("{value:.4} [{:.4}, {:.4}]", ci.0, ci.1);
            table.row([op, format, &shape, &threads, &other.config.label(), &other.tunings.to_string(), &ratio, other.verdict()]);
        }
    }
    let (same, all) = (rows.iter().filter(|r| r.1.is_empty()).count(), rows.len());
    let compared: usize = rows.iter().map(|r| r.1.len()).sum();
    format!(
        "{table}\n{tunings} tunings of {all} problems: the same choice every time at {same}; of {compared} other choices {beyond} differ from the \
         commonest beyond the tie band of {:.0} %; tier measured",
        100.0 * BAND
    )
}

fn document(machine: &Machine, tunings: usize, rows: &[(Agreement, Vec<Other>)]) -> Value {
    let rows = rows.iter().map(|(Agreement { problem, commonest, .. }, others)| {
        let others = others.iter().map(|other| {
            let Other { config, tunings, ratio } = other;
            json!({ "choice": config.label(), "tunings": tunings, "ratio": ratio.value, "ratio_ci": ratio.ci, "verdict": other.verdict() })
        });
        json!({
            "op": problem.op.name(), "format": problem.format.name(), "shape": problem.shape.to_string(), "threads": problem.threads,
            "packed": problem.packed, "operands": problem.operands,
            "commonest": { "choice": commonest.0.label(), "tunings": commonest.1 },
            "others": others.collect::<Vec<_>>(),
        })
    });
    json!({ "machine": machine.key(), "tier": "measured", "tie_band": BAND, "tunings": tunings, "rows": rows.collect::<Vec<_>>() })
}
