//! `kiln replay`: what each way of searching would have found in an exhaustive sweep, and in how much of its time.

use super::{Table, emit, emit_json};
use crate::filter::{self, Filter};
use crate::measure::clock::Effort;
use crate::measure::statistics::median;
use crate::model::Predictor;
use crate::progress::Progress;
use crate::ranking;
use crate::replay::{Recorded, Replayed};
use crate::search::Strategy;
use crate::store;
use anyhow::ensure;
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_profiles::lookup;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Compares strategies of searching on an exhaustive sweep's results, without measuring anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln sweep gemm --shapes 256..1024 --strategy exhaustive --store all.jsonl\n  \
kiln replay --store all.jsonl\n  kiln replay --store all.jsonl --strategy halving,random --seeds 50 --json")]
pub struct Args {
    /// The exhaustive sweep's store
    #[arg(long, default_value = super::STORE)]
    store: PathBuf,
    /// Strategies, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    strategy: Vec<Strategy>,
    /// Operations, separated by commas [default: all in the store]
    #[arg(long, value_delimiter = ',')]
    op: Vec<Op>,
    /// Formats, separated by commas [default: all in the store]
    #[arg(long, value_delimiter = ',', value_parser = filter::format)]
    format: Vec<Format>,
    /// The CPU that the results are of, by the name of its profile, for the strategy model [default: this one]
    #[arg(long, value_name = "NAME")]
    cpu: Option<String>,
    /// Times that each search is run, each with another seed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Prints a line for each strategy.
///
/// # Errors
/// If the store cannot be read, or holds no problem that was searched exhaustively.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let contents = store::read(&args.store)?;
    if let Some(complaint) = contents.complaint(&args.store) {
        eprintln!("note: {complaint}");
    }
    let (records, stale) = ranking::current(contents.records);
    if stale > 0 {
        eprintln!("note: {stale} results are of kernels that have changed since, and are left aside");
    }
    let (mut recorded, left) = Recorded::all(&records);
    recorded.retain(|r| args.op.is_empty() || args.op.contains(&r.problem.op));
    recorded.retain(|r| args.format.is_empty() || args.format.contains(&r.problem.format));
    ensure!(
        !recorded.is_empty(),
        "{} has no problem with a full result for every candidate: make one with kiln sweep --strategy exhaustive",
        args.store.display()
    );
    let mut strategies = if args.strategy.is_empty() { Strategy::ALL.to_vec() } else { args.strategy.clone() };
    let progress = Progress::new((strategies.len() * recorded.len()) as u64, "replaying");
    if strategies.contains(&Strategy::Model)
        && let Err(error) = predict(&mut recorded, args.cpu.as_deref(), &progress)
    {
        ensure!(args.strategy.is_empty(), error);
        progress.note(&format!("the strategy model is left out: {error:#}"));
        strategies.retain(|s| *s != Strategy::Model);
    }
    let mut all: Vec<(Strategy, Vec<Replayed>)> = Vec::new();
    for strategy in strategies {
        let mut of_problems = Vec::new();
        for one in &recorded {
            progress.at(format!("{} {} {}", strategy.name(), one.problem.op, one.problem.shape));
            of_problems.push(one.run(strategy, &Effort::FULL, args.seeds)?);
            progress.advance(1);
        }
        all.push((strategy, of_problems));
    }
    drop(progress);
    let candidates: usize = recorded.iter().map(Recorded::count).sum();
    if args.json {
        let rows = all.iter().map(|(strategy, replayed)| {
            let each = recorded.iter().zip(replayed).map(|(of, replayed)| {
                json!({
                    "op": of.problem.op.name(), "format": of.problem.format.name(), "shape": of.problem.shape.to_string(),
                    "threads": of.problem.threads, "candidates": of.count(), "replayed": replayed,
                })
            });
            json!({ "strategy": strategy.name(), "overall": overall(replayed), "problems": each.collect::<Vec<_>>() })
        });
        return emit_json(&json!({ "tier": "measured", "seeds": args.seeds, "left": left, "rows": rows.collect::<Vec<_>>() }));
    }
    let mut table = Table::new(["strategy", "regret", "worst regret", "of the time", "of the candidates"]);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    for (_, replayed) in &all {
        let o = overall(replayed);
        table.row([o.strategy, &percent(o.regret), &percent(o.worst_regret), &percent(o.share_of_time), &percent(o.share_of_candidates)]);
    }
    emit(&format!(
        "{table}\n{} problems, {candidates} candidates, {} seeds; medians over problems, and the worst of all; {left} problems were not searched \
         exhaustively; replayed from results of the tier measured",
        recorded.len(),
        args.seeds
    ))
}

/// Gives every candidate its prediction on a CPU, this one by default.
fn predict(recorded: &mut [Recorded], cpu: Option<&str>, progress: &Progress) -> anyhow::Result<()> {
    let machine = cpu.map(|cpu| lookup::machine(lookup::default_root(), cpu)).transpose()?;
    let kinds: BTreeSet<(Op, Format)> = recorded.iter().map(|r| (r.problem.op, r.problem.format)).collect();
    for (op, format) in kinds {
        let filter = Filter { op: vec![op], format: vec![format], ..Filter::default() };
        let at = |kernel: &str| progress.at(format!("predicting {kernel}"));
        let predictor = match &machine {
            Some(machine) => Predictor::new(machine, &std::env::current_exe()?, &filter, at)?,
            None => Predictor::here(&filter, at)?,
        };
        recorded.iter_mut().filter(|r| (r.problem.op, r.problem.format) == (op, format)).for_each(|r| r.predict(&predictor));
    }
    Ok(())
}

/// Medians over problems; the worst regret of all.
fn overall(replayed: &[Replayed]) -> Replayed {
    let middle = |of: &dyn Fn(&Replayed) -> f64| median(&replayed.iter().map(of).collect::<Vec<_>>()).unwrap_or(0.0);
    Replayed {
        strategy: replayed.first().map_or("", |r| r.strategy),
        regret: middle(&|r| r.regret),
        worst_regret: replayed.iter().map(|r| r.worst_regret).fold(0.0, f64::max),
        share_of_time: middle(&|r| r.share_of_time),
        share_of_candidates: middle(&|r| r.share_of_candidates),
    }
}
