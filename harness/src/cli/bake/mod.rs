//! `kiln bake`: chooses the winners of a store and writes them as a profile, or says why a profile has what it has.

mod why;

use super::{Table, emit, emit_json};
use crate::bake::{self, Options};
use crate::filter;
use kiln_kernels::format::Format;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Chooses winners from a store and writes profiles/<cpu>/tuned.toml with the evidence beside it; with --why says why a
/// profile has what it has, and writes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln bake --cpu zen3\n  kiln bake --store results.jsonl --cpu my-laptop --threads 8\n  \
kiln bake --why gemm 512x4864x896 --cpu icelake --format q8_0\n  kiln bake --why rms_norm 128x896 --json")]
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
    /// Folder of the profiles [default: that of the checkout]
    #[arg(long)]
    profiles: Option<PathBuf>,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
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

fn bake(args: &Args, cpu: &str, root: &Path) -> anyhow::Result<i32> {
    let store = args.store.as_deref().unwrap_or(Path::new(super::STORE));
    let options = Options { cpu, store, root, threads: args.threads };
    let baked = bake::bake(&options)?;
    for note in &baked.notes {
        eprintln!("note: {note}");
    }
    if args.json {
        return emit_json(&json!({ "path": baked.path, "evidence": baked.evidence, "notes": baked.notes, "tuned": baked.tuned }));
    }
    let mut table =
        Table::new(["operation", "class", "threads", "kernel", "blocking", "split", "spin", "runner-up / winner", "regret", "tier", "why"]);
    for c in baked.tuned.variants.iter().flat_map(|v| &v.choices) {
        let blocking = c.blocking.map_or("none".into(), |b| format!("kc {} mc {} nc {}", b.kc, b.mc, b.nc));
        let split = c.split.map_or("computed".into(), |s| s.to_string());
        let spin = c.spin.map_or("usual".into(), |s| s.to_string());
        let margin = match (c.margin, c.margin_ci) {
            (Some(m), Some([low, high])) => format!("{m:.3} [{low:.3}, {high:.3}]"),
            _ => "not available".into(),
        };
        let regret = c.regret.map_or("not available".into(), |r| format!("{r:.3}"));
        let threads = c.threads.to_string();
        table.row([&c.op, c.class.name(), &threads, &c.kernel, &blocking, &split, &spin, &margin, &regret, c.tier.name(), &c.note]);
    }
    emit(&format!("{table}\nprofile {}\nevidence {}", baked.path.display(), baked.evidence.display()))
}
