//! Baselines: what our kernels took, in a file that a later run is judged by.
//!
//! A baseline is of one operation and format on one machine, and of one tier: times of a clock, or instructions that were
//! counted. This is the document and what makes it a sound one; how it is measured is for [`clock`] and [`counts`], what
//! follows from two of them for [`judge`]. It never chooses a kernel.

pub mod calls;
pub mod clock;
pub mod counts;
pub mod judge;
pub mod rivals;

use crate::measure::operands::{self, Room};
use crate::measure::statistics::{median, median_ci};
use crate::peers::{Choice, Task};
use crate::space::{Problem, Shape, Temperature};
use crate::store::{self, Config};
use anyhow::{Context, ensure};
use counts::Counter;
use kiln_kernels::registry::Op;
use kiln_profiles::schema::Tier;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The version of the files that this build writes and reads.
pub const SCHEMA: u32 = 1;

/// A file that is longer is none.
const LONGEST: u64 = 64 << 20;

/// What is measured: ours alone, products with weights that were packed before.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The operation and the format of its operands.
    pub task: Task,
    /// Extents and threads of each problem.
    pub at: Vec<(Shape, usize)>,
    /// Hot or cold operands.
    pub operands: Temperature,
    /// What is run instead of what the profile of this CPU says.
    pub choice: Choice,
}

impl Wanted {
    /// The problems, all of which have room.
    ///
    /// # Errors
    /// If there is none, or the operands of one would not fit.
    pub fn problems(&self, room: Room) -> anyhow::Result<Vec<Problem>> {
        ensure!(!self.at.is_empty(), "no shape and number of threads given");
        let problems: Vec<Problem> = self.at.iter().map(|at| problem(self.task, *at, self.operands)).collect();
        problems.iter().try_for_each(|p| operands::fits(p, room))?;
        Ok(problems)
    }
}

fn problem(Task { op, format }: Task, (shape, threads): (Shape, usize), operands: Temperature) -> Problem {
    Problem { op, format, shape, packed: op == Op::Gemm, threads, operands }
}

/// What a session found, with its provenance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The key of the machine; of counted instructions that which the program saw.
    pub machine: String,
    /// The compiler's version.
    pub compiler: String,
    /// Its flags.
    pub flags: String,
    /// Where the figures come from.
    pub tier: Tier,
    /// What counted, if it was not a clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub counter: Option<Counter>,
    /// One for each problem.
    pub rows: Vec<Row>,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was run.
    #[serde(flatten)]
    pub config: Config,
    /// What it took.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What a call took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figures {
    /// Time.
    Timed {
        /// Nanoseconds per call, a list for each process; without them median and interval are what counts.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        samples_ns: Vec<Vec<f64>>,
        /// Their median.
        median_ns: f64,
        /// Its 95 % interval, which reaches to the median of each process.
        ci_ns: (f64, f64),
        /// What this session could not tell from no difference here, as a fraction: the kernel beside itself.
        noise_floor: f64,
    },
    /// Instructions.
    Counted {
        /// In one call.
        instructions: f64,
        /// The mean of so many.
        calls: usize,
    },
}

impl Figures {
    /// Of samples of one or more processes, in nanoseconds per call. `None` of nothing.
    pub fn timed(samples: &[Vec<f64>], noise_floor: f64) -> Option<Figures> {
        let samples_ns: Vec<Vec<f64>> = samples.iter().map(|p| p.iter().map(|ns| (ns * 100.0).round() / 100.0).collect()).collect();
        let all = samples_ns.concat();
        let (median_ns, mut ci_ns) = (median(&all)?, median_ci(&all)?);
        for middle in samples_ns.iter().filter_map(|p| median(p)) {
            ci_ns = (ci_ns.0.min(middle), ci_ns.1.max(middle));
        }
        Some(Figures::Timed { samples_ns, median_ns, ci_ns, noise_floor })
    }

    /// Nanoseconds or instructions of a call.
    pub fn middle(&self) -> f64 {
        match self {
            Figures::Timed { median_ns, .. } => *median_ns,
            Figures::Counted { instructions, .. } => *instructions,
        }
    }

    /// What it could not tell from no difference; of counts nothing.
    pub fn noise_floor(&self) -> f64 {
        match self {
            Figures::Timed { noise_floor, .. } => *noise_floor,
            Figures::Counted { .. } => 0.0,
        }
    }

    fn tier(&self) -> Tier {
        match self {
            Figures::Timed { .. } => Tier::Measured,
            Figures::Counted { .. } => Tier::Counted,
        }
    }

    /// Whether they can be what somebody measured.
    fn check(&self) -> anyhow::Result<()> {
        let sound = |x: f64| x.is_finite() && x > 0.0;
        match self {
            Figures::Timed { samples_ns, median_ns, ci_ns: (low, high), noise_floor } => {
                ensure!([*median_ns, *low, *high].into_iter().all(sound), "a time is no number above 0");
                ensure!(low <= median_ns && median_ns <= high, "median_ns {median_ns} lies outside of ci_ns");
                ensure!(noise_floor.is_finite() && *noise_floor >= 0.0, "noise_floor {noise_floor} is no fraction");
                ensure!(samples_ns.iter().flatten().all(|ns| sound(*ns)), "a sample is no number above 0");
                ensure!(samples_ns.iter().all(|p| !p.is_empty()), "a process has no samples");
                let near = |middle: f64| (middle - median_ns).abs() <= 1e-6 * median_ns;
                ensure!(median(&samples_ns.concat()).is_none_or(near), "median_ns {median_ns} is not the median of samples_ns");
            }
            Figures::Counted { instructions, .. } => ensure!(sound(*instructions), "instructions {instructions} is no number above 0"),
        }
        Ok(())
    }
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    /// If the file cannot be read, or is no sound baseline.
    pub fn read(path: &Path) -> anyhow::Result<Baseline> {
        let cannot = || format!("cannot read the baseline {}", path.display());
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text)).with_context(cannot)?;
        let no_baseline = || format!("{} is no baseline (--write-baseline writes one)", path.display());
        if text.len() as u64 > LONGEST {
            return Err(anyhow::anyhow!("it is longer than {} MiB", LONGEST >> 20)).with_context(no_baseline);
        }
        let baseline: Baseline = serde_json::from_str(&text).with_context(no_baseline)?;
        baseline.check().with_context(no_baseline)?;
        Ok(baseline)
    }

    /// Writes it, and its file is either whole or what it was before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let cannot = || format!("cannot write the baseline {}", path.display());
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().permissions(permissions()).tempfile_in(folder).with_context(cannot)?;
        std::io::Write::write_all(&mut file, (serde_json::to_string_pretty(self)? + "\n").as_bytes()).with_context(cannot)?;
        file.persist(path).map_err(|e| e.error).with_context(cannot)?;
        Ok(())
    }

    /// The problem of a row, if this build knows its operation and format.
    fn first(&self) -> Option<Problem> {
        self.rows.first()?.config.problem()
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.schema == SCHEMA, "its schema is {}, and this kiln reads {SCHEMA}: write a new one", self.schema);
        ensure!(self.tier != Tier::Predicted, "a model's word is nothing to judge by");
        ensure!((self.tier == Tier::Counted) == self.counter.is_some(), "tier {} and counter contradict each other", self.tier);
        ensure!(!self.rows.is_empty(), "it has no rows");
        let mut seen = std::collections::HashSet::new();
        for Row { config, figures } in &self.rows {
            let at = format!("the row of {}, {} thread(s)", config.shape, config.threads);
            let of = config.problem().with_context(|| format!("{at}: there is no {} {}", config.format, config.op))?;
            let first = self.first().map(|p| Problem { shape: of.shape, threads: of.threads, ..p });
            ensure!(first == Some(of), "{at} is of another operation, format or temperature than the first");
            ensure!(figures.tier() == self.tier, "{at} is not of tier {}", self.tier);
            figures.check().with_context(|| at.clone())?;
            ensure!(seen.insert((config.shape, config.threads)), "{at} is there twice");
        }
        Ok(())
    }

    /// What it is of.
    ///
    /// # Errors
    /// None for one that was read or measured.
    pub fn of(&self) -> anyhow::Result<(Task, Temperature)> {
        let Problem { op, format, operands, .. } = self.first().context("the baseline has no rows")?;
        Ok((Task { op, format }, operands))
    }

    /// The row of a problem.
    pub fn row(&self, shape: Shape, threads: usize) -> Option<&Row> {
        self.rows.iter().find(|r| r.config.shape == shape && r.config.threads == threads)
    }

    /// The largest noise floor of its rows; `None` of counted instructions.
    pub fn noise_floor(&self) -> Option<f64> {
        (self.tier == Tier::Measured).then(|| self.rows.iter().map(|r| r.figures.noise_floor()).fold(0.0, f64::max))
    }
}

/// Those of a file that anyone may read, as far as the user's mask lets them.
fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// A baseline of a session that ends now.
fn baseline(machine: &str, (compiler, flags): (&str, &str), counter: Option<Counter>, rows: Vec<Row>) -> Baseline {
    let tier = if counter.is_some() { Tier::Counted } else { Tier::Measured };
    let (compiler, flags) = (compiler.to_owned(), flags.to_owned());
    Baseline { schema: SCHEMA, time: store::now(), machine: machine.to_owned(), compiler, flags, tier, counter, rows }
}

/// Compiler and flags of this build.
fn build() -> (&'static str, &'static str) {
    (env!("KILN_COMPILER"), env!("KILN_FLAGS"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::tests::record;

    /// A row of a product.
    pub(crate) fn row(kernel: &str, shape: &str, figures: Figures) -> Row {
        Row { config: record(kernel, shape, &[1.0]).config, figures }
    }

    /// A baseline of one row that took so many nanoseconds, with some noise.
    pub(crate) fn timed(shape: &str, ns: f64) -> Baseline {
        let samples = [vec![ns * 0.999, ns, ns * 1.001], vec![ns * 0.998, ns, ns * 1.002]];
        let figures = Figures::timed(&samples, 0.01).expect("samples");
        baseline("m", ("rustc", "-O"), None, vec![row("a", shape, figures)])
    }

    /// A baseline of one row with so many instructions.
    pub(crate) fn counted(shape: &str, instructions: f64) -> Baseline {
        let figures = Figures::Counted { instructions, calls: 2 };
        baseline("m", ("rustc", "-O"), Some(Counter::Callgrind), vec![row("a", shape, figures)])
    }

    fn read(text: &str) -> anyhow::Result<Baseline> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("b.json");
        std::fs::write(&path, text).expect("written");
        Baseline::read(&path)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("b.json");
        for baseline in [timed("8x8x8", 1000.0), counted("8x8x8", 12345.5)] {
            baseline.write(&path).expect("written");
            assert_eq!(Baseline::read(&path).expect("a baseline"), baseline);
            assert_eq!(baseline.of().expect("a task").0.op, Op::Gemm);
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);
        assert!(Baseline::read(&dir.path().join("none")).is_err() && timed("8x8x8", 1.0).write(&dir.path().join("no/b")).is_err());
    }

    #[test]
    fn median_and_interval_are_enough_and_must_be_those_of_the_samples() {
        let with = |edit: &dyn Fn(&mut serde_json::Value)| {
            let mut document = serde_json::to_value(timed("8x8x8", 1000.0)).expect("JSON");
            edit(&mut document["rows"][0]);
            read(&document.to_string())
        };
        assert!(with(&|row| drop(row.as_object_mut().expect("an object").remove("samples_ns"))).is_ok());
        let refused = |edit: &dyn Fn(&mut serde_json::Value)| format!("{:#}", with(edit).expect_err("refused"));
        assert!(refused(&|row| row["median_ns"] = 999.0.into()).contains("not the median"));
        assert!(refused(&|row| row["median_ns"] = 9999.0.into()).contains("outside"));
        assert!(refused(&|row| row["samples_ns"][0][0] = (-1.0).into()).contains("a sample"));
        assert!(refused(&|row| row["samples_ns"][0] = serde_json::json!([])).contains("no samples"));
        assert!(refused(&|row| row["noise_floor"] = (-1.0).into()).contains("no fraction"));
        assert!(refused(&|row| row["op"] = "juggle".into()).contains("no f32 juggle"));
        assert!(refused(&|row| row["shape"] = "8x0x8".into()).contains("nothing to measure"));
    }

    #[test]
    fn what_is_no_sound_baseline_is_refused() {
        let (one, other) = (timed("8x8x8", 1000.0), counted("8x8x8", 10.0));
        let refused = |b: Baseline| format!("{:#}", read(&serde_json::to_string(&b).expect("JSON")).expect_err("refused"));
        assert!(refused(Baseline { schema: 9, ..one.clone() }).contains("schema is 9"));
        assert!(refused(Baseline { tier: Tier::Predicted, ..one.clone() }).contains("model"));
        assert!(refused(Baseline { tier: Tier::Counted, ..one.clone() }).contains("contradict"));
        assert!(refused(Baseline { rows: Vec::new(), ..one.clone() }).contains("no rows"));
        assert!(refused(Baseline { rows: [one.rows.clone(), one.rows.clone()].concat(), ..one.clone() }).contains("twice"));
        assert!(refused(Baseline { rows: [one.rows.clone(), other.rows.clone()].concat(), ..one.clone() }).contains("tier"));
        let another = timed("4x4", 1.0).rows;
        assert!(refused(Baseline { rows: [one.rows.clone(), another].concat(), ..one }).contains("another operation"));
        for text in ["", "{}", "[1]", "rubbish", "{\"machine\":\"m\",\"rows\":[]}"] {
            let error = format!("{:#}", read(text).expect_err(text));
            assert!(error.contains("no baseline (--write-baseline"), "{error}");
        }
    }
}
