//! `kiln model`: static prediction of each kernel on a CPU, here or not, and how far such predictions are off.

mod against;
mod pairs;

use super::{Table, emit, emit_json};
use crate::filter::{self, Filter};
use crate::model::{self, Prediction, RowPrediction, Tools};
use crate::progress::Progress;
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_profiles::lookup;
use kiln_profiles::machine::Machine;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Predicts the inner loops of kernels with llvm-mca, for any CPU that has a profile.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln model gemm --cpu zen4\n  \
    kiln model gemm --cpu neoverse-n2 --format bf16,s8 --binary target/aarch64-unknown-linux-gnu/release/kiln\n  \
    kiln model f16_to_f32 --cpu neoverse-n2 --binary … --isa neon,sve\n  \
    kiln model gemm --cpu neoverse-n2 --peer libopenblas.so.0:sgemm_kernel\n  \
    kiln model gemm --cpu zen4 --against kiln-results.jsonl\n  \
    kiln model gemm --cpu zen4 --against kiln-results.jsonl --pairs\n  \
    kiln model gemm --cpu zen4 --against fleet.jsonl --format s8,q8_0 --json")]
pub struct Args {
    /// The operation: gemm, or any on rows
    #[arg(value_name = "OP")]
    op: Op,
    /// The CPU, by the name of its profile
    #[arg(long, value_name = "NAME")]
    cpu: String,
    /// A kiln binary of that CPU's architecture [default: this one]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Another program's loop instead: an object, library or binary, and part of a symbol's name [default: the
    /// loop with the most multiply-adds]
    #[arg(long, value_name = "FILE[:SYMBOL]", conflicts_with_all = ["binary", "isa", "format"])]
    peer: Option<String>,
    /// How far predictions are off this CPU's measured results in a store: for each problem the rank correlation of
    /// predicted and measured times, what the model's first choice costs, and the residuals
    #[arg(long, value_name = "STORE", conflicts_with = "peer")]
    against: Option<PathBuf>,
    /// With --against: measure the model's first choice in fresh pairs with the three fastest in the store, on the machine that they
    /// were measured on
    #[arg(long, requires = "against")]
    pairs: bool,
    #[command(flatten)]
    filter: ModelFilter,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Which kernels are predicted.
#[derive(Debug, clap::Args)]
struct ModelFilter {
    /// Instruction sets, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "ISA")]
    isa: Vec<kiln_kernels::isa::IsaId>,
    /// Formats, separated by commas [default: f32, or the operation's own; of a store, all that it has]
    #[arg(long, value_delimiter = ',', value_name = "FORMAT", value_parser = filter::format)]
    format: Vec<Format>,
}

/// Prints the predictions, best first.
///
/// # Errors
/// If the CPU is unknown, a tool is missing, or the binary is not one to predict from.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let of_rows = args.op.is_rows();
    anyhow::ensure!(model::knows(args.op), "the model knows gemm and operations on rows, not {}", args.op);
    anyhow::ensure!(!of_rows || args.peer.is_none(), "--peer is for gemm");
    let machine = lookup::machine(lookup::default_root(), &args.cpu)?;
    let tools = Tools::find()?;
    if let Some(peer) = &args.peer {
        let (file, symbol) = match peer.rsplit_once(':') {
            Some((file, symbol)) if !Path::new(peer).exists() => (file, Some(symbol)),
            _ => (peer.as_str(), None),
        };
        let predictions = model::predict_peer(&tools, &machine, Path::new(file), symbol)?;
        return show(args, &machine, &predictions);
    }
    let binary = match &args.binary {
        Some(path) => path.clone(),
        None => std::env::current_exe()?,
    };
    if let Some(store) = &args.against {
        let kernels = Filter { op: vec![args.op], isa: args.filter.isa.clone(), format: args.filter.format.clone() };
        return against::run(&against::Options { store, machine: &machine, binary: &binary, kernels, pairs: args.pairs, json: args.json });
    }
    let format = if args.filter.format.is_empty() { vec![args.op.format()] } else { args.filter.format.clone() };
    let filter = Filter { op: vec![args.op], isa: args.filter.isa.clone(), format };
    let total = filter.entries()?.iter().filter(|e| e.meta.isa.arch() == machine.arch).count();
    let progress = Progress::new(total as u64, "predicting");
    let at = |kernel: &str| {
        progress.at(kernel);
        progress.advance(1);
    };
    if of_rows {
        let predictions = model::predict_rows(&tools, &machine, &binary, |m| filter.takes(m), at)?;
        drop(progress);
        return show_rows(args, &machine, &predictions);
    }
    let predictions = model::predict(&tools, &machine, &binary, |m| filter.takes(m), at)?;
    drop(progress);
    show(args, &machine, &predictions)
}

/// Prints the predictions in their order.
fn show(args: &Args, machine: &Machine, predictions: &[Prediction]) -> anyhow::Result<i32> {
    if args.json {
        return emit_json(&json!({ "cpu": machine.name, "tier": "predicted", "predictions": predictions }));
    }
    let mut table = Table::new(["kernel", "instruction", "in a loop", "cycles", "a cycle", "MAC/cycle", "of the pipe limit", "bound by"]);
    for p in predictions {
        table.row([
            p.kernel.as_str(),
            p.instruction,
            &p.fma.to_string(),
            &format!("{:.1}", p.cycles),
            &format!("{:.2}", p.fma_per_cycle),
            &format!("{:.1}", p.mac_per_cycle),
            &format!("{:.0} %", 100.0 * p.share_of_limit),
            &p.limit,
        ]);
    }
    emit(&format!("{table}\n{} on {}, predicted by llvm-mca: inner loops only, operands in L1", args.op, machine.title))?;
    Ok(0)
}

/// Prints the predictions of operations on rows in their order.
fn show_rows(args: &Args, machine: &Machine, predictions: &[RowPrediction]) -> anyhow::Result<i32> {
    if args.json {
        return emit_json(&json!({ "cpu": machine.name, "tier": "predicted", "predictions": predictions }));
    }
    let mut table = Table::new(["kernel", "cycles", "bytes", "bytes/cycle", "busiest", "of its limit", "needed most by", "in a loop"]);
    for p in predictions {
        table.row([
            p.kernel.as_str(),
            &format!("{:.1}", p.cycles),
            &p.bytes.to_string(),
            &format!("{:.1}", p.bytes_per_cycle),
            &p.resource,
            &format!("{:.0} %", 100.0 * p.share_of_limit),
            &p.instruction,
            &p.count.to_string(),
        ]);
    }
    emit(&format!("{table}\n{} on {}, predicted by llvm-mca: the loop that moves most, operands in L1", args.op, machine.title))?;
    Ok(0)
}
