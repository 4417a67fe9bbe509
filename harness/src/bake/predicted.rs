//! The profile of a CPU that is not here, from predictions: products by them, all else the default.

use super::decide::Decided;
use super::{Baked, Options, evidence};
use crate::filter::by_name;
use crate::store::{self, Outcome, Record};
use anyhow::{Context, ensure};
use kiln_kernels::registry::Op;
use kiln_profiles::lookup;
use kiln_profiles::machine::Machine as CpuProfile;
use kiln_profiles::schema::{Choice, Class, SCHEMA, Tier, Tuned, Variant};
use std::collections::BTreeSet;

/// Writes the profile of `cpu` from predictions for it, and those of kernels that were verified as its evidence.
///
/// # Errors
/// If no product of an engine's own format was predicted, or the profile cannot be written.
pub(super) fn bake(options: &Options, cpu: &CpuProfile, records: &[&Record], mut notes: Vec<String>) -> anyhow::Result<Baked> {
    // Only what was verified, and never found wrong, may win.
    let is_wrong = |r: &Record| matches!(r.outcome, Outcome::Invalid { .. });
    let wrong: BTreeSet<&str> = records.iter().filter(|r| is_wrong(r)).map(|r| r.config.kernel.as_str()).collect();
    let verified: BTreeSet<&str> = records.iter().filter(|r| r.verification_error.is_some()).map(|r| r.config.kernel.as_str()).collect();
    let may_win = |r: &&&Record| verified.contains(r.config.kernel.as_str()) && !wrong.contains(r.config.kernel.as_str());
    let sound: Vec<&Record> = records.iter().filter(may_win).copied().collect();
    let Decided { choices, notes: more, .. } = super::decide::products(&sound, options.objective)?;
    notes.extend(more);
    let needed = |class: Class| choices.iter().any(|c| c.format == Op::Gemm.format().name() && c.class == class);
    ensure!(
        needed(Class::Decode) && needed(Class::Prefill),
        "{} lacks predictions of {} for one row or for many: kiln sweep gemm --target {} --shapes model:qwen2.5-0.5b",
        options.store.display(),
        Op::Gemm.format().name(),
        cpu.name
    );
    let (generic, _) = lookup::tuned(options.root, &lookup::generic(&cpu.arch))?;
    let known = lookup::tuned(options.root, &cpu.name).map(|(tuned, _)| tuned.variants).unwrap_or_default();
    let mut isas: BTreeSet<String> = known.iter().flat_map(|variant| variant.isas.iter().cloned()).collect();
    for named in choices.iter().flat_map(Choice::kernels) {
        isas.insert(by_name(named.kernel)?.meta.isa.name().to_owned());
    }
    // Operations on rows are not chosen by prediction: they stay as the CPU's profile has them, and what it lacks is taken from the
    // generic variant that the CPU has most of.
    let fits = |variant: &&Variant| !variant.choices.is_empty() && variant.isas.iter().all(|isa| isas.contains(isa));
    let rows = generic.variants.iter().find(fits).or(generic.variants.last()).context("the generic profile has no variant")?;
    let is_here = |c: &&Choice| c.class == Class::Row && by_name(&c.kernel).is_ok();
    let own_rows: Vec<&Choice> = known.iter().flat_map(|v| &v.choices).filter(is_here).collect();
    let stays = |row: &Choice| own_rows.iter().copied().find(|own| (&own.op, &own.format) == (&row.op, &row.format)).unwrap_or(row).clone();
    let rows = rows.choices.iter().filter(|c| c.class == Class::Row).map(stays).collect::<Vec<_>>();
    let first = |c: &Choice| c.format == Op::Gemm.format().name();
    let (own, others): (Vec<Choice>, Vec<Choice>) = choices.into_iter().partition(first);
    let choices = own.into_iter().chain(rows).chain(others).collect();
    let tuned = Tuned {
        schema: SCHEMA,
        cpu: cpu.name.clone(),
        arch: cpu.arch.clone(),
        tier: Tier::Predicted,
        machine: String::new(),
        compiler: records.last().map(|r| r.compiler.clone()).unwrap_or_default(),
        created: store::now(),
        variants: vec![Variant { isas: isas.into_iter().collect(), choices }],
    };
    let path = lookup::write_tuned(options.root, &tuned)?;
    // What was not verified is only a prediction, which anybody can make again.
    let evidence = evidence::write(&options.root.join(options.cpu), &sound, &tuned)?;
    Ok(Baked { tuned, path, evidence, totals: Vec::new(), notes })
}
