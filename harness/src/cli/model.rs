//! `kiln model`: static prediction of each kernel on a CPU, here or not.

use super::{Table, emit, emit_json};
use crate::filter::Filter;
use crate::model::{self, Tools};
use crate::progress::Progress;
use kiln_kernels::registry::Op;
use kiln_profiles::lookup;
use serde_json::json;
use std::path::PathBuf;

/// Predicts the inner loops of kernels with llvm-mca, for any CPU that has a profile.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln model gemm --cpu zen4\n  \
    kiln model gemm --cpu neoverse-n2 --binary target/aarch64-unknown-linux-gnu/release/kiln\n  \
    kiln model gemm --cpu neoverse-n2 --binary … --bake")]
pub struct Args {
    /// The operation; so far gemm
    #[arg(value_name = "OP")]
    op: Op,
    /// The CPU, by the name of its profile
    #[arg(long, value_name = "NAME")]
    cpu: String,
    /// A kiln binary of that CPU's architecture [default: this one]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Write the best tiles to the CPU's profile, as predicted
    #[arg(long)]
    bake: bool,
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
}

/// Prints the predictions, best first.
///
/// # Errors
/// If the CPU is unknown, a tool is missing, or the binary is not one to predict from.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    anyhow::ensure!(args.op == Op::Gemm, "the model knows gemm so far, not {}", args.op);
    let root = lookup::default_root();
    let machine = lookup::machine(root, &args.cpu)?;
    let tools = Tools::find()?;
    let binary = match &args.binary {
        Some(path) => path.clone(),
        None => std::env::current_exe()?,
    };
    let filter = Filter { op: vec![args.op], isa: args.filter.isa.clone(), format: vec![args.op.format()] };
    let total = filter.entries()?.iter().filter(|e| e.meta.isa.arch() == machine.arch).count();
    let progress = Progress::new(total as u64, "predicting");
    let predictions = model::predict(
        &tools,
        &machine,
        &binary,
        |m| filter.takes(m),
        |kernel| {
            progress.at(kernel);
            progress.advance(1);
        },
    )?;
    drop(progress);
    // Another binary does not say what it was compiled with.
    let compiler = if args.binary.is_none() { crate::provenance::COMPILER } else { "not known: predicted from a binary that was given" };
    let baked = if args.bake {
        let tuned = model::predicted_profile(root, &machine, &predictions, compiler, crate::store::now())?;
        Some(lookup::write_tuned(root, &tuned)?)
    } else {
        None
    };
    if args.json {
        return emit_json(&json!({ "cpu": machine.name, "tier": "predicted", "predictions": predictions }));
    }
    let mut table = Table::new(["kernel", "fma/cycle", "MAC/cycle", "of the pipe limit", "bound by"]);
    for p in &predictions {
        table.row([
            p.kernel,
            &format!("{:.2}", p.fma_per_cycle),
            &format!("{:.1}", p.mac_per_cycle),
            &format!("{:.0} %", 100.0 * p.share_of_limit),
            &p.limit,
        ]);
    }
    emit(&format!("{table}\n{} on {}, predicted by llvm-mca: inner loops only, operands in L1", args.op, machine.title))?;
    if let Some(path) = baked {
        eprintln!("kiln: wrote {}", path.display());
    }
    Ok(0)
}
