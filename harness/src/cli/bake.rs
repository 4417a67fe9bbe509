//! `kiln bake`: chooses the winners of a store and writes them as a profile.

use super::{Table, emit, emit_json};
use crate::bake::{self, Options};
use serde_json::json;
use std::path::PathBuf;

/// Chooses winners from a store and writes profiles/<cpu>/tuned.toml with the evidence beside it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln bake --cpu zen3\n  kiln bake --store results.jsonl --cpu my-laptop --threads 8")]
pub struct Args {
    /// Where the results are
    #[arg(long, default_value = super::STORE)]
    store: PathBuf,
    /// Name of the profile; a new one is recognised by this machine's identity from then on
    #[arg(long)]
    cpu: String,
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

/// Bakes and prints the choices.
///
/// # Errors
/// If the store holds nothing that counts, or the profile cannot be written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let root = match &args.profiles {
        Some(folder) => folder.clone(),
        None => crate::build::workspace()?.join("profiles"),
    };
    let options = Options { cpu: &args.cpu, store: &args.store, root: &root, threads: args.threads };
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
