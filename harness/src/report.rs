//! From stored results to a report page: plots, heat maps, rooflines and the table of default against
//! winner. It ranks by [`crate::ranking`] and measures nothing; what a store cannot tell is named as
//! missing on the page.

use crate::check;
use crate::machine::Machine;
use crate::machine::bandwidth::{self, Access};
use crate::machine::limits::Limits;
use crate::ranking::Standing;
use crate::space::{Problem, Temperature};
use crate::store::{self, Record};
use kiln_kernels::format::Format;
use kiln_kernels::registry::{self, Op};
use kiln_profiles::schema;
use kiln_reports::gflops::{Peak, Point, Series, Unit};
use kiln_reports::heatmap::Cell;
use kiln_reports::page::{Comparison, Row, Section, Side, Verdict, Verification, VerifiedIsa};
use kiln_reports::roofline::{Bandwidth, KernelPoint};
use kiln_reports::{GflopsPlot, Heatmap, Page, Roofline, Tier};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Heat maps on a page; more would be a catalogue.
const HEATMAPS: usize = 4;
/// Plots on a page, for the same reason.
const PLOTS: usize = 64;
/// Points of a roofline.
const POINTS: usize = 10;

/// Everything that stored results can say. `provenance` is of all results, of which `standings` may be a part. `machine` and
/// `limits` are those of the machine that the results are of, as far as they are known.
pub fn page(provenance: &Provenance, standings: &[Standing], machine: Option<&Machine>, limits: Option<&Limits>) -> Page {
    let tier = provenance.tier();
    let (gflops, unshown) = gflops(standings, limits, tier);
    let mut page = Page {
        title: "Kiln report".into(),
        subtitle: machine.map(|m| m.brand.clone().unwrap_or_else(|| m.key().to_owned())),
        machine: machine.map(|m| machine_rows(m, limits)).unwrap_or_default(),
        gflops,
        kernels: standings.iter().filter_map(|s| comparison(s, tier)).collect(),
        heatmaps: heatmaps(standings, tier),
        rooflines: rooflines(standings, limits, tier),
        provenance: provenance.rows(),
        ..Page::default()
    };
    if provenance.noise.1 > 0.05 {
        page.notices.push(format!("The noise floor reached {:.1} %: the machine was busy with other work.", provenance.noise.1 * 100.0));
    }
    if provenance.generated {
        page.notices.push("These results were made up by kiln store generate: nothing on this page was measured.".into());
    }
    if unshown > 0 {
        page.notices.push(format!("{unshown} more plots are not shown: there are results with very many numbers of threads."));
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
            for b in bandwidth::preferred(bandwidths).filter(|b| b.access == Access::Read) {
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

/// One plot for cubes and one for packed weights, for each format and number of threads, and how many of them are not shown.
fn gflops(standings: &[Standing], limits: Option<&Limits>, tier: Tier) -> (Vec<GflopsPlot>, usize) {
    type Kind = (Format, usize, bool, Temperature);
    let mut groups: BTreeMap<Kind, Vec<&Standing>> = BTreeMap::new();
    for s in standings.iter().filter(|s| s.problem.op == Op::Gemm && (s.problem.packed || s.problem.shape.is_cube())) {
        let Problem { format, threads, packed, operands, .. } = s.problem;
        groups.entry((format, threads, packed, operands)).or_default().push(s);
    }
    let plot = |((format, threads, packed, operands), group): (Kind, Vec<&Standing>)| {
        let series = |label: &str, of: &dyn Fn(&Standing) -> Option<Rate>| Series {
            label: label.into(),
            points: group
                .iter()
                .filter_map(|s| of(s).map(|(median, ci)| Point { x: s.problem.shape.size(), median, ci: Some(ci) }))
                .collect(),
        };
        let peak = limits.filter(|_| format == Format::F32).and_then(|l| l.peak_f32(threads));
        let peaks = peak.map(|p| Peak { label: format!("measured peak, {}", p.isa), gflops: p.gflops() });
        let title = match packed {
            true => format!("{format} GEMM with packed weights, {} operands, {threads} thread(s)", operands.name()),
            false => format!("{format} GEMM, {threads} thread(s)"),
        };
        GflopsPlot {
            title,
            x_label: if packed { "cube root of M·N·K".into() } else { "M = N = K".into() },
            series: vec![series("default tile", &|s| rates(&s.problem, s.default?)), series("winner", &|s| rates(&s.problem, s.winner))],
            unlike: packed,
            unit: Unit::Gflops,
            peaks: peaks.into_iter().collect(),
            tier,
        }
    };
    let unshown = groups.len().saturating_sub(PLOTS);
    (groups.into_iter().take(PLOTS).map(plot).filter(|p| p.series.iter().any(|s| !s.points.is_empty())).collect(), unshown)
}

fn comparison(s: &Standing, tier: Tier) -> Option<Comparison> {
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
        tier,
    })
}

/// Tiles against each other at the largest problems.
fn heatmaps(standings: &[Standing], tier: Tier) -> Vec<Heatmap> {
    let mut products: Vec<&Standing> = standings.iter().filter(|s| s.problem.op == Op::Gemm && s.timed.len() > 3).collect();
    products.sort_by(|a, b| b.problem.shape.size().total_cmp(&a.problem.shape.size()));
    let map = |s: &&Standing| Heatmap {
        title: {
            let Problem { format, shape, operands, threads, .. } = s.problem;
            format!("{format} GEMM {shape}, {} operands, {threads} thread(s)", operands.name())
        },
        row_name: "MR, rows".into(),
        col_name: "vectors, unroll of the depth loop".into(),
        cells: s.timed.iter().filter_map(|r| cell(&s.problem, r)).collect(),
        tier,
    };
    products.iter().take(HEATMAPS).map(map).filter(|m| !m.cells.is_empty()).collect()
}

fn cell(problem: &Problem, record: &Record) -> Option<Cell> {
    let meta = registry::all().find(|e| e.meta.name == record.config.kernel)?.meta;
    let (mr, nv, ku) = (meta.param("MR")?, meta.param("NV")?, meta.param("KU")?);
    Some(Cell { row: mr, col: format!("{nv}v u{ku}"), gflops: rates(problem, record)?.0 })
}

/// One roofline for each number of threads: the winners under what the machine can do.
fn rooflines(standings: &[Standing], limits: Option<&Limits>, tier: Tier) -> Vec<Roofline> {
    let Some(limits @ Limits::Measured { bandwidths, .. }) = limits else { return Vec::new() };
    let threads: BTreeSet<usize> = standings.iter().map(|s| s.problem.threads).collect();
    let one = |threads: usize| {
        let peaks = limits.peak_f32(threads).map(|p| Peak { label: format!("{} {}", p.format, p.isa), gflops: p.gflops() });
        let reads = bandwidth::preferred(bandwidths).filter(|b| b.access == Access::Read && b.threads == threads);
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
            tier,
        }
    };
    threads.into_iter().map(one).filter(|r| !r.peaks.is_empty() && !r.bandwidths.is_empty()).collect()
}

fn point(s: &Standing) -> Option<KernelPoint> {
    let intensity = s.problem.shape.flops()? / s.problem.bytes();
    Some(KernelPoint { label: s.problem.shape.to_string(), intensity, gflops: rates(&s.problem, s.winner)?.0 })
}

/// Where results come from, of any number of them.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    results: u64,
    /// The first and the last.
    times: Option<(String, String)>,
    machines: Distinct,
    compilers: Distinct,
    flags: Distinct,
    tiers: BTreeSet<schema::Tier>,
    pages: Distinct,
    /// The lowest and the highest noise floor.
    noise: (f64, f64),
    worst_error: f64,
    /// Some were never measured at all.
    generated: bool,
}

impl Provenance {
    /// Counts a result.
    pub fn add(&mut self, record: &Record) {
        self.results += 1;
        match &mut self.times {
            None => self.times = Some((record.time.clone(), record.time.clone())),
            Some((first, _)) if record.time < *first => first.clone_from(&record.time),
            Some((_, last)) if record.time > *last => last.clone_from(&record.time),
            Some(_) => {}
        }
        self.machines.add(&record.machine);
        self.compilers.add(&record.compiler);
        self.flags.add(&record.flags);
        self.tiers.insert(record.tier);
        self.pages.add(&format!("{} bytes, huge pages {}", record.page_bytes, record.huge_pages.as_deref().unwrap_or("unknown")));
        let low = if self.results == 1 { record.noise_floor } else { self.noise.0.min(record.noise_floor) };
        self.noise = (low, self.noise.1.max(record.noise_floor));
        self.generated |= record.compiler == store::GENERATED;
        self.worst_error = self.worst_error.max(record.verification_error.unwrap_or(0.0));
    }

    /// The least certain tier of the results.
    fn tier(&self) -> Tier {
        match self.tiers.last() {
            None | Some(schema::Tier::Measured) => Tier::Measured,
            Some(schema::Tier::Counted) => Tier::Counted,
            Some(schema::Tier::Predicted) => Tier::Predicted,
        }
    }

    fn rows(&self) -> Vec<Row> {
        let (first, last) = self.times.as_ref().map_or(("never", "never"), |(first, last)| (first, last));
        let tiers: Vec<&str> = self.tiers.iter().map(|t| t.name()).collect();
        let mut rows = vec![
            Row::new("results", self.results.to_string()),
            Row::new("measured", if first == last { first.to_owned() } else { format!("{first} to {last}") }),
            Row::new("machine key", self.machines.to_string()),
            Row::new("compiler", self.compilers.to_string()),
            Row::new("flags", self.flags.to_string()),
            Row::new("tier", tiers.join("; ")),
            Row::new("pages", self.pages.to_string()),
            Row::new("verification", format!("largest error {:.2} of its tolerance", self.worst_error)),
        ];
        rows.push(match self.results {
            0 => Row::missing("noise floor"),
            _ => Row::new("noise floor", format!("{:.2} % to {:.2} %", self.noise.0 * 100.0, self.noise.1 * 100.0)),
        });
        rows
    }
}

impl<'a> FromIterator<&'a Record> for Provenance {
    fn from_iter<T: IntoIterator<Item = &'a Record>>(records: T) -> Provenance {
        let mut provenance = Provenance::default();
        records.into_iter().for_each(|r| provenance.add(r));
        provenance
    }
}

/// The values that occur, as many as a row of the page can hold.
#[derive(Clone, Debug, Default)]
struct Distinct {
    values: BTreeSet<String>,
    more: bool,
}

impl Distinct {
    const MOST: usize = 16;

    fn add(&mut self, value: &str) {
        if !self.values.contains(value) {
            self.more |= self.values.len() == Self::MOST;
            if !self.more {
                self.values.insert(value.to_owned());
            }
        }
    }
}

impl fmt::Display for Distinct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<&str> = self.values.iter().map(String::as_str).chain(self.more.then_some("and others")).collect();
        f.write_str(&values.join("; "))
    }
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
        let page = page(&records.iter().collect(), &standings, Some(&Machine::detect()), None);
        assert_eq!((page.gflops.len(), page.kernels.len()), (1, 1));
        assert_eq!(page.kernels[0].verdict, Verdict::Faster);
        let rate = page.kernels[0].winner.median.expect("a rate");
        assert!((rate - 2.0 * 64f64.powi(3) / 500.0).abs() < 1e-9);
        assert!(page.missing.contains_key(&Section::Flames) && page.rooflines.is_empty());
        assert!(page.html().is_ok());
    }

    #[test]
    fn plots_are_of_one_format_and_say_the_tier_of_their_results() {
        let mut records = [record("a", "64x64x64", &[1000.0]), record("b", "64x64x64", &[900.0])];
        records[1].config.format = "f16".into();
        records[1].tier = schema::Tier::Predicted;
        let standings = ranking::standings(&records);
        let page = page(&records.iter().collect(), &standings, None, None);
        let titles: Vec<&str> = page.gflops.iter().map(|p| p.title.split(' ').next().expect("a word")).collect();
        assert_eq!(titles, ["f32", "f16"]);
        assert!(page.gflops.iter().all(|p| p.tier == Tier::Predicted));
    }

    #[test]
    fn provenance_keeps_its_size() {
        let mut records: Vec<Record> = (0..40).map(|i| record("a", "8x8x8", &[f64::from(i) + 1.0])).collect();
        for (i, record) in records.iter_mut().enumerate() {
            record.machine = format!("machine {i:02}");
            record.noise_floor = 0.01 + i as f64 / 1000.0;
        }
        let rows = records.iter().collect::<Provenance>().rows();
        let value = |key: &str| rows.iter().find(|r| r.key == key).and_then(|r| r.value.clone()).expect("a value");
        assert_eq!((value("results").as_str(), value("noise floor").as_str()), ("40", "1.00 % to 4.90 %"));
        assert!(value("machine key").ends_with("machine 15; and others"), "{}", value("machine key"));
    }

    #[test]
    fn an_empty_store_is_an_empty_page() {
        let page = page(&Provenance::default(), &[], None, None);
        assert!(page.gflops.is_empty() && page.kernels.is_empty() && page.html().is_ok());
    }
}
