//! From stored results to a report page: plots, heat maps, rooflines and the table of default against
//! winner. It ranks by [`crate::ranking`] and measures nothing; what a store cannot tell is named as
//! missing on the page.

use crate::check;
use crate::machine::Machine;
use crate::machine::bandwidth::Access;
use crate::machine::limits::Limits;
use crate::ranking::Standing;
use crate::space::{Problem, Temperature};
use crate::store::Record;
use kiln_kernels::registry::{self, Op};
use kiln_reports::gflops::{Peak, Point, Series, Unit};
use kiln_reports::heatmap::Cell;
use kiln_reports::page::{Comparison, Row, Section, Side, Verdict, Verification, VerifiedIsa};
use kiln_reports::roofline::{Bandwidth, KernelPoint};
use kiln_reports::{GflopsPlot, Heatmap, Page, Roofline, Tier};
use std::collections::{BTreeMap, BTreeSet};

/// Heat maps on a page; more would be a catalogue.
const HEATMAPS: usize = 4;
/// Points of a roofline.
const POINTS: usize = 10;

/// Everything that stored results can say. `machine` and `limits` are those of the machine that the
/// results are of, as far as they are known.
pub fn page(records: &[Record], standings: &[Standing], machine: Option<&Machine>, limits: Option<&Limits>) -> Page {
    let mut page = Page {
        title: "Kiln report".into(),
        subtitle: machine.map(|m| m.brand.clone().unwrap_or_else(|| m.key().to_owned())),
        machine: machine.map(|m| machine_rows(m, limits)).unwrap_or_default(),
        gflops: gflops(standings, limits),
        kernels: standings.iter().filter_map(comparison).collect(),
        heatmaps: heatmaps(standings),
        rooflines: rooflines(standings, limits),
        provenance: provenance(records),
        ..Page::default()
    };
    let noise = records.iter().map(|r| r.noise_floor).fold(0.0, f64::max);
    if noise > 0.05 {
        page.notices.push(format!("The noise floor reached {:.1} %: the machine was busy with other work.", noise * 100.0));
    }
    for (section, why) in [
        (Section::Tokens, "not part of a store; kiln lab compares the engine"),
        (
            Section::Verification,
            "not part of a store, though every result was verified before it was timed; kiln check verifies all kernels",
        ),
        (Section::Counters, "not part of a store; kiln profile counts"),
        (Section::Flames, "not part of a store; kiln flame samples"),
        (Section::Generated, "not part of a store; kiln lab lets the engine write"),
    ] {
        page.missing.insert(section, why.into());
    }
    if limits.is_none() {
        page.missing.insert(Section::Rooflines, "the limits of that machine were not measured".into());
    }
    page
}

/// The machine and its measured limits as rows.
pub fn machine_rows(machine: &Machine, limits: Option<&Limits>) -> Vec<Row> {
    let mut rows: Vec<Row> = machine.rows().into_iter().map(|(key, value)| Row { key: key.into(), value }).collect();
    match limits {
        Some(Limits::Measured { peaks, bandwidths }) => {
            for p in peaks {
                rows.push(Row::new(
                    format!("peak, {} {}, {} thread(s)", p.format, p.isa, p.threads),
                    format!("{:.1} GFLOP/s (measured)", p.gflops()),
                ));
            }
            for b in bandwidths.iter().filter(|b| b.access == Access::Read) {
                let rate = b.bytes_per_second.median / 1e9;
                rows.push(Row::new(format!("read bandwidth, {}, {} thread(s)", b.level, b.threads), format!("{rate:.1} GB/s (measured)")));
            }
        }
        Some(Limits::NotAvailable { .. }) | None => rows.push(Row::missing("measured limits")),
    }
    rows
}

/// What was verified, as the page shows it.
pub fn verification(v: &check::Verification) -> Verification {
    let row = |isa: &&'static str| {
        let (passed, failed, skipped) = v.of_isa(isa);
        let note = (skipped > 0).then(|| "this CPU does not have it".to_owned());
        VerifiedIsa { isa: (*isa).into(), place: "native".into(), passed, failed, skipped, note }
    };
    Verification { rows: v.isas_ran.iter().chain(&v.isas_skipped).map(row).collect(), failures: v.failures().collect() }
}

/// A median rate and its interval, low end first.
type Rate = (f64, (f64, f64));

fn rate(problem: &Problem, ns: f64) -> f64 {
    problem.cost() / ns
}

/// The rate of a result.
fn rates(problem: &Problem, record: &Record) -> Option<Rate> {
    let (median, (low, high)) = record.median_ns()?;
    Some((rate(problem, median), (rate(problem, high), rate(problem, low))))
}

/// One plot for cubes and one for packed weights, for each number of threads.
fn gflops(standings: &[Standing], limits: Option<&Limits>) -> Vec<GflopsPlot> {
    type Group<'a> = BTreeMap<(usize, bool, Temperature), Vec<&'a Standing<'a>>>;
    let mut groups: Group = BTreeMap::new();
    for s in standings.iter().filter(|s| s.problem.op == Op::Gemm && (s.problem.packed || s.problem.shape.is_cube())) {
        groups.entry((s.problem.threads, s.problem.packed, s.problem.operands)).or_default().push(s);
    }
    let plot = |((threads, packed, operands), group): ((usize, bool, Temperature), Vec<&Standing>)| {
        let series = |label: &str, of: &dyn Fn(&Standing) -> Option<Rate>| Series {
            label: label.into(),
            points: group
                .iter()
                .filter_map(|s| of(s).map(|(median, ci)| Point { x: s.problem.shape.size(), median, ci: Some(ci) }))
                .collect(),
        };
        let peaks =
            limits.and_then(|l| l.peak_f32(threads)).map(|p| Peak { label: format!("measured peak, {}", p.isa), gflops: p.gflops() });
        let title = match packed {
            true => format!("f32 GEMM with packed weights, {} operands, {threads} thread(s)", operands.name()),
            false => format!("f32 GEMM, {threads} thread(s)"),
        };
        GflopsPlot {
            title,
            x_label: if packed { "cube root of M·N·K".into() } else { "M = N = K".into() },
            series: vec![series("default tile", &|s| rates(&s.problem, s.default?)), series("winner", &|s| rates(&s.problem, s.winner))],
            unlike: packed,
            unit: Unit::Gflops,
            peaks: peaks.into_iter().collect(),
            tier: Tier::Measured,
        }
    };
    groups.into_iter().map(plot).filter(|p| p.series.iter().any(|s| !s.points.is_empty())).collect()
}

fn comparison(s: &Standing) -> Option<Comparison> {
    let default = s.default?;
    let side = |r: &Record| {
        let figures = rates(&s.problem, r);
        Side { name: r.config.label(), median: figures.map(|f| f.0), ci: figures.map(|f| f.1) }
    };
    // The default that stays is compared with nothing: the ratio is 1 by definition.
    let same = s.winner.config == default.config;
    let ratio = if same { Some(1.0) } else { s.gain.map(|g| g.ratio.value) };
    let ratio_ci = if same { Some((1.0, 1.0)) } else { s.gain.map(|g| g.ratio.ci) };
    let p = &s.problem;
    Some(Comparison {
        what: format!("{} {}{}", p.op, default.config.format, if p.packed { ", packed" } else { "" }),
        shape: format!("{}, {}", p.shape, p.operands.name()),
        threads: p.threads,
        unit: if p.shape.flops().is_some() { "GFLOP/s".into() } else { "GB/s".into() },
        default: side(default),
        winner: side(s.winner),
        ratio,
        ratio_ci,
        verdict: Verdict::of(ratio, ratio_ci),
        tier: Tier::Measured,
    })
}

/// Tiles against each other at the largest problems.
fn heatmaps(standings: &[Standing]) -> Vec<Heatmap> {
    let mut products: Vec<&Standing> = standings.iter().filter(|s| s.problem.op == Op::Gemm && s.timed.len() > 3).collect();
    products.sort_by(|a, b| b.problem.shape.size().total_cmp(&a.problem.shape.size()));
    let map = |s: &&Standing| Heatmap {
        title: format!("f32 GEMM {}, {} operands, {} thread(s)", s.problem.shape, s.problem.operands.name(), s.problem.threads),
        row_name: "MR, rows".into(),
        col_name: "vectors, unroll of the depth loop".into(),
        cells: s.timed.iter().filter_map(|r| cell(&s.problem, r)).collect(),
        tier: Tier::Measured,
    };
    products.iter().take(HEATMAPS).map(map).filter(|m| !m.cells.is_empty()).collect()
}

fn cell(problem: &Problem, record: &Record) -> Option<Cell> {
    let meta = registry::all().find(|e| e.meta.name == record.config.kernel)?.meta;
    let (mr, nv, ku) = (meta.param("MR")?, meta.param("NV")?, meta.param("KU")?);
    Some(Cell { row: mr, col: format!("{nv}v u{ku}"), gflops: rates(problem, record)?.0 })
}

/// One roofline for each number of threads: the winners under what the machine can do.
fn rooflines(standings: &[Standing], limits: Option<&Limits>) -> Vec<Roofline> {
    let Some(limits @ Limits::Measured { bandwidths, .. }) = limits else { return Vec::new() };
    let threads: BTreeSet<usize> = standings.iter().map(|s| s.problem.threads).collect();
    let one = |threads: usize| {
        let peaks = limits.peak_f32(threads).map(|p| Peak { label: format!("{} {}", p.format, p.isa), gflops: p.gflops() });
        let reads = bandwidths.iter().filter(|b| b.access == Access::Read && b.threads == threads);
        let mut products: Vec<&Standing> =
            standings.iter().filter(|s| s.problem.threads == threads && s.problem.shape.flops().is_some()).collect();
        products.sort_by(|a, b| b.problem.shape.size().total_cmp(&a.problem.shape.size()));
        Roofline {
            title: format!("f32 roofline, {threads} thread(s)"),
            peaks: peaks.into_iter().collect(),
            bandwidths: reads
                .map(|b| Bandwidth { label: format!("{} read", b.level), gbytes_per_s: b.bytes_per_second.median / 1e9 })
                .collect(),
            points: products.iter().take(POINTS).filter_map(|s| point(s)).collect(),
            tier: Tier::Measured,
        }
    };
    threads.into_iter().map(one).filter(|r| !r.peaks.is_empty() && !r.bandwidths.is_empty()).collect()
}

fn point(s: &Standing) -> Option<KernelPoint> {
    let intensity = s.problem.shape.flops()? / s.problem.bytes();
    Some(KernelPoint { label: s.problem.shape.to_string(), intensity, gflops: rates(&s.problem, s.winner)?.0 })
}

fn provenance(records: &[Record]) -> Vec<Row> {
    let all = |of: &dyn Fn(&Record) -> String| records.iter().map(of).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("; ");
    let times: BTreeSet<&str> = records.iter().map(|r| r.time.as_str()).collect();
    let (first, last) = (times.first().copied().unwrap_or("never"), times.last().copied().unwrap_or("never"));
    let noise: Vec<f64> = records.iter().map(|r| r.noise_floor).collect();
    let worst = records.iter().filter_map(|r| r.verification_error).fold(0.0, f64::max);
    let (low, high) = (noise.iter().copied().fold(f64::INFINITY, f64::min), noise.iter().copied().fold(0.0, f64::max));
    let mut rows = vec![
        Row::new("results", records.len().to_string()),
        Row::new("measured", if first == last { first.to_owned() } else { format!("{first} to {last}") }),
        Row::new("machine key", all(&|r| r.machine.clone())),
        Row::new("compiler", all(&|r| r.compiler.clone())),
        Row::new("flags", all(&|r| r.flags.clone())),
        Row::new("tier", all(&|r| r.tier.name().to_owned())),
        Row::new("pages", all(&|r| format!("{} bytes, huge pages {}", r.page_bytes, r.huge_pages.as_deref().unwrap_or("unknown")))),
        Row::new("verification", format!("largest error {worst:.2} of its tolerance")),
    ];
    rows.push(match records.is_empty() {
        true => Row::missing("noise floor"),
        false => Row::new("noise floor", format!("{:.2} % to {:.2} %", low * 100.0, high * 100.0)),
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranking;
    use crate::store::tests::record;

    #[test]
    fn a_store_becomes_a_page_that_names_what_it_lacks() {
        let kernel = registry::all().find(|e| e.meta.op == Op::Gemm).expect("a kernel").meta.name;
        let mut default = record(kernel, "64x64x64", &[1000.0, 1010.0, 990.0]);
        default.default = true;
        default.config.packed = false;
        let mut faster = record("b", "64x64x64", &[500.0, 505.0, 495.0]);
        faster.config.packed = false;
        let records = [default, faster];
        let standings = ranking::standings(&records);
        let page = page(&records, &standings, Some(&Machine::detect()), None);
        assert_eq!((page.gflops.len(), page.kernels.len()), (1, 1));
        assert_eq!(page.kernels[0].verdict, Verdict::Faster);
        let rate = page.kernels[0].winner.median.expect("a rate");
        assert!((rate - 2.0 * 64f64.powi(3) / 500.0).abs() < 1e-9);
        assert!(page.missing.contains_key(&Section::Flames) && page.rooflines.is_empty());
        assert!(page.html().is_ok());
    }

    #[test]
    fn an_empty_store_is_an_empty_page() {
        let page = page(&[], &[], None, None);
        assert!(page.gflops.is_empty() && page.kernels.is_empty() && page.html().is_ok());
    }
}
