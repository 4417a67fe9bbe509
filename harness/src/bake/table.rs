//! The decision table of a class: the ways for shapes up to certain extents, learnt from what was swept, and the gate that
//! keeps a table from doing harm where nothing was measured.
//!
//! A table grows from the way that won over the whole class: its shapes are parted in two at a value of M, N or K, again and
//! again, wherever that saves most and one part is shown to have a faster way. So a row's way always took the place of
//! another one that it beat beyond doubt. A table that is hardly ahead of the default is not taken. What is learnt without a shape must
//! not be slower there than the default: else shapes are parted by another extent that saves as much, the coarser table is taken, and
//! in the end the default.

use super::class::{Class, NEAR};
use crate::filter::by_name;
use crate::ranking::BAND;
use std::collections::BTreeSet;

/// Rows of a table, at most: it is to be read.
const MOST: usize = 6;
/// Shapes of a class from which on it has a table, and is tried without each of them.
const ENOUGH: usize = 3;

/// A row: some shapes and their way.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The largest M, N and K, where there are such. It holds what these do and no row before it holds.
    pub upto: [Option<usize>; 3],
    /// The shapes that it was learnt from.
    pub shapes: Vec<usize>,
    /// The way whose place its own had to take: that of the row that it was split from, or the default.
    above: Option<usize>,
    /// Their way.
    pub way: usize,
}

/// What takes the place of a way over some shapes, if anything does.
pub(super) struct Taken {
    /// The best over them.
    pub best: usize,
    /// That, or the next best that does no harm, or the way that kept its place.
    pub way: usize,
    /// Nothing took its place, though the best is faster over all of them: it is slower at this one.
    pub harmed: Option<usize>,
}

/// A table that passed the gate.
pub(super) struct Gated {
    /// Its rows in order; the last holds all that no other does.
    pub rows: Vec<Row>,
    /// The shape where a finer table, or the winner itself if only the default is left, is slower than what it was held
    /// against when it is learnt without; with both ways there.
    pub refused: Option<(usize, usize, usize)>,
    /// Worst time over the best one's at a shape that its row was learnt without.
    pub regret: Option<f64>,
}

/// The best of some ways over some shapes, if it is shown to be faster than the one `above`: over all of them beyond the band, or
/// in pairs at one of them by more than what is as good, and not slower over all. One that is at any shown in pairs to be slower
/// than that or the default is passed over for the next best. `None` of nothing.
///
/// By one shape, since a gain over all that is at the edge of the band has some tunings take it and some not, and these would be
/// farther apart than the band where the gain is greatest.
pub(super) fn take(class: &Class, above: Option<usize>, ways: &[usize], shapes: &[usize]) -> Option<Taken> {
    let best = class.best(ways, shapes)?;
    let Some(above) = above.filter(|above| *above != best) else { return Some(Taken { best, way: best, harmed: None }) };
    let (mut left, mut next, mut first_harmed) = (ways.to_vec(), best, None);
    while next != above && is_faster(class, above, next, shapes) {
        let harmed = [Some(above), class.default].into_iter().flatten().find_map(|other| class.slower(other, next, shapes, BAND));
        if harmed.is_none() {
            return Some(Taken { best, way: next, harmed: None });
        }
        first_harmed = first_harmed.or(harmed);
        left.retain(|way| *way != next);
        let Some(then) = class.best(&left, shapes) else { break };
        next = then;
    }
    Some(Taken { best, way: above, harmed: first_harmed })
}

/// Whether a way is shown to be faster than another one over some shapes.
fn is_faster(class: &Class, above: usize, way: usize, shapes: &[usize]) -> bool {
    let gain = class.mean_ratio(above, way, shapes);
    let at_one = || class.slower(way, above, shapes, NEAR).is_some();
    // Its interval takes many resamples, which a gain within the band is not worth.
    let over_all =
        || class.ratio(&shapes.iter().map(|shape| (*shape, above, way)).collect::<Vec<_>>()).is_some_and(|gain| gain.is_above(BAND));
    gain >= 1.0 && (at_one() || gain > 1.0 + NEAR && over_all())
}

/// The finest table of a class that harms none of its shapes, where `winner` won over all of them.
pub(super) fn learn(class: &Class, winner: usize) -> Gated {
    let root = Row { upto: [None; 3], shapes: class.all(), above: class.default, way: winner };
    let mates = mates(class, winner);
    let finish = |rows: Vec<Row>, refused| Gated { regret: regret(class, &rows, &mates), rows, refused };
    let products = class.shapes.iter().all(|shape| shape.product_rows().is_some());
    if class.shapes.len() < ENOUGH {
        return finish(vec![root], None);
    }
    let mut refused = None;
    let tables = if products { growth(class, root.clone(), &mates) } else { vec![vec![root.clone()]] };
    for rows in tables.into_iter().rev() {
        if rows.len() == 1 && Some(winner) == class.default {
            return finish(rows, refused);
        }
        if !is_worth_it(class, &rows) {
            continue;
        }
        match harm(class, &rows, winner) {
            None => return finish(rows, refused),
            harm => refused = refused.or(harm),
        }
    }
    finish(vec![Row { way: class.default.unwrap_or(winner), ..root }], refused)
}

/// Whether rows are as much ahead of the default as two tunings may differ in: over the whole class by more than what is as good, or
/// at one shape in pairs by more than twice the band. What is less, one tuning finds and the next one does not.
fn is_worth_it(class: &Class, rows: &[Row]) -> bool {
    let Some(default) = class.default else { return true };
    let ahead: f64 = served(rows).map(|(shape, way)| class.excess(default, &[shape]) - class.excess(way, &[shape])).sum();
    let far_at_one = || served(rows).any(|(shape, way)| class.slower(way, default, &[shape], 2.0 * BAND).is_some());
    ahead > class.weight(&class.all()) * NEAR.ln_1p() || far_at_one()
}

/// The ways to choose from: of those that may share a class those that take least if each shape has the fastest of them; where that
/// is a tie with the default's, those. A tie is the whole band, since another layout is another answer at every shape, and what two
/// tunings have for its gain over the class is apart by more than what is as good: 0.3 to 1.9 % in ten of them.
pub(super) fn leading(class: &Class, shapes: &[usize]) -> Vec<usize> {
    let mut kinds: Vec<Vec<usize>> = Vec::new();
    for way in 0..class.ways.len() {
        if !kinds.iter().any(|kind| kind.contains(&way)) {
            kinds.push(mates(class, way));
        }
    }
    let least = kinds.iter().map(|kind| class.at_best(kind, shapes)).fold(f64::INFINITY, f64::min);
    let leads = |kind: &Vec<usize>| class.at_best(kind, shapes) - least <= BAND.ln_1p();
    let of_default = kinds.iter().position(|kind| class.default.is_some_and(|default| kind.contains(&default)) && leads(kind));
    let best = of_default.or_else(|| kinds.iter().position(|kind| class.at_best(kind, shapes) <= least));
    best.map(|best| kinds.swap_remove(best)).unwrap_or_default()
}

/// The ways that may share a class with one: those of its packed layout, which weights have but one of, and of its spin, which
/// a team has but one of.
pub(super) fn mates(class: &Class, way: usize) -> Vec<usize> {
    let layout = |way: usize| by_name(&class.ways[way].kernel).ok().map(|entry| entry.meta.layout);
    let (own, spin) = (layout(way), class.ways[way].spin);
    (0..class.ways.len()).filter(|other| class.ways[*other].spin == spin && layout(*other) == own).collect()
}

/// The tables of one row, of two, and so on, each with a row of the one before parted in two.
fn growth(class: &Class, root: Row, mates: &[usize]) -> Vec<Vec<Row>> {
    let mut last = vec![root];
    let mut all = vec![last.clone()];
    while last.len() < MOST {
        let parted = last.iter().enumerate().filter_map(|(at, row)| Some((at, part(class, row, mates)?)));
        let Some((at, (_, sides))) = parted.max_by(|a, b| a.1.0.total_cmp(&b.1.0)) else { break };
        last.splice(at..=at, sides);
        all.push(last.clone());
    }
    all
}

/// A row parted where that saves most of the summed logarithms, and what it saves, if each side may be parted once more. `None`
/// if in neither anything is shown to be faster. Of cuts that save as much in the end those that save it with fewer rows, and of these
/// the first for which what is learnt without a shape is slower nowhere: the one that happens to be ahead may put a shape
/// among others that tell nothing of it.
fn part(class: &Class, row: &Row, mates: &[usize]) -> Option<(f64, [Row; 2])> {
    let taken = class.excess(row.way, &row.shapes);
    let saved = |cut: &Cut, of: &dyn Fn(&[usize]) -> f64| taken - cut.sides.iter().map(|side| of(side)).sum::<f64>();
    let scored = cuts(class, &row.shapes).into_iter().map(|cut| {
        let (at_last, at_once) = (saved(&cut, &|side| parted_once(class, mates, side)), saved(&cut, &|side| undivided(class, mates, side)));
        (at_last, at_once, cut)
    });
    let scored: Vec<(f64, f64, Cut)> = scored.collect();
    let most_saved = scored.iter().map(|cut| cut.0).fold(0.0, f64::max);
    let near = |saved: f64, most: f64| saved >= most - NEAR.ln_1p();
    // Of the same by N or M and by K, that by K.
    let mut best: Vec<(f64, f64, Cut)> = scored.into_iter().rev().filter(|cut| cut.0 > 0.0 && near(cut.0, most_saved)).collect();
    best.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.total_cmp(&a.0)));
    let most_at_once = best.first()?.1;
    best.retain(|cut| near(cut.1, most_at_once));
    let side = |upto, shapes: &[usize]| {
        let way = take(class, Some(row.way), mates, shapes)?.way;
        Some(Row { upto, shapes: shapes.to_vec(), above: Some(row.way), way })
    };
    let mut parted = best.into_iter().filter_map(|(saved, _, Cut { axis, most, sides: [below, beyond] })| {
        let mut upto = row.upto;
        upto[axis] = Some(most);
        let sides = [side(upto, &below)?, side(row.upto, &beyond)?];
        let changed = |row: &Row| cuts_of(class, row, mates).any(|way| way != row.way);
        sides.iter().any(|side| side.way != row.way || changed(side)).then_some((saved, sides))
    });
    let harmless = |(_, sides): &(f64, [Row; 2])| harm(class, sides, row.way).is_none();
    let first = parted.next()?;
    Some(if harmless(&first) { first } else { parted.find(harmless).unwrap_or(first) })
}

/// Shapes in two.
struct Cut {
    axis: usize,
    /// The largest extent of the first.
    most: usize,
    sides: [Vec<usize>; 2],
}

/// Every way to part shapes by one extent.
fn cuts(class: &Class, shapes: &[usize]) -> Vec<Cut> {
    let extent = |shape: usize, axis: usize| class.shapes[shape].extents()[axis];
    let of_axis = |axis: usize| {
        let extents: BTreeSet<usize> = shapes.iter().map(|shape| extent(*shape, axis)).collect();
        let extents: Vec<usize> = extents.into_iter().collect();
        let cut = |both: &[usize]| {
            let most = between(both[0], both[1]);
            let (below, beyond) = shapes.iter().partition(|shape| extent(**shape, axis) <= most);
            Cut { axis, most, sides: [below, beyond] }
        };
        extents.windows(2).map(cut).collect::<Vec<_>>()
    };
    (0..3).flat_map(of_axis).collect()
}

/// The summed logarithms of some shapes with one way, or with one for each of two parts.
fn parted_once(class: &Class, mates: &[usize], shapes: &[usize]) -> f64 {
    let parted = cuts(class, shapes).into_iter().map(|cut| cut.sides.iter().map(|side| undivided(class, mates, side)).sum());
    parted.fold(undivided(class, mates, shapes), f64::min)
}

/// The same with one way.
fn undivided(class: &Class, mates: &[usize], shapes: &[usize]) -> f64 {
    class.best(mates, shapes).map_or(0.0, |way| class.excess(way, shapes))
}

/// What would run on each side of each cut of a row.
fn cuts_of(class: &Class, row: &Row, mates: &[usize]) -> impl Iterator<Item = usize> {
    let sides = cuts(class, &row.shapes).into_iter().flat_map(|cut| cut.sides);
    sides.filter_map(move |side| Some(take(class, Some(row.way), mates, &side)?.way))
}

/// A bound between two extents, as many times the one as the other is times it.
fn between(low: usize, high: usize) -> usize {
    ((low as f64 * high as f64).sqrt() as usize).clamp(low, high - 1)
}

/// The way that a row has if it is learnt without one of its shapes; `None` if it has no other.
fn without(class: &Class, row: &Row, shape: usize, ways: &[usize]) -> Option<usize> {
    let rest: Vec<usize> = row.shapes.iter().copied().filter(|other| *other != shape).collect();
    take(class, row.above, ways, &rest).map(|taken| taken.way)
}

/// Where a table is slowest in comparison with the default (or, where that was not measured, its finer rows with the winner)
/// when its rows are learnt without, from the ways that the table has: the shape, what it would be there, and the other one.
/// `None` if it is slower nowhere. What other ways would have done is no matter of the table's.
fn harm(class: &Class, rows: &[Row], winner: usize) -> Option<(usize, usize, usize)> {
    let other = class.default.or((rows.len() > 1).then_some(winner))?;
    let own: BTreeSet<usize> = rows.iter().flat_map(|row| [Some(row.way), row.above]).flatten().chain(class.default).collect();
    let ways: Vec<usize> = own.into_iter().collect();
    let places = rows.iter().flat_map(|row| row.shapes.iter().map(move |shape| (row, *shape)));
    let slower = places.filter_map(|(row, shape)| {
        let place = (shape, without(class, row, shape, &ways)?, other);
        let ratio = class.ratio(&[place]).filter(|ratio| place.1 != other && ratio.is_above(BAND))?;
        Some((ratio.value, place))
    });
    slower.max_by(|a, b| a.0.total_cmp(&b.0)).map(|worst| worst.1)
}

/// The worst time over the best one's at a shape that its row was learnt without, in which case a row of one shape falls back to
/// what is above it. `None` of one shape.
fn regret(class: &Class, rows: &[Row], ways: &[usize]) -> Option<f64> {
    let places = rows.iter().flat_map(|row| row.shapes.iter().map(move |shape| (row, *shape)));
    let over_best = |(row, shape): (&Row, usize)| Some(class.over_best(shape, without(class, row, shape, ways).or(row.above)?));
    (class.shapes.len() > 1).then(|| places.map(over_best).collect::<Option<Vec<f64>>>()).flatten()?.into_iter().reduce(f64::max)
}

/// The shapes that rows were learnt from, each with its way.
pub(super) fn served(rows: &[Row]) -> impl Iterator<Item = (usize, usize)> {
    rows.iter().flat_map(|row| row.shapes.iter().map(move |shape| (*shape, row.way)))
}

/// The ways of rows and what they took the place of, where that was not the default: at each of their shapes.
pub(super) fn parted(rows: &[Row], winner: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let changed = rows.iter().filter(move |row| row.way != winner);
    changed.flat_map(|row| row.above.into_iter().flat_map(move |above| row.shapes.iter().map(move |shape| (*shape, row.way, above))))
}
