//! Static prediction: what a kernel's inner loop costs on a CPU that need not be here.
//!
//! The loop is taken from a binary that was really built and given to llvm-mca for
//! the CPU asked for. A prediction covers the inner loop with its loads, from L1: no
//! packing, no edges, no cache misses. Its tier is always `predicted`; nothing here is timed.

mod disassembly;
mod mca;
mod profile;

pub use profile::predicted_profile;

use anyhow::{Context, bail};
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::{self, Meta, Op};
use kiln_profiles::machine::Machine;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is predicted of one kernel on one CPU.
#[derive(Clone, Debug, Serialize)]
pub struct Prediction {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The CPU's name.
    pub cpu: String,
    /// Always `predicted`.
    pub tier: &'static str,
    /// Cycles of one iteration of the inner loop, in the long run.
    pub cycles: f64,
    /// FMA instructions in it.
    pub fma: usize,
    /// FMA instructions per cycle.
    pub fma_per_cycle: f64,
    /// Multiply-adds per cycle.
    pub mac_per_cycle: f64,
    /// Share of the rate at which the CPU can issue FMAs of this width.
    pub share_of_limit: f64,
    /// The resource with the highest pressure.
    pub limit: String,
}

/// The programs that the model needs, and where their newest version was found.
#[derive(Clone, Debug)]
pub struct Tools {
    objdump: PathBuf,
    mca: PathBuf,
}

impl Tools {
    /// Finds llvm-objdump and llvm-mca: `LLVM_BIN`, then Debian's versioned folders, newest first,
    /// then the search path. Older schedulers do not tell Arm cores apart, so 15 is the least.
    ///
    /// # Errors
    /// If there are none; the message says what to install.
    pub fn find() -> anyhow::Result<Tools> {
        let chosen = std::env::var_os("LLVM_BIN").map(PathBuf::from);
        let versions = (15..=30).rev().map(|v| PathBuf::from(format!("/usr/lib/llvm-{v}/bin")));
        let folder = chosen.into_iter().chain(versions).find(|d| d.join("llvm-mca").is_file() && d.join("llvm-objdump").is_file());
        let folder =
            folder.context("the model needs llvm-mca and llvm-objdump; install llvm-22, or set LLVM_BIN to the folder that holds them")?;
        Ok(Tools { objdump: folder.join("llvm-objdump"), mca: folder.join("llvm-mca") })
    }
}

/// Predicts every GEMM kernel of the CPU's architecture that `binary` holds, best first.
///
/// `wanted` says which kernels are of interest; `note` hears of each before it is predicted.
///
/// # Errors
/// If a tool is missing or fails, or the binary is not of that architecture or holds no kernels.
pub fn predict(
    tools: &Tools,
    machine: &Machine,
    binary: &Path,
    wanted: impl Fn(&Meta) -> bool,
    note: impl Fn(&str),
) -> anyhow::Result<Vec<Prediction>> {
    let metas: Vec<&'static Meta> =
        registry::all().map(|e| e.meta).filter(|m| m.op == Op::Gemm && m.isa.arch() == machine.arch && wanted(m)).collect();
    if metas.is_empty() {
        bail!("no gemm kernel for {} fits that selection; 'kiln list' shows all", machine.arch);
    }
    let code = disassembly::Code::open(binary, &machine.arch)?;
    let mut predictions = Vec::new();
    for meta in metas {
        let lanes = lanes(meta.isa);
        let Some(symbol) = code.symbol_of(meta) else {
            bail!("{} holds no code of {}; it must be a kiln binary of this source, built with --release", binary.display(), meta.name);
        };
        note(meta.name);
        let body = code.main_loop(tools, &symbol).with_context(|| format!("kernel {}", meta.name))?;
        let run = mca::run(tools, machine, &body.text)?;
        let peak = mca::peak_fma_rate(tools, machine, meta.isa)?;
        let fma_per_cycle = body.fma as f64 / run.cycles;
        predictions.push(Prediction {
            kernel: meta.name,
            cpu: machine.name.clone(),
            tier: "predicted",
            cycles: run.cycles,
            fma: body.fma,
            fma_per_cycle,
            mac_per_cycle: fma_per_cycle * lanes as f64,
            share_of_limit: fma_per_cycle / peak,
            limit: run.limit,
        });
    }
    predictions.sort_by(|a, b| b.mac_per_cycle.total_cmp(&a.mac_per_cycle).then(a.kernel.cmp(b.kernel)));
    Ok(predictions)
}

/// f32 lanes of an FMA as llvm-mca's cores have them: SVE of 128 bits, as on Neoverse N2 and V2.
fn lanes(isa: IsaId) -> usize {
    match isa {
        IsaId::Scalar => 1,
        IsaId::Neon | IsaId::Sve => 4,
        IsaId::Avx2 | IsaId::AvxVnni => 8,
        IsaId::Avx512 | IsaId::Avx512Vnni | IsaId::Avx512Bf16 => 16,
    }
}
