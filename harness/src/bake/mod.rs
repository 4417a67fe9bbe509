//! From a store to a tuned profile: winners for each operation and class of shapes, with the reason.
//!
//! Results of other machines and of changed sources do not count. What was not measured keeps the
//! generic profile's choice and says so. The raw results go beside the profile as evidence.

mod choose;
mod crossover;
mod evidence;

use crate::filter::by_name;
use crate::machine::Machine;
use crate::ranking;
use crate::space::{self, Temperature};
use crate::store::{self, Record};
use anyhow::{Context, bail, ensure};
use choose::{Chosen, choose};
use kiln_kernels::format::Format;
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::Op;
use kiln_profiles::lookup;
use kiln_profiles::machine::{Caches, Machine as CpuProfile, Match};
use kiln_profiles::schema::{Choice, Class, SCHEMA, Tier, Tuned, Variant};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Chooses winners and writes the profile, its evidence, and its machine's description if that is new.
///
/// # Errors
/// If the store holds nothing that counts, or its machine is not the CPU of that name.
pub fn bake(options: &Options) -> anyhow::Result<Baked> {
    let contents = store::read(options.store)?;
    let mut notes: Vec<String> = contents.complaint(options.store).into_iter().collect();
    let machine = Machine::detect();
    let (records, stale) = ranking::current(contents.records);
    if stale > 0 {
        notes.push(format!("{stale} results are of kernels that have changed since, and do not count: sweep again"));
    }
    let all = records.len();
    let records: Vec<Record> = records.into_iter().filter(|r| r.machine == machine.key()).collect();
    if records.len() < all {
        notes.push(format!("{} results are of other machines, and do not count", all - records.len()));
    }
    ensure!(!records.is_empty(), "{} has no result of this machine and these kernels: run kiln sweep first", options.store.display());
    let forced = records.iter().filter(|r| r.forced).count();
    if forced > 0 {
        notes.push(format!("{forced} results were recorded with --force while this machine was too noisy: their winners may be chance"));
    }
    let profile = cpu_profile(options, &machine)?;
    let mine: Vec<&Record> = records.iter().filter(|r| options.threads.is_none_or(|t| r.config.threads == t)).collect();
    if let Some(threads) = options.threads {
        ensure!(!mine.is_empty(), "{} has no result with {threads} threads", options.store.display());
    }
    let choices = choices(&mine, &mut notes)?;
    // All that this CPU has, so that what was not measured is completed by the best of them.
    let here = IsaId::ALL.iter().filter(|isa| isa.arch() == std::env::consts::ARCH && isa.runs_here());
    let mut isas: BTreeSet<String> = here.map(|isa| isa.name().to_owned()).collect();
    for choice in &choices {
        isas.insert(by_name(&choice.kernel)?.meta.isa.name().to_owned());
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
    Ok(Baked { tuned, path, evidence, notes })
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

fn choices(records: &[&Record], notes: &mut Vec<String>) -> anyhow::Result<Vec<Choice>> {
    let mut all = Vec::new();
    all.extend(products(records, Op::Gemm.format(), true, notes)?);
    // The other operations come behind, in the order of the list; of what was not measured one word suffices.
    for op in Op::ALL.iter().filter(|op| **op != Op::Gemm) {
        for format in op.formats() {
            let mut unsaid = Vec::new();
            let notes = if format == op.format() { &mut *notes } else { &mut unsaid };
            all.push(one(records, (*op, format, Class::Row), None, notes)?);
        }
    }
    // Other formats that were measured; what was not keeps the default without a word.
    for format in Format::ALL.iter().copied().filter(|f| *f != Op::Gemm.format()) {
        all.extend(products(records, format, false, notes)?);
    }
    Ok(all)
}

/// The choices for products of a format, by rising M: of the classes that were measured, or of those that an
/// `engine` cannot do without too. Prefill is chosen first, since fewer rows must use its packed layout.
fn products(records: &[&Record], format: Format, engine: bool, notes: &mut Vec<String>) -> anyhow::Result<Vec<Choice>> {
    let measured = |class: Class| {
        records.iter().any(|r| r.config.op == Op::Gemm.name() && r.config.format == format.name() && r.config.shape.class() == class)
    };
    let mut all: Vec<Choice> = Vec::new();
    for class in Class::PRODUCTS.into_iter().rev() {
        if measured(class) || (engine && class != Class::Few) {
            let layout = all.first().map(|first| first.layout.clone());
            all.push(one(records, (Op::Gemm, format, class), layout.as_deref(), notes)?);
        }
    }
    all.reverse();
    if let [.., few, prefill] = all.as_mut_slice()
        && (few.class, prefill.class) == (Class::Few, Class::Prefill)
    {
        few.m_max = crossover::rows(records, few, prefill);
    }
    Ok(all)
}

/// The choice for an operation, format and class among kernels of a packed layout, if one is given.
fn one(
    records: &[&Record],
    (op, format, class): (Op, Format, Class),
    layout: Option<&str>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Choice> {
    let of_class = |r: &&Record| r.config.op == op.name() && r.config.format == format.name() && r.config.shape.class() == class;
    let mut mine: Vec<&Record> = records.iter().copied().filter(of_class).collect();
    let threads = mine.iter().map(|r| r.config.threads).max().unwrap_or(1);
    mine.retain(|r| r.config.threads == threads);
    // Weights come packed in the engine, and are cold when a single row meets them.
    if mine.iter().any(|r| r.config.packed) {
        mine.retain(|r| r.config.packed);
    }
    let usual = Temperature::usual(class, true);
    if mine.iter().any(|r| r.config.operands == usual) {
        mine.retain(|r| r.config.operands == usual);
    }
    let fits = |kernel: &str| layout.is_none_or(|layout| by_name(kernel).is_ok_and(|e| e.meta.layout == layout));
    match choose(&mine, &fits) {
        Some(chosen) => {
            let mut choice = measured(&chosen, op, class, threads)?;
            if let Some(cost) = layout.and_then(|_| cost_of_layout(&mine, &chosen)) {
                choice.note.push_str(&format!("; the best of another packed layout than prefill's would take {cost:.2} of its time"));
            }
            Ok(choice)
        }
        None => {
            notes.push(format!("{op} of {format} ({}) was not measured: it keeps the generic profile's choice", class.name()));
            unmeasured((op, format, class), threads, layout)
        }
    }
}

/// Time of the best without a restriction over time of the chosen, if it is better beyond the tie band.
fn cost_of_layout(records: &[&Record], chosen: &Chosen) -> Option<f64> {
    let free = choose(records, &|_| true)?;
    if free.way.kernel == chosen.way.kernel {
        return None;
    }
    let both = choose(records, &|k| k == free.way.kernel || k == chosen.way.kernel)?;
    let margin = both.margin.filter(|_| both.way.kernel == free.way.kernel)?;
    (margin.value > 1.0 + ranking::BAND).then_some(1.0 / margin.value)
}

fn measured(chosen: &Chosen, op: Op, class: Class, threads: usize) -> anyhow::Result<Choice> {
    let meta = by_name(&chosen.way.kernel)?.meta;
    let over = match chosen.shapes.as_slice() {
        [one] => one.to_string(),
        many => format!("{} shapes", many.len()),
    };
    let note = match (chosen.default_stays, chosen.gain) {
        (true, _) => format!("the default stays: nothing was shown to be faster over {over}"),
        (false, Some(g)) => format!("{:.3} times the speed of the default, 95 % [{:.3}, {:.3}], over {over}", g.value, g.ci.0, g.ci.1),
        (false, None) => format!("fastest over {over}"),
    };
    Ok(Choice {
        op: op.name().into(),
        format: meta.format.name().into(),
        class,
        threads,
        kernel: meta.name.into(),
        rust_type: meta.rust_type.into(),
        fingerprint: chosen.winner.config.fingerprint.clone(),
        layout: meta.layout.into(),
        m_max: None,
        blocking: chosen.way.blocking.map(Into::into),
        split: chosen.way.split,
        spin: chosen.way.spin,
        runner_up: chosen.runner_up.clone(),
        margin: chosen.margin.map(|m| rounded(m.value)),
        margin_ci: chosen.margin.map(|m| [rounded(m.ci.0), rounded(m.ci.1)]),
        regret: chosen.regret.map(rounded),
        tier: Tier::Measured,
        note,
    })
}

/// The generic profile's choice, or its nearest relative of a packed layout.
fn unmeasured((op, format, class): (Op, Format, Class), threads: usize, layout: Option<&str>) -> anyhow::Result<Choice> {
    let mut choice = space::default_choice(op, format, class)?;
    choice.threads = threads;
    choice.note = format!("not measured; {}", choice.note);
    let Some(layout) = layout.filter(|l| *l != choice.layout) else { return Ok(choice) };
    let relatives = kiln_kernels::registry::all().map(|e| e.meta).filter(|m| m.op == op && m.layout == layout);
    let nearest = relatives.min_by_key(|m| (m.param("MR"), m.name)).with_context(|| format!("no kernel packs weights as {layout}"))?;
    choice.kernel = nearest.name.into();
    choice.rust_type = nearest.rust_type.into();
    choice.layout = layout.into();
    choice.note = "not measured: the smallest tile of prefill's packed layout".into();
    Ok(choice)
}

/// To four digits: what is beyond them is noise.
fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}
