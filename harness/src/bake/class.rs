//! The results of one class of shapes, looked up once: what each way takes at each shape relative to the best there, and how
//! two ways compare. Ways and shapes are numbers here, places in its lists.
//!
//! It decides nothing: see [`super::choose`] and [`super::table`].

use super::objective::Objective;
use super::way::Way;
use crate::measure::statistics::{Place, Ratio, signed_rank_ratio, weighted_ratio};
use crate::ranking::{BAND, simpler};
use crate::space::Shape;
use crate::store::{Outcome, Record};
use std::collections::{BTreeMap, BTreeSet};

/// The results of one class.
pub(super) struct Class<'a> {
    /// The shapes at which candidates can be compared.
    pub shapes: Vec<Shape>,
    /// The ways that have a result at each of them.
    pub ways: Vec<Way>,
    /// The one that an untuned build would run, if it is among them.
    pub default: Option<usize>,
    /// They count by how much time a model spends on them, not all the same.
    pub weighed: bool,
    /// What each shape counts for.
    weights: Vec<f64>,
    /// Bytes of each way's code, where that counts.
    bytes: Vec<u64>,
    /// For each shape the results of all ways.
    results: Vec<Vec<&'a Record>>,
    /// For each shape the logarithms of the ways' times over that of the best.
    excess: Vec<Vec<f64>>,
    /// Comparisons in pairs.
    pairs: Vec<&'a Record>,
}

impl<'a> Class<'a> {
    /// That of `records`, which are of one operation, class, number of threads and temperature. `allowed` restricts the
    /// kernels. `None` if no way has a result at every shape that counts.
    pub(super) fn new(records: &[&'a Record], allowed: &dyn Fn(&str) -> bool, objective: Objective) -> Option<Class<'a>> {
        let mut at: BTreeMap<Shape, BTreeMap<&str, Vec<&Record>>> = BTreeMap::new();
        let mut pairs = Vec::new();
        for record in records.iter().copied().filter(|r| allowed(&r.config.kernel)) {
            match &record.outcome {
                Outcome::Timed { .. } | Outcome::Predicted { .. } => {
                    at.entry(record.config.shape).or_default().entry(&record.config.kernel).or_default().push(record);
                }
                Outcome::Paired { .. } => pairs.push(record),
                Outcome::Invalid { .. } => {}
            }
        }
        let calls = objective.calls(&at.keys().copied().collect::<Vec<_>>());
        at.retain(|shape, _| calls.as_ref().is_none_or(|calls| calls.contains_key(shape)));
        let timed = || at.values().flat_map(BTreeMap::values).flatten();
        let default = timed().find(|r| r.default).map(|r| Way::of(&r.config));
        let all: Vec<Way> = timed().map(|r| Way::of(&r.config)).collect::<BTreeSet<_>>().into_iter().collect();
        let found = |kernels: &BTreeMap<&str, Vec<&'a Record>>, way: &Way| way.find(kernels.get(way.kernel.as_str())?.iter().copied());
        let mut grid: Vec<(Shape, Vec<Option<&Record>>)> =
            at.iter().map(|(shape, kernels)| (*shape, all.iter().map(|way| found(kernels, way)).collect())).collect();
        // Of the shapes count those where at least half as many ways were measured as at any: one that time did not suffice
        // for must not decide by whom it lacks.
        let count = |row: &[Option<&Record>]| row.iter().flatten().count();
        let most = grid.iter().map(|(_, row)| count(row)).max()?;
        grid.retain(|(_, row)| 2 * count(row) >= most);
        let complete: Vec<usize> = (0..all.len()).filter(|way| grid.iter().all(|(_, row)| row[*way].is_some())).collect();
        let ways: Vec<Way> = complete.iter().map(|way| all[*way].clone()).collect();
        let results: Vec<Vec<&Record>> = grid.iter().map(|(_, row)| complete.iter().filter_map(|way| row[*way]).collect()).collect();
        let cost = |record: &&Record| record.cost().unwrap_or(f64::INFINITY);
        let least: Vec<f64> = results.iter().map(|row| row.iter().map(cost).fold(f64::INFINITY, f64::min)).collect();
        let shapes: Vec<Shape> = grid.into_iter().map(|(shape, _)| shape).collect();
        let weight = |(shape, least): (&Shape, &f64)| calls.as_ref().map_or(1.0, |calls| calls[shape] * least);
        let weights: Vec<f64> = shapes.iter().zip(&least).map(weight).collect();
        (!ways.is_empty()).then(|| Class {
            default: default.and_then(|default| ways.iter().position(|way| *way == default)),
            excess: results.iter().zip(&least).map(|(row, least)| row.iter().map(|r| (cost(r) / least).ln()).collect()).collect(),
            weighed: calls.is_some(),
            bytes: bytes(&ways, objective),
            shapes,
            ways,
            weights,
            results,
            pairs,
        })
    }

    /// All of its shapes.
    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.shapes.len()).collect()
    }

    /// The result of a way at a shape.
    pub(super) fn at(&self, shape: usize, way: usize) -> &'a Record {
        self.results[shape][way]
    }

    /// The time of a way over that of the best at a shape.
    pub(super) fn over_best(&self, shape: usize, way: usize) -> f64 {
        self.excess[shape][way].exp()
    }

    /// The logarithms of a way's time over the best one's, summed over shapes by what they count for.
    pub(super) fn excess(&self, way: usize, shapes: &[usize]) -> f64 {
        shapes.iter().map(|shape| self.weights[*shape] * self.excess[*shape][way]).sum()
    }

    /// Of some ways the one that takes least over some shapes; of those within the tie band that with the least code, if
    /// that counts, and then the simplest. `None` of nothing.
    pub(super) fn best(&self, ways: &[usize], shapes: &[usize]) -> Option<usize> {
        let counted: f64 = shapes.iter().map(|shape| self.weights[*shape]).sum();
        let scored: Vec<(usize, f64)> = ways.iter().map(|way| (*way, self.excess(*way, shapes) / counted)).collect();
        let least = scored.iter().map(|s| s.1).fold(f64::INFINITY, f64::min);
        let first = *shapes.first()?;
        let tied = scored.into_iter().filter(|s| s.1 - least <= BAND.ln_1p());
        tied.map(|s| s.0).min_by_key(|way| (self.bytes[*way], simpler(self.at(first, *way))))
    }

    /// Time of one way over that of another, pooled over shapes with such two by what they count for; from pairs where there are some.
    pub(super) fn ratio(&self, places: &[(usize, usize, usize)]) -> Option<Ratio> {
        let found: Vec<Compared> = places
            .iter()
            .map(|(shape, one, other)| {
                let (one, other) = (self.at(*shape, *one), self.at(*shape, *other));
                match self.pairs_of(one, other) {
                    Some((pairs, processes)) => Compared::Paired(pairs, processes),
                    None => Compared::Apart(costs(one), costs(other)),
                }
            })
            .collect();
        let weighted = found.iter().zip(places).map(|(found, (shape, ..))| {
            let place = match found {
                Compared::Paired(pairs, processes) => Place::Paired(pairs, *processes),
                Compared::Apart(one, other) => Place::Apart(one, other),
            };
            (place, self.weights[*shape])
        });
        weighted_ratio(&weighted.collect::<Vec<_>>())
    }

    /// The shape at which `other` is slower than `one` beyond doubt, in pairs; of several the one where it is worst.
    pub(super) fn harmed(&self, one: usize, other: usize, shapes: &[usize]) -> Option<usize> {
        let ratio = |shape: &usize| {
            let (pairs, _) = self.pairs_of(self.at(*shape, other), self.at(*shape, one))?;
            let ratio = signed_rank_ratio(&pairs)?;
            ratio.is_above(BAND).then_some((*shape, ratio.value))
        };
        shapes.iter().filter_map(ratio).max_by(|a, b| a.1.total_cmp(&b.1)).map(|worst| worst.0)
    }

    /// The results of two ways at a shape, unless they are one result or were compared in pairs.
    pub(super) fn open(&self, (shape, one, other): (usize, usize, usize)) -> Option<(&'a Record, &'a Record)> {
        let (a, b) = (self.at(shape, one), self.at(shape, other));
        (a.config != b.config && self.pairs_of(a, b).is_none()).then_some((a, b))
    }

    /// Pairs of `a` and `b` at their shape, whichever was compared with the other, and the processes they come from.
    fn pairs_of(&self, a: &Record, b: &Record) -> Option<(Vec<(f64, f64)>, usize)> {
        let find = |one: &Record, other: &Record| {
            let label = other.config.label();
            self.pairs.iter().find_map(|r| match &r.outcome {
                Outcome::Paired { against, pairs_ns, processes, .. } if r.config == one.config && *against == label => {
                    Some((pairs_ns.clone(), *processes))
                }
                _ => None,
            })
        };
        let turned = || find(b, a).map(|(pairs, processes)| (pairs.into_iter().map(|(x, y)| (y, x)).collect(), processes));
        find(a, b).or_else(turned).filter(|(pairs, _)| !pairs.is_empty())
    }
}

/// Bytes of code of each of some ways, if an objective has them count.
fn bytes(ways: &[Way], objective: Objective) -> Vec<u64> {
    let mut of_kernel: BTreeMap<&str, u64> = BTreeMap::new();
    ways.iter().map(|way| *of_kernel.entry(&way.kernel).or_insert_with(|| objective.bytes(&way.kernel))).collect()
}

/// How two results compare.
enum Compared {
    /// In pairs, from so many processes.
    Paired(Vec<(f64, f64)>, usize),
    /// By the costs of each.
    Apart(Vec<f64>, Vec<f64>),
}

/// The samples of a result on one machine throughout, or its prediction.
fn costs(record: &Record) -> Vec<f64> {
    let level = record.level_ns();
    if level.is_empty() { record.costs().to_vec() } else { level }
}
