//! `kiln lab`: everything on this machine, once through.

use super::emit;
use crate::lab::{self, Options};
use std::path::PathBuf;

/// Runs the whole laboratory: probe, verify, sweep, count, bake, build qwen2, compare, sample, report.
///
/// Ends by printing the page's path and a text that the built engine wrote. Interrupted, it resumes
/// from the results that are in its folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln lab --quick\n  kiln lab --out my-lab")]
pub struct Args {
    /// About ten minutes on two cores instead of an hour
    #[arg(long)]
    quick: bool,
    /// Folder of everything that is written
    #[arg(long, value_name = "DIR", default_value = "lab")]
    out: PathBuf,
}

/// Runs it; 1 when a kernel gave wrong answers.
///
/// # Errors
/// As [`lab::run`].
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let options = if args.quick { Options::quick(args.out.clone()) } else { Options::full(args.out.clone()) };
    let outcome = lab::run(&options)?;
    let page = outcome.page.canonicalize().unwrap_or(outcome.page);
    emit(&format!("{}\n\n{}", page.display(), outcome.text))?;
    Ok(i32::from(outcome.failed > 0))
}
