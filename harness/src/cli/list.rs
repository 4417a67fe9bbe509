//! `kiln list`: every kernel of the registry with its parameters, also those of other architectures.

use super::{Table, emit, emit_json};
use crate::filter::Filter;
use serde_json::json;

/// Lists every kernel with its parameters.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln list\n  kiln list --op gemm --isa neon,sve\n  kiln list --json")]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Prints the list.
///
/// # Errors
/// If no kernel is meant.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let entries = args.filter.entries()?;
    if args.json {
        let kernels: Vec<_> = entries
            .iter()
            .map(|e| {
                let m = e.meta;
                let params: serde_json::Map<_, _> = m.params.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
                json!({
                    "name": m.name, "op": m.op.name(), "format": m.format.name(), "isa": m.isa.name(), "arch": m.isa.arch(),
                    "params": params, "layout": m.layout, "order": m.order,
                    "fingerprint": format!("{:016x}", m.fingerprint), "runs_here": m.isa.runs_here(),
                })
            })
            .collect();
        return emit_json(&json!({ "kernels": kernels }));
    }
    let mut table = Table::new(["kernel", "operation", "format", "ISA", "parameters", "layout", "accumulation", "runs here"]);
    for e in &entries {
        let m = e.meta;
        let params: Vec<_> = m.params.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let here = if m.isa.runs_here() { "yes" } else { "no" };
        table.row([m.name, m.op.name(), m.format.name(), m.isa.name(), &params.join(", "), m.layout, m.order, here]);
    }
    let here = entries.iter().filter(|e| e.meta.isa.runs_here()).count();
    emit(&format!("{table}\n{} kernels, {here} of them run here", entries.len()))
}
