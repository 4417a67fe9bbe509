//! Our matrix products beside those of other libraries, in one run on the same operands.
//!
//! Every system is first held against the oracle at each problem; one that is wrong, or that fails,
//! ends the comparison. Then all take turns in rounds, each with the idle policy that it is shipped
//! with: before a turn everyone is at rest, and a system wakes up by calls that nobody times.
//! What the machine can do at most is measured before and after each problem.

mod quiet;
mod rounds;

use crate::machine::Machine;
use crate::machine::peak::{Peak, peaks};
use crate::machine::timing::Plan;
use crate::measure::clock::Effort;
use crate::measure::noise;
use crate::measure::operands::{self, Operands, Room};
use crate::measure::statistics::{Ratio, median, median_ci, paired_ratio};
use crate::peers::{self, Choice, Chosen, Found, Kiln, Peer, System, format};
use crate::progress::Progress;
use crate::space::{Problem, Shape, Temperature};
use crate::sweep::room;
use crate::{guard, ranking};
use kiln_kernels::format::Format;
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::Op;
use kiln_profiles::schema::Tier;
use kiln_reports::GflopsPlot;
use kiln_reports::gflops::{Peak as Limit, Point, Series};
use rounds::Player;
use serde::Serialize;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format of the operands.
    pub format: Format,
    /// The problems' extents.
    pub shapes: Vec<Shape>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// With whom; `None`: with all that are installed.
    pub peers: Option<Vec<&'static Peer>>,
    /// What ours is to run.
    pub choice: Choice,
    /// Whether operands are the same each time, or rotate through more than the last cache holds. Other
    /// systems keep theirs in one place, and so are only compared hot.
    pub operands: Temperature,
    /// Whether reading the packed weights of ours is a system too.
    pub read: bool,
    /// How thoroughly to measure.
    pub effort: Effort,
}

/// One system at one problem.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The extent of a cube, or else the shape.
    pub size: Size,
    /// M, N and K.
    pub shape: Shape,
    /// Threads.
    pub threads: usize,
    /// The system's name; ours is `kiln`.
    pub system: &'static str,
    /// Median rate.
    pub gflops_median: f64,
    /// Its 95 % interval, low end first.
    pub gflops_ci: (f64, f64),
    /// Our rate over this system's, in pairs; none for ours.
    pub kiln_over_system: Option<f64>,
    /// Its 95 % interval.
    pub kiln_over_system_ci: Option<(f64, f64)>,
    /// Whether ours is `ahead`, `level` or `behind`; none for ours.
    pub kiln_is: Option<&'static str>,
    /// Bytes of packed weights in a second, in 10⁹; only where weights were packed before.
    pub weights_gbs: Option<f64>,
    /// Multiply-adds that the machine managed around this problem by its best instruction set for the
    /// format, or by that of the kernel that was asked for; none where no loop of the format is known.
    /// Of the system that only reads: none.
    pub peak_gflops: Option<f64>,
    /// The median rate's share of that.
    pub fraction_of_peak: Option<f64>,
    /// Rounds, of two samples each, that the figures come from.
    pub rounds: usize,
    /// The largest error beside the oracle, as a fraction of its tolerance.
    pub verification_error: f64,
    /// Where the figures come from.
    pub tier: Tier,
    /// Version and build, as the system tells.
    pub version: Option<String>,
    /// The kernel that was run, if the system tells.
    pub kernel: Option<Chosen>,
}

/// How large a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Size {
    /// M = N = K.
    Cube(usize),
    /// Any other shape.
    Other(Shape),
}

impl From<Shape> for Size {
    fn from(shape: Shape) -> Size {
        match shape {
            Shape::Product { m, .. } if shape.is_cube() => Size::Cube(m),
            _ => Size::Other(shape),
        }
    }
}

/// All of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The key of the machine.
    pub machine: String,
    /// The format's name.
    pub format: &'static str,
    /// The smallest relative difference that pairs of this session can show.
    pub noise_floor: f64,
    /// How often a system was still busy when the next one's turn came.
    pub restless: usize,
    /// One for each system at each problem, ours first.
    pub rows: Vec<Row>,
}

/// A system failed or gave a wrong answer: not what was asked for is at fault, but what was found.
#[derive(Debug, thiserror::Error)]
#[error("{system} at {shape}, {threads} thread(s): {why}")]
pub struct Failed {
    system: &'static str,
    shape: Shape,
    threads: usize,
    why: String,
}

/// A system and its name.
struct Named {
    name: &'static str,
    system: Box<dyn System>,
}

/// Compares.
///
/// # Errors
/// Bad input, before anything is measured; [`Failed`] if a system is wrong or gives up.
pub fn run(options: &Options, machine: &Machine) -> anyhow::Result<Comparison> {
    machine.allow_timing(&options.threads)?;
    let room = room(machine);
    let problem = |threads: &usize, shape: &Shape| problem(options.format, *shape, *threads, options.operands);
    let problems: Vec<Problem> = options.threads.iter().flat_map(|t| options.shapes.iter().map(move |s| problem(t, s))).collect();
    problems.iter().try_for_each(|p| operands::fits(p, room))?;
    let ours = Kiln::new(options.format, options.choice.clone(), machine)?;
    let first = problems.first().copied().ok_or_else(|| anyhow::anyhow!("no shape and number of threads given"))?;
    let (candidate, _) = ours.candidate(first.shape)?;
    // Of a kernel that was asked for, the peak of its own instructions is the one to come near to.
    let isa = options.choice.kernel.is_some().then_some(candidate.entry.meta.isa);
    let read = options.read.then(|| Named { name: peers::READ, system: Box::new(peers::Read::new(ours.packed_weights())) });
    let mut systems = vec![Named { name: peers::NAME, system: Box::new(ours) }];
    systems.extend(read);
    systems.extend(find(options)?.into_iter().map(|f| Named { name: f.peer.name, system: f.system }));

    let progress = Progress::new(problems.len() as u64 * STEPS, "comparing");
    progress.at("noise floor");
    let noise_floor = noise::floor(&Problem { format: options.format, ..first }, &candidate, room, &options.effort)?;
    let mut session = Session { options, room, isa, progress, peak: None, restless: 0 };
    let mut rows = Vec::new();
    for problem in &problems {
        rows.extend(session.compare(problem, &mut systems)?);
    }
    let Session { restless, .. } = session;
    Ok(Comparison { machine: machine.key().into(), format: options.format.name(), noise_floor, restless, rows })
}

/// The peers that were asked for, or all that there are; then what is missing is noted.
fn find(options: &Options) -> anyhow::Result<Vec<Found>> {
    match &options.peers {
        Some(named) if !named.is_empty() && options.operands == Temperature::Cold => {
            anyhow::bail!("other systems keep their weights in one place: leave --peers out to measure ours with cold operands")
        }
        Some(named) => peers::named(named, options.format),
        None if options.operands == Temperature::Cold => Ok(Vec::new()),
        None => {
            let (found, missing) = peers::installed(options.format);
            missing.iter().for_each(|m| eprintln!("note: {m}"));
            Ok(found)
        }
    }
}

/// Weights as a linear layer keeps them.
fn problem(format: Format, shape: Shape, threads: usize, operands: Temperature) -> Problem {
    Problem { op: Op::Gemm, format: format::stored(format), shape, packed: true, threads, operands }
}

/// Steps of progress at a problem.
const STEPS: u64 = 100;

/// What lasts from problem to problem.
struct Session<'a> {
    options: &'a Options,
    room: Room,
    /// The instruction set whose peak counts, if not the best.
    isa: Option<IsaId>,
    progress: Progress,
    /// The last peak that was measured, and for how many threads.
    peak: Option<Peak>,
    restless: usize,
}

impl Session<'_> {
    /// All systems at one problem.
    fn compare(&mut self, problem: &Problem, systems: &mut [Named]) -> anyhow::Result<Vec<Row>> {
        let Options { format, effort, .. } = *self.options;
        let effort = &effort;
        let what = format!("{}, {} thread(s)", problem.shape, problem.threads);
        self.progress.at(what.clone());
        let before = match self.peak.take() {
            Some(peak) if peak.threads == problem.threads => Some(peak),
            _ => self.measure_peak(problem.threads),
        };
        let seed = problem.shape.size() as u64;
        let mut operands = Operands::new(problem, self.room, seed)?;
        if !format.is_blocks() {
            operands.replace(|x| format::nearest(format, x));
        }

        let (mut abouts, mut errors, mut players) = (Vec::new(), Vec::new(), Vec::new());
        let failed = |system, why| Failed { system, shape: problem.shape, threads: problem.threads, why };
        for Named { name, system } in systems.iter_mut() {
            self.progress.at(format!("{what}: verifying {name}"));
            let verified = verify(name, system.as_mut(), &mut operands, format);
            errors.push(verified.map_err(|why| failed(name, why))?);
            abouts.push(About { system: name, version: system.version(), kernel: system.chosen().cloned(), bytes: system.bytes() });
            let player = Player::new(system.as_mut(), &mut operands, effort);
            players.push(player.map_err(|why| failed(name, format!("{why:#}")))?);
        }
        self.progress.at(what);
        let mut done = 0;
        let played = rounds::play(&mut players, &mut operands, effort, |share| {
            let now = (share * STEPS as f64) as u64;
            self.progress.advance(now - done);
            done = now;
        });
        let rounds = played.map_err(|rounds::Interrupted { player, why }| failed(abouts[player].system, format!("{why:#}")))?;
        self.progress.advance(STEPS - done);
        self.restless += rounds.restless;

        self.peak = self.measure_peak(problem.threads);
        // The machine may be slower for a while: what it managed at best is the limit.
        let peak = before.iter().chain(&self.peak).map(Peak::gflops).reduce(f64::max);
        let figures = Figures { problem, ours: &rounds.ns[0], peak };
        let all = abouts.into_iter().zip(errors).zip(&rounds.ns).enumerate();
        let row = |(index, ((about, error), ns)): (usize, ((About, f64), &Vec<f64>))| figures.row(about, error, ns, index == 0);
        Ok(all.filter_map(row).collect())
    }

    /// The most multiply-adds of the format; `None` where no loop for it is known.
    fn measure_peak(&self, threads: usize) -> Option<Peak> {
        self.progress.at(format!("peak of {threads} thread(s)"));
        let all = peaks(Some(self.options.format.arithmetic()), &[threads], &Plan::QUICK, |_| {});
        let all = all.into_iter().filter(|p| self.isa.is_none_or(|isa| p.isa == isa.to_string()));
        all.max_by(|a, b| a.flops.median.total_cmp(&b.flops.median))
    }
}

/// Makes a system ready and compares its answer with the oracle: the error as a fraction of its tolerance.
fn verify(name: &'static str, system: &mut dyn System, operands: &mut Operands, format: Format) -> Result<f64, String> {
    let error = guard::watch(name, || system.prepare(operands).and_then(|()| system.error(operands, format)));
    error.map_err(|why| format!("{why:#}"))
}

/// What a system says of itself.
#[derive(Clone)]
struct About {
    system: &'static str,
    version: Option<String>,
    kernel: Option<Chosen>,
    /// Bytes of packed weights that a call reads.
    bytes: Option<usize>,
}

/// What the rows of a problem have in common.
struct Figures<'a> {
    problem: &'a Problem,
    /// Our nanoseconds per call, round by round.
    ours: &'a [f64],
    peak: Option<f64>,
}

impl Figures<'_> {
    fn row(&self, About { system, version, kernel, bytes }: About, verification_error: f64, ns: &[f64], is_ours: bool) -> Option<Row> {
        let flops = self.problem.shape.flops()?;
        let gflops_median = flops / median(ns)?;
        let (low, high) = median_ci(ns)?;
        let peak = self.peak.filter(|_| system != peers::READ);
        let pairs: Vec<_> = ns.iter().zip(self.ours).map(|(theirs, ours)| (*theirs, *ours)).collect();
        let ratio = if is_ours { None } else { paired_ratio(&pairs) };
        Some(Row {
            size: self.problem.shape.into(),
            shape: self.problem.shape,
            threads: self.problem.threads,
            system,
            gflops_median,
            gflops_ci: (flops / high, flops / low),
            kiln_over_system: ratio.map(|r| r.value),
            kiln_over_system_ci: ratio.map(|r| r.ci),
            kiln_is: ratio.map(verdict),
            weights_gbs: bytes.zip(median(ns)).map(|(bytes, ns)| bytes as f64 / ns),
            peak_gflops: peak,
            fraction_of_peak: peak.map(|p| gflops_median / p),
            rounds: ns.len(),
            verification_error,
            tier: Tier::Measured,
            version,
            kernel,
        })
    }
}

/// Where our rate stands, by its ratio to another's.
fn verdict(ratio: Ratio) -> &'static str {
    match ratio {
        ratio if ratio.is_tie(ranking::BAND) => "level",
        ratio if ratio.value > 1.0 => "ahead",
        _ => "behind",
    }
}

impl Comparison {
    /// The rates over size, one plot for each number of threads.
    pub fn plots(&self) -> Vec<(usize, GflopsPlot)> {
        let mut threads: Vec<usize> = self.rows.iter().map(|r| r.threads).collect();
        threads.dedup();
        threads.into_iter().map(|t| (t, self.plot(t))).collect()
    }

    fn plot(&self, threads: usize) -> GflopsPlot {
        let rows: Vec<&Row> = self.rows.iter().filter(|r| r.threads == threads).collect();
        let mut systems: Vec<&str> = Vec::new();
        rows.iter().for_each(|r| {
            if !systems.contains(&r.system) {
                systems.push(r.system)
            }
        });
        let point = |r: &&&Row| Point { x: r.shape.size(), median: r.gflops_median, ci: Some(r.gflops_ci) };
        let of = |system: &str| rows.iter().filter(|r| r.system == system).map(|r| point(&r)).collect();
        let peaks: Vec<f64> = rows.iter().filter_map(|r| r.peak_gflops).collect();
        let cubes = rows.iter().all(|r| r.shape.is_cube());
        GflopsPlot {
            title: format!("{} GEMM beside other libraries, {threads} thread(s)", self.format),
            x_label: if cubes { "M = N = K".into() } else { "cube root of M·N·K".into() },
            unlike: !cubes,
            series: systems.into_iter().map(|s| Series { label: s.into(), points: of(s) }).collect(),
            peaks: median(&peaks).map(|gflops| Limit { label: "measured peak".into(), gflops }).into_iter().collect(),
            tier: kiln_reports::Tier::Measured,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(system: &'static str) -> About {
        About { system, version: None, kernel: None, bytes: None }
    }

    #[test]
    fn a_row_has_rates_and_the_ratio_of_pairs() {
        let problem = problem(Format::F32, "100x100x100".parse().expect("a shape"), 1, Temperature::Hot);
        let figures = Figures { problem: &problem, ours: &[1000.0, 2000.0, 1000.0], peak: Some(4000.0) };
        let about = about("other");
        // Twice as long as ours in every round, whatever the drift.
        let row = figures.row(about.clone(), 0.5, &[2000.0, 4000.0, 2000.0], false).expect("a row");
        assert_eq!((row.gflops_median, row.fraction_of_peak), (1000.0, Some(0.25)));
        assert!(row.gflops_ci.0 <= 1000.0 && row.gflops_ci.1 >= 1000.0);
        assert_eq!((row.kiln_over_system, row.kiln_over_system_ci, row.kiln_is), (Some(2.0), Some((2.0, 2.0)), Some("ahead")));
        let ours = figures.row(about, 0.5, figures.ours, true).expect("a row");
        assert_eq!((ours.kiln_over_system, ours.kiln_is), (None, None));
        assert_eq!(serde_json::to_value(&ours).expect("JSON")["size"], 100);
    }

    #[test]
    fn differences_within_the_band_are_none() {
        let of = |value: f64, reach: f64| verdict(Ratio { value, ci: (value - reach, value + reach) });
        assert_eq!([of(1.5, 0.1), of(0.5, 0.1), of(1.5, 0.6), of(1.01, 0.001)], ["ahead", "behind", "level", "level"]);
    }

    #[test]
    fn each_number_of_threads_has_a_plot_of_all_systems() {
        let problem = problem(Format::F32, "2x3x4".parse().expect("a shape"), 2, Temperature::Hot);
        let figures = Figures { problem: &problem, ours: &[10.0], peak: Some(99.0) };
        let rows = ["kiln", "other"].map(|name| figures.row(about(name), 0.0, &[20.0], name == "kiln").expect("a row"));
        let comparison = Comparison { machine: "m".into(), format: "f32", noise_floor: 0.0, restless: 0, rows: rows.to_vec() };
        let plots = comparison.plots();
        assert_eq!((plots.len(), plots[0].0, plots[0].1.series.len()), (1, 2, 2));
        assert!(plots[0].1.svg().is_ok_and(|svg| svg.contains("measured peak") && svg.contains("other")));
        assert_eq!(serde_json::to_value(&comparison.rows[0]).expect("JSON")["size"], "2x3x4");
    }
}
