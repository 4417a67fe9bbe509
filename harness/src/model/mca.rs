//! Asking llvm-mca: cycles of a loop in the long run, and what limits them.

use super::multiply::Multiply;
use super::{Tools, corrections};
use anyhow::{Context, bail};
use kiln_profiles::machine::Machine;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Iterations that are simulated; the start-up is a small part of them.
const ITERATIONS: usize = 300;

/// What llvm-mca says of a loop.
pub(super) struct Run {
    /// Cycles of one iteration.
    pub cycles: f64,
    /// The resource with the highest pressure, or the front end when none is near its limit.
    pub limit: String,
    /// The resource with the highest pressure, and what needs it.
    pub busiest: Option<Busiest>,
}

/// The busiest of a CPU's resources.
pub(super) struct Busiest {
    /// Its name in LLVM's model.
    pub name: String,
    /// The share of all cycles in which it is in use.
    pub share: f64,
    /// The instruction of which most need it, by name.
    pub instruction: String,
    /// How many of them there are in the loop.
    pub count: usize,
}

/// Simulates `text` as the body of a loop; `None` when the CPU lacks an instruction in it.
pub(super) fn run(tools: &Tools, machine: &Machine, text: &str) -> anyhow::Result<Option<Run>> {
    let text = corrections::simulated(text, &machine.simulated_as);
    let mut child = Command::new(&tools.mca)
        .arg(format!("-mtriple={}-unknown-linux-gnu", machine.arch))
        .arg(format!("-mcpu={}", machine.llvm_cpu))
        .arg(format!("-iterations={ITERATIONS}"))
        .args(["-instruction-info=false", "-resource-pressure=true"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", tools.mca.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(format!("{text}\n").as_bytes())?;
    }
    let out = child.wait_with_output()?;
    let report = String::from_utf8_lossy(&out.stdout);
    if !out.status.success() {
        let message = String::from_utf8_lossy(&out.stderr);
        // LLVM knows which extensions a core has, and for which instructions its model of it has no figures.
        if message.contains("instruction requires:") || message.contains("unsupported instruction") {
            return Ok(None);
        }
        bail!("llvm-mca failed: {}", message.lines().next().unwrap_or("no message"));
    }
    let total = summary(&report, "Total Cycles:").context("llvm-mca printed no total")?;
    let (cycles, round_trips) = (total / ITERATIONS as f64, corrections::round_trips(&text));
    if round_trips > cycles {
        return Ok(Some(Run { cycles: round_trips, limit: "spilled registers".into(), busiest: busiest(&report, round_trips) }));
    }
    let busiest = busiest(&report, cycles);
    let limit = match &busiest {
        Some(b) if b.share >= 0.9 => b.name.clone(),
        _ => "dispatch or latency".into(),
    };
    Ok(Some(Run { cycles, limit, busiest }))
}

/// Rates that were asked for before, by the model of the CPU and the form of the instruction: most kernels share them.
static PEAKS: Mutex<BTreeMap<(String, String), f64>> = Mutex::new(BTreeMap::new());

/// Instructions like `multiply` per cycle that the CPU can issue when nothing else is in the way.
pub(super) fn peak_rate(tools: &Tools, machine: &Machine, multiply: &Multiply) -> anyhow::Result<f64> {
    let key = (format!("{} {} {}", tools.mca.display(), machine.arch, machine.llvm_cpu), multiply.form());
    let known = || PEAKS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(rate) = known().get(&key) {
        return Ok(*rate);
    }
    let (text, count) = multiply.independent();
    let run = run(tools, machine, &text)?.with_context(|| format!("llvm-mca refuses {} by themselves", multiply.kind))?;
    let rate = count as f64 / run.cycles;
    known().insert(key, rate);
    Ok(rate)
}

fn summary(report: &str, key: &str) -> Option<f64> {
    report.lines().find_map(|l| l.strip_prefix(key)).and_then(|v| v.trim().parse().ok())
}

/// The busiest resource of the table 'Resource pressure per iteration', and the instruction that has the most of it in
/// the table behind.
fn busiest(report: &str, cycles: f64) -> Option<Busiest> {
    let name_of = |index: &str| {
        let names = report.lines().filter_map(|l| l.strip_prefix('[')?.split_once(']'));
        let mut names = names.filter_map(|(i, rest)| rest.split_once("- ").map(|(_, name)| (i, name.trim())));
        names.find(|(i, _)| *i == index).map_or_else(|| format!("resource {index}"), |(_, name)| name.to_owned())
    };
    let mut lines = report.lines().skip_while(|l| !l.starts_with("Resource pressure per iteration"));
    let header = lines.nth(1)?;
    let indices: Vec<&str> = header.split(['[', ']']).map(str::trim).filter(|s| !s.is_empty()).collect();
    let pressures = lines.next()?.split_whitespace().map(|value| value.parse::<f64>().unwrap_or(0.0));
    let (column, pressure) = pressures.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let mut needs: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for line in lines.skip_while(|l| !l.starts_with("Resource pressure by instruction")).skip(2) {
        let mut words = line.split_whitespace();
        let Some(value) = words.nth(column) else { break };
        let Some(name) = words.nth(indices.len() - column - 1) else { break };
        let (sum, count) = needs.entry(name).or_default();
        *sum += value.parse::<f64>().unwrap_or(0.0);
        *count += 1;
    }
    let (instruction, (_, count)) = needs.into_iter().max_by(|a, b| a.1.0.total_cmp(&b.1.0))?;
    Some(Busiest { name: name_of(indices.get(column)?), share: pressure / cycles, instruction: instruction.to_owned(), count })
}
