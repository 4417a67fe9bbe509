//! Why a profile has the kernel that it has for an operation at a shape: the choice that serves the shape, what the results
//! beside the profile say there, and which rule decided.
//!
//! It reads a profile and its evidence, or a store, goes through the decision again by the very rules of baking, and says
//! where the two part. It decides nothing and writes nothing.

mod answer;
mod rules;

pub use answer::{Answer, AtShape, Compared, Costed, Figure, Near, OverClass, Question, RowAt, Sources, Verdict, Wrong};

use super::LIMITS;
use super::decide::counted;
use crate::filter::by_name;
use crate::machine::Machine;
use crate::ranking::Current;
use crate::space::Shape;
use crate::store::{self, Config, Record, shared};
use crate::target;
use anyhow::{Context, bail, ensure};
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_profiles::lookup;
use kiln_profiles::schema::{Choice, Class, Tuned, Variant};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Measured shapes that are named where the one asked for is not among them.
const NEAREST: usize = 4;

/// Answers.
///
/// # Errors
/// If there is no such profile, or it has no choice for the operation at that shape, or its results cannot be read.
pub fn why(question: &Question) -> anyhow::Result<Answer> {
    let Question { op, format, shape, threads, .. } = *question;
    let (tuned, profile) = lookup::tuned(question.root, &named(question)?)?;
    let (variant, choice) = chosen(&tuned, question)?;
    let mut notes = Vec::new();
    let (results, records) = read(question, &tuned, &profile, &mut notes)?;
    let all: Vec<&Record> = records.iter().collect();
    let threads = threads.unwrap_or(choice.threads);
    let measured = |class: Class| counted(&all, class, threads);
    let here = measured(shape.class()).into_iter().filter(|r| r.config.shape == shape).collect::<Vec<_>>();
    let at_shape = rules::at_shape(&here, choice);
    notes.extend(elsewhere(&all, &here, shape));
    let over_class = rules::over_class(&measured(choice.class), choice, layout(variant, choice), question.objective);
    Ok(Answer {
        cpu: tuned.cpu.clone(),
        profile,
        created: tuned.created.clone(),
        machine: tuned.machine.clone(),
        isas: variant.isas.clone(),
        results,
        op: op.name().into(),
        format: format.name().into(),
        shape,
        class: shape.class(),
        row: row_at(choice, shape),
        runs: label(&at(choice, shape)),
        sources: sources(&at(choice, shape)),
        over_class,
        nearest: if at_shape.as_ref().is_none_or(|at| at.candidates.is_empty()) {
            nearest(&all, variant, question, threads)
        } else {
            Vec::new()
        },
        at_shape,
        choice: choice.clone(),
        notes,
    })
}

/// The name of the profile that is meant.
fn named(question: &Question) -> anyhow::Result<String> {
    if let Some(name) = question.cpu {
        let known = lookup::machines(question.root)?;
        // A path would lead out of the folder of profiles, where no evidence is.
        ensure!(
            known.iter().any(|m| m.name == name),
            "there is no profile '{name}': known are {}",
            known.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ")
        );
        return Ok(name.into());
    }
    let id = kiln_profiles::cpu::here().context("this CPU does not say what it is: give the profile with --cpu NAME")?;
    match lookup::recognise(question.root, &id)? {
        Some(machine) => Ok(machine.name),
        None => bail!("no profile is of this CPU ({id}): give one with --cpu NAME, or bake one"),
    }
}

/// The choice that serves the shape, of the first variant that has one; those that this CPU can run come first.
fn chosen<'t>(tuned: &'t Tuned, question: &Question) -> anyhow::Result<(&'t Variant, &'t Choice)> {
    let mut having = tuned.variants.iter().filter_map(|v| Some((v, serving(v, question.op, question.format, question.shape)?)));
    let first = having.clone().find(|(v, _)| v.runs_here()).or_else(|| having.next());
    first.with_context(|| {
        let Question { op, format, shape, .. } = question;
        let choices = || tuned.variants.iter().flat_map(|v| &v.choices);
        let of_op: BTreeSet<&str> = choices().filter(|c| c.op == op.name()).map(|c| c.format.as_str()).collect();
        let ops: BTreeSet<&str> = choices().map(|c| c.op.as_str()).collect();
        let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
        let has = if of_op.is_empty() { format!("choices for {}", list(ops)) } else { format!("{op} of {}", list(of_op)) };
        format!(
            "the profile {} has no choice for {op} of {format} at {shape}, which builds complete by the defaults: it has {has}",
            tuned.cpu
        )
    })
}

/// The choice of a variant that serves a shape.
pub(super) fn serving(variant: &Variant, op: Op, format: Format, shape: Shape) -> Option<&Choice> {
    match shape.product_rows() {
        Some(m) => variant.product(op.name(), format.name(), m),
        None => variant.choice(op.name(), format.name(), shape.class()),
    }
}

/// The results of the operation and format on the profile's machine, and the file that they come from.
fn read(question: &Question, tuned: &Tuned, profile: &Path, notes: &mut Vec<String>) -> anyhow::Result<(Option<PathBuf>, Vec<Record>)> {
    let beside = profile.with_file_name("evidence").join("results.jsonl");
    let path = match question.store {
        Some(store) => store.to_owned(),
        None if beside.is_file() => beside,
        None => {
            notes.push("no evidence is kept beside this profile: what it says of itself is all there is".into());
            return Ok((None, Vec::new()));
        }
    };
    let key = key(question, tuned);
    let (current, mut stale, mut others) = (Current::of_this_build(), 0u64, 0u64);
    let reduced = store::reduce(&path, &LIMITS, |record| {
        let mine = record.config.op == question.op.name() && record.config.format == question.format.name();
        if !mine {
            return false;
        }
        if record.machine != key {
            others += 1;
            return false;
        }
        let changed = !current.has(record);
        stale += u64::from(changed);
        // Evidence is of one build; a store may have results of several, of which baking takes those of this one.
        question.store.is_none() || !changed
    })?;
    notes.extend(reduced.notes(&path));
    if stale > 0 {
        let so = if question.store.is_some() { "and do not count" } else { "so that this build may do otherwise: sweep and bake again" };
        notes.push(format!("{stale} results are of kernels that have changed since, {so}"));
    }
    if others > 0 {
        notes.push(format!("{others} results are of other machines than the profile's, and do not count"));
    }
    Ok((Some(path), reduced.records))
}

/// The machine whose results count: that of the profile; of one that no machine was needed for predictions, or the one at hand
/// if a store of its results is given.
fn key(question: &Question, tuned: &Tuned) -> String {
    if !tuned.machine.is_empty() {
        return tuned.machine.clone();
    }
    let here = kiln_profiles::cpu::here().is_some_and(|id| lookup::machine(question.root, &tuned.cpu).is_ok_and(|m| m.recognises(&id)));
    if question.store.is_some() && here { Machine::detect().key().into() } else { target::key(&tuned.cpu) }
}

/// The packed layout that a choice had to keep to: that of the choice for the most rows, if that is another one.
fn layout<'v>(variant: &'v Variant, choice: &Choice) -> Option<&'v str> {
    let mut products = Class::PRODUCTS.into_iter().rev().filter_map(|class| variant.choice(&choice.op, &choice.format, class));
    products.next().filter(|first| first.class != choice.class).map(|first| first.layout.as_str())
}

/// Whether the kernel is what it was when it was chosen.
fn sources(choice: &Choice) -> Sources {
    match by_name(&choice.kernel) {
        Err(_) => Sources::Gone,
        Ok(_) if choice.fingerprint.is_empty() => Sources::Unnamed,
        Ok(entry) if format!("{:016x}", entry.meta.fingerprint) == choice.fingerprint => Sources::Same,
        Ok(_) => Sources::Changed,
    }
}

/// A line on results at the shape that do not count: of other threads, other operands, or not packed.
fn elsewhere(all: &[&Record], here: &[&Record], shape: Shape) -> Option<String> {
    let mut ways: BTreeMap<String, usize> = BTreeMap::new();
    let counts = here.first().map(|r| (r.config.threads, r.config.packed, r.config.operands));
    for Config { threads, packed, operands, .. } in all.iter().map(|r| &r.config).filter(|c| c.shape == shape) {
        if counts != Some((*threads, *packed, *operands)) {
            let packed = if *packed { "packed" } else { "not packed" };
            *ways.entry(format!("{} operands, {packed}, {threads} thread(s)", operands.name())).or_default() += 1;
        }
    }
    let list = ways.iter().map(|(way, n)| format!("{n} with {way}")).collect::<Vec<_>>().join("; ");
    (!list.is_empty()).then(|| format!("results at {shape} that do not count here: {list}"))
}

/// The nearest measured shapes: by the sum of the logarithms of the ratios of their extents.
fn nearest(all: &[&Record], variant: &Variant, question: &Question, threads: usize) -> Vec<Near> {
    let shapes: BTreeSet<Shape> = all.iter().map(|r| r.config.shape).collect();
    let mut by_distance: Vec<(f64, Shape)> =
        shapes.into_iter().filter_map(|s| Some((distance(question.shape, s)?, s))).filter(|(_, s)| *s != question.shape).collect();
    by_distance.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let near = by_distance.into_iter().filter_map(|(_, shape)| {
        let here: Vec<&Record> = counted(all, shape.class(), threads).into_iter().filter(|r| r.config.shape == shape).collect();
        let winner = rules::winner(&here)?;
        Some(Near {
            shape,
            class: shape.class(),
            candidates: here.iter().filter(|r| r.cost().is_some()).count(),
            winner: winner.config.label(),
            median_ns: winner.median_ns().map(|m| m.0),
            cycles: rules::cycles(winner),
            choice: serving(variant, question.op, question.format, shape).map(|choice| label(&at(choice, shape))),
        })
    });
    near.take(NEAREST).collect()
}

/// `None` of shapes of different kinds.
fn distance(a: Shape, b: Shape) -> Option<f64> {
    let (a, b) = (a.extents(), b.extents());
    (a.len() == b.len()).then(|| a.iter().zip(&b).map(|(a, b)| (*a as f64 / *b as f64).ln().abs()).sum())
}

/// A choice as it is at a shape: with what the row of its table has in place of its own, if one holds it.
pub fn at(choice: &Choice, shape: Shape) -> Choice {
    shape.product().map_or_else(|| choice.clone(), |product| choice.at(product))
}

/// The row of its table that holds a shape.
fn row_at(choice: &Choice, shape: Shape) -> Option<RowAt> {
    let product = shape.product()?;
    let place = choice.table.iter().position(|row| row.holds(product))?;
    Some(RowAt { number: place + 1, rows: choice.table.len(), when: choice.table[place].clone() })
}

/// A choice as the labels of results have it: kernel, blocking, split and spin.
pub fn label(choice: &Choice) -> String {
    choice.kernel.clone() + &choice.blocking.map(|b| format!(" {b}")).unwrap_or_default() + &shared(choice.split, choice.spin)
}
