//! Finding a kernel's inner loop in a built binary.

use super::multiply::Multiply;
use super::{Tools, traffic};
use anyhow::{Context, bail, ensure};
use kiln_kernels::registry::Meta;
use kiln_profiles::machine::Machine;
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

/// The instructions of a loop, as an assembler takes them.
#[derive(Debug, PartialEq)]
pub(super) struct Loop {
    pub text: String,
    /// One of the kind of multiply-adds that does most of the work.
    pub multiply: Multiply,
    /// Instructions of that kind.
    pub count: usize,
    /// Multiply-adds that they do.
    pub macs: usize,
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
            .chain(file.dynamic_symbols())
            .filter_map(|s| s.name().ok().map(|name| (format!("{:#}", rustc_demangle::demangle(name)), name.to_owned())))
            .collect();
        Ok(Code { path: path.into(), symbols })
    }

    /// The mangled symbol that holds a GEMM kernel's loops. The demangled name spells the type with
    /// its parameters, either of the method itself or of the closure that it runs vectorised.
    pub(super) fn symbol_of(&self, meta: &Meta) -> Option<String> {
        let marks = [meta.symbol[0], meta.symbol[1], "MicroKernel"];
        let of_tile = |name: &str| marks.iter().all(|m| name.contains(m)) && name.contains("::tile");
        let mut found: Vec<_> = self.symbols.iter().filter(|(name, _)| of_tile(name)).collect();
        // The closure's own function, where there is one, is the innermost and holds the loops.
        found.sort_by_key(|(name, _)| !name.contains("closure"));
        found.first().map(|(_, mangled)| (*mangled).clone())
    }

    /// The mangled symbol that holds the loops of a kernel on rows: what is compiled for its instruction set, where there
    /// is such a function, which the demangled name of the kernel's type is part of.
    pub(super) fn symbol_of_rows(&self, meta: &Meta) -> Option<String> {
        let runs = |name: &str| meta.symbol.iter().all(|mark| name.contains(mark)) && name.contains("::run");
        let mut found: Vec<_> = self.symbols.iter().filter(|(name, _)| runs(name)).collect();
        found.sort_by_key(|(name, _)| !name.contains("vectorize"));
        found.first().map(|(_, mangled)| (*mangled).clone())
    }

    /// Every symbol whose mangled or demangled name contains `part`, sorted: those that are called exactly so
    /// alone, if there are any.
    pub(super) fn symbols_like(&self, part: &str) -> Vec<&str> {
        let all = || self.symbols.iter().map(|(name, mangled)| (name.as_str(), mangled.as_str()));
        let exact: Vec<&str> = all().filter(|(name, mangled)| *name == part || *mangled == part).map(|(_, mangled)| mangled).collect();
        if exact.is_empty() {
            all().filter(|(name, mangled)| name.contains(part) || mangled.contains(part)).map(|(_, m)| m).collect()
        } else {
            exact
        }
    }

    /// The loop of a function, or of all code, with the most multiply-adds that holds no other loop.
    pub(super) fn main_loop(&self, tools: &Tools, machine: &Machine, symbol: Option<&str>) -> anyhow::Result<Loop> {
        let found = self.find(tools, symbol, |listing| innermost_loop(listing, |line| Multiply::of(line, machine)))?;
        found.context("it has no inner loop with multiply-adds")
    }

    /// The loop of a function that moves the most bytes and holds no other loop, and those bytes. What computes nothing
    /// fills or copies, and what goes by way of the stack is an edge, unless all does. `None` if there is no such loop.
    pub(super) fn widest_loop(&self, tools: &Tools, machine: &Machine, symbol: &str) -> anyhow::Result<Option<(String, usize)>> {
        let moved = |body: &[String]| body.iter().map(|line| traffic::bytes(line, machine)).sum::<usize>();
        let inside = |body: &[String]| !body.iter().any(|line| line.contains("[sp") || line.contains("(%rsp"));
        let computes = |body: &Vec<String>| body.iter().any(|line| traffic::computes(line, machine));
        let widest = |listing: &str| {
            let found = innermost_loops(listing).into_iter().filter(computes).map(|body| ((inside(&body), moved(&body)), body));
            let found = found.filter(|((_, bytes), _)| *bytes > 0);
            found.reduce(|best, found| if found.0 > best.0 { found } else { best })
        };
        Ok(self.find(tools, Some(symbol), widest)?.map(|((_, bytes), body)| (body.join("\n"), bytes)))
    }

    /// What is found in a function, or in all code, or else in a function that it calls: functions of two types that come to
    /// the same code are there once, and the other's wrapper calls it.
    fn find<T>(&self, tools: &Tools, symbol: Option<&str>, of: impl Fn(&str) -> Option<T>) -> anyhow::Result<Option<T>> {
        let listing = self.listing(tools, symbol)?;
        if let Some(found) = of(&listing) {
            return Ok(Some(found));
        }
        for called in calls(&listing) {
            if let Some(found) = of(&self.listing(tools, Some(called))?) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The disassembly of a function, or of all code.
    fn listing(&self, tools: &Tools, symbol: Option<&str>) -> anyhow::Result<String> {
        let mut objdump = Command::new(&tools.objdump);
        objdump.args(["-d", "--no-show-raw-insn", "--no-leading-addr", "--symbolize-operands", "--no-print-imm-hex"]);
        if let Some(symbol) = symbol {
            objdump.arg(format!("--disassemble-symbols={symbol}"));
        }
        let out = objdump.arg(&self.path).output().with_context(|| format!("cannot run {}", tools.objdump.display()))?;
        if !out.status.success() {
            bail!("llvm-objdump failed: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }
}

/// The functions that a listing calls or jumps to.
fn calls(listing: &str) -> impl Iterator<Item = &str> {
    let target = |line: &'_ str| -> Option<(usize, usize)> {
        let (start, end) = (line.rfind('<')? + 1, line.rfind('>')?);
        let instruction = line.split_whitespace().next()?;
        let is_call = ["call", "jmp", "bl", "b"].iter().any(|name| instruction == *name || instruction.strip_suffix('q') == Some(name));
        (is_call && start < end && !line[start..end].contains('+')).then_some((start, end))
    };
    listing.lines().filter_map(move |line| target(line).map(|(start, end)| &line[start..end])).filter(|name| name.starts_with('_'))
}

/// Of all loops without a loop inside, the one with the most multiply-adds.
fn innermost_loop(listing: &str, multiply: impl Fn(&str) -> Option<Multiply>) -> Option<Loop> {
    let found = innermost_loops(listing).into_iter().filter_map(|body| main_kind(body, &multiply));
    found.reduce(|best, found| if found.macs > best.macs { found } else { best })
}

/// The bodies of all label-to-backward-branch spans without a span inside. Jumps out of a body would stop the analyser's
/// decoder and are left out: straight-line code is what repeats.
fn innermost_loops(listing: &str) -> Vec<Vec<String>> {
    let mut labels: Vec<(String, usize)> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    let mut bodies = Vec::new();
    for line in listing.lines() {
        // Comments; an Arm immediate also starts with '#', but no space follows it.
        let line = line.split("# ").next().unwrap_or(line).split("//").next().unwrap_or(line).trim();
        let label = line.strip_prefix('<').and_then(|l| l.strip_suffix(">:"));
        if let Some(label) = label.filter(|l| l.starts_with('L') && l[1..].chars().all(|c| c.is_ascii_digit())) {
            labels.push((label.to_owned(), lines.len()));
            continue;
        }
        if line.is_empty() {
            continue;
        }
        if line.ends_with(':') {
            // Another function: labels are of one.
            labels.clear();
            lines.clear();
            continue;
        }
        let target = line.rsplit_once('<').and_then(|(_, t)| t.strip_suffix('>'));
        lines.push(line.to_owned());
        let Some(position) = target.and_then(|t| labels.iter().rposition(|(l, _)| l == t)) else { continue };
        let body = &lines[labels[position].1..lines.len() - 1];
        bodies.push(body.iter().filter(|l| !l.contains('<')).map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect());
        // Whatever encloses this loop is not an inner one.
        labels.clear();
    }
    bodies
}

/// A loop's body with its multiply-adds of the kind that does most; `None` when it has none.
fn main_kind(text: Vec<String>, multiply: impl Fn(&str) -> Option<Multiply>) -> Option<Loop> {
    let mut kinds: BTreeMap<&str, (Multiply, usize, usize)> = BTreeMap::new();
    for found in text.iter().filter_map(|l| multiply(l)) {
        let (_, count, macs) = kinds.entry(found.kind).or_insert((found.clone(), 0, 0));
        *count += 1;
        *macs += found.macs;
    }
    let (multiply, count, macs) = kinds.into_values().max_by_key(|(_, _, macs)| *macs)?;
    Some(Loop { text: text.join("\n"), multiply, count, macs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_profiles::lookup;

    #[test]
    fn the_inner_loop_with_most_multiply_adds_is_taken() {
        let listing = "0000 <f>:\n\tpush rbp\n<L1>:\n\tnop\n<L0>:\n\tvfmadd231ps %ymm0, %ymm1, %ymm2 # note\n\tvfmadd231ps %ymm3, %ymm1, %ymm2\n\
                       \tjne <L0>\n<L2>:\n\tvfmadd231ps %ymm0, %ymm1, %ymm2\n\tjne <L2>\n\tjmp <L1>\n";
        let machine = |cpu| lookup::machine(lookup::default_root(), cpu).unwrap();
        let (x86, arm) = (machine("zen4"), machine("neoverse-n2"));
        let found = innermost_loop(listing, |l| Multiply::of(l, &x86)).unwrap();
        assert_eq!(found.text, "vfmadd231ps %ymm0, %ymm1, %ymm2\nvfmadd231ps %ymm3, %ymm1, %ymm2");
        assert_eq!((found.multiply.kind, found.count, found.macs), ("vfmadd", 2, 16));
        assert_eq!(innermost_loop("<L0>:\n\tadd x0, x0, #1\n\tb.ne <L0>\n", |l| Multiply::of(l, &arm)), None);
        let listing = "<L0>:\n\tldr q0, [x1, #16]\n\tfmla v1.4s, v0.4s, v2.s[0]\n\tb.ne <L0>\n";
        let arm = innermost_loop(listing, |l| Multiply::of(l, &arm)).unwrap();
        assert_eq!(arm.text, "ldr q0, [x1, #16]\nfmla v1.4s, v0.4s, v2.s[0]");
    }

    #[test]
    fn what_is_called_is_found_by_name() {
        let x86 = "\tcallq\t <_RNv1a>\n\tjmp <L0>\n\tjmp\t <_RNv1b>\n\tcallq <_RNv1c+0x10>\n\tleaq <_RNv1d>\n";
        assert_eq!(calls(x86).collect::<Vec<_>>(), ["_RNv1a", "_RNv1b"]);
        assert_eq!(calls("\tbl <_RNv1a>\n\tb <_RNv1b>\n\tb.ne <L1>\n").collect::<Vec<_>>(), ["_RNv1a", "_RNv1b"]);
    }

    #[test]
    fn the_kind_that_does_most_is_counted() {
        let machine = lookup::machine(lookup::default_root(), "neoverse-n2").unwrap();
        let body = ["smmla v1.4s, v0.16b, v2.16b", "fmla v3.4s, v4.4s, v5.4s", "fmla v6.4s, v4.4s, v5.4s"].map(str::to_owned);
        let found = main_kind(body.into(), |l| Multiply::of(l, &machine)).unwrap();
        assert_eq!((found.multiply.kind, found.count, found.macs), ("smmla", 1, 32));
    }
}
