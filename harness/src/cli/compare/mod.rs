//! `kiln compare`: our kernels beside other libraries, in one run; or beside themselves as they were, which is for [`baseline`].

mod baseline;

use super::{Table, emit, emit_json};
use crate::compare::{self, Comparison, Failed, Options, Row};
use crate::filter;
use crate::machine::Machine;
use crate::measure::clock::Effort;
use crate::peers::{self, Choice, Chosen, Peer, Task};
use crate::space::{self, Temperature, shape};
use crate::store::shared;
use anyhow::{Context, ensure};
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_profiles::schema::{BlockSizes, Order, Parts};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Compares our kernels with other libraries, side by side in one run.
///
/// Products: C = A·Wᵀ, with weights as a linear layer keeps them. Each system packs them within its calls; ours packs
/// them before with --packed and in the formats of blocks (q8_0, q4_k …), which no other system here has. Operations on
/// rows (norms, conversions, softmax …): rates are of the bytes that a call must move, and the peer `copy` is their
/// limit: memory of that many bytes copied or filled in the fastest of three ways; beside fused operations `parts` runs
/// their parts one after another. Attention: causal, of the last tokens of a context, with heads that share keys and
/// values; of one token (attention_decode) rates are of the bytes of the cache, and `copy` reads them. Every system is
/// verified before it is timed; then all take turns, twice a round and each round in another order, each with its own threads and
/// idle policy. A ratio is that of the rates in pairs, with its 95 % interval.
///
/// With --baseline, --write-baseline or --counts no other system takes part: what ours takes is written down, and judged by
/// what it took. Times are judged on one machine alone, and only what is beyond their interval, the noise of both sessions and 2 %
/// is slower; where noise would hide even a slow-down by a fifth, the exit status is 2. Instructions (--counts) are the same
/// every time, and nearly so on every machine that runs the same kernel: they are for machines whose clocks cannot be trusted, and
/// say nothing of caches and memory.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Sizes: 256..4096 (doubling), 512, MxNxK, of rows ROWSxCOLS, of attention a context or TOKENSxCONTEXTxHEADSxKVHEADSxDIM;\nseparated by commas.\n\n\
A library that is older than this CPU may fall back to older kernels, as its version then says; what its\n\
environment variables ask for (OPENBLAS_CORETYPE=SkylakeX, BLIS_ARCH_TYPE) is taken.\n\n\
Examples:\n  kiln compare gemm --sizes 256..2048 --threads 1,2\n  \
kiln compare gemm --peers openblas,torch --sizes 512,128x4864x896 --plot compare.svg\n  \
kiln compare gemm --format q8_0 --sizes 512x1152x896,512x9728x896 --threads 1,2\n  \
kiln compare gemm --format q4_0 --sizes 1x9728x896,4x9728x896 --cold --read\n  \
kiln compare gemm --kernel gemm_f32_avx2_6x2v_u4 --blocking 256,72,2048 --quick --json\n  \
kiln compare gemm --sizes 64..512 --threads 2 --split 1x2 --spin 200000\n  \
kiln compare rms_norm --sizes 512x896,8192x8192 --peers torch,numpy,copy\n  \
kiln compare rms_norm_quantise --sizes 1x896,512x896 --peers parts\n  \
kiln compare attention_decode --format bf16 --sizes 512,4096,32768 --threads 1,2\n  \
kiln compare f16_to_f32 --sizes 128x2048,2048x8192 --threads 1,2 --cold --plot convert.svg\n\n\
Ours as it was; exit status 1 if anything got slower:\n  \
kiln compare gemm --sizes 128..512 --write-baseline base.json\n  \
kiln compare gemm --baseline base.json\n  \
kiln compare gemm --sizes 128..512 --baseline-binary old/kiln\n  \
kiln compare gemm --sizes 64,1x896x896 --counts --write-baseline counts.json\n  \
kiln compare gemm --counts --baseline counts.json --tolerance 1\n  \
QEMU_CPU=max,sve-max-vq=1 kiln compare gemm --sizes 64 --counts qemu --program arm/kiln --baseline arm.json"
)]
pub struct Args {
    /// The operation: gemm, attention, attention_decode, or one on rows such as rms_norm, f16_to_f32, softmax
    op: Op,
    /// Format of the operands, of attention of its cache [default: f32; of conversions what they read, of dequantise q8_0]
    #[arg(long, value_parser = filter::format)]
    format: Option<Format>,
    /// Sizes, separated by commas [default: 256..2048]
    #[arg(long)]
    sizes: Option<String>,
    /// Numbers of threads, separated by commas [default: 1]
    #[arg(long, value_delimiter = ',')]
    threads: Option<Vec<usize>>,
    /// openblas, blis, mkl, armpl, torch, gemm, matrixmultiply; of rows torch, numpy, parts, copy; separated by commas
    /// [default: all that are installed]
    #[arg(long, value_delimiter = ',', value_parser = peers::by_name)]
    peers: Option<Vec<&'static Peer>>,
    /// Our kernel, by name [default: what the profile of this CPU says]
    #[arg(long)]
    kernel: Option<String>,
    /// Our block sizes [default: what goes with the kernel]
    #[arg(long, value_name = "KC,MC,NC[,strips]", value_parser = blocking)]
    blocking: Option<BlockSizes>,
    /// Ours packs weights before it is timed, as an inference engine does
    #[arg(long)]
    packed: bool,
    /// Operands rotate through more than twice the last cache; of products packed before, and ours alone
    #[arg(long)]
    cold: bool,
    /// Adds a system that reads our packed weights and does nothing else: the limit of products of few rows
    #[arg(long)]
    read: bool,
    /// Our split of C over threads: parts of the rows x parts of the columns [default: what goes with the kernel]
    #[arg(long, value_name = "RxC")]
    split: Option<Parts>,
    /// Turns that our threads spin for between calls before they sleep [default: what goes with the kernel]
    #[arg(long, value_name = "N")]
    spin: Option<u32>,
    /// Fewer and shorter samples
    #[arg(long)]
    quick: bool,
    /// Writes a plot of the rates, one for each number of threads
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Writes the JSON document to a file too
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gate: baseline::Gate,
}

/// The sizes that are compared when none are given.
const DEFAULT_SIZES: &str = "256..2048";

impl Args {
    /// Refuses what only products have.
    fn without_products(&self) -> anyhow::Result<()> {
        let given = [
            ("--blocking", self.blocking.is_some()),
            ("--split", self.split.is_some()),
            ("--spin", self.spin.is_some()),
            ("--packed", self.packed),
            ("--read", self.read),
        ];
        let wrong: Vec<_> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        ensure!(wrong.is_empty(), "{} is no product, so that there is no {}: leave it out", self.op, wrong.join(", "));
        Ok(())
    }

    fn effort(&self) -> Effort {
        if self.quick { Effort::QUICK } else { Effort::FULL }
    }
}

/// Compares and prints.
///
/// # Errors
/// Bad input, a peer that is not installed, or a file that cannot be written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    if args.op != Op::Gemm {
        args.without_products()?;
    }
    if args.gate.is_on() {
        return baseline::run(args);
    }
    let specs = shape::parse(args.sizes.as_deref().unwrap_or(DEFAULT_SIZES), args.op).map_err(anyhow::Error::msg)?;
    let threads = args.threads.as_deref().map_or(vec![1], unique);
    if let Some(split) = args.split {
        let other = threads.iter().find(|t| **t != split.threads());
        ensure!(other.is_none(), "the split {split} is for {} threads: --threads must say the same", split.threads());
    }
    // Minutes of measuring are not to end at a folder that is not there.
    args.plot.iter().chain(&args.out).try_for_each(|path| writable(path))?;
    let options = Options {
        task: Task { op: args.op, format: args.format.unwrap_or(args.op.format()) },
        shapes: specs.iter().map(|s| s.shape).collect(),
        threads,
        peers: args.peers.clone(),
        choice: Choice {
            kernel: args.kernel.clone(),
            blocking: args.blocking,
            packed: args.packed || args.read || (args.cold && args.op == Op::Gemm),
            split: args.split,
            spin: args.spin,
        },
        operands: if args.cold { Temperature::Cold } else { Temperature::Hot },
        read: args.read,
        effort: args.effort(),
    };
    let machine = Machine::detect();
    let comparison = match compare::run(&options, &machine) {
        Err(error) if error.is::<Failed>() => {
            eprintln!("kiln: {error}");
            return Ok(1);
        }
        other => other?,
    };
    if let Some(path) = &args.plot {
        plot(&comparison, path)?;
    }
    if let Some(path) = &args.out {
        write(path, &serde_json::to_string_pretty(&comparison)?)?;
    }
    if args.json { emit_json(&comparison) } else { emit(&text(&comparison)) }
}

fn blocking(text: &str) -> Result<BlockSizes, String> {
    let (text, order) = match text.strip_suffix(",strips") {
        Some(sizes) => (sizes, Order::Strips),
        None => (text, Order::Panels),
    };
    let sizes: Vec<usize> = text.split(',').map(|s| s.trim().parse().unwrap_or(0)).collect();
    match sizes[..] {
        [kc, mc, nc] if kc > 0 && mc > 0 && nc > 0 => Ok(BlockSizes { kc, mc, nc, order }),
        _ => Err("write three whole numbers from 1, KC,MC,NC, and behind them ,strips for the other order of loops".into()),
    }
}

fn unique(threads: &[usize]) -> Vec<usize> {
    let mut seen = Vec::new();
    threads.iter().for_each(|t| {
        if !seen.contains(t) {
            seen.push(*t)
        }
    });
    seen
}

fn writable(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir(), "cannot write {}: there is no folder {}", path.display(), folder.display());
    ensure!(!path.is_dir(), "cannot write {}: it is a folder", path.display());
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// One file for each number of threads; several have the number in their names.
fn plot(comparison: &Comparison, path: &Path) -> anyhow::Result<()> {
    let plots = comparison.plots();
    for (threads, plot) in &plots {
        let path = match plots.len() {
            1 => path.to_owned(),
            _ => path.with_file_name(format!(
                "{}-{threads}t.{}",
                path.file_stem().unwrap_or_default().to_string_lossy(),
                path.extension().map_or("svg".into(), |e| e.to_string_lossy())
            )),
        };
        write(&path, &plot.svg()?)?;
        eprintln!("plot: {}", path.display());
    }
    Ok(())
}

fn text(comparison: &Comparison) -> String {
    // What is counted in bytes has no peak and no packed weights.
    let rows = space::is_counted_in_bytes(comparison.op);
    let of_products: &[&str] = if rows { &[] } else { &["of peak", "GB/s"] };
    let head = ["size", "threads", "system", if rows { "GB/s" } else { "GFLOP/s" }, "95 %"];
    let mut table = Table::new([&head, of_products, &["kiln / system", "95 %", "kiln is"]].concat());
    comparison.rows.iter().for_each(|row| table.row(cells(row, rows).iter().map(String::as_str)));
    let mut lines = vec![table.to_string()];
    lines.extend(peaks(&comparison.rows));
    lines.extend(who(&comparison.rows));
    if comparison.restless > 0 {
        lines.push(format!("{} times a system was still busy when the next one's turn came", comparison.restless));
    }
    let floor = comparison.noise_floor * 100.0;
    lines.push(format!("noise floor {floor:.2} %; {} {}, tier measured", comparison.format, comparison.op));
    lines.join("\n")
}

fn cells(row: &Row, rows: bool) -> Vec<String> {
    let some = |value: Option<String>| value.unwrap_or_default();
    let (median, (low, high)) = (row.rate.median(), row.rate.ci());
    let mut cells = vec![
        if row.shape.is_cube() { format!("{:.0}", row.shape.size()) } else { row.shape.to_string() },
        row.threads.to_string(),
        match &row.version {
            // Its way is another at each problem.
            Some(way) if rows && row.limit => format!("{} (limit: {way})", row.system),
            _ => row.system.to_owned(),
        },
        format!("{median:.1}"),
        format!("{low:.1} … {high:.1}"),
    ];
    if !rows {
        cells.push(row.fraction_of_peak.map_or("not available".into(), |f| format!("{:.1} %", f * 100.0)));
        cells.push(some(row.weights_gbs.map(|r| format!("{r:.1}"))));
    }
    cells.push(some(row.kiln_over_system.map(|r| format!("{r:.3}"))));
    cells.push(some(row.kiln_over_system_ci.map(|(low, high)| format!("{low:.3} … {high:.3}"))));
    cells.push(some(row.kiln_is.map(str::to_owned)));
    cells
}

/// The range of the peaks around the problems, for each number of threads.
fn peaks(rows: &[Row]) -> Vec<String> {
    let mut ranges: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (threads, peak) in rows.iter().filter_map(|r| Some((r.threads, r.peak_gflops?))) {
        let (low, high) = ranges.entry(threads).or_insert((peak, peak));
        (*low, *high) = (low.min(peak), high.max(peak));
    }
    ranges.iter().map(|(threads, (low, high))| format!("peak of {threads} thread(s): {low:.1} … {high:.1} GFLOP/s")).collect()
}

/// What each system is, and which kernels ours were.
fn who(rows: &[Row]) -> Vec<String> {
    let mut lines = Vec::new();
    // How a limit came about stands beside it.
    for row in rows.iter().filter(|r| !r.limit) {
        let kernel = row.kernel.as_ref().map(kernel);
        let line = [Some(row.system.to_owned()), row.version.clone(), kernel].into_iter().flatten().collect::<Vec<_>>().join(": ");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

fn kernel(Chosen { kernel, blocking, split, spin, by }: &Chosen) -> String {
    let blocking = blocking.map(|b| format!(" {b}")).unwrap_or_default();
    format!("{kernel}{blocking}{} (chosen by {by})", shared(*split, *spin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_kernels::gemm::Blocking;

    #[test]
    fn block_sizes_are_three_numbers_from_1() {
        assert_eq!(blocking("256, 72,2048"), Ok(Blocking::new(256, 72, 2048).into()));
        assert_eq!(blocking("1,2,3,strips").map(|b| b.order), Ok(Order::Strips));
        for wrong in ["", "1,2", "strips", "1,2,strips", "1,2,3,rows", "1,2,3,4", "1,2,x", "0,1,1", "-1,1,1"] {
            assert!(blocking(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn threads_are_compared_once_each() {
        assert_eq!(unique(&[2, 1, 2]), [2, 1]);
    }
}
