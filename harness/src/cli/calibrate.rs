//! `kiln calibrate`: how well comparisons on this machine tell a difference from none, by comparing a kernel with itself
//! and with itself slowed down.

use super::{Table, emit, emit_json};
use crate::filter;
use crate::machine::others::Watch;
use crate::machine::{Machine, lock};
use crate::measure::apart::{self, Bench, Job};
use crate::measure::clock::Effort;
use crate::measure::comparison::{Comparison, compare};
use crate::measure::statistics::{Ratio, median};
use crate::progress::Progress;
use crate::space::{self, Blockings, Problem, Shape, Temperature};
use crate::store::Config;
use crate::sweep::room;
use anyhow::Context;
use kiln_kernels::format::Format;
use kiln_kernels::registry::{self, Op};
use serde::Serialize;

/// Compares a kernel with itself, and with itself and a delay after each call, over and over.
///
/// The first says how often a difference is found where there is none, the others how often one of a known size is found.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln calibrate\n  kiln calibrate --comparisons 20 --delays 0,3 --shape 512x512x512 --json")]
pub struct Args {
    /// Comparisons with each delay
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    comparisons: u32,
    /// Delays in per cent of a call, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "0,1,3")]
    delays: Vec<f64>,
    /// The product's shape
    #[arg(long, default_value = "256x256x256")]
    shape: Shape,
    /// The product's format
    #[arg(long, value_parser = filter::format, default_value = "f32")]
    format: Format,
    /// Fewer and shorter samples
    #[arg(long)]
    quick: bool,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// What came of the comparisons with one delay.
#[derive(Debug, Serialize)]
struct Trial {
    /// Per cent of a call.
    delay: f64,
    comparisons: u32,
    /// Those whose interval leaves 1 out.
    found: u32,
    /// Of those, the ones that took the faster for the slower.
    wrong_way: u32,
    /// The median ratio, and that of the intervals' widths.
    ratio: f64,
    width: f64,
    /// The median number of places in memory that it took.
    places: f64,
}

/// Prints a line for each delay.
///
/// # Errors
/// If nothing can be timed here, or the shape is no product's.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let machine = Machine::detect();
    machine.allow_timing(&[1])?;
    anyhow::ensure!(args.delays.iter().all(|d| (0.0..=1000.0).contains(d)), "a delay is from 0 to 1000 per cent of a call");
    let problem = Problem { op: Op::Gemm, format: args.format, shape: args.shape, packed: true, threads: 1, operands: Temperature::Hot };
    anyhow::ensure!(matches!(args.shape, Shape::Product { .. }), "{} is no product's shape: give MxNxK", args.shape);
    let entries: Vec<_> = registry::all().collect();
    let (candidates, _) = space::candidates(&problem, &entries, Blockings::Analytical, space::caches(&machine))?;
    let config = Config::new(&problem, candidates.first().context("no kernel runs here")?);
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let program = apart::this_program()?;
    let _machine = lock::machine(|note| eprintln!("note: {note}"))?;
    let (progress, watch) = (Progress::new(u64::from(args.comparisons) * args.delays.len() as u64, "comparing"), Watch::start());
    let mut seed = 0;
    let mut bench = Bench::new(Some(&program));
    // As a sweep makes them.
    let mut job = |delay_ns: u64| -> anyhow::Result<Comparison> {
        seed += 1;
        let job = Job { delay_ns, ..Job::new((config.clone(), config.clone()), &effort, 0, room(&machine), seed) };
        compare(&mut bench, &job, (&effort, effort.pairs))?.map_err(anyhow::Error::msg)
    };
    let call = median(&job(0)?.pairs.iter().map(|p| p.1).collect::<Vec<_>>()).unwrap_or(0.0);
    let mut trials = Vec::new();
    for delay in &args.delays {
        let (mut found, mut wrong_way, mut ratios, mut widths, mut places) = (0, 0, Vec::new(), Vec::new(), Vec::new());
        for _ in 0..args.comparisons {
            progress.at(format!("a delay of {delay} %"));
            let compared = job((call * delay / 100.0).round() as u64)?;
            let Ratio { value, ci } = compared.ratio;
            places.push(compared.pairs.len() as f64);
            found += u32::from(ci.0 > 1.0 || ci.1 < 1.0);
            wrong_way += u32::from(*delay > 0.0 && ci.1 < 1.0);
            ratios.push(value);
            widths.push(ci.1 - ci.0);
            progress.advance(1);
        }
        let middle = |all: &[f64]| median(all).unwrap_or(0.0);
        let comparisons = args.comparisons;
        trials.push(Trial {
            delay: *delay,
            comparisons,
            found,
            wrong_way,
            ratio: middle(&ratios),
            width: middle(&widths),
            places: middle(&places),
        });
    }
    drop(progress);
    let busy = watch.and_then(|w| w.so_far());
    let remark = watch.and_then(|w| w.remark());
    if args.json {
        let others = busy.map(|b| b.others);
        return emit_json(&serde_json::json!({
            "machine": machine.key(), "kernel": config.kernel, "shape": args.shape.to_string(), "call_ns": call, "tier": "measured",
            "others_cores": others, "trials": trials,
        }));
    }
    let mut table = Table::new(["delay", "comparisons", "difference found", "ratio", "width of its interval", "pairs"]);
    for t in &trials {
        let found = format!("{}{}", t.found, if t.wrong_way > 0 { format!(", {} the wrong way", t.wrong_way) } else { String::new() });
        let (ratio, width) = (format!("{:.4}", t.ratio), format!("{:.2} %", 100.0 * t.width));
        table.row([format!("{} %", t.delay).as_str(), &t.comparisons.to_string(), &found, &ratio, &width, &t.places.to_string()]);
    }
    let remark = remark.map(|r| format!("\n{r}")).unwrap_or_default();
    emit(&format!("{table}\n{} at {}, {:.1} µs a call; tier measured{remark}", config.kernel, args.shape, call / 1e3))
}
