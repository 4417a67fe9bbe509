//! The laboratory once through, on this machine: probe, verify, sweep, count, bake, build, compare,
//! sample, report.
//!
//! It only strings together what the single commands do, and writes nothing outside of its folder
//! but cargo's build products. What cannot be had on this machine (a PMU, perf events) is said on the
//! page and does not stop the run; a kernel that gives wrong answers does not stop it either, but the
//! exit status is then 1.

mod engine;

pub use engine::{Engine, Plan};

use crate::bake::{self, Baked};
use crate::check;
use crate::filter::Filter;
use crate::machine::limits::{self, Limits};
use crate::machine::{Machine, lock};
use crate::measure::apart;
use crate::measure::clock::Effort;
use crate::model;
use crate::profile::{self, Roof};
use crate::progress::Progress;
use crate::ranking::{self, Standing};
use crate::report;
use crate::search::Strategy;
use crate::space::{self, Blockings, shape};
use crate::store::{Config, Record};
use crate::sweep;
use anyhow::Context;
use kiln_kernels::registry::Op;
use kiln_profiles::lookup;
use kiln_reports::page::{Counter, Section};
use kiln_reports::{Flame, Page, Tier};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the model is asked to continue.
const PROMPT: &str = "A vector is";

/// How much to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shapes of the matrix products.
    pub shapes: &'static str,
    /// Time for sweeping matrix products.
    pub gemm_budget: Duration,
    /// Time for sweeping each other operation.
    pub row_budget: Duration,
    /// How thoroughly to measure.
    pub effort: Effort,
    /// How the engines are compared.
    pub plan: Plan,
    /// Folder of everything that is written.
    pub out: PathBuf,
}

impl Options {
    /// Ten minutes or so on two cores, the builds of the engine included.
    pub fn quick(out: PathBuf) -> Options {
        Options {
            shapes: "model:embedded,256..1024",
            gemm_budget: Duration::from_secs(150),
            row_budget: Duration::from_secs(4),
            effort: Effort::QUICK,
            plan: Plan { prompt: 128, generate: 64, pairs: 12 },
            out,
        }
    }

    /// An hour or so.
    pub fn full(out: PathBuf) -> Options {
        Options {
            shapes: "model:embedded,model:qwen2.5-0.5b,256..4096",
            gemm_budget: Duration::from_secs(2400),
            row_budget: Duration::from_secs(60),
            effort: Effort::FULL,
            plan: Plan { prompt: 512, generate: 128, pairs: 24 },
            out,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The page.
    pub page: PathBuf,
    /// The text that the model wrote.
    pub text: String,
    /// Kernels that gave wrong answers.
    pub failed: usize,
}

/// Announces each step on stderr.
struct Steps {
    began: Instant,
    number: usize,
}

impl Steps {
    const COUNT: usize = 8;

    fn next(&mut self, what: &str) {
        self.number += 1;
        let gone = self.began.elapsed().as_secs();
        eprintln!("[{}/{}] {what} ({}:{:02} gone)", self.number, Self::COUNT, gone / 60, gone % 60);
    }
}

/// Runs the laboratory.
///
/// # Errors
/// If the folder cannot be written, a sweep cannot be made, or the engine cannot be built or run.
pub fn run(options: &Options) -> anyhow::Result<Outcome> {
    let out = &options.out;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let mut steps = Steps { began: Instant::now(), number: 0 };

    steps.next("probing the machine");
    let machine = Machine::detect();
    let limits = measured_limits(&machine)?;

    steps.next("verifying every kernel");
    let verification = check::run(&Filter::default().entries()?);
    eprintln!("      {} passed, {} failed, {} skipped", verification.passed, verification.failed, verification.skipped);

    steps.next("sweeping kernels");
    let records = sweep_all(options, &machine)?;
    let standings = ranking::standings(&records);

    steps.next("reading counters");
    let counters = counters(&machine, &standings);

    steps.next("baking the winners");
    let baked = bake_winners(options, &machine)?;

    steps.next("building qwen2, without tuning and with the winners");
    let default = Engine::build(&lookup::generic(std::env::consts::ARCH), "default", out)?;
    let winner = Engine::build(&baked.path.display().to_string(), "tuned", out)?;

    steps.next("comparing the two end to end");
    let threads = machine.system.cores.usable;
    let tokens = alone().and_then(|_machine| engine::compare(&default, &winner, &options.plan, threads))?;
    let generated = winner.generate(PROMPT, 64)?;

    steps.next("sampling a generation and writing the page");
    let mut page = report::page(&records.iter().collect(), &standings, Some(&machine), Some(&limits));
    page.title = "Kiln: the laboratory, once through".into();
    page.tokens = tokens;
    page.verification = Some(report::verification(&verification));
    model::figure::add(&mut page, &records);
    add(&mut page, Section::Counters, counters, |page, counters| page.counters = counters);
    add(&mut page, Section::Flames, flame(&winner, out), |page, flame| page.flames.push(flame));
    let text = format!("{}{}", generated.prompt, generated.text);
    page.generated = Some(generated);
    page.notices.extend(baked.notes.iter().cloned());
    let path = out.join("index.html");
    page.write(&path)?;
    Ok(Outcome { page: path, text, failed: verification.failed })
}

/// Puts a part on the page, or the reason why it is missing.
fn add<T>(page: &mut Page, section: Section, part: anyhow::Result<T>, put: impl FnOnce(&mut Page, T)) {
    match part {
        Ok(part) => put(page, part),
        Err(error) => {
            eprintln!("note: {error:#}");
            page.missing.insert(section, format!("{error:#}"));
        }
    }
}

/// Takes hold of the machine for what is measured here; sweeps do so themselves.
fn alone() -> anyhow::Result<lock::Lock> {
    lock::machine(|note| eprintln!("note: {note}"))
}

fn measured_limits(machine: &Machine) -> anyhow::Result<Limits> {
    let _machine = alone()?;
    let progress = Progress::new(limits::steps(machine), "measuring limits");
    Ok(limits::measure(machine, true, |what| {
        progress.at(what);
        progress.advance(1);
    }))
}

/// Every operation, into one store; an interrupted run resumes from it.
fn sweep_all(options: &Options, machine: &Machine) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::new();
    for op in Op::ALL {
        let (shapes, budget) = match op {
            Op::Gemm => (options.shapes, options.gemm_budget),
            _ => ("model:embedded", options.row_budget),
        };
        let sweep = sweep::Options {
            op: *op,
            format: op.format(),
            filter: Filter::default(),
            specs: shape::parse(shapes, *op).map_err(anyhow::Error::msg)?,
            threads: vec![1],
            operands: None,
            blockings: Blockings::Near,
            strategy: Strategy::Halving,
            constraints: Vec::new(),
            evaluations: None,
            seed: 0,
            budget: Some(budget),
            effort: options.effort,
            // A first look is wanted anywhere; what was too noisy is marked.
            force: true,
            shard: None,
            program: apart::this_program().ok(),
            store: options.out.join("results.jsonl"),
        };
        let summary = sweep::run(&sweep, machine)?;
        eprintln!(
            "      {op}: {} results stored, {} were there, {} candidates left for want of time",
            summary.stored, summary.resumed, summary.unmeasured
        );
        records.extend(summary.records);
    }
    Ok(records)
}

/// Counters of default and winner at the largest cube.
fn counters(machine: &Machine, standings: &[Standing]) -> anyhow::Result<Vec<Counter>> {
    let largest =
        standings.iter().filter(|s| s.problem.shape.is_cube()).max_by(|a, b| a.problem.shape.size().total_cmp(&b.problem.shape.size()));
    let standing = largest.context("no cube was swept")?;
    let entries = Filter { op: vec![standing.problem.op], ..Filter::default() }.entries()?;
    let (candidates, _) = space::candidates(&standing.problem, &entries, Blockings::Near, space::caches(machine))?;
    let _machine = alone()?;
    let roof = Roof::measure(machine);
    let mut all = Vec::new();
    let default = standing.default.filter(|d| d.config != standing.winner.config);
    for record in default.into_iter().chain([standing.winner]) {
        let Some(candidate) = candidates.iter().find(|c| Config::new(&standing.problem, c) == record.config) else { continue };
        let profile = profile::run(&standing.problem, candidate, machine, sweep::room(machine), &roof, &Effort::QUICK)?;
        all.extend(fold_missing(profile.page_counters()));
    }
    Ok(all)
}

/// The counters that there are, and those that there are not on one line for each source.
fn fold_missing(counters: Vec<Counter>) -> Vec<Counter> {
    let mut folded: Vec<Counter> = Vec::new();
    for counter in counters {
        let same = |c: &&mut Counter| c.value.is_none() && c.what == counter.what && c.source == counter.source;
        match folded.iter_mut().find(same) {
            Some(other) if counter.value.is_none() => other.name = format!("{}, {}", other.name, counter.name),
            _ => folded.push(counter),
        }
    }
    folded
}

fn bake_winners(options: &Options, machine: &Machine) -> anyhow::Result<Baked> {
    let known = kiln_profiles::cpu::here().map(|cpu| lookup::recognise(lookup::default_root(), &cpu)).transpose()?.flatten();
    let name = known.map_or_else(|| "this-machine".to_owned(), |m| m.name);
    let root = options.out.join("profiles");
    std::fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
    let store = options.out.join("results.jsonl");
    let baked = bake::bake(&bake::Options { cpu: &name, store: &store, root: &root, threads: None, objective: Default::default() })?;
    eprintln!("      {} for {}", baked.path.display(), machine.brand.as_deref().unwrap_or(&name));
    Ok(baked)
}

/// The flame graph of a generation that is long enough for some hundred samples.
fn flame(engine: &Engine, out: &Path) -> anyhow::Result<Flame> {
    let profile = alone().and_then(|_machine| engine.sample(256))?;
    anyhow::ensure!(profile.samples > 0, "the generation was too short for a sample");
    let flame = Flame {
        title: "a Qwen2 generation with the winners".into(),
        folded: profile.folded_text(),
        before: None,
        how: Some(profile.describe()),
        tier: Tier::Measured,
    };
    std::fs::write(out.join("flame.svg"), flame.svg()?).context("cannot write flame.svg")?;
    Ok(flame)
}
