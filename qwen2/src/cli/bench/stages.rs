//! Where the time of a test went: for each stage its share, what it moved and computed, and which fraction of the machine's
//! limit that is; and the same for each layer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use qwen2::baked::{Format, Team};
use qwen2::graph::profile::{Cell, Place};
use serde::Serialize;

use super::limits;

/// The stages of one test.
#[derive(Debug, Serialize)]
pub(super) struct Stages {
    /// The share of the wall time that the stages account for.
    accounted: f64,
    /// All layers together, in the order of a pass.
    operations: Vec<Line>,
    /// Layer by layer.
    layers: Vec<Layer>,
    /// What fractions are of: bytes read per second, and operations per second by arithmetic.
    limits: Limits,
}

#[derive(Debug, Serialize)]
struct Limits {
    read_bytes_per_s: f64,
    ops_per_s: BTreeMap<&'static str, f64>,
}

#[derive(Debug, Serialize)]
struct Line {
    stage: &'static str,
    calls: u64,
    ns: u64,
    share: f64,
    bytes: u64,
    ops: u64,
    /// The time that the limits allow for its bytes or its operations, whichever is longer, over what it took.
    of_limit: f64,
    /// Which of them that is.
    bound: &'static str,
    kernel: String,
}

#[derive(Debug, Serialize)]
struct Layer {
    layer: usize,
    ns: u64,
    share: f64,
    stages: BTreeMap<&'static str, u64>,
}

impl Stages {
    /// The profile of samples that took so long together; `read` is the rate of reading, in bytes per second.
    pub(super) fn new(cells: BTreeMap<Place, Cell>, samples_ns: &[u64], read: f64, team: &Team) -> Self {
        let wall = samples_ns.iter().sum::<u64>().max(1) as f64;
        // By what is really multiplied, so that a limit carries its own name.
        let of = |cell: &Cell| cell.work.arithmetic.map(limits::multiplied_in);
        let formats: BTreeSet<Format> = cells.values().filter_map(of).collect();
        let ops_per_s: BTreeMap<&'static str, f64> =
            formats.into_iter().filter_map(|format| Some((format.name(), limits::arithmetic(team, format)?))).collect();
        let limits = Limits { read_bytes_per_s: read, ops_per_s };
        let (mut operations, mut layers) = (Vec::<Line>::new(), BTreeMap::<usize, Layer>::new());
        for ((stage, layer), cell) in &cells {
            let ns = cell.time.as_nanos() as u64;
            let arithmetic = of(cell).and_then(|format| limits.ops_per_s.get(format.name()));
            let (reading, computing) = (cell.work.bytes as f64 / read, arithmetic.map_or(0.0, |peak| cell.work.ops as f64 / peak));
            if operations.last().is_none_or(|line| line.stage != stage.name()) {
                let (bound, kernel) = (if reading >= computing { "memory" } else { "arithmetic" }, cell.work.kernel.clone());
                operations.push(Line { stage: stage.name(), calls: 0, ns: 0, share: 0.0, bytes: 0, ops: 0, of_limit: 0.0, bound, kernel });
            }
            let Some(line) = operations.last_mut() else { continue };
            line.calls += cell.calls;
            line.ns += ns;
            line.bytes += cell.work.bytes;
            line.ops += cell.work.ops;
            line.of_limit += reading.max(computing);
            if let Some(layer) = layer {
                let of_layer = layers.entry(*layer).or_insert(Layer { layer: *layer, ns: 0, share: 0.0, stages: BTreeMap::new() });
                of_layer.ns += ns;
                of_layer.stages.insert(stage.name(), ns);
            }
        }
        for line in &mut operations {
            line.share = line.ns as f64 / wall;
            line.of_limit /= (line.ns as f64 / 1e9).max(1e-12);
        }
        let mut layers: Vec<Layer> = layers.into_values().collect();
        layers.iter_mut().for_each(|layer| layer.share = layer.ns as f64 / wall);
        Self { accounted: operations.iter().map(|line| line.share).sum(), operations, layers, limits }
    }

    /// Two tables.
    pub(super) fn text(&self) -> String {
        let rates: Vec<String> = self.limits.ops_per_s.iter().map(|(name, rate)| format!("{name} {:.0} Gop/s", rate / 1e9)).collect();
        let mut out = format!(
            "\n{:.1} % of the wall time by stage; limits here: read {:.1} GB/s, {}\n\n\
             | stage | time, ms | share | calls | MB | Gop | of limit | kernel |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n",
            100.0 * self.accounted,
            self.limits.read_bytes_per_s / 1e9,
            rates.join(", ")
        );
        for line in &self.operations {
            let Line { stage, calls, ns, share, bytes, ops, of_limit, bound, kernel } = line;
            let _ = writeln!(
                out,
                "| {stage} | {:.2} | {:.1} % | {calls} | {:.1} | {:.2} | {:.0} % of {bound} | {kernel} |",
                *ns as f64 / 1e6,
                100.0 * share,
                *bytes as f64 / 1e6,
                *ops as f64 / 1e9,
                100.0 * of_limit,
            );
        }
        let _ = writeln!(out, "\n| layer | time, ms | share | slowest stages |\n| ---: | ---: | ---: | --- |");
        for layer in &self.layers {
            let mut stages: Vec<(&str, u64)> = layer.stages.iter().map(|(name, ns)| (*name, *ns)).collect();
            stages.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
            let slowest: Vec<String> = stages.iter().take(3).map(|(name, ns)| format!("{name} {:.2} ms", *ns as f64 / 1e6)).collect();
            let _ =
                writeln!(out, "| {} | {:.2} | {:.1} % | {} |", layer.layer, layer.ns as f64 / 1e6, 100.0 * layer.share, slowest.join(", "));
        }
        out
    }
}
