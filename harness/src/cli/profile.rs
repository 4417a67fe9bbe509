//! `kiln profile`: chosen kernels under the counters.

use super::sweep::time;
use super::{Table, emit, emit_json};
use crate::counters::{Count, Event};
use crate::filter::{self, by_name};
use crate::machine::{Machine, lock};
use crate::measure::clock::Effort;
use crate::measure::operands;
use crate::profile::{self, Profile, Roof};
use crate::progress::Progress;
use crate::space::{self, Blockings, Candidate, Problem, Spec, Temperature, shape};
use crate::sweep::room;
use anyhow::ensure;
use kiln_kernels::format::Format;
use kiln_kernels::registry::{self, Op};
use serde_json::json;

/// Counters and derived metrics of chosen kernels, and where they stand under the roofline.
///
/// One thread. Where the machine has no counter unit only software events are counted, and the rest is
/// reported as not available.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln profile gemm --shapes 512\n  \
kiln profile gemm --kernel gemm_f32_avx2_6x2v_u4,gemm_f32_avx2_4x3v_u1 --shapes 256,1024 --json")]
pub struct Args {
    /// The operation, as kiln list shows them: gemm, rms_norm, softmax …
    op: Op,
    /// Format of the operands [default: that of the kernels, or the operation's own]
    #[arg(long, value_parser = filter::format)]
    format: Option<Format>,
    /// Kernels by name, separated by commas [default: the one that an untuned build would run]
    #[arg(long, value_delimiter = ',')]
    kernel: Vec<String>,
    /// Shapes, separated by commas, as kiln sweep takes them
    #[arg(long, default_value = "512")]
    shapes: String,
    /// Operands in the caches or not [default: cold for packed weights and one row, else hot]
    #[arg(long)]
    operands: Option<Temperature>,
    /// Fewer and shorter samples
    #[arg(long)]
    quick: bool,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Profiles and prints.
///
/// # Errors
/// Bad input, or a kernel that gives wrong answers.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let specs = shape::parse(&args.shapes, args.op).map_err(anyhow::Error::msg)?;
    let machine = Machine::detect();
    machine.allow_timing(&[1])?;
    let work = plan(args, &specs, &machine)?;
    let _machine = lock::machine(|note| eprintln!("note: {note}"))?;
    let progress = Progress::new(work.len() as u64 + 1, "profiling");
    progress.at("limits of one thread");
    let roof = Roof::measure(&machine);
    progress.advance(1);
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let mut profiles = Vec::new();
    for (problem, candidate) in &work {
        progress.at(format!("{} {}", candidate.entry.meta.name, problem.shape));
        profiles.push(profile::run(problem, candidate, &machine, room(&machine), &roof, &effort)?);
        progress.advance(1);
    }
    drop(progress);
    if args.json {
        emit_json(&json!({ "machine": machine.key(), "limits": roof, "profiles": profiles }))
    } else {
        emit(&profiles.iter().map(text).collect::<Vec<_>>().join("\n\n"))
    }
}

/// What is to be run; everything that can be refused is refused here.
fn plan(args: &Args, specs: &[Spec], machine: &Machine) -> anyhow::Result<Vec<(Problem, Candidate)>> {
    let named = args.kernel.iter().map(|name| by_name(name)).collect::<anyhow::Result<Vec<_>>>()?;
    for entry in &named {
        ensure!(entry.meta.op == args.op, "{} is a kernel for {}, not for {}", entry.meta.name, entry.meta.op, args.op);
        ensure!(entry.meta.isa.runs_here(), "{} needs {}, which this CPU does not have", entry.meta.name, entry.meta.isa);
    }
    let format = args.format.or(named.first().map(|e| e.meta.format)).unwrap_or(args.op.format());
    for entry in &named {
        ensure!(entry.meta.format == format, "{} is a kernel for {}, not for {format}", entry.meta.name, entry.meta.format);
    }
    let mut work = Vec::new();
    for &Spec { shape, packed } in specs {
        let usual = Temperature::usual(shape.class(), packed);
        let problem = Problem { op: args.op, format, shape, packed, threads: 1, operands: args.operands.unwrap_or(usual) };
        operands::fits(&problem, room(machine))?;
        let entries: Vec<_> = if named.is_empty() { registry::all().collect() } else { named.clone() };
        let found = space::all_candidates(&problem, &entries, Blockings::Analytical, space::caches(machine))?;
        work.extend(found.into_iter().filter(|c| !named.is_empty() || c.default).map(|c| (problem, c)));
    }
    ensure!(!work.is_empty(), "no kernel for {} runs on this CPU", args.op);
    Ok(work)
}

fn text(p: &Profile) -> String {
    let some = |value: Option<String>| value.unwrap_or_else(|| "not available".into());
    let mut table = Table::new(["metric", "value"]);
    let rate = p.gflops.map_or_else(|| format!("{:.2} GB/s", p.gbytes_per_s), |g| format!("{g:.2} GFLOP/s, {:.2} GB/s", p.gbytes_per_s));
    let rows = [
        ("time of a call", format!("{} [{}, {}]", time(p.median_ns), time(p.ci_ns.0), time(p.ci_ns.1))),
        ("rate", rate),
        ("share of the measured peak", some(p.fraction_of_peak.map(|f| format!("{:.1} %", f * 100.0)))),
        ("intensity", some(p.intensity.map(|i| format!("{i:.2} FLOP/byte")))),
        (
            "roof here",
            some(p.roof_gflops.map(|r| format!("{r:.1} GFLOP/s, {} bound, {}", p.bound.unwrap_or("?"), p.level.as_deref().unwrap_or("?")))),
        ),
        ("instructions per cycle", some(p.ipc.map(|i| format!("{i:.2}")))),
        ("FLOP per cycle", some(p.flops_per_cycle.map(|f| format!("{f:.2}")))),
    ];
    for (name, value) in &rows {
        table.row([*name, value]);
    }
    for (event, count) in &p.counters.0 {
        table.row([event.name(), &counter(*event, count, p.calls)]);
    }
    format!("{} at {}, {} operands, tier {}\n{table}", p.config.label(), p.config.shape, p.config.operands.name(), p.tier)
}

fn counter(event: Event, count: &Count, calls: u64) -> String {
    match count {
        Count::Counted { value, enabled, running, scaled } => {
            let share = if *scaled {
                format!(", counted for {:.0} % of the time", *running as f64 / *enabled as f64 * 100.0)
            } else {
                String::new()
            };
            let unit = if event.unit() == "ns" { " ns" } else { "" };
            format!("{:.1}{unit} per call{share}", *value as f64 / calls as f64)
        }
        Count::NotAvailable { reason } => format!("not available: {reason}"),
        Count::NotCounted => "not counted: it never had a place on the hardware".into(),
    }
}
