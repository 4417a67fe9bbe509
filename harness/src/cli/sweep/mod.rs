//! `kiln sweep`: measures kernels at shapes and keeps every result in a store.

mod target;

use crate::cli::{Table, emit, emit_json};
use crate::filter::{self, Filter};
use crate::machine::Machine;
use crate::measure::apart;
use crate::measure::clock::Effort;
use crate::measure::statistics::Ratio;
use crate::ranking::{self, Standing};
use crate::search::Strategy;
use crate::space::{Blockings, Constraint, Problem, Temperature, shape};
use crate::store::{Config, Record};
use crate::sweep::{self, Omitted, Options, Shard, Summary};
use kiln_kernels::format::Format;
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::Op;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Measures kernels at shapes; every result goes to a store as soon as it is there.
///
/// Candidates are verified before they are timed, searched, and the fastest compared in ABBA pairs with
/// one another and with what an untuned build would run. An interrupted sweep resumes from its store; what that holds of
/// another compiler, of a --quick look or of a forced one, or of candidates that time ran out for, is measured again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Shapes: 256..2048 (doubling), 512, MxNxK, ROWSxCOLS, model:embedded, model:qwen2.5-0.5b; separated by commas.\n\n\
Examples:\n  kiln sweep gemm --shapes 256..1024\n  kiln sweep gemm --shapes model:embedded --threads 1,2 --budget 5m\n  \
kiln sweep rms_norm --shapes 128x896 --store norms.jsonl --quick\n  \
kiln sweep gemm --shapes model:qwen2.5-0.5b --shard 2/8 --store part2.jsonl\n  \
kiln sweep gemm --strategy genetic --evaluations 60 --seed 1\n  kiln sweep gemm --constraint 'MR*NR<=96,KC>=256'\n  \
kiln sweep gemm --target neoverse-n2 --binary target/aarch64-unknown-linux-gnu/release/kiln --store n2.jsonl")]
pub struct Args {
    /// The operation, as kiln list shows them: gemm, rms_norm, softmax …
    op: Op,
    /// Format of the operands [default: the operation's own]
    #[arg(long, value_parser = filter::format)]
    format: Option<Format>,
    /// Instruction sets, separated by commas [default: all that run here]
    #[arg(long, value_delimiter = ',')]
    isa: Vec<IsaId>,
    /// Shapes, separated by commas
    #[arg(long, default_value = "256..1024")]
    shapes: String,
    /// Numbers of threads, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1")]
    threads: Vec<usize>,
    /// Operands in the caches or not [default: cold for packed weights and one row, else hot]
    #[arg(long)]
    operands: Option<Temperature>,
    /// Which cache blockings are tried, and on several threads which splits and spins
    #[arg(long, default_value = "near")]
    blockings: Blockings,
    /// What candidates must keep to, beside the default: comparisons of products of parameters (MR, NR, NV, KU, KC, MC, NC, ROWS and
    /// COLS of a split, SPIN …) and numbers, separated by commas, such as 'MR*NR<=96,KC>=256'
    #[arg(long, value_name = "COMPARISON", value_delimiter = ',')]
    constraint: Vec<Constraint>,
    /// How to search
    #[arg(long, default_value = "halving")]
    strategy: Strategy,
    /// Candidates that may be measured at each problem [default: what the strategy needs]
    #[arg(long, value_name = "N")]
    evaluations: Option<usize>,
    /// What searches draw from: the same number takes the same way
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Time for all of it, such as 30s or 10m [default: as long as it takes]
    #[arg(long, value_parser = humantime::parse_duration)]
    budget: Option<Duration>,
    /// One of so many parts of the problems, such as 2/8, for a fleet; the stores are put together by kiln store merge
    #[arg(long, value_name = "PART/OF")]
    shard: Option<Shard>,
    /// Predict for a CPU that need not be here, by the name of its profile, instead of measuring; winners are verified under an
    /// emulator, and results are of the tier predicted
    #[arg(long, value_name = "CPU", conflicts_with_all = ["constraint", "strategy", "evaluations", "seed", "budget", "shard", "force", "quick"])]
    target: Option<String>,
    /// A kiln binary of this source for that CPU's architecture [default: this one]
    #[arg(long, value_name = "FILE", requires = "target")]
    binary: Option<PathBuf>,
    /// What runs that binary here, with its arguments [default: none, or qemu-aarch64 with vectors of the CPU's length]
    #[arg(long, value_name = "COMMAND", requires = "target")]
    emulator: Option<String>,
    /// Record on a machine that is too noisy as well; results are marked
    #[arg(long)]
    force: bool,
    /// Fewer and shorter samples
    #[arg(long)]
    quick: bool,
    /// Where results are kept, one JSON line each
    #[arg(long, default_value = crate::cli::STORE)]
    store: PathBuf,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Sweeps and prints who won where.
///
/// # Errors
/// Bad input, or a store that cannot be written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let specs = shape::parse(&args.shapes, args.op).map_err(anyhow::Error::msg)?;
    if let Some(cpu) = &args.target {
        return target::run(args, cpu, specs);
    }
    let options = Options {
        op: args.op,
        format: args.format.unwrap_or(args.op.format()),
        filter: Filter { isa: args.isa.clone(), ..Filter::default() },
        specs,
        threads: args.threads.clone(),
        operands: args.operands,
        blockings: args.blockings,
        constraints: args.constraint.clone(),
        strategy: args.strategy,
        evaluations: args.evaluations,
        seed: args.seed,
        budget: args.budget,
        effort: if args.quick { Effort::QUICK } else { Effort::FULL },
        force: args.force,
        shard: args.shard,
        program: apart::this_program().ok(),
        store: args.store.clone(),
    };
    let machine = Machine::detect();
    let summary = sweep::run(&options, &machine)?;
    let standings = ranking::standings(&summary.records);
    if args.json {
        emit_json(&document(&machine, &summary, &standings))?;
    } else {
        emit(&text(&summary, &standings))?;
    }
    Ok(i32::from(!summary.invalid.is_empty()))
}

fn text(summary: &Summary, standings: &[Standing]) -> String {
    let mut table = Table::new(["operation", "shape", "threads", "operands", "winner", "median", "rate", "default / best", "verdict"]);
    for s in standings {
        let p = &s.problem;
        let operands = if p.packed { format!("{}, packed", p.operands.name()) } else { p.operands.name().into() };
        let (ns, _) = s.winner.median_ns().unwrap_or_default();
        let (gain, verdict) = gain(s);
        let cells = [p.op.name(), &p.shape.to_string(), &p.threads.to_string(), &operands, &s.winner.config.label(), &time(ns)];
        table.row(cells.into_iter().chain([rate(p, ns).as_str(), &gain, verdict]));
    }
    let mut lines = vec![table.to_string()];
    for (reason, Omitted { candidates, kernels }) in &summary.pruned {
        lines.push(format!("left out unmeasured: {candidates} candidates of {} kernels: {reason}", kernels.len()));
    }
    for (kernel, reason) in &summary.invalid {
        lines.push(format!("not valid: {kernel}: {reason}"));
    }
    let floor = summary.noise_floor.map_or("nothing new was measured".into(), |n| format!("noise floor {:.2} %", n * 100.0));
    lines.push(format!(
        "{} results stored, {} were there, {} candidates pruned, {} candidates passed over by the search, {} left for want \
         of time; {floor}; tier measured",
        summary.stored,
        summary.resumed,
        summary.pruned.values().map(|omitted| omitted.candidates).sum::<usize>(),
        summary.passed_over,
        summary.unmeasured
    ));
    lines.join("\n")
}

/// The best against the default, and what follows from it.
fn gain(s: &Standing) -> (String, &'static str) {
    match (&s.gain, s.default) {
        (Some(g), _) => {
            let Ratio { value, ci } = g.ratio;
            let text = format!("{value:.3} [{:.3}, {:.3}]", ci.0, ci.1);
            (text, if g.is_shown() { "faster" } else { "the default stays" })
        }
        (None, Some(_)) => ("1".into(), "the default is best"),
        (None, None) => ("not available".into(), "no default here"),
    }
}

/// Work per second: GFLOP/s of products, GB/s of rows.
pub(crate) fn rate(problem: &Problem, ns: f64) -> String {
    match problem.shape.flops() {
        Some(flops) => format!("{:.1} GFLOP/s", flops / ns),
        None => format!("{:.1} GB/s", problem.bytes() / ns),
    }
}

/// Nanoseconds in a unit that keeps them readable.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

fn document(machine: &Machine, summary: &Summary, standings: &[Standing]) -> Value {
    let side = |r: &Record| {
        let (median, ci) = r.median_ns().unwrap_or_default();
        let Config { kernel, blocking, split, spin, .. } = &r.config;
        json!({ "kernel": kernel, "blocking": blocking, "split": split, "spin": spin, "median_ns": median, "ci_ns": ci })
    };
    let rows = standings.iter().map(|s| {
        let ns = s.winner.median_ns().unwrap_or_default().0;
        json!({
            "op": s.problem.op.name(), "shape": s.problem.shape.to_string(), "threads": s.problem.threads,
            "packed": s.problem.packed, "operands": s.problem.operands,
            "winner": side(s.winner), "best": side(s.best), "default": s.default.map(side),
            "gflops_median": s.problem.shape.flops().map(|f| f / ns),
            "gbytes_per_s_median": s.problem.bytes() / ns,
            "default_over_best": s.gain.map(|g| g.ratio.value), "default_over_best_ci": s.gain.map(|g| g.ratio.ci),
            "paired": s.gain.map(|g| g.paired), "verdict": gain(s).1, "candidates": s.timed.len(),
        })
    });
    json!({
        "machine": machine.key(), "tier": "measured", "noise_floor": summary.noise_floor, "stored": summary.stored,
        "resumed": summary.resumed, "unmeasured": summary.unmeasured, "passed_over": summary.passed_over, "pruned": summary.pruned,
        "invalid": summary.invalid.iter().map(|(kernel, reason)| json!({ "kernel": kernel, "reason": reason })).collect::<Vec<_>>(),
        "rows": rows.collect::<Vec<_>>(),
    })
}
