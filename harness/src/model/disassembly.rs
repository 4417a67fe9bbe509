//! Finding a kernel's inner loop in a built binary.

use super::Tools;
use anyhow::{Context, bail, ensure};
use kiln_kernels::registry::Meta;
use object::{Object, ObjectSymbol};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A binary whose kernels can be looked up by symbol.
pub(super) struct Code {
    path: PathBuf,
    /// Mangled name by demangled name.
    symbols: BTreeMap<String, String>,
}

/// The instructions of a loop, as an assembler takes them, and how many are FMAs.
#[derive(Debug, PartialEq)]
pub(super) struct Loop {
    pub text: String,
    pub fma: usize,
}

impl Code {
    pub(super) fn open(path: &Path, arch: &str) -> anyhow::Result<Code> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let file = object::File::parse(&*bytes).with_context(|| format!("{} is not a program", path.display()))?;
        let is = match file.architecture() {
            object::Architecture::X86_64 => "x86_64",
            object::Architecture::Aarch64 => "aarch64",
            _ => "another architecture",
        };
        ensure!(
            is == arch,
            "{} is for {is}, but the CPU is {arch}: build kiln for it (cargo build --release -p kiln --target {arch}-unknown-linux-gnu) and give that binary with --binary",
            path.display()
        );
        let symbols = file
            .symbols()
            .filter_map(|s| s.name().ok().map(|name| (format!("{:#}", rustc_demangle::demangle(name)), name.to_owned())))
            .collect();
        Ok(Code { path: path.into(), symbols })
    }

    /// The mangled symbol that holds a GEMM kernel's loops. The demangled name spells the type with
    /// its parameters, either of the method itself or of the closure that it runs vectorised.
    pub(super) fn symbol_of(&self, meta: &Meta) -> Option<String> {
        let marks = [meta.symbol[0], meta.symbol[1], "MicroKernel"];
        let is_tile = |name: &str| name.contains("::tile") || name.contains("vectorize");
        let mut found: Vec<_> = self
            .symbols
            .iter()
            .filter(|(name, _)| marks.iter().all(|m| name.contains(m)) && is_tile(name) && !name.contains("::pack_"))
            .collect();
        // The closure's own function, where there is one, is the innermost and holds the loops.
        found.sort_by_key(|(name, _)| !name.contains("closure"));
        found.first().map(|(_, mangled)| (*mangled).clone())
    }

    /// The loop of a function with the most FMAs that holds no other loop.
    pub(super) fn main_loop(&self, tools: &Tools, symbol: &str) -> anyhow::Result<Loop> {
        let out = Command::new(&tools.objdump)
            .args(["-d", "--no-show-raw-insn", "--no-leading-addr", "--symbolize-operands", "--no-print-imm-hex"])
            .arg(format!("--disassemble-symbols={symbol}"))
            .arg(&self.path)
            .output()
            .with_context(|| format!("cannot run {}", tools.objdump.display()))?;
        if !out.status.success() {
            bail!("llvm-objdump failed: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        innermost_loop(&String::from_utf8_lossy(&out.stdout)).context("it has no inner loop with multiply-adds")
    }
}

/// Of all label-to-backward-branch spans without a span inside, the one with the most FMAs.
fn innermost_loop(listing: &str) -> Option<Loop> {
    let mut labels: Vec<(String, usize)> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    let mut best: Option<Loop> = None;
    for line in listing.lines() {
        // Comments; an Arm immediate also starts with '#', but no space follows it.
        let line = line.split("# ").next().unwrap_or(line).split("//").next().unwrap_or(line).trim();
        if let Some(label) = line.strip_prefix('<').and_then(|l| l.strip_suffix(">:")) {
            labels.push((label.to_owned(), lines.len()));
            continue;
        }
        if line.is_empty() || line.ends_with(':') {
            continue;
        }
        let target = line.rsplit_once('<').and_then(|(_, t)| t.strip_suffix('>'));
        lines.push(line.to_owned());
        let Some(position) = target.and_then(|t| labels.iter().rposition(|(l, _)| l == t)) else { continue };
        let body = &lines[labels[position].1..lines.len() - 1];
        // Jumps out of the body would stop the analyser's decoder; straight-line code is what repeats.
        let text: Vec<String> =
            body.iter().filter(|l| !l.contains('<')).map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let fma = text.iter().filter(|l| is_fma(l)).count();
        if fma > 0 && best.as_ref().is_none_or(|b| fma > b.fma) {
            best = Some(Loop { text: text.join("\n"), fma });
        }
        // Whatever encloses this loop is not an inner one.
        labels.clear();
    }
    best
}

fn is_fma(instruction: &str) -> bool {
    let name = instruction.split_whitespace().next().unwrap_or("");
    name.starts_with("vfmadd") || name == "fmla" || name == "fmadd" || name == "vfmaq"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_loop_with_most_fmas_is_taken() {
        let listing = "0000 <f>:\n\tpush rbp\n<L1>:\n\tnop\n<L0>:\n\tvfmadd231ps ymm0, ymm1, ymm2 # note\n\tvfmadd231ps ymm3, ymm1, ymm2\n\
                       \tjne <L0>\n<L2>:\n\tvfmadd231ps ymm0, ymm1, ymm2\n\tjne <L2>\n\tjmp <L1>\n";
        let found = innermost_loop(listing).unwrap();
        assert_eq!(found, Loop { text: "vfmadd231ps ymm0, ymm1, ymm2\nvfmadd231ps ymm3, ymm1, ymm2".into(), fma: 2 });
        assert_eq!(innermost_loop("<L0>:\n\tadd x0, x0, #1\n\tb.ne <L0>\n"), None);
        let arm = innermost_loop("<L0>:\n\tldr q0, [x1, #16]\n\tfmla v1.4s, v0.4s, v2.s[0]\n\tb.ne <L0>\n").unwrap();
        assert_eq!(arm.text, "ldr q0, [x1, #16]\nfmla v1.4s, v0.4s, v2.s[0]");
    }
}
