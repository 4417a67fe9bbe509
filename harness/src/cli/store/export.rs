//! `kiln store export`: a store in the formats of other tools.

use crate::cli::{emit, emit_json};
use crate::exchange::{self, Format, Place, Wanted};
use anyhow::ensure;
use serde_json::json;
use std::io::{ErrorKind, IsTerminal};
use std::path::PathBuf;

/// Writes results for other tools: T4 and T1 of FAIR auto-tuning, CSV, Parquet
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln store export --format csv results.jsonl > results.csv\n  \
kiln store export --format parquet --out results.parquet results.jsonl\n  \
kiln store export --format t4 --op gemm --shape 256x256x256 --threads 1 results.jsonl\n  \
kiln store export --format t4 --folder t4 results.jsonl\n  kiln store export --format t1 --folder t1 results.jsonl\n\n\
T4 and T1 documents are of one problem each (operation, format, shape, threads, packed, operands) on one machine and of one\n\
tier: choose one, or give --folder for a file each. Times are in nanoseconds. CSV and Parquet have a row a result, with units\n\
in the names of columns; what a result does not have is empty.")]
pub struct Args {
    /// What to write
    #[arg(long)]
    format: Format,
    /// The file [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A folder that gets a T4 or T1 document for each problem; made if it is not there
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
    /// One JSON document on stdout that says what was written; wants --out or --folder
    #[arg(long)]
    json: bool,
    /// The store, which stays as it is
    store: PathBuf,
}

/// Does it.
///
/// # Errors
/// If the store cannot be read or has nothing to write, or it cannot be written there.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let place = match (&args.out, &args.folder) {
        (_, Some(folder)) => Place::Folder(folder),
        (Some(file), None) => Place::File(file),
        (None, None) => Place::Stdout,
    };
    let on_stdout = matches!(place, Place::Stdout);
    ensure!(args.format.has_documents() || args.folder.is_none(), "CSV and Parquet are one file: give --out instead of --folder");
    ensure!(!(args.json && on_stdout), "--json and what is exported cannot both go to stdout: give --out or --folder");
    let binary = args.format == Format::Parquet && on_stdout && std::io::stdout().is_terminal();
    ensure!(!binary, "Parquet is nothing for a terminal: give --out FILE");
    let exported = match exchange::export(&args.store, args.format, &args.wanted, place) {
        // A reader of stdout that has seen enough is no error.
        Err(error) if on_stdout && is_gone(&error) => return Ok(0),
        other => other?,
    };
    exported.unreadable.complaint(&args.store).into_iter().for_each(|complaint| eprintln!("note: {complaint}"));
    if args.json {
        let (results, problems, left) = (exported.results, exported.problems, exported.unreadable.count);
        return emit_json(
            &json!({ "format": args.format, "results": results, "problems": problems, "files": exported.files, "unreadable_lines": left }),
        );
    }
    let said = match exported.files.as_slice() {
        [] => return Ok(0),
        [file] => format!("{}: {} results", file.display(), exported.results),
        files => format!("{} files: {} results", files.len(), exported.results),
    };
    emit(&said)
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<std::io::Error>()).any(|e| e.kind() == ErrorKind::BrokenPipe)
}
