//! A first profile for a CPU that is not here: tiles by prediction, everything else the default.

use super::Prediction;
use anyhow::Context;
use kiln_kernels::gemm::{Blocking, Caches, Geometry};
use kiln_kernels::registry::{self, Meta};
use kiln_profiles::lookup;
use kiln_profiles::machine::Machine;
use kiln_profiles::schema::{Choice, Class, SCHEMA, Tier, Tuned, Variant};
use std::collections::BTreeSet;
use std::path::Path;

/// Predictions within this share of the best count as equal; then what one row makes of the packed
/// layout decides, and then a fixed order.
const TIE_BAND: f64 = 0.02;

/// The profile of `machine` from predictions of its GEMM kernels.
///
/// # Errors
/// If the predictions lack a class, or the architecture has no generic profile to take the row
/// kernels from.
pub fn predicted_profile(
    root: &Path,
    machine: &Machine,
    predictions: &[Prediction],
    compiler: &str,
    created: String,
) -> anyhow::Result<Tuned> {
    let (generic, _) = lookup::tuned(root, &lookup::generic(&machine.arch))?;
    // A layout counts vectors, so that it is one layout within an ISA alone.
    let shares = |m: &Meta, tile: &Meta| (m.isa, m.layout) == (tile.isa, tile.layout);
    let one_row = |tile: &Meta| {
        let rates = predictions.iter().filter(|p| meta(&p.kernel).is_some_and(|m| shares(m, tile) && m.param("MR") == Some(1)));
        rates.map(|p| p.mac_per_cycle).fold(0.0, f64::max)
    };
    let prefill = choice(machine, predictions, Class::Prefill, |m| one_row(m) > 0.0, one_row)?;
    let winner = meta(&prefill.kernel).with_context(|| format!("{} is not registered", prefill.kernel))?;
    let decode = choice(machine, predictions, Class::Decode, |m| shares(m, winner), |_| 0.0)?;
    // A layout may have no tile of so few rows: those then take prefill's.
    let few = choice(machine, predictions, Class::Few, |m| shares(m, winner), |_| 0.0).ok();
    let isa = prefill.rust_type.clone();
    // Row kernels are not modelled yet: those of the generic variant nearest to the winner's ISA.
    let variant = generic.variants.iter().find(|v| v.choices.iter().any(|c| same_isa(&c.rust_type, &isa))).or(generic.variants.last());
    let rows = variant.context("the generic profile has no variant")?.choices.iter().filter(|c| c.class == Class::Row).cloned();
    let choices: Vec<Choice> = [Some(decode), few, Some(prefill)].into_iter().flatten().chain(rows).collect();
    // What the CPU has beside is written by hand, and is known from the profile that there is.
    let known = lookup::tuned(root, &machine.name).map(|(tuned, _)| tuned.variants).unwrap_or_default();
    let known = known.into_iter().flat_map(|variant| variant.isas);
    let isas: BTreeSet<String> = choices.iter().filter_map(|c| meta(&c.kernel)).map(|m| m.isa.name().to_owned()).chain(known).collect();
    Ok(Tuned {
        schema: SCHEMA,
        cpu: machine.name.clone(),
        arch: machine.arch.clone(),
        tier: Tier::Predicted,
        machine: String::new(),
        compiler: compiler.into(),
        created,
        variants: vec![Variant { isas: isas.into_iter().collect(), choices }],
    })
}

/// The winner of a class among the kernels that fit; `worth` decides between those in the tie band.
fn choice(
    machine: &Machine,
    predictions: &[Prediction],
    class: Class,
    fits: impl Fn(&Meta) -> bool,
    worth: impl Fn(&Meta) -> f64,
) -> anyhow::Result<Choice> {
    let mut candidates: Vec<(&Prediction, &'static Meta)> = predictions
        .iter()
        .filter_map(|p| meta(&p.kernel).map(|m| (p, m)))
        .filter(|(_, m)| class.takes_tile(m.param("MR").unwrap_or(0)) && fits(m))
        .collect();
    let best = candidates.iter().map(|(p, _)| p.mac_per_cycle).fold(0.0, f64::max);
    candidates.sort_by(|(a, m), (b, n)| {
        let behind = |p: &Prediction| p.mac_per_cycle < best * (1.0 - TIE_BAND);
        behind(a).cmp(&behind(b)).then_with(|| worth(n).total_cmp(&worth(m))).then_with(|| key(m).cmp(&key(n)))
    });
    let (winner, meta) = *candidates.first().with_context(|| format!("no kernel for {} was predicted", class.name()))?;
    let runner_up = candidates.get(1).map(|(p, _)| *p);
    let caches: Caches = machine.caches.into();
    let nr = meta.param("NV").unwrap_or(1) * super::lanes(meta.isa, machine);
    let mr = meta.param("MR").unwrap_or(1);
    let tile = Geometry { mr, nr, step: 1, a_head: 0, a_words: mr, b_words: nr };
    Ok(Choice {
        op: meta.op.name().into(),
        format: meta.format.name().into(),
        class,
        threads: 1,
        kernel: meta.name.into(),
        rust_type: meta.rust_type.into(),
        fingerprint: format!("{:016x}", meta.fingerprint),
        layout: meta.layout.into(),
        m_max: None,
        blocking: Some(Blocking::analytical(tile, caches).into()),
        split: None,
        spin: None,
        runner_up: runner_up.map(|r| r.kernel.clone()),
        margin: runner_up.map(|r| winner.mac_per_cycle / r.mac_per_cycle),
        margin_ci: None,
        regret: None,
        tier: Tier::Predicted,
        note: format!(
            "llvm-mca: {:.2} {} per cycle, {:.0} % of the pipe limit, bound by {}; within 2 % the order is speed of one row, tile area, ISA, unroll",
            winner.fma_per_cycle,
            winner.instruction,
            100.0 * winner.share_of_limit,
            winner.limit
        ),
    })
}

/// Among equals: the larger tile (it needs less bandwidth), the earlier ISA, the smaller unroll.
fn key(m: &Meta) -> (std::cmp::Reverse<usize>, kiln_kernels::isa::IsaId, usize, &'static str) {
    let p = |name| m.param(name).unwrap_or(1);
    (std::cmp::Reverse(p("MR") * p("NV")), m.isa, p("KU"), m.name)
}

fn meta(name: &str) -> Option<&'static Meta> {
    registry::all().map(|e| e.meta).find(|m| m.name == name)
}

fn same_isa(a: &str, b: &str) -> bool {
    let isa = |t: &str| t.split("isa::").nth(1).and_then(|t| t.split(',').next().map(str::to_owned));
    isa(a) == isa(b)
}
