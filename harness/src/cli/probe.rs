//! `kiln probe`: what this machine is, what it can do at most, and what can be counted on it.

use super::{Table, emit, emit_json};
use crate::counters::{Availability, Capabilities};
use crate::machine::bandwidth::{Access, Bandwidth};
use crate::machine::limits::{self, Limits};
use crate::machine::peak::Peak;
use crate::machine::timing::Figure;
use crate::machine::{Machine, lock};
use crate::progress::Progress;
use std::time::SystemTime;

/// Describe this machine and measure its limits.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln probe\n  kiln probe --json > machine.json\n  kiln probe --no-measure")]
pub struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Measure rougher figures: on two idle cores in some five seconds instead of some twenty; more cores take longer, and busy
    /// ones several times as long
    #[arg(long)]
    quick: bool,

    /// Do not measure anything
    #[arg(long, conflicts_with = "quick")]
    no_measure: bool,
}

/// Everything the command found.
#[derive(Debug, serde::Serialize)]
struct Report {
    /// Of this document.
    schema: u32,
    /// When, in UTC.
    time: String,
    machine: Machine,
    limits: Limits,
    counters: Capabilities,
}

/// Runs the command; 0 done.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let machine = Machine::detect();
    let report = Report {
        schema: 1,
        time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        counters: Capabilities::detect(),
        limits: match args.no_measure {
            true => Limits::NotAvailable { reason: "not measured, as asked".into() },
            false => measure(&machine, args.quick)?,
        },
        machine,
    };
    if args.json { emit_json(&report) } else { emit(&describe(&report)) }
}

fn measure(machine: &Machine, quick: bool) -> anyhow::Result<Limits> {
    let _machine = lock::machine(|note| eprintln!("note: {note}"))?;
    let progress = Progress::new(limits::steps(machine), "measuring limits");
    let mut first = true;
    Ok(limits::measure(machine, quick, |what| {
        if !std::mem::take(&mut first) {
            progress.advance(1);
        }
        progress.at(what);
    }))
}

/// The report for people.
fn describe(report: &Report) -> String {
    let mut parts = vec![machine_table(&report.machine)];
    match &report.limits {
        Limits::Measured { peaks, bandwidths } => {
            parts.push(format!("Multiply-adds on registers (tier: measured)\n{}", peak_table(peaks)));
            parts.push(format!("Memory (tier: measured)\n{}", bandwidth_table(bandwidths)));
        }
        Limits::NotAvailable { reason } => parts.push(format!("Limits: not available: {reason}")),
    }
    parts.push(format!("Counting and sampling\n{}", capability_lines(&report.counters)));
    parts.join("\n\n")
}

fn machine_table(machine: &Machine) -> String {
    let mut table = Table::new(["machine", ""]);
    for (name, value) in machine.rows() {
        table.row([name, value.as_deref().unwrap_or("not available")]);
    }
    table.to_string()
}

fn peak_table(peaks: &[Peak]) -> String {
    let mut table = Table::new(["format", "ISA", "threads", "GFLOP/s, GOP/s", "range", ""]);
    for peak in peaks {
        let (median, range) = scaled(&peak.flops);
        table.row([peak.format.as_str(), &peak.isa, &peak.threads.to_string(), &median, &range, remark(&peak.flops)]);
    }
    table.to_string()
}

fn bandwidth_table(bandwidths: &[Bandwidth]) -> String {
    let mut table = Table::new(["level", "threads", "buffer", "pages", "on huge ones", "read GB/s", "write GB/s", "copy GB/s"]);
    // Reading, writing and copying of one level on one kind of pages stand beside each other.
    let same = |a: &Bandwidth, b: &Bandwidth| (&a.level, a.threads, a.pages) == (&b.level, b.threads, b.pages);
    for (index, first) in bandwidths.iter().enumerate() {
        if bandwidths[..index].iter().any(|b| same(b, first)) {
            continue;
        }
        let cells = Access::ALL.map(|access| match bandwidths.iter().find(|b| same(b, first) && b.access == access) {
            Some(found) => {
                let (median, range) = scaled(&found.bytes_per_second);
                format!("{median} ({range})")
            }
            None => "not available".into(),
        });
        let huge = first.huge_share.map_or("not available".into(), |share| format!("{:.0} %", share * 100.0));
        let buffer = format!("{} KiB", first.bytes_per_thread >> 10);
        let mut row = vec![first.level.clone(), first.threads.to_string(), buffer, first.pages.name().into(), huge];
        row.extend(cells);
        table.row(row.iter().map(String::as_str));
    }
    table.to_string()
}

/// Events that share an answer stand together, since a machine without a PMU lacks them all alike.
fn capability_lines(found: &Capabilities) -> String {
    let text = |availability: &Availability| match availability {
        Availability::Available => "available".to_owned(),
        Availability::NotAvailable { reason } => format!("not available: {reason}"),
    };
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (event, availability) in &found.counting {
        let answer = text(availability);
        match groups.iter_mut().find(|(known, _)| *known == answer) {
            Some((_, names)) => names.push(event.name()),
            None => groups.push((answer, vec![event.name()])),
        }
    }
    let mut lines = Vec::new();
    for (answer, names) in &groups {
        lines.push(format!("  counting, {answer}"));
        lines.extend(names.chunks(6).map(|some| format!("    {}", some.join(", "))));
    }
    lines.push(format!("  sampling by the CPU clock, {}", text(&found.clock_sampling)));
    lines.push(format!("  sampling by a hardware counter, {}", text(&found.hardware_sampling)));
    let paranoid = found.paranoid.map_or("not available".into(), |level| level.to_string());
    lines.push(format!("  kernel.perf_event_paranoid: {paranoid}"));
    lines.join("\n")
}

/// Median and range of a figure in billions.
fn scaled(figure: &Figure) -> (String, String) {
    let number = |value: f64| format!("{:.1}", value / 1e9);
    (number(figure.median), format!("{} … {}", number(figure.low), number(figure.high)))
}

/// A warning beside figures that are not steady.
fn remark(figure: &Figure) -> &'static str {
    if !figure.settled || figure.spread() > 0.1 { "unsteady: is the machine busy?" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Event;
    use crate::machine::bandwidth::PageKind;

    #[test]
    fn both_kinds_of_pages_have_a_row_of_their_own() {
        let line = |access, pages, rate: f64, huge_share| Bandwidth {
            level: "dram".into(),
            access,
            threads: 2,
            bytes_per_thread: 64 << 20,
            pages,
            huge_share,
            bytes_per_second: Figure { median: rate, low: rate, high: rate, samples: 1, settled: true },
        };
        let text = bandwidth_table(&[
            line(Access::Read, PageKind::Huge, 58e9, Some(1.0)),
            line(Access::Read, PageKind::Ordinary, 43e9, Some(0.0)),
            line(Access::Write, PageKind::Huge, 21e9, Some(1.0)),
        ]);
        let row = |part: &str| text.lines().find(|l| l.contains(part)).unwrap_or_else(|| panic!("no {part}: {text}"));
        let huge = row("| huge ");
        assert!(huge.contains("100 %") && huge.contains("58.0") && huge.contains("21.0"), "{text}");
        let ordinary = row("| ordinary ");
        assert!(ordinary.contains(" 0 %") && ordinary.contains("43.0") && ordinary.contains("not available"), "{text}");
        assert_eq!(text.matches("dram").count(), 2, "{text}");
    }

    #[test]
    fn missing_things_are_said_to_be_missing() {
        let machine = Machine::detect();
        let not = Availability::NotAvailable { reason: "no PMU".into() };
        let report = Report {
            schema: 1,
            time: String::new(),
            machine,
            limits: Limits::NotAvailable { reason: "a test".into() },
            counters: Capabilities {
                counting: [(Event::Cycles, not.clone()), (Event::Instructions, not.clone()), (Event::TaskClock, Availability::Available)]
                    .into(),
                clock_sampling: Availability::Available,
                hardware_sampling: not,
                paranoid: None,
            },
        };
        let text = describe(&report);
        assert!(text.contains("Limits: not available: a test"), "{text}");
        assert!(text.contains("cycles, instructions") && text.contains("not available: no PMU"), "{text}");
        assert!(!text.contains("null"), "{text}");
    }
}
