//! Static prediction: what a kernel's inner loop costs on a CPU that need not be here.
//!
//! The loop is taken from a binary that was really built and given to llvm-mca for
//! the CPU asked for. A prediction covers the inner loop with its loads, from L1: no
//! packing, no edges, no cache misses. Its tier is always `predicted`; nothing here is timed.

pub mod call;
mod corrections;
mod disassembly;
pub mod figure;
mod mca;
mod multiply;
mod predictor;
pub mod residual;
mod rows;
mod traffic;

pub use predictor::Predictor;
pub use rows::{RowPrediction, predict_rows};

use anyhow::{Context, bail};
use disassembly::{Code, Loop};
use kiln_kernels::format::Format;
use kiln_kernels::registry::{self, Meta, Op};
use kiln_profiles::machine::Machine;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is predicted of one loop on one CPU.
#[derive(Clone, Debug, Serialize)]
pub struct Prediction {
    /// The kernel's name, or the peer's symbol.
    pub kernel: String,
    /// The CPU's name.
    pub cpu: String,
    /// Always `predicted`.
    pub tier: &'static str,
    /// Cycles of one iteration of the inner loop, in the long run.
    pub cycles: f64,
    /// The multiply-add instruction that does most of the work.
    pub instruction: &'static str,
    /// How many of it the loop has.
    pub fma: usize,
    /// How many of it are done in a cycle.
    pub fma_per_cycle: f64,
    /// Multiply-adds that they do in a cycle.
    pub mac_per_cycle: f64,
    /// Share of the rate at which the CPU can issue these instructions, independent ones and nothing else.
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

/// Predicts every GEMM kernel of the CPU's architecture that `binary` holds, best first within a format.
/// Kernels with instructions that LLVM says the CPU lacks are left out.
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
    let code = Code::open(binary, &machine.arch)?;
    let mut predictions: Vec<(Format, Prediction)> = Vec::new();
    let mut lacking = Vec::new();
    for meta in metas {
        note(meta.name);
        let Some(symbol) = code.symbol_of(meta) else {
            lacking.push((meta.name, Lacks::Code));
            continue;
        };
        let body = code.main_loop(tools, machine, Some(&symbol)).with_context(|| format!("kernel {}", meta.name))?;
        predictions.extend(prediction(tools, machine, meta.name.into(), &body)?.map(|p| (meta.format, p)));
    }
    Lacks::account_for(&lacking, &predictions, machine, binary)?;
    predictions.sort_by(|(f, a), (g, b)| f.cmp(g).then(b.mac_per_cycle.total_cmp(&a.mac_per_cycle)).then(a.kernel.cmp(&b.kernel)));
    Ok(predictions.into_iter().map(|(_, p)| p).collect())
}

/// Why a kernel has no prediction.
#[derive(Clone, Copy, PartialEq)]
enum Lacks {
    Code,
    Loop,
}

impl Lacks {
    /// Prints how many kernels have no prediction, and why.
    ///
    /// # Errors
    /// If none has one.
    fn account_for<T>(lacking: &[(&str, Lacks)], predictions: &[T], machine: &Machine, binary: &Path) -> anyhow::Result<()> {
        let of = |lack: Lacks| lacking.iter().filter(move |(_, l)| *l == lack).map(|(kernel, _)| kernel);
        if predictions.is_empty() {
            // Where there is code of one, the binary is not what is wrong.
            match (of(Lacks::Loop).next(), of(Lacks::Code).next()) {
                (Some(first), _) => bail!("{first} has no loop over vectors that holds no other loop: nothing is predicted"),
                (_, Some(first)) => {
                    bail!("{} holds no code of {first}; it must be a kiln binary of this source, built with --release", binary.display())
                }
                _ => bail!("{} can run none of these kernels", machine.title),
            }
        }
        for (lack, why) in [
            (Lacks::Code, "no code of their own, since others' is the same"),
            (Lacks::Loop, "no loop over vectors that holds no other loop"),
        ] {
            let mut these = of(lack);
            if let Some(first) = these.next() {
                eprintln!("note: {why}: {} kernels, {first} the first; they have no prediction", these.count() + 1);
            }
        }
        Ok(())
    }
}

/// Predicts the inner loop of another program's function, of each whose name is or else contains `symbol`;
/// without a symbol, the loop of all its code that has the most multiply-adds.
///
/// # Errors
/// If a tool is missing or fails, the file is no program of that architecture, or there is no such loop.
pub fn predict_peer(tools: &Tools, machine: &Machine, file: &Path, symbol: Option<&str>) -> anyhow::Result<Vec<Prediction>> {
    let code = Code::open(file, &machine.arch)?;
    let Some(part) = symbol else {
        let body = code.main_loop(tools, machine, None)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = prediction(tools, machine, name, &body)?;
        return Ok(vec![found.with_context(|| format!("{} lacks an instruction of that loop; name a symbol", machine.title))?]);
    };
    let mut predictions = Vec::new();
    for symbol in code.symbols_like(part) {
        // Most functions that share a name's part multiply nothing.
        let Ok(body) = code.main_loop(tools, machine, Some(symbol)) else { continue };
        predictions.extend(prediction(tools, machine, symbol.into(), &body)?);
    }
    if predictions.is_empty() {
        bail!("no symbol of {} with '{part}' has an inner loop with multiply-adds that {} can run", file.display(), machine.title);
    }
    predictions.sort_by(|a, b| b.mac_per_cycle.total_cmp(&a.mac_per_cycle).then(a.kernel.cmp(&b.kernel)));
    Ok(predictions)
}

/// What a loop costs; `None` when the CPU lacks an instruction in it.
fn prediction(tools: &Tools, machine: &Machine, kernel: String, body: &Loop) -> anyhow::Result<Option<Prediction>> {
    let Some(run) = mca::run(tools, machine, &body.text)? else { return Ok(None) };
    let peak = mca::peak_rate(tools, machine, &body.multiply)?;
    // What LLVM has wrong of an instruction holds for the loop as far as the loop waits for that instruction.
    let slower = machine.slower.get(body.multiply.kind).copied();
    let peak = peak / slower.unwrap_or(1.0);
    let waits = slower.map(|_| body.count as f64 / peak).filter(|waits| *waits > run.cycles);
    let (cycles, limit) = waits.map_or((run.cycles, run.limit), |waits| (waits, body.multiply.kind.to_owned()));
    let fma_per_cycle = body.count as f64 / cycles;
    Ok(Some(Prediction {
        kernel,
        cpu: machine.name.clone(),
        tier: "predicted",
        cycles,
        instruction: body.multiply.kind,
        fma: body.count,
        fma_per_cycle,
        mac_per_cycle: body.macs as f64 / cycles,
        share_of_limit: fma_per_cycle / peak,
        limit,
    }))
}

/// Whether there is a model of an operation.
pub fn knows(op: Op) -> bool {
    op == Op::Gemm || op.is_rows()
}

/// Bits of an SVE vector of a CPU; those that do not say have the least.
fn sve_bits(machine: &Machine) -> usize {
    machine.sve_bits.unwrap_or(128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_profiles::lookup;

    #[test]
    fn what_is_slower_than_llvm_has_it_bounds_the_loops_that_wait_for_it() {
        let tools = match Tools::find() {
            Ok(tools) => tools,
            Err(error) => return println!("SKIPPED: {error}"),
        };
        let mut machine = lookup::machine(lookup::default_root(), "graniterapids").expect("a profile");
        let mut predicted = |kind: &str, slower: Option<f64>| {
            let text: Vec<String> = (0..24).map(|i| format!("{kind} %zmm30, %zmm31, %zmm{i}")).collect();
            let multiply = multiply::Multiply::of(&text[0], &machine).expect("a multiply-add");
            machine.slower = slower.map(|times| (multiply.kind.to_owned(), times)).into_iter().collect();
            let (count, macs) = (text.len(), text.len() * multiply.macs);
            let body = Loop { text: text.join("\n"), multiply, count, macs };
            prediction(&tools, &machine, kind.into(), &body).expect("llvm-mca").expect("a CPU that has it")
        };
        for kind in ["vdpbf16ps", "vfmadd231ps"] {
            let (as_it_is, four_times) = (predicted(kind, None), predicted(kind, Some(4.0)));
            assert!((four_times.cycles / as_it_is.cycles - 4.0).abs() < 0.2, "{as_it_is:?} {four_times:?}");
            assert!((four_times.mac_per_cycle * 4.0 / as_it_is.mac_per_cycle - 1.0).abs() < 0.05, "{four_times:?}");
            assert!(four_times.limit.starts_with(&kind[..6]) && as_it_is.limit != four_times.limit, "{as_it_is:?} {four_times:?}");
            assert!((four_times.share_of_limit - 1.0).abs() < 0.05, "{four_times:?}");
        }
    }
}
