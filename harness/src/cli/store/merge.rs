//! `kiln store merge`: several stores as one.

use crate::cli::{emit, emit_json};
use crate::store;
use serde_json::json;
use std::path::PathBuf;

/// Adds the results of stores to another, each once: merging again adds nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kiln store merge all.jsonl node0.jsonl node1.jsonl")]
pub struct Args {
    /// The store that takes them; made if it is not there
    target: PathBuf,
    /// The stores that have them, which stay as they are
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// If a store cannot be read or written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let merged = store::merge(&args.target, &args.sources)?;
    for (path, unreadable) in &merged.unreadable {
        unreadable.complaint(path).into_iter().for_each(|complaint| eprintln!("note: {complaint}"));
    }
    let left: usize = merged.unreadable.iter().map(|u| u.1.count).sum();
    if args.json {
        let target = args.target.display().to_string();
        return emit_json(&json!({ "store": target, "added": merged.added, "known": merged.known, "unreadable_lines": left }));
    }
    let (target, n) = (args.target.display(), args.sources.len());
    emit(&format!("{target}: {} results added of {n} stores, {} were there, {left} lines could not be read", merged.added, merged.known))
}
