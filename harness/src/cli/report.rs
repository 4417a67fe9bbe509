//! `kiln report`: a store as one HTML page.

use super::emit;
use crate::machine::Machine;
use crate::machine::limits;
use crate::progress::Progress;
use crate::store::{self, Record};
use crate::{ranking, report};
use anyhow::{Context, ensure};
use std::path::PathBuf;

/// Turns a store into one self-contained HTML page: plots, heat maps, rooflines, tables.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln report --out report\n  kiln report --store results.jsonl --out report --no-limits")]
pub struct Args {
    /// Where the results are
    #[arg(long, default_value = super::STORE)]
    store: PathBuf,
    /// Folder of the page, which is made if need be
    #[arg(long)]
    out: PathBuf,
    /// Do not measure this machine's limits for the page
    #[arg(long)]
    no_limits: bool,
}

/// Writes OUT/index.html and prints its path.
///
/// # Errors
/// If the store holds nothing, or the page cannot be written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let contents = store::read(&args.store)?;
    if let Some(complaint) = contents.complaint(&args.store) {
        eprintln!("note: {complaint}");
    }
    let (records, stale) = ranking::current(contents.records);
    if stale > 0 {
        eprintln!("note: {stale} results are of kernels that have changed since, and are left out");
    }
    let here = Machine::detect();
    let (mine, others): (Vec<Record>, Vec<Record>) = records.into_iter().partition(|r| r.machine == here.key());
    // A page is of one machine: this one, or else the one of the last result.
    let (records, machine) = match others.last().map(|r| r.machine.clone()) {
        Some(last) if mine.is_empty() => (others.into_iter().filter(|r| r.machine == last).collect(), None),
        _ => (mine, Some(&here)),
    };
    ensure!(!records.is_empty(), "{} has no result of kernels as they are now: run kiln sweep first", args.store.display());
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let limits = match machine {
        Some(machine) if !args.no_limits => {
            let progress = Progress::new(limits::steps(machine), "measuring limits");
            Some(limits::measure(machine, true, |what| {
                progress.at(what);
                progress.advance(1);
            }))
        }
        _ => None,
    };
    let path = args.out.join("index.html");
    let standings = ranking::standings(&records);
    report::page(&records, &standings, machine, limits.as_ref()).write(&path)?;
    emit(&path.display().to_string())
}
