//! Writes a report page from made-up figures, to look at the layout: `cargo run -p kiln-reports --example
//! sample_page -- [FILE]`. Nothing in it was measured, and the page says so.

use std::collections::BTreeMap;

use kiln_reports::gflops::{Peak, Point, Series, Unit};
use kiln_reports::heatmap::Cell;
use kiln_reports::page::{Comparison, Counter, Generated, Residual, Row, Section, Side, Verdict, Verification, VerifiedIsa};
use kiln_reports::roofline::{Bandwidth, KernelPoint};
use kiln_reports::scatter::{Axis, Cloud};
use kiln_reports::{Flame, GflopsPlot, Heatmap, Page, ReportError, Roofline, Scatter, Tier};

fn main() -> Result<(), ReportError> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "sample_page.html".to_string());
    page().write(path.as_ref())?;
    println!("{path}");
    Ok(())
}

fn page() -> Page {
    Page {
        title: "Kiln report: an example".into(),
        subtitle: Some("Example processor, 2 cores, 1 January 2000".into()),
        notices: vec!["EXAMPLE: every figure on this page is made up to show the layout; nothing was measured.".into()],
        machine: vec![
            Row::new("processor", "Example 9000 (family 1, model 2, stepping 3)"),
            Row::new("ISA", "avx2, fma, f16c"),
            Row::new("caches", "32 KiB L1d, 512 KiB L2, 32 MiB L3 (shared)"),
            Row::new("measured peak, f32", "105.2 GFLOP/s on 1 thread, 204.0 GFLOP/s on 2"),
            Row::missing("measured peak, bf16"),
            Row::new("read bandwidth", "24.1 GB/s on 1 thread, 38.7 GB/s on 2"),
            Row::missing("PMU"),
            Row::new("sampling", "cpu-clock"),
        ],
        gflops: vec![gflops()],
        kernels: kernels(),
        tokens: vec![
            comparison("decode", "prompt 16, 48 tokens", 2, "tokens/s", (812.0, 1011.0), 0.012),
            comparison("prefill", "prompt 512", 2, "tokens/s", (5210.0, 5243.0), 0.015),
        ],
        verification: Some(Verification {
            rows: vec![
                isa("scalar", "native", 8, 0, None),
                isa("avx2", "native", 26, 0, None),
                isa("avx512", "native", 0, 24, Some("this processor has no AVX-512")),
                isa("sve", "emulated, 256-bit vectors", 18, 0, None),
            ],
            failures: Vec::new(),
        }),
        heatmaps: vec![heatmap()],
        rooflines: vec![roofline()],
        scatters: vec![scatter()],
        residuals: vec![residual("512x512x512"), residual("1024x1024x1024")],
        residual: Some(Residual { what: "all 2 problems".into(), first: String::new(), ..residual("medians") }),
        counters: counters(),
        flames: vec![Flame {
            title: "qwen2 run, 48 tokens".into(),
            folded: STACKS.into(),
            before: None,
            how: Some("cpu-clock at 997 Hz, frame pointers".into()),
            tier: Tier::Measured,
        }],
        generated: Some(Generated {
            model: "example, 4.2 M parameters, f16".into(),
            profile: Some("example".into()),
            prompt: "The `Vec` type".into(),
            text: " is an example of generated text, typed by hand.\n\nIt has a second paragraph.".into(),
            how: Some("greedy, 12 tokens".into()),
        }),
        provenance: vec![
            Row::new("made", "by `cargo run -p kiln-reports --example sample_page`"),
            Row::new("compiler", "rustc 1.95, -C opt-level=3"),
            Row::new("noise floor (A against A)", "1.1 %"),
            Row::missing("commit"),
        ],
        missing: BTreeMap::from([(Section::Counters, "no PMU".to_string())]),
    }
}

fn scatter() -> Scatter {
    let cloud = |label: &str, factor: f64| Cloud {
        label: label.into(),
        points: (0..40).map(|i| (1e6 * 1.07f64.powi(i), factor * 1e6 * 1.07f64.powi(i) * (1.0 + f64::from(i * 7 % 10) / 20.0))).collect(),
    };
    Scatter {
        title: "gemm: predicted against measured".into(),
        note: "80 candidates at 2 problems".into(),
        x: Axis { label: "time of a call".into(), tier: Tier::Predicted },
        y: Axis { label: "time of a call".into(), tier: Tier::Measured },
        clouds: vec![cloud("f32", 0.8), cloud("bf16", 1.1)],
    }
}

fn residual(shape: &str) -> Residual {
    Residual {
        what: "gemm f32".into(),
        shape: shape.into(),
        candidates: 40,
        note: "3 in part".into(),
        rank_of_tiles: Some(0.91),
        rank: Some(0.93),
        first: "gemm_f32_avx2_6x2v_u1".into(),
        regret: 0.021,
        median: 0.11,
        ninth: 0.3,
        noise_floor: 0.011,
    }
}

fn gflops() -> GflopsPlot {
    let line = |label: &str, rates: &[f64]| Series {
        label: label.into(),
        points: (8..=12).zip(rates).map(|(e, r)| Point { x: f64::from(1u32 << e), median: *r, ci: Some((r * 0.975, r * 1.02)) }).collect(),
    };
    GflopsPlot {
        unlike: false,
        unit: Unit::Gflops,
        title: "f32 GEMM, 1 thread".into(),
        x_label: "M = N = K".into(),
        series: vec![
            line("default tile (gemm_f32_avx2_4x2v_u1)", &[61.0, 66.0, 68.5, 68.9, 67.2]),
            line("winner (gemm_f32_avx2_6x2v_u4)", &[88.0, 94.5, 97.1, 97.9, 96.0]),
        ],
        peaks: vec![Peak { label: "measured peak".into(), gflops: 105.2 }],
        tier: Tier::Measured,
    }
}

fn kernels() -> Vec<Comparison> {
    vec![
        comparison("gemm f32", "256 x 256 x 256", 1, "GFLOP/s", (61.0, 88.0), 0.02),
        comparison("gemm f32", "512 x 512 x 512", 1, "GFLOP/s", (66.0, 94.5), 0.01),
        comparison("gemm f32", "1024 x 1024 x 1024", 2, "GFLOP/s", (130.0, 188.1), 0.03),
        comparison("rms_norm f32", "256", 1, "GB/s", (31.0, 31.2), 0.02),
        comparison("f16_to_f32", "4096", 1, "GB/s", (44.0, 41.0), 0.02),
    ]
}

fn comparison(what: &str, shape: &str, threads: usize, unit: &str, (default, winner): (f64, f64), half: f64) -> Comparison {
    let side = |name: &str, m: f64| Side { name: name.into(), median: Some(m), ci: Some((m * (1.0 - half), m * (1.0 + half))) };
    let ratio = Some(winner / default);
    let ratio_ci = ratio.map(|r| (r * (1.0 - half), r * (1.0 + half)));
    Comparison {
        what: what.into(),
        shape: shape.into(),
        threads,
        unit: unit.into(),
        default: side("default", default),
        winner: side("tuned", winner),
        ratio,
        ratio_ci,
        verdict: Verdict::of(ratio, ratio_ci),
        tier: Tier::Measured,
    }
}

fn isa(isa: &str, place: &str, passed: usize, skipped: usize, note: Option<&str>) -> VerifiedIsa {
    VerifiedIsa { isa: isa.into(), place: place.into(), passed, failed: 0, skipped, note: note.map(String::from) }
}

fn heatmap() -> Heatmap {
    let mut cells = Vec::new();
    for row in 1..=8usize {
        for vectors in 1..=3usize {
            for unroll in [1, 4] {
                // Tiles that need more than 15 accumulators are not built.
                if row * vectors <= 15 {
                    let busy = (row * vectors) as f64 / 15.0;
                    let gflops = 30.0 + 68.0 * busy.sqrt() - if unroll == 1 { 4.0 } else { 0.0 };
                    cells.push(Cell { row, col: format!("{vectors}v u{unroll}"), gflops });
                }
            }
        }
    }
    Heatmap {
        title: "f32 GEMM tiles, 512 x 512 x 512, 1 thread".into(),
        row_name: "MR (rows)".into(),
        col_name: "NR (vectors of 8) and unroll".into(),
        cells,
        tier: Tier::Measured,
    }
}

fn roofline() -> Roofline {
    let point = |label: &str, intensity, gflops| KernelPoint { label: label.into(), intensity, gflops };
    Roofline {
        title: "Roofline, 1 thread".into(),
        peaks: vec![Peak { label: "f32 peak".into(), gflops: 105.2 }],
        bandwidths: vec![
            Bandwidth { label: "L2 read".into(), gbytes_per_s: 88.0 },
            Bandwidth { label: "memory read".into(), gbytes_per_s: 24.1 },
        ],
        points: vec![
            point("gemm 512 x 512 x 512", 85.0, 94.5),
            point("gemm 256 x 256 x 256", 42.7, 88.0),
            point("gemm 1 x 768 x 256", 0.5, 10.9),
            point("rms_norm 256", 0.38, 12.0),
        ],
        tier: Tier::Measured,
    }
}

fn counters() -> Vec<Counter> {
    let counter = |name: &str, value, unit: &str, source: &str, counted, tier| Counter {
        what: "gemm_f32_avx2_6x2v_u4, 512 x 512 x 512".into(),
        name: name.into(),
        value,
        unit: unit.into(),
        source: source.into(),
        counted,
        tier,
    };
    vec![
        counter("task clock", Some(3.412), "ms", "software event", Some(1.0), Tier::Measured),
        counter("page faults", Some(0.0), "", "software event", Some(1.0), Tier::Measured),
        counter("cycles", None, "", "PMU", None, Tier::Measured),
        counter("instructions", Some(41_234_567.0), "", "emulator", None, Tier::Counted),
        counter("cycles per multiply-add", Some(0.0625), "", "pipeline model", None, Tier::Predicted),
    ]
}

const STACKS: &str = "\
main;qwen2::run;qwen2::generate;qwen2::forward;qwen2::linear;kiln_kernels::gemm::run 310
main;qwen2::run;qwen2::generate;qwen2::forward;qwen2::linear;kiln_kernels::gemm::pack_a 42
main;qwen2::run;qwen2::generate;qwen2::forward;qwen2::linear 6
main;qwen2::run;qwen2::generate;qwen2::forward;qwen2::attention;qwen2::softmax 21
main;qwen2::run;qwen2::generate;qwen2::forward;qwen2::attention 37
main;qwen2::run;qwen2::generate;qwen2::forward;kiln_kernels::norm::rms 14
main;qwen2::run;qwen2::generate;qwen2::forward 3
main;qwen2::run;qwen2::generate;qwen2::sample 9
main;qwen2::run;qwen2::load;kiln_kernels::convert::f16_to_f32 18
main;qwen2::run;qwen2::load 11
";
