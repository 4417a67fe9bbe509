//! The results of one class of shapes, looked up once: what each way takes at each shape relative to the best there, and how
//! two ways compare. Ways and shapes are numbers here, places in its lists.
//!
//! It decides nothing: see [`super::choose`] and [`super::table`].

use super::levels::{Level, levels};
use super::objective::Objective;
use super::way::Way;
use crate::measure::statistics::{Place, Ratio, signed_rank_ratio, weighted_ratio};
use crate::ranking::{BAND, simpler};
use crate::space::Shape;
use crate::store::{Outcome, Record};
use std::collections::{BTreeMap, BTreeSet};

/// Half the tie band: how far from the best at a shape a way may be to be as good. Of two tunings each may then choose another
/// way, and these are within the band of one another at every shape.
pub(super) const NEAR: f64 = BAND / 2.0;

/// How far the times of two ways that were measured in full and apart are off what pairs say of them, nine times in ten.
const UNSURE: f64 = 0.05;

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
    /// For each shape whether each way was compared in pairs with another one of the class.
    was_compared: Vec<Vec<bool>>,
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
        let default = default.and_then(|default| ways.iter().position(|way| *way == default));
        let levels: Vec<Vec<Level>> = results.iter().map(|row| levels(row, default, &pairs)).collect();
        let least: Vec<f64> = levels.iter().map(|row| row.iter().map(|level| level.log).fold(f64::INFINITY, f64::min)).collect();
        let shapes: Vec<Shape> = grid.into_iter().map(|(shape, _)| shape).collect();
        let weight = |(shape, least): (&Shape, &f64)| calls.as_ref().map_or(1.0, |calls| calls[shape] * least.exp());
        let weights: Vec<f64> = shapes.iter().zip(&least).map(weight).collect();
        (!ways.is_empty()).then(|| Class {
            default,
            excess: levels.iter().zip(&least).map(|(row, least)| row.iter().map(|level| level.log - least).collect()).collect(),
            was_compared: levels.iter().map(|row| row.iter().map(|level| level.was_compared).collect()).collect(),
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

    /// What some shapes count for together.
    pub(super) fn weight(&self, shapes: &[usize]) -> f64 {
        shapes.iter().map(|shape| self.weights[*shape]).sum()
    }

    /// The logarithms of the times of the fastest of some ways at each shape, of those that were measured in full there if any were,
    /// over those of the best there is: averaged over shapes by what they count for.
    pub(super) fn at_best(&self, ways: &[usize], shapes: &[usize]) -> f64 {
        let fastest = |shape: &usize| {
            let of = |full: bool| {
                let mine = ways.iter().filter(|way| !full || self.at(*shape, **way).is_whole());
                mine.map(|way| self.excess[*shape][*way]).reduce(f64::min)
            };
            self.weights[*shape] * of(true).or_else(|| of(false)).unwrap_or(f64::INFINITY)
        };
        shapes.iter().map(fastest).sum::<f64>() / self.weight(shapes)
    }

    /// Time of one way over that of another over shapes, geometrically averaged by what they count for.
    pub(super) fn mean_ratio(&self, one: usize, other: usize, shapes: &[usize]) -> f64 {
        ((self.excess(one, shapes) - self.excess(other, shapes)) / self.weight(shapes)).exp()
    }

    /// Of some ways the one that takes least over some shapes. `None` of nothing.
    pub(super) fn least(&self, ways: &[usize], shapes: &[usize]) -> Option<usize> {
        let first = *shapes.first()?;
        let by = |a: &usize, b: &usize| self.excess(*a, shapes).total_cmp(&self.excess(*b, shapes));
        ways.iter().copied().min_by(|a, b| by(a, b).then_with(|| simpler(self.at(first, *a)).cmp(&simpler(self.at(first, *b)))))
    }

    /// Of some ways the best over some shapes: of the one that takes [least](Class::least) and those that are as good at every
    /// shape, that with the least code, if that counts, and then the simplest. `None` of nothing.
    pub(super) fn best(&self, ways: &[usize], shapes: &[usize]) -> Option<usize> {
        let (least, first) = (self.least(ways, shapes)?, *shapes.first()?);
        let behind = |way: usize, shape: &usize| self.excess[*shape][way] - self.excess[*shape][least];
        let tied = ways.iter().copied().filter(|way| shapes.iter().all(|shape| behind(*way, shape) <= NEAR.ln_1p()));
        tied.min_by_key(|way| (self.bytes[*way], simpler(self.at(first, *way))))
    }

    /// Time of one way over that of another, pooled over shapes with such two by what they count for; from pairs where there are some.
    pub(super) fn ratio(&self, places: &[(usize, usize, usize)]) -> Option<Ratio> {
        let found: Vec<Compared> = places.iter().map(|place| self.compared(*place)).collect();
        let weighted = found.iter().zip(places).map(|(found, (shape, ..))| (found.place(), self.weights[*shape]));
        weighted_ratio(&weighted.collect::<Vec<_>>())
    }

    /// The shape at which `other` is slower than `one` by more than `band` beyond doubt, in pairs; of several the one where it is
    /// worst.
    pub(super) fn slower(&self, one: usize, other: usize, shapes: &[usize], band: f64) -> Option<usize> {
        let ratio = |shape: &usize| {
            let ratio = self.compared((*shape, other, one)).in_pairs()?;
            ratio.is_above(band).then_some((*shape, ratio.value))
        };
        shapes.iter().filter_map(ratio).max_by(|a, b| a.1.total_cmp(&b.1)).map(|worst| worst.0)
    }

    /// How one way and another compare at a shape.
    fn compared(&self, (shape, one, other): (usize, usize, usize)) -> Compared {
        let pairs = |one, other| self.pairs_of(self.at(shape, one), self.at(shape, other));
        let through = || self.default.and_then(|default| Some([pairs(one, default)?, pairs(other, default)?]));
        match pairs(one, other) {
            Some(pairs) => Compared::Paired(pairs),
            None => through().map_or_else(|| Compared::Apart([one, other].map(|way| costs(self.at(shape, way)))), Compared::Through),
        }
    }

    /// Of each kernel among some ways the one that takes least at a shape, if for all that is known it may take less than `way`: it is no
    /// farther behind than times are unsure, and no way of its kernel but `way` was compared in pairs with any of this class there.
    pub(super) fn unsure(&self, ways: &[usize], shape: usize, way: usize) -> Vec<usize> {
        let mut kernels: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for other in ways.iter().copied().filter(|other| *other != way && self.at(shape, *other).is_whole()) {
            kernels.entry(&self.ways[other].kernel).or_default().push(other);
        }
        let near = |other: &usize| self.excess[shape][*other] - self.excess[shape][way] <= UNSURE.ln_1p();
        let was_compared = |other: &usize| self.was_compared[shape][*other];
        let of_kernel = |mine: Vec<usize>| self.least(&mine, &[shape]).filter(near).filter(|_| !mine.iter().any(was_compared));
        kernels.into_values().filter_map(of_kernel).collect()
    }

    /// The results of two ways at a shape, unless they are one result or were compared in pairs.
    pub(super) fn open(&self, (shape, one, other): (usize, usize, usize)) -> Option<(&'a Record, &'a Record)> {
        let (a, b) = (self.at(shape, one), self.at(shape, other));
        (a.config != b.config && self.pairs_of(a, b).is_none()).then_some((a, b))
    }

    /// Pairs of `a` and `b` at their shape, whichever was compared with the other, and the processes they come from.
    fn pairs_of(&self, a: &Record, b: &Record) -> Option<Pairs> {
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

/// Pairs, and the processes they come from, as many from each.
type Pairs = (Vec<(f64, f64)>, usize);

/// How two results compare.
enum Compared {
    /// In pairs.
    Paired(Pairs),
    /// Each with the default in pairs.
    Through([Pairs; 2]),
    /// By the costs of each.
    Apart([Vec<f64>; 2]),
}

impl Compared {
    fn place(&self) -> Place<'_> {
        match self {
            Compared::Paired((pairs, processes)) => Place::Paired((pairs, *processes)),
            Compared::Through(both) => Place::Through(both.each_ref().map(|(pairs, processes)| (pairs.as_slice(), *processes))),
            Compared::Apart([one, other]) => Place::Apart(one, other),
        }
    }

    /// The ratio, if pairs say it.
    fn in_pairs(&self) -> Option<Ratio> {
        match self {
            Compared::Paired((pairs, _)) => signed_rank_ratio(pairs),
            Compared::Through([(one, _), (other, _)]) => Some(signed_rank_ratio(one)?.over(&signed_rank_ratio(other)?)),
            Compared::Apart(_) => None,
        }
    }
}

/// The samples of a result on one machine throughout, or its prediction.
fn costs(record: &Record) -> Vec<f64> {
    let level = record.level_ns();
    if level.is_empty() { record.costs().to_vec() } else { level }
}
