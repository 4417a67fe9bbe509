//! `kiln check`: verifies every kernel that runs here, and says which instruction sets ran.

use super::{emit, emit_json};
use crate::check::{self, Verification};
use crate::filter::Filter;
use crate::machine::cpu::sve_bytes;
use std::collections::HashSet;

/// Verifies every kernel that runs here against its oracle.
///
/// Shapes around each kernel's own tile, extreme values, outputs full of NaN, operands between guard
/// pages. Ends with 'N passed, N failed, N skipped'; skipped are kernels of this architecture whose
/// instructions this CPU lacks. Exit status 1 if one failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln check\n  kiln check --op gemm --isa avx2\n  kiln check --one-each\n  kiln check --json")]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Of each operation, format and instruction set one kernel alone: whether a CPU runs what it says it has, where
    /// all of them were verified on another
    #[arg(long)]
    one_each: bool,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Checks and prints.
///
/// # Errors
/// If no kernel is meant.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let mut entries = args.filter.entries()?;
    if args.one_each {
        let mut seen = HashSet::new();
        entries.retain(|e| seen.insert((e.meta.op, e.meta.format, e.meta.isa)));
    }
    let result = check::run(&entries);
    if args.json {
        emit_json(&result)?;
    } else {
        emit(&text(&result))?;
    }
    Ok(i32::from(result.failed > 0))
}

fn text(v: &Verification) -> String {
    let mut lines: Vec<String> = v.failures().map(|f| format!("FAILED {f}")).collect();
    let list = |isas: &[&str]| if isas.is_empty() { "none".to_owned() } else { isas.join(" ") };
    for isa in v.isas_ran.iter().chain(&v.isas_skipped) {
        lines.push(match v.of_isa(isa) {
            (passed, failed, 0) => format!("{isa}: {passed} passed, {failed} failed"),
            (.., skipped) => format!("{isa}: {skipped} skipped, this CPU does not have it"),
        });
    }
    if let Some(bytes) = sve_bytes() {
        lines.push(format!("SVE vectors: {} bits", 8 * bytes));
    }
    lines.push(format!("ISAs ran: {}", list(&v.isas_ran)));
    if !v.isas_skipped.is_empty() {
        lines.push(format!("ISAs skipped: {}", list(&v.isas_skipped)));
    }
    lines.push(format!("{} passed, {} failed, {} skipped", v.passed, v.failed, v.skipped));
    lines.join("\n")
}
