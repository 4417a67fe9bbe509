//! `kiln store import`: what `kiln store export` wrote as a store again.

use crate::cli::{emit, emit_json};
use crate::exchange;
use serde_json::json;
use std::path::PathBuf;

/// Adds the results of documents that Kiln exported to a store, each once
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln store import --format t4 gemm.t4.json results.jsonl\n  \
kiln store import --format t4 t4/*.json results.jsonl\n\n\
A result stays what it was: of the machine, the kernel and the tier that it names. One that names none, as other tools' do,\n\
that is of no kernel of Kiln's, or whose time is not that of its runtimes, is refused and counted. If there are no others,\n\
the command fails.")]
pub struct Args {
    /// What the documents are
    #[arg(long)]
    format: Format,
    /// The documents, which stay as they are
    #[arg(required = true, value_name = "FILE")]
    documents: Vec<PathBuf>,
    /// The store that takes their results; made if it is not there
    store: PathBuf,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// What can be read back.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// Results of FAIR auto-tuning
    T4,
}

/// Does it.
///
/// # Errors
/// If a document cannot be read, if none of its results is ours, or if the store cannot be written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let Format::T4 = args.format;
    let imported = exchange::import(&args.documents, &args.store)?;
    if let Some(first) = &imported.first_refused {
        eprintln!("note: {} results are refused, first {first}", imported.refused);
    }
    let (store, n) = (args.store.display().to_string(), args.documents.len());
    let (added, known, refused) = (imported.added, imported.known, imported.refused);
    if args.json {
        return emit_json(&json!({ "store": store, "added": added, "known": known, "refused": refused }));
    }
    emit(&format!("{store}: {added} results added of {n} documents, {known} were there, {refused} are refused"))
}
