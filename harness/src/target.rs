//! Tuning for a CPU that is not here. The candidates are those that a program built for it lists, under an emulator; the
//! model orders them; and those that are predicted to win are verified before they may.
//!
//! Nothing is timed: all that is stored is of the tier `predicted`.

use crate::filter::Filter;
use crate::measure::apart::{Bench, Listing, Reply, Request};
use crate::model::Predictor;
use crate::progress::Progress;
use crate::ranking::{self, BAND, Current};
use crate::space::{Problem, Spec, Temperature};
use crate::store::{self, Config, Outcome, Record, SCHEMA, Store};
use anyhow::{Context, bail, ensure};
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_profiles::machine::Machine;
use kiln_profiles::schema::Tier;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What to tune.
#[derive(Clone, Debug)]
pub struct Options {
    /// The CPU.
    pub cpu: Machine,
    /// A kiln binary for its architecture, of this source.
    pub binary: PathBuf,
    /// What runs that binary here, with its arguments; empty: the system itself.
    pub emulator: Vec<String>,
    /// The operation.
    pub op: Op,
    /// The format of the operands.
    pub format: Format,
    /// The shapes.
    pub specs: Vec<Spec>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Hot or cold operands; `None`: what products of the class meet.
    pub operands: Option<Temperature>,
    /// Whether blockings are varied.
    pub near: bool,
    /// Where results go.
    pub store: PathBuf,
}

/// What was predicted.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The winner at each problem.
    pub rows: Vec<Row>,
    /// Results that were stored now.
    pub stored: usize,
    /// Results that were there before.
    pub resumed: usize,
    /// Kernels that gave wrong answers, and what was wrong.
    pub invalid: Vec<(String, String)>,
}

/// One problem.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub problem: Problem,
    /// The winner, which was verified.
    pub winner: Record,
    /// The best of another kernel, which was verified too.
    pub runner_up: Option<Record>,
    /// Candidates with a prediction.
    pub predicted: usize,
    /// All candidates there are.
    pub candidates: usize,
}

/// Kernels that are verified at each problem at least, those that tie with the best beside them.
const FINALISTS: usize = 3;

/// The key that predictions for a CPU are stored under: no machine has it.
pub fn key(cpu: &str) -> String {
    format!("predicted/{cpu}")
}

/// What runs programs for a CPU here by default: nothing if it is of this architecture, otherwise qemu with the libraries of
/// Debian's cross compiler, and with vectors as long as the CPU's.
///
/// # Errors
/// If there is no such default.
pub fn emulator(cpu: &Machine) -> anyhow::Result<Vec<String>> {
    if cpu.arch == std::env::consts::ARCH {
        return Ok(Vec::new());
    }
    ensure!(cpu.arch == "aarch64", "nothing is known that runs programs for {} here: name it with --emulator", cpu.arch);
    let vectors = cpu.sve_bits.unwrap_or(128) / 128;
    let model = format!("max,sve-max-vq={vectors}");
    let words = ["qemu-aarch64", "-cpu", &model, "-L", "/usr/aarch64-linux-gnu", "-E", "LD_LIBRARY_PATH=/usr/aarch64-linux-gnu/lib"];
    Ok(words.map(str::to_owned).into())
}

/// Predicts every candidate at every problem, verifies the winners, and stores all of it.
///
/// # Errors
/// If the binary or a tool cannot be run, a problem has no candidate with a prediction, or the store cannot be written.
pub fn run(options: &Options) -> anyhow::Result<Summary> {
    let filter = Filter { op: vec![options.op], format: vec![options.format], ..Filter::default() };
    let kernels = filter.entries()?.iter().filter(|e| e.meta.isa.arch() == options.cpu.arch).count();
    let problems: Vec<Problem> =
        options.threads.iter().flat_map(|threads| options.specs.iter().map(|s| options.problem(s, *threads))).collect();
    let machine = key(&options.cpu.name);
    let mine = |r: &Record| r.machine == machine && r.config.problem().is_some_and(|p| problems.contains(&p));
    let (store, contents) = Store::open(&options.store, mine)?;
    if let Some(complaint) = contents.complaint(&options.store) {
        eprintln!("note: {complaint}");
    }
    let progress = Progress::new((kernels + problems.len()) as u64, "predicting");
    let predictor = Predictor::new(&options.cpu, &options.binary, &filter, |kernel| {
        progress.at(kernel);
        progress.advance(1);
    })?;
    let command = options.emulator.iter().map(OsString::from).chain([OsString::from(&options.binary)]).collect();
    let mut tuning =
        Tuning { options, predictor, bench: Bench::started_by(command), store, verified: HashMap::new(), summary: Summary::default() };
    for problem in problems {
        progress.at(format!("{} {}", problem.op, problem.shape));
        let row = tuning.problem(problem).with_context(|| format!("{} of {} at {}", problem.op, problem.format, problem.shape))?;
        tuning.summary.rows.push(row);
        progress.advance(1);
    }
    let mut summary = tuning.summary;
    summary.invalid = tuning.verified.into_iter().filter_map(|(kernel, word)| Some((kernel, word.err()?))).collect();
    summary.invalid.sort();
    Ok(summary)
}

impl Options {
    fn problem(&self, Spec { shape, packed }: &Spec, threads: usize) -> Problem {
        let operands = self.operands.unwrap_or(Temperature::usual(shape.class(), *packed));
        Problem { op: self.op, format: self.format, shape: *shape, packed: *packed, threads, operands }
    }
}

/// A run under way.
struct Tuning<'a> {
    options: &'a Options,
    predictor: Predictor,
    bench: Bench,
    store: Store,
    /// The conformance grid's word on each kernel that was asked for.
    verified: HashMap<String, Result<f64, String>>,
    summary: Summary,
}

impl Tuning<'_> {
    fn problem(&mut self, problem: Problem) -> anyhow::Result<Row> {
        let all = self.candidates(&problem)?;
        let candidates = all.len();
        let mut predicted: Vec<(Config, bool, f64)> = all
            .into_iter()
            .filter_map(|(config, default)| self.predictor.cycles(&config).map(|cycles| (config, default, cycles)))
            .collect();
        predicted.sort_by(|a, b| a.2.total_cmp(&b.2).then_with(|| a.0.cmp(&b.0)));
        ensure!(!predicted.is_empty(), "none of {candidates} candidates has a prediction");
        let finalists = self.finalists(&predicted)?;
        let mut records = Vec::with_capacity(predicted.len());
        for (config, default, cycles) in predicted {
            let word = self.verified.get(&config.kernel);
            let record = self.record(&problem, (config, default), cycles, word);
            let known = self.store.has(&record.key());
            if !known {
                self.store.append(&record)?;
            }
            (self.summary.stored, self.summary.resumed) =
                (self.summary.stored + usize::from(!known), self.summary.resumed + usize::from(known));
            records.push(record);
        }
        let predicted = records.len();
        let mut best: Vec<Record> = Vec::new();
        for kernel in finalists {
            best.extend(records.iter().find(|r| r.config.kernel == kernel).cloned());
        }
        let least = best.iter().filter_map(Record::cost).fold(f64::INFINITY, f64::min);
        // As among measured ones: what cannot be told apart is settled by a fixed rule.
        let behind = |r: &Record| r.cost().is_none_or(|cost| cost > least * (1.0 + BAND));
        best.sort_by(|a, b| behind(a).cmp(&behind(b)).then_with(|| ranking::simpler(a).cmp(&ranking::simpler(b))));
        let mut best = best.into_iter();
        let winner = best.next().context("every finalist gave wrong answers")?;
        Ok(Row { problem, winner, runner_up: best.next(), predicted, candidates })
    }

    fn candidates(&mut self, problem: &Problem) -> anyhow::Result<Vec<(Config, bool)>> {
        let Problem { op, format, shape, packed, threads, operands } = *problem;
        let caches = self.options.cpu.caches;
        let listing = Listing {
            op: op.name().into(),
            format: format.name().into(),
            shape,
            packed,
            threads,
            operands,
            near: self.options.near,
            caches: (caches.l1, caches.l2, caches.l3),
        };
        match self.bench.ask(&Request::Candidates(listing))? {
            Reply::Candidates(all) => {
                let current = Current::of_this_build();
                let stale = all.iter().find(|(config, _)| !current.has_config(config));
                if let Some((config, _)) = stale {
                    bail!(
                        "{} is of other sources than this program ({} differs): build it again",
                        self.options.binary.display(),
                        config.kernel
                    );
                }
                Ok(all)
            }
            Reply::Invalid(why) => bail!("{why}"),
            other => bail!("a bench was asked for candidates and said {other:?}"),
        }
    }

    /// The first kernels that the grid finds right, and those that tie with the first.
    fn finalists(&mut self, predicted: &[(Config, bool, f64)]) -> anyhow::Result<Vec<String>> {
        let (mut found, mut least) = (Vec::<String>::new(), f64::INFINITY);
        for (config, _, cycles) in predicted {
            if found.len() >= FINALISTS && *cycles > least * (1.0 + BAND) {
                break;
            }
            if found.contains(&config.kernel) || self.verify(&config.kernel)?.is_err() {
                continue;
            }
            least = least.min(*cycles);
            found.push(config.kernel.clone());
        }
        Ok(found)
    }

    fn verify(&mut self, kernel: &str) -> anyhow::Result<Result<f64, String>> {
        if let Some(word) = self.verified.get(kernel) {
            return Ok(word.clone());
        }
        let word = match self.bench.ask(&Request::Grid(kernel.into()))? {
            Reply::Grid(worst) => Ok(worst),
            Reply::Invalid(why) => Err(why),
            other => bail!("a bench was asked for the grid and said {other:?}"),
        };
        self.verified.insert(kernel.into(), word.clone());
        Ok(word)
    }

    fn record(&self, problem: &Problem, (config, default): (Config, bool), cycles: f64, word: Option<&Result<f64, String>>) -> Record {
        let limit = self.predictor.product(&config).map_or("moving operands", |c| c.limit());
        let outcome = match word {
            Some(Err(reason)) => Outcome::Invalid { reason: reason.clone() },
            _ => Outcome::Predicted { cycles: cycles.round(), limit: limit.into() },
        };
        debug_assert_eq!(config.problem(), Some(*problem));
        Record {
            schema: SCHEMA,
            time: store::now(),
            machine: key(&self.options.cpu.name),
            // Another binary does not say what it was compiled with.
            compiler: format!("not known: of {}", file_name(&self.options.binary)),
            flags: String::new(),
            tier: Tier::Predicted,
            config,
            default,
            page_bytes: 4096,
            huge_pages: None,
            noise_floor: BAND,
            forced: false,
            effort: None,
            verification_error: word.and_then(|word| word.clone().ok()),
            outcome,
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
