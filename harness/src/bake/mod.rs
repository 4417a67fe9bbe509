//! From a store to a tuned profile: winners for each operation and class of shapes, with the reason.
//!
//! Results of other machines and of changed sources do not count. What was not measured keeps the
//! generic profile's choice and says so. The raw results go beside the profile as evidence.

mod agreement;
mod choose;
mod class;
mod crossover;
mod decide;
mod evidence;
mod levels;
mod objective;
mod predicted;
pub(crate) mod promising;
mod size;
mod table;
mod way;
mod why;

pub use agreement::{Agreement, agreements};
pub use decide::{Decided, decide, decide_for};
pub use objective::{Objective, PROMPT, Total};
pub use size::Sizes;
pub use why::{Answer, AtShape, Compared, Costed, Figure, Near, OverClass, Question, RowAt, Sources, Verdict, Wrong, at, label, why};

use crate::filter::by_name;
use crate::machine::Machine;
use crate::ranking::Current;
use crate::space;
use crate::store::{self, Limits, Record, Reduced};
use crate::target;
use anyhow::{Context, bail, ensure};
use kiln_kernels::isa::IsaId;
use kiln_profiles::lookup;
use kiln_profiles::machine::{Caches, Machine as CpuProfile, Match, Rates};
use kiln_profiles::schema::{Choice, SCHEMA, Tier, Tuned, Variant};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Many times what a sweep of weeks leaves of one machine; so much is read into less than a gigabyte.
const LIMITS: Limits = Limits { of_a_problem: 8192, problems: 10_000, bytes: 256 << 20 };

/// What to bake.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The profile's name.
    pub cpu: &'a str,
    /// The store.
    pub store: &'a Path,
    /// The folder of all profiles.
    pub root: &'a Path,
    /// Threads whose results count; `None`: for each choice the most that were measured.
    pub threads: Option<usize>,
    /// What choices are to make fast.
    pub objective: Objective,
}

/// What was baked.
#[derive(Clone, Debug)]
pub struct Baked {
    /// The profile.
    pub tuned: Tuned,
    /// Its file.
    pub path: PathBuf,
    /// The file with the results it rests on.
    pub evidence: PathBuf,
    /// What the products of the objective's model take in all, if it has one.
    pub totals: Vec<Total>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Chooses winners and writes the profile, its evidence, and its machine's description if that is new.
///
/// # Errors
/// If the store holds nothing that counts, or its machine is not the CPU of that name.
pub fn bake(options: &Options) -> anyhow::Result<Baked> {
    let machine = Machine::detect();
    let key = key(options, &machine)?;
    let (reduced, seen) = read(options, &key)?;
    let mut notes = reduced.notes(options.store);
    if seen.stale > 0 {
        notes.push(format!("{} results are of kernels that have changed since, and do not count: sweep again", seen.stale));
    }
    if seen.others > 0 {
        notes.push(format!("{} results are of other machines, and do not count", seen.others));
    }
    if let (true, Some(cpu)) = (seen.mine > 0, known(options)?.filter(|cpu| key == target::key(&cpu.name))) {
        return predicted::bake(options, &cpu, &reduced.records.iter().collect::<Vec<_>>(), notes);
    }
    if key != machine.key() {
        // Of a CPU that is not here there are predictions or nothing.
        cpu_profile(options, &machine)?;
    }
    ensure!(seen.mine > 0, "{} has no result of this machine and these kernels: run kiln sweep first", options.store.display());
    if seen.forced > 0 {
        let forced = seen.forced;
        notes.push(format!("{forced} results were recorded with --force while this machine was too noisy: their winners may be chance"));
    }
    let profile = cpu_profile(options, &machine)?;
    let mine: Vec<&Record> = reduced.records.iter().collect();
    if let Some(threads) = options.threads {
        ensure!(!mine.is_empty(), "{} has no result with {threads} threads", options.store.display());
    }
    let Decided { choices, open, notes: more, .. } = decide_for(&mine, options.objective)?;
    notes.extend(more);
    if !open.is_empty() {
        let n = open.len();
        notes.push(format!("{n} comparisons of winners with what they replace are not of pairs: sweep on, without --budget, to have them"));
    }
    // All that this CPU has, so that what was not measured is completed by the best of them.
    let here = IsaId::ALL.iter().filter(|isa| isa.arch() == std::env::consts::ARCH && isa.runs_here());
    let mut isas: BTreeSet<String> = here.map(|isa| isa.name().to_owned()).collect();
    for named in choices.iter().flat_map(Choice::kernels) {
        isas.insert(by_name(named.kernel)?.meta.isa.name().to_owned());
    }
    let tuned = Tuned {
        schema: SCHEMA,
        cpu: options.cpu.to_owned(),
        arch: profile.arch.clone(),
        tier: choices.iter().map(|c| c.tier).max().unwrap_or(Tier::Predicted),
        machine: machine.key().to_owned(),
        // That of the measured kernels, which need not be that of this binary.
        compiler: mine.last().map(|r| format!("{}, {}", r.compiler, r.flags)).unwrap_or_default(),
        created: store::now(),
        variants: vec![Variant { isas: isas.into_iter().collect(), choices }],
    };
    let path = lookup::write_tuned(options.root, &tuned)?;
    write_profile(options, &profile)?;
    let evidence = evidence::write(&options.root.join(options.cpu), &mine, &tuned)?;
    let totals = match options.objective {
        Objective::EndToEnd(model) => objective::totals(model, &mine, &tuned.variants[0]),
        Objective::Time | Objective::TimeAndSize(_) => Vec::new(),
    };
    Ok(Baked { tuned, path, evidence, totals, notes })
}

/// Results of a store by what they are good for.
#[derive(Debug, Default)]
struct Seen {
    stale: u64,
    others: u64,
    mine: u64,
    forced: u64,
}

/// All results of this machine, of kernels as they are and with the threads that count: every way at every shape, since a
/// class is decided over all of its shapes. Of more than [`LIMITS`] some are left out.
fn read(options: &Options, key: &str) -> anyhow::Result<(Reduced, Seen)> {
    let (current, mut seen) = (Current::of_this_build(), Seen::default());
    let reduced = store::reduce(options.store, &LIMITS, |record| {
        if !current.has(record) {
            seen.stale += 1;
            return false;
        }
        if record.machine != key {
            seen.others += 1;
            return false;
        }
        seen.mine += 1;
        seen.forced += u64::from(record.forced);
        options.threads.is_none_or(|threads| record.config.threads == threads)
    })?;
    Ok((reduced, seen))
}

/// The profile of that name that the project has.
fn known(options: &Options) -> anyhow::Result<Option<CpuProfile>> {
    let known = if options.root.is_dir() { lookup::machines(options.root)? } else { Vec::new() };
    Ok(known.into_iter().find(|m| m.name == options.cpu))
}

/// The key of the results that count: of this machine, or of predictions if that CPU is not here.
fn key(options: &Options, machine: &Machine) -> anyhow::Result<String> {
    let here = kiln_profiles::cpu::here();
    let elsewhere = |cpu: &CpuProfile| !cpu.matches.is_empty() && !here.as_ref().is_some_and(|id| cpu.recognises(id));
    Ok(match known(options)?.filter(elsewhere) {
        Some(cpu) => target::key(&cpu.name),
        None => machine.key().to_owned(),
    })
}

/// The description of the CPU: the project's, if it has one, which must then be this machine's.
fn cpu_profile(options: &Options, machine: &Machine) -> anyhow::Result<CpuProfile> {
    let name_is_plain = options.cpu.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) && !options.cpu.starts_with('.');
    ensure!(name_is_plain && !options.cpu.is_empty(), "'{}' is no name for a profile: use letters, digits, '-' and '_'", options.cpu);
    let id = kiln_profiles::cpu::here();
    let known = if options.root.is_dir() { lookup::machines(options.root)? } else { Vec::new() };
    if let Some(profile) = known.iter().find(|m| m.name == options.cpu) {
        let own = id.as_ref().and_then(|id| known.iter().find(|m| m.recognises(id)));
        let fits =
            profile.arch == std::env::consts::ARCH && (profile.matches.is_empty() || id.as_ref().is_some_and(|id| profile.recognises(id)));
        ensure!(
            fits,
            "this machine is not {}, so its results cannot be baked under that name: use {}",
            profile.title,
            own.map_or("a name of its own", |m| m.name.as_str())
        );
        return Ok(profile.clone());
    }
    let Some(id) = id else { bail!("this CPU does not say what it is, so a profile of it could not be recognised later") };
    let caches = space::caches(machine);
    Ok(CpuProfile {
        name: options.cpu.into(),
        title: machine.brand.clone().unwrap_or_else(|| id.to_string()),
        arch: id.arch.clone(),
        llvm_cpu: "generic".into(),
        slower: BTreeMap::new(),
        simulated_as: BTreeMap::new(),
        rates: Rates::default(),
        sve_bits: machine.sve_bytes.map(|bytes| 8 * bytes as usize),
        caches: Caches { l1: caches.l1, l2: caches.l2, l3: caches.l3 },
        matches: vec![Match { vendor: id.vendor, family: id.family, models: vec![[id.model, id.model]] }],
    })
}

/// Writes `machine.toml` where there is none.
fn write_profile(options: &Options, profile: &CpuProfile) -> anyhow::Result<()> {
    let path = options.root.join(options.cpu).join(lookup::MACHINE);
    if path.is_file() {
        return Ok(());
    }
    let text = toml::to_string(profile).context("the machine's description cannot be written as TOML")?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
