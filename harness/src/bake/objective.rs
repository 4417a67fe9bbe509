//! What a choice is to make fast: each shape of a class alike, or the products of a model as often as it calls them. And the
//! sum of those calls, for the default and for what was chosen.
//!
//! The sum is of linear layers alone; what a whole pass takes is measured with the engine.

use super::decide::counted;
use super::size::Sizes;
use super::way::Way;
use crate::space::Shape;
use crate::space::models::Model;
use crate::store::Record;
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_profiles::schema::{Class, Tier, Variant};
use serde::Serialize;
use std::collections::BTreeMap;

/// Tokens of the prompt that a model's calls are counted for.
pub const PROMPT: usize = 512;

/// What shapes count for in the choice of their class.
#[derive(Clone, Copy, Debug, Default)]
pub enum Objective {
    /// Every shape the same: the mean of the logarithms of times.
    #[default]
    Time,
    /// Each shape as much as the time that a model's calls of it take, when it reads a prompt of [`PROMPT`] tokens and when it
    /// decodes one; all others nothing. In a class that it calls no shape of, every shape the same.
    EndToEnd(&'static Model),
    /// As time; but of ways that cannot be told apart the one whose kernel has the least code goes before others.
    TimeAndSize(&'static Sizes),
}

impl Objective {
    /// How often shapes of one class are called; `None` if all count the same.
    pub(super) fn calls(self, shapes: &[Shape]) -> Option<BTreeMap<Shape, f64>> {
        let Objective::EndToEnd(model) = self else { return None };
        let mut calls = BTreeMap::new();
        for m in [PROMPT, 1] {
            for ((n, k), times) in model.calls().into_iter().filter(|((n, _), _)| m == 1 || *n != model.vocab) {
                if let Some((shape, scale)) = stands_for(shapes, (m, n, k)) {
                    *calls.entry(shape).or_insert(0.0) += times as f64 * scale;
                }
            }
        }
        (!calls.is_empty()).then_some(calls)
    }

    /// What goes before all else where ways cannot be told apart: bytes of a kernel's code, or nothing.
    pub(super) fn bytes(self, kernel: &str) -> u64 {
        match self {
            Objective::TimeAndSize(sizes) => sizes.of(kernel).unwrap_or(u64::MAX),
            Objective::Time | Objective::EndToEnd(_) => 0,
        }
    }

    /// That in words, in front of what comes then.
    pub(super) fn first(self) -> &'static str {
        if matches!(self, Objective::TimeAndSize(_)) { "less code, then " } else { "" }
    }

    /// What it adds to the reason of a choice of that kernel, which was `weighed` by calls or not.
    pub(super) fn note(self, kernel: &str, weighed: bool) -> String {
        match self {
            Objective::Time => String::new(),
            Objective::TimeAndSize(sizes) => {
                let bytes = sizes.of(kernel).map_or("unknown".into(), |bytes| format!("{bytes} bytes"));
                format!("; objective: time and size of code, which is {bytes}")
            }
            Objective::EndToEnd(model) if weighed => format!("; objective: end to end, by the calls of {}", model.name),
            Objective::EndToEnd(model) => format!("; objective: time, since {} calls none of these shapes", model.name),
        }
    }
}

/// Of shapes the one that stands for a product: of the same N, K and class, with the nearest M; and how many times the work of
/// that the product is.
fn stands_for(shapes: &[Shape], (m, n, k): (usize, usize, usize)) -> Option<(Shape, f64)> {
    let distance = |rows: usize| (rows as f64 / m as f64).ln().abs();
    let fitting = shapes.iter().filter_map(|shape| match *shape {
        Shape::Product { m: rows, n: cols, k: depth } if (cols, depth) == (n, k) && shape.class() == Class::of_rows(m) => {
            Some((*shape, rows))
        }
        _ => None,
    });
    let nearest = fitting.min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)));
    nearest.map(|(shape, rows)| (shape, m as f64 / rows as f64))
}

/// The sum over a model's products in one stage, with weights of one format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Total {
    /// The model.
    pub model: &'static str,
    /// The format of its weights, by name.
    pub format: &'static str,
    /// Tokens that are read at once: [`PROMPT`], or one that is decoded.
    pub tokens: usize,
    /// Nanoseconds that its calls take by the default's results.
    pub default_ns: f64,
    /// Nanoseconds that they take by the results of what was chosen.
    pub tuned_ns: f64,
    /// Calls that were summed: those of which both were measured, at that shape or at one of as many columns and depths, whose
    /// time was then taken so many times as it has fewer rows.
    pub calls: usize,
    /// Calls that there are.
    pub all_calls: usize,
}

/// The totals of a model by measured results of choices, for each format that has any.
pub(super) fn totals(model: &'static Model, records: &[&Record], variant: &Variant) -> Vec<Total> {
    let mut totals = Vec::new();
    for format in Format::ALL {
        let of_format = |r: &&Record| {
            r.tier == Tier::Measured && r.cost().is_some() && r.config.op == Op::Gemm.name() && r.config.format == format.name()
        };
        let mine: Vec<&Record> = records.iter().copied().filter(of_format).collect();
        for tokens in [PROMPT, 1] {
            let mut total =
                Total { model: model.name, format: format.name(), tokens, default_ns: 0.0, tuned_ns: 0.0, calls: 0, all_calls: 0 };
            for ((n, k), times) in model.calls() {
                // The head scores the last token alone.
                let shape = (if n == model.vocab { 1 } else { tokens }, n, k);
                total.all_calls += times;
                if let Some((default, tuned)) = both(&mine, variant, *format, shape) {
                    total.calls += times;
                    total.default_ns += times as f64 * default;
                    total.tuned_ns += times as f64 * tuned;
                }
            }
            totals.extend(Some(total).filter(|total| total.calls > 0));
        }
    }
    totals
}

/// What a product takes by the default and by the choice that serves it, in nanoseconds.
fn both(records: &[&Record], variant: &Variant, format: Format, (m, n, k): (usize, usize, usize)) -> Option<(f64, f64)> {
    let choice = variant.product(Op::Gemm.name(), format.name(), m)?;
    let mine = counted(records, Class::of_rows(m), choice.threads);
    let shapes: Vec<Shape> = mine.iter().map(|r| r.config.shape).collect();
    let (shape, scale) = stands_for(&shapes, (m, n, k))?;
    let here = || mine.iter().copied().filter(move |r| r.config.shape == shape);
    let tuned = Way::at(choice, Shape::Product { m, n, k }).find(here())?.cost()?;
    let default = here().find(|r| r.default)?.cost()?;
    Some((default * scale, tuned * scale))
}
