//! `kiln store query`: the results of a store that are asked for, printed as they are read.

use crate::cli::Table;
use crate::machine::Machine;
use crate::ranking::{self, Current, Standing};
use crate::space::Problem;
use crate::store::{self, Limits, Outcome, Query, Record, Unreadable};
use serde_json::{Value, json};
use std::io::{BufWriter, ErrorKind, StdoutLock, Write};
use std::path::PathBuf;

/// Prints the results that are asked for, or who won among them, from a store of any size
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln store query --op gemm --format q4_0 --since 7d results.jsonl\n  \
kiln store query --machine here --shape 1x896x896 --result timed --json results.jsonl\n  \
kiln store query --best --threads 2 --limit 20 results.jsonl\n\n\
With --json the document's rows are the store's own lines; they are written as they are read, with the counts behind them.")]
pub struct Args {
    #[command(flatten)]
    query: Query,
    /// Only results of kernels as they are in this build
    #[arg(long)]
    current: bool,
    /// For each problem and machine the winner, the default and the gain, by the rule that reports go by, of kernels as they
    /// are; of a store that does not fit into memory the problems come in no order
    #[arg(long, conflicts_with = "result")]
    best: bool,
    /// Rows that are printed; all are counted [default: 100, with --json all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// The store
    store: PathBuf,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Rows of a table that is printed without a limit.
const USUAL: u64 = 100;
/// Rows that are made into one table: its columns are as wide as what is in them.
const OF_A_TABLE: u64 = 500;
/// What is kept of a problem, and how much is gathered at a time, to tell who won.
const LIMITS: Limits = Limits { of_a_problem: 256, problems: usize::MAX, bytes: 256 << 20 };

/// Does it.
///
/// # Errors
/// If the store cannot be read.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    match print(args) {
        // A reader that has seen enough is no error.
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => Ok(0),
        done => done.map(|()| 0),
    }
}

fn print(args: &Args) -> anyhow::Result<()> {
    let (here, current) = (Machine::detect(), Current::of_this_build());
    let (mut read, mut matched) = (0, 0);
    let mut takes = |record: &Record| {
        read += 1;
        let takes = args.query.takes(record, here.key()) && (!(args.current || args.best) || current.has(record));
        matched += u64::from(takes);
        takes
    };
    let mut rows = Rows::new(args);
    let unreadable = if args.best {
        store::each_problem(&args.store, &LIMITS, &mut takes, |problem, records| {
            // What is not shown need not be ranked.
            if rows.is_full() {
                rows.count(records.iter().any(|r| r.median_ns().is_some()));
            } else if let Some(standing) = ranking::standing(problem, &records.iter().collect::<Vec<_>>()) {
                rows.add(|| standing_document(&standing).to_string().into_bytes(), || standing_cells(&standing))?;
            }
            Ok(())
        })?
        .unreadable
    } else {
        store::scan_shown(&args.store, |record, line| {
            if takes(&record) {
                rows.add(|| line.to_vec(), || cells(&record))?;
            }
            Ok(())
        })?
        .unreadable
    };
    unreadable.complaint(&args.store).into_iter().for_each(|complaint| eprintln!("note: {complaint}"));
    rows.finish(args, (read, matched), &unreadable)
}

/// The rows, which are never held all at once.
struct Rows {
    out: BufWriter<StdoutLock<'static>>,
    /// The beginning of the document, until it is written.
    head: Option<String>,
    json: bool,
    best: bool,
    limit: u64,
    /// Rows that there are.
    all: u64,
    table: Option<Table>,
}

impl Rows {
    fn new(args: &Args) -> Rows {
        let out = BufWriter::new(std::io::stdout().lock());
        let head = args.json.then(|| format!("{{\"store\":{},\"rows\":[", json!(args.store.display().to_string())));
        let limit = args.limit.unwrap_or(if args.json { u64::MAX } else { USUAL });
        Rows { out, head, json: args.json, best: args.best, limit, all: 0, table: None }
    }

    /// Begins the document, which is not before there is something to say: what cannot be read leaves nothing on stdout.
    fn begin(&mut self) -> anyhow::Result<()> {
        Ok(self.out.write_all(self.head.take().unwrap_or_default().as_bytes())?)
    }

    fn is_full(&self) -> bool {
        self.all >= self.limit
    }

    fn count(&mut self, is_there: bool) {
        self.all += u64::from(is_there);
    }

    fn add(&mut self, document: impl FnOnce() -> Vec<u8>, cells: impl FnOnce() -> Vec<String>) -> anyhow::Result<()> {
        let full = self.is_full();
        self.count(true);
        if full {
            return Ok(());
        }
        if self.json {
            self.begin()?;
            self.out.write_all(if self.all == 1 { b"\n" } else { b",\n" })?;
            self.out.write_all(&document())?;
            return Ok(());
        }
        let heads: &[&str] = match self.best {
            true => &["machine", "operation", "format", "shape", "threads", "operands", "winner", "its rate", "default", "gain", "tier"],
            false => &["time", "machine", "operation", "format", "shape", "threads", "operands", "kernel", "what came of it", "tier"],
        };
        let table = self.table.get_or_insert_with(|| Table::new(heads.iter().copied()));
        table.row(cells().iter().map(String::as_str));
        if self.all.is_multiple_of(OF_A_TABLE) {
            self.print_table()?;
        }
        Ok(())
    }

    fn print_table(&mut self) -> anyhow::Result<()> {
        if let Some(table) = self.table.take() {
            writeln!(self.out, "{table}")?;
        }
        Ok(())
    }

    fn finish(mut self, args: &Args, (read, matched): (u64, u64), unreadable: &Unreadable) -> anyhow::Result<()> {
        self.begin()?;
        self.print_table()?;
        let shown = self.all.min(self.limit);
        if args.json {
            let counts = json!({ "shown": shown, "found": self.all, "results_matched": matched, "results_read": read, "unreadable_lines": unreadable.count });
            // The counts belong to the document that the rows are in.
            let counts = counts.to_string();
            writeln!(self.out, "\n],{}", counts.trim_start_matches('{'))?;
        } else {
            let what = if args.best { "problems" } else { "results" };
            writeln!(
                self.out,
                "{shown} of {} {what}; {matched} of {read} results are as asked for, {} lines could not be read",
                self.all, unreadable.count
            )?;
        }
        Ok(self.out.flush()?)
    }
}

/// A rate in the unit of a problem, and its interval.
fn rate(problem: &Problem, record: &Record) -> Option<String> {
    let (median, (low, high)) = record.median_ns()?;
    let unit = if problem.shape.flops().is_some() { "GFLOP/s" } else { "GB/s" };
    let of = |ns: f64| problem.cost() / ns;
    Some(format!("{:.2} [{:.2}, {:.2}] {unit}", of(median), of(high), of(low)))
}

fn problem_cells(record: &Record) -> [String; 5] {
    let config = &record.config;
    let operands = format!("{}{}", config.operands.name(), if config.packed { ", packed" } else { "" });
    [config.op.clone(), config.format.clone(), config.shape.to_string(), config.threads.to_string(), operands]
}

fn cells(record: &Record) -> Vec<String> {
    let outcome = match &record.outcome {
        Outcome::Timed { median_ns, dropped, .. } => {
            let rate = record.config.problem().and_then(|p| rate(&p, record)).unwrap_or_else(|| format!("{median_ns} ns"));
            rate + if record.default { ", the default" } else { "" } + if dropped.is_some() { ", dropped early" } else { "" }
        }
        Outcome::Paired { against, role, ratio, ratio_ci: (low, high), .. } => {
            format!("{ratio:.3} [{low:.3}, {high:.3}] of the time of {against} ({role})")
        }
        Outcome::Predicted { cycles, limit } => format!("{cycles:.0} cycles, most of them {limit}"),
        Outcome::Invalid { reason } => format!("wrong: {reason}"),
    };
    let mut cells = vec![record.time.clone(), record.machine.clone()];
    cells.extend(problem_cells(record));
    cells.extend([record.config.label(), outcome, record.tier.name().into()]);
    cells
}

fn standing_cells(standing: &Standing) -> Vec<String> {
    let winner = standing.winner;
    let default =
        standing.default.map_or("not measured".into(), |d| if d.config == winner.config { "the winner".into() } else { d.config.label() });
    let gain = standing.gain.filter(|_| standing.default.is_some_and(|d| d.config != winner.config)).map_or("none".into(), |g| {
        let (value, (low, high)) = (g.ratio.value, g.ratio.ci);
        format!("{value:.3} [{low:.3}, {high:.3}]{}", if g.paired { "" } else { ", not in pairs" })
    });
    let mut cells = vec![winner.machine.clone()];
    cells.extend(problem_cells(winner));
    cells.extend([winner.config.label(), rate(&standing.problem, winner).unwrap_or_default(), default, gain, winner.tier.name().into()]);
    cells
}

fn standing_document(standing: &Standing) -> Value {
    let side = |record: &Record| json!({ "label": record.config.label(), "config": record.config, "median_ns": record.median_ns().map(|m| m.0), "ci_ns": record.median_ns().map(|m| m.1) });
    let Standing { problem, winner, best, default, gain, .. } = standing;
    let unit = if problem.shape.flops().is_some() { "GFLOP/s" } else { "GB/s" };
    json!({
        "machine": winner.machine, "tier": winner.tier, "op": problem.op.name(), "format": problem.format.name(), "shape": problem.shape,
        "threads": problem.threads, "packed": problem.packed, "operands": problem.operands, "unit": unit,
        "rate": winner.median_ns().map(|m| problem.cost() / m.0), "timed": standing.timed.len(),
        "winner": side(winner), "fastest": side(best), "default": default.map(side),
        "gain_of_the_fastest": gain.map(|g| json!({ "ratio": g.ratio.value, "ci": g.ratio.ci, "paired": g.paired, "shown": g.is_shown() })),
    })
}
