//! Predictions for operations on rows: the loop that moves the most bytes, what it costs, and which part of the CPU it
//! keeps busiest.
//!
//! Where an operation goes over a row more than once, that is the pass that moves most; the others are not counted.

use super::disassembly::Code;
use super::{Lacks, Tools, mca};
use anyhow::{Context, bail};
use kiln_kernels::registry::{self, Meta};
use kiln_profiles::machine::Machine;
use serde::Serialize;
use std::path::Path;

/// What is predicted of the widest loop of a kernel on rows.
#[derive(Clone, Debug, Serialize)]
pub struct RowPrediction {
    /// The kernel's name.
    pub kernel: String,
    /// The CPU's name.
    pub cpu: String,
    /// Always `predicted`.
    pub tier: &'static str,
    /// Cycles of one iteration, in the long run.
    pub cycles: f64,
    /// Bytes that it loads into and stores from vectors.
    pub bytes: usize,
    /// Of them in a cycle.
    pub bytes_per_cycle: f64,
    /// The resource with the highest pressure, by its name in LLVM's model of the CPU.
    pub resource: String,
    /// The share of the cycles in which it is in use: how near the loop is to what that resource allows.
    pub share_of_limit: f64,
    /// The instruction that needs that resource most.
    pub instruction: String,
    /// How many of it the loop has.
    pub count: usize,
}

/// Predicts every wanted kernel of the CPU's architecture that `binary` holds, of each operation and format those that
/// move most in a cycle first. Kernels with instructions that LLVM says the CPU lacks are left out; those whose code is
/// another's, or whose loops over vectors all hold other loops, as well, which is printed.
///
/// # Errors
/// If a tool is missing or fails, or the binary is not of that architecture or holds no kernels.
pub fn predict_rows(
    tools: &Tools,
    machine: &Machine,
    binary: &Path,
    wanted: impl Fn(&Meta) -> bool,
    note: impl Fn(&str),
) -> anyhow::Result<Vec<RowPrediction>> {
    let metas: Vec<&'static Meta> = registry::all().map(|e| e.meta).filter(|m| m.isa.arch() == machine.arch && wanted(m)).collect();
    if metas.is_empty() {
        bail!("no kernel for {} fits that selection; 'kiln list' shows all", machine.arch);
    }
    let code = Code::open(binary, &machine.arch)?;
    let (mut predictions, mut lacking) = (Vec::new(), Vec::new());
    for meta in metas {
        note(meta.name);
        let Some(symbol) = code.symbol_of_rows(meta) else {
            lacking.push((meta.name, Lacks::Code));
            continue;
        };
        let Some((text, bytes)) = code.widest_loop(tools, machine, &symbol).with_context(|| format!("kernel {}", meta.name))? else {
            lacking.push((meta.name, Lacks::Loop));
            continue;
        };
        let Some(run) = mca::run(tools, machine, &text)? else { continue };
        let busiest = run.busiest.context("llvm-mca printed no pressure of resources")?;
        let prediction = RowPrediction {
            kernel: meta.name.into(),
            cpu: machine.name.clone(),
            tier: "predicted",
            cycles: run.cycles,
            bytes,
            bytes_per_cycle: bytes as f64 / run.cycles,
            resource: busiest.name,
            share_of_limit: busiest.share,
            instruction: busiest.instruction,
            count: busiest.count,
        };
        predictions.push(((meta.op, meta.format), prediction));
    }
    Lacks::account_for(&lacking, &predictions, machine, binary)?;
    predictions.sort_by(|(f, a), (g, b)| f.cmp(g).then(b.bytes_per_cycle.total_cmp(&a.bytes_per_cycle)).then(a.kernel.cmp(&b.kernel)));
    Ok(predictions.into_iter().map(|(_, p)| p).collect())
}
