//! `kiln bake`: chooses the winners of a store and writes them as a profile, or says why a profile has what it has.

mod why;

use super::sweep::time;
use super::{Table, emit, emit_json};
use crate::bake::{self, Objective, Options, Sizes, Total};
use crate::filter;
use crate::space::models::{self, Model};
use kiln_kernels::format::Format;
use kiln_profiles::schema::{BlockSizes, Parts};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Chooses winners from a store and writes profiles/<cpu>/tuned.toml with the evidence beside it; with --why says why a
/// profile has what it has, and writes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln bake --cpu zen3\n  kiln bake --store results.jsonl --cpu my-laptop --threads 8\n  \
kiln bake --why gemm 512x4864x896 --cpu icelake --format q8_0\n  kiln bake --why rms_norm 128x896 --json\n  \
kiln bake --cpu zen3 --objective end-to-end --model qwen2.5-0.5b")]
pub struct Args {
    /// Why a profile has the kernel that it has for an operation at a shape: the choice, what its evidence says there, and
    /// the rule that decided; nothing is written
    #[arg(long, num_args = 2, value_names = ["OP", "SHAPE"])]
    why: Option<Vec<String>>,
    /// With --why: the format of the operands [default: the operation's usual one]
    #[arg(long, requires = "why", value_name = "FORMAT", value_parser = filter::format)]
    format: Option<Format>,
    /// Where the results are [default: kiln-results.jsonl; with --why the evidence beside the profile]
    #[arg(long)]
    store: Option<PathBuf>,
    /// Name of the profile; a new one is recognised by this machine's identity from then on [default with --why: this CPU's]
    #[arg(long, required_unless_present = "why")]
    cpu: Option<String>,
    /// Threads whose results count [default: for each choice the most that were measured]
    #[arg(long)]
    threads: Option<usize>,
    /// What choices are to achieve; with --why what the profile was baked for
    #[arg(long, value_enum, default_value = "time")]
    objective: Aim,
    /// The model of --objective end-to-end, as after `model:` in shapes
    #[arg(long, value_name = "NAME", required_if_eq("objective", "end-to-end"), value_parser = models::find)]
    model: Option<&'static Model>,
    /// Folder of the profiles [default: that of the checkout]
    #[arg(long)]
    profiles: Option<PathBuf>,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// An objective, as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Aim {
    /// Every shape of a class alike
    Time,
    /// The same; what cannot be told apart goes by the size of its code
    TimeAndSize,
    /// Shapes as a model calls them, in reading a prompt of 512 tokens and in decoding
    EndToEnd,
}

/// Bakes and prints the choices, or says why.
///
/// # Errors
/// If the store holds nothing that counts, or the profile cannot be written; or, if asked why, it is not there or says
/// nothing of the operation.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let root = match &args.profiles {
        Some(folder) => folder.clone(),
        None => crate::build::workspace()?.join("profiles"),
    };
    match (args.why.as_deref(), args.cpu.as_deref()) {
        (Some([op, shape]), _) => why::run(args, (op, shape), &root),
        (_, Some(cpu)) => bake(args, cpu, &root),
        (_, None) => anyhow::bail!("which profile? name it with --cpu NAME"),
    }
}

fn objective(args: &Args) -> anyhow::Result<Objective> {
    match (args.objective, args.model) {
        (Aim::EndToEnd, Some(model)) => Ok(Objective::EndToEnd(model)),
        (Aim::Time, None) => Ok(Objective::Time),
        (Aim::TimeAndSize, None) => Ok(Objective::TimeAndSize(Sizes::here()?)),
        _ => anyhow::bail!("--model is the model of --objective end-to-end: give both or neither"),
    }
}

fn bake(args: &Args, cpu: &str, root: &Path) -> anyhow::Result<i32> {
    let store = args.store.as_deref().unwrap_or(Path::new(super::STORE));
    let options = Options { cpu, store, root, threads: args.threads, objective: objective(args)? };
    let baked = bake::bake(&options)?;
    for note in &baked.notes {
        eprintln!("note: {note}");
    }
    if args.json {
        return emit_json(
            &json!({ "path": baked.path, "evidence": baked.evidence, "notes": baked.notes, "totals": baked.totals, "tuned": baked.tuned }),
        );
    }
    let mut table = Table::new([
        "operation",
        "class",
        "shapes",
        "threads",
        "kernel",
        "blocking",
        "split",
        "spin",
        "runner-up / winner",
        "regret",
        "worst regret",
        "tier",
        "why",
    ]);
    for c in baked.tuned.variants.iter().flat_map(|v| &v.choices) {
        let shared = |kernel: &str, (blocking, split): (Option<BlockSizes>, Option<Parts>)| {
            let blocking = blocking.map_or("none".into(), |b| b.to_string());
            [kernel.to_owned(), blocking, split.map_or("computed".into(), |s| s.to_string())]
        };
        for row in &c.table {
            let [kernel, blocking, split] = shared(&row.kernel, (row.blocking, row.split));
            table.row([c.op.as_str(), c.class.name(), &row.to_string(), "", &kernel, &blocking, &split, "", "", "", "", "", ""]);
        }
        let shapes = if c.table.is_empty() { "all" } else { "all others" };
        let [kernel, blocking, split] = shared(&c.kernel, (c.blocking, c.split));
        let spin = c.spin.map_or("usual".into(), |s| s.to_string());
        let margin = match (c.margin, c.margin_ci) {
            (Some(m), Some([low, high])) => format!("{m:.3} [{low:.3}, {high:.3}]"),
            _ => "not available".into(),
        };
        let of = |regret: Option<f64>| regret.map_or("not available".into(), |r| format!("{r:.3}"));
        let (regret, worst, threads) = (of(c.regret), of(c.worst_regret), c.threads.to_string());
        let what = [&c.op, c.class.name(), shapes, &threads, &kernel, &blocking, &split, &spin, &margin, &regret, &worst];
        table.row(what.into_iter().chain([c.tier.name(), &c.note]));
    }
    let totals = if baked.totals.is_empty() { String::new() } else { totals_of(&baked.totals) };
    emit(&format!("{table}\n{totals}profile {}\nevidence {}", baked.path.display(), baked.evidence.display()))
}

/// What a model's linear layers take, to be held against what the engine takes for whole passes.
fn totals_of(totals: &[Total]) -> String {
    let mut table = Table::new(["model", "format", "tokens at once", "calls summed", "by the default", "as chosen", "default / chosen"]);
    for t in totals {
        let (calls, ratio) = (format!("{} of {}", t.calls, t.all_calls), format!("{:.3}", t.default_ns / t.tuned_ns));
        table.row([t.model, t.format, &t.tokens.to_string(), &calls, &time(t.default_ns), &time(t.tuned_ns), &ratio]);
    }
    format!("\nLinear layers by these results; qwen2 bench -p {} -n 1 has whole passes:\n{table}\n\n", bake::PROMPT)
}
