//! The choice for every operation, format and class of shapes, from results: who won, why, and which comparisons would
//! make it sure. It reads no store and writes no profile.

use super::choose::{Chosen, Row, choose};
use super::crossover;
use super::objective::Objective;
use crate::filter::by_name;
use crate::ranking;
use crate::space::{self, Temperature};
use crate::store::{Config, Record};
use anyhow::Context;
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_profiles::schema::{Choice, Class, Tier, When};

/// What was decided.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// A choice for every operation that an engine needs, and for every format that was measured.
    pub choices: Vec<Choice>,
    /// The best of a class and the default at shapes where no pairs have compared them: what would decide.
    pub open: Vec<(Config, Config)>,
    /// What the reader should know.
    pub notes: Vec<String>,
    /// What the choices are to make fast.
    objective: Objective,
}

/// Decides by `records`, which are of one machine and of kernels as they are, with every shape of a class counting the same.
///
/// # Errors
/// If there is nothing at all to choose for an operation that an engine needs.
pub fn decide(records: &[&Record]) -> anyhow::Result<Decided> {
    decide_for(records, Objective::Time)
}

/// As [`decide`], with shapes counting for what an objective has them count for.
///
/// # Errors
/// As [`decide`].
pub fn decide_for(records: &[&Record], objective: Objective) -> anyhow::Result<Decided> {
    let mut decided = Decided { objective, ..Decided::default() };
    let choices = decided.all(records)?;
    Ok(Decided { choices, ..decided })
}

/// As [`decide_for`], of products of the formats and classes that there are results of, and nothing else.
///
/// # Errors
/// If a kernel is none of this build.
pub(super) fn products(records: &[&Record], objective: Objective) -> anyhow::Result<Decided> {
    let mut decided = Decided { objective, ..Decided::default() };
    for format in Format::ALL {
        let choices = decided.products(records, *format, false)?;
        decided.choices.extend(choices);
    }
    Ok(decided)
}

impl Decided {
    fn all(&mut self, records: &[&Record]) -> anyhow::Result<Vec<Choice>> {
        let mut all = Vec::new();
        all.extend(self.products(records, Op::Gemm.format(), true)?);
        // The other operations come behind, in the order of the list; of what was not measured one word suffices.
        for op in Op::ALL.iter().filter(|op| **op != Op::Gemm) {
            for format in op.formats() {
                let said = self.notes.len();
                all.extend(self.one(records, (*op, format, Class::Row), None)?);
                if format != op.format() {
                    self.notes.truncate(said);
                }
            }
        }
        // Other formats that were measured; what was not keeps the default without a word.
        for format in Format::ALL.iter().copied().filter(|f| *f != Op::Gemm.format()) {
            all.extend(self.products(records, format, false)?);
        }
        Ok(all)
    }

    /// The choices for products of a format, by rising M: of the classes that were measured, or of those that an
    /// `engine` cannot do without too. Prefill is chosen first, since fewer rows must use its packed layout.
    fn products(&mut self, records: &[&Record], format: Format, engine: bool) -> anyhow::Result<Vec<Choice>> {
        let measured = |class: Class| {
            records.iter().any(|r| r.config.op == Op::Gemm.name() && r.config.format == format.name() && r.config.shape.class() == class)
        };
        let mut all: Vec<Choice> = Vec::new();
        for class in Class::PRODUCTS.into_iter().rev() {
            if measured(class) || (engine && class != Class::Few) {
                let layout = all.first().map(|first| first.layout.clone());
                all.extend(self.one(records, (Op::Gemm, format, class), layout.as_deref())?);
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

    /// The choice for an operation, format and class among kernels of a packed layout, if one is given. `None` where an engine does
    /// without: nothing of that layout was measured, and the generic profile has no choice either.
    fn one(
        &mut self,
        records: &[&Record],
        (op, format, class): (Op, Format, Class),
        layout: Option<&str>,
    ) -> anyhow::Result<Option<Choice>> {
        let of_class = |r: &&Record| r.config.op == op.name() && r.config.format == format.name() && r.config.shape.class() == class;
        let mine: Vec<&Record> = records.iter().copied().filter(of_class).collect();
        let threads = mine.iter().map(|r| r.config.threads).max().unwrap_or(1);
        let mine = counted(&mine, class, threads);
        let fits = |kernel: &str| layout.is_none_or(|layout| by_name(kernel).is_ok_and(|e| e.meta.layout == layout));
        match choose(&mine, &fits, self.objective) {
            Some(chosen) => {
                self.open.extend(chosen.open.iter().map(|(a, b)| (a.config.clone(), b.config.clone())));
                let mut choice = measured(&chosen, op, class, threads)?;
                choice.note += &self.objective.note(&choice.kernel, chosen.weighed);
                if let Some(cost) = layout.and_then(|_| cost_of_layout(&mine, &chosen, self.objective)) {
                    choice.note.push_str(&format!("; the best of another packed layout than prefill's would take {cost:.2} of its time"));
                }
                Ok(Some(choice))
            }
            None => {
                let usual = space::default_choice(op, format, class);
                if usual.is_err() && (class == Class::Few || format != op.format()) {
                    let layout = layout.map(|layout| format!(" packed as {layout}")).unwrap_or_default();
                    self.notes
                        .push(format!("{op} of {format} ({}) was not measured{layout} at enough shapes: it has no choice", class.name()));
                    return Ok(None);
                }
                self.notes.push(format!("{op} of {format} ({}) was not measured: it keeps the generic profile's choice", class.name()));
                unmeasured(usual?, (op, threads), layout).map(Some)
            }
        }
    }
}

/// The results that count for a class of shapes with so many threads. Weights come packed in the engine, and are cold when a
/// single row meets them: where some are so, the others do not count.
pub(super) fn counted<'a>(records: &[&'a Record], class: Class, threads: usize) -> Vec<&'a Record> {
    let of_class = |r: &&Record| r.config.shape.class() == class && r.config.threads == threads;
    let mut mine: Vec<&Record> = records.iter().copied().filter(of_class).collect();
    if mine.iter().any(|r| r.config.packed) {
        mine.retain(|r| r.config.packed);
    }
    let usual = Temperature::usual(class, true);
    if mine.iter().any(|r| r.config.operands == usual) {
        mine.retain(|r| r.config.operands == usual);
    }
    mine
}

/// Time of the best without a restriction over time of the chosen, if it is better beyond the tie band.
fn cost_of_layout(records: &[&Record], chosen: &Chosen, objective: Objective) -> Option<f64> {
    let free = choose(records, &|_| true, objective)?;
    if free.way.kernel == chosen.way.kernel {
        return None;
    }
    let both = choose(records, &|k| k == free.way.kernel || k == chosen.way.kernel, objective)?;
    let margin = both.margin.filter(|_| both.way.kernel == free.way.kernel)?;
    (margin.value > 1.0 + ranking::BAND).then_some(1.0 / margin.value)
}

fn measured(chosen: &Chosen, op: Op, class: Class, threads: usize) -> anyhow::Result<Choice> {
    let meta = by_name(&chosen.way.kernel)?.meta;
    let over = match chosen.shapes.as_slice() {
        [one] => one.to_string(),
        many => format!("{} shapes", many.len()),
    };
    let learnt_without = chosen.refused.map(|s| s.to_string());
    let mut note = match (chosen.default_stays, chosen.gain) {
        (true, _) if chosen.harmed.is_some() => {
            let shape = chosen.harmed.map(|s| s.to_string()).unwrap_or_default();
            format!("the default stays: what is faster over {over} is slower at {shape}")
        }
        (true, _) if learnt_without.is_some() => {
            let shape = learnt_without.as_deref().unwrap_or_default();
            format!("the default stays: what is chosen over {over} without {shape} is slower there")
        }
        (true, _) => format!("the default stays: nothing was shown to be faster over {over}"),
        (false, Some(g)) => format!("{:.3} times the speed of the default, 95 % [{:.3}, {:.3}], over {over}", g.value, g.ci.0, g.ci.1),
        (false, None) => format!("fastest over {over}"),
    };
    if !chosen.table.is_empty() {
        note += ", by a table";
    }
    if let Some(shape) = learnt_without.filter(|_| !chosen.default_stays) {
        note += &format!("; a finer table that is learnt without {shape} is slower there");
    }
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
        worst_regret: Some(rounded(chosen.worst)),
        tier: chosen.winner.tier,
        note: if chosen.winner.tier == Tier::Predicted { format!("predicted: {note}") } else { note },
        table: chosen.table.iter().map(when).collect::<anyhow::Result<_>>()?,
    })
}

fn when(row: &Row) -> anyhow::Result<When> {
    let (meta, [m_max, n_max, k_max]) = (by_name(&row.way.kernel)?.meta, row.upto);
    Ok(When {
        m_max,
        n_max,
        k_max,
        kernel: meta.name.into(),
        rust_type: meta.rust_type.into(),
        fingerprint: row.record.config.fingerprint.clone(),
        layout: meta.layout.into(),
        blocking: row.way.blocking.map(Into::into),
        split: row.way.split,
    })
}

/// The generic profile's choice, or its nearest relative of a packed layout.
fn unmeasured(mut choice: Choice, (op, threads): (Op, usize), layout: Option<&str>) -> anyhow::Result<Choice> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    #[test]
    fn few_rows_that_were_not_measured_in_the_layout_of_prefill_have_no_choice_and_that_is_said() {
        let named = |rows: usize, vectors: usize| {
            let fits = |m: &&kiln_kernels::registry::Meta| {
                (m.op, m.format, m.param("MR"), m.param("NV")) == (Op::Gemm, Op::Gemm.format(), Some(rows), Some(vectors))
            };
            kiln_kernels::registry::all().map(|e| e.meta).find(fits).map(|m| m.name).expect("a kernel")
        };
        let prefill = [record(named(8, 2), "512x64x64", &[10.0; 5])];
        let few = [record(named(4, 4), "4x64x64", &[10.0; 5]), record(named(4, 4), "16x64x64", &[10.0; 5])];
        let all: Vec<&Record> = prefill.iter().chain(&few).collect();
        let decided = decide(&all).expect("decisions");
        let of = |class: Class| decided.choices.iter().find(|c| c.op == Op::Gemm.name() && c.class == class).map(|c| c.kernel.as_str());
        assert_eq!((of(Class::Prefill), of(Class::Few)), (Some(named(8, 2)), None));
        assert!(decided.notes.iter().any(|note| note.contains("few") && note.contains("no choice")), "{:?}", decided.notes);
    }
}
