//! A result as one row of a table: the one list of columns, which CSV and Parquet both have, with units in their names.
//! A column that a result has nothing for is empty, never 0.

use crate::space::Shape;
use crate::store::{Outcome, Record};
use std::borrow::Cow;

/// What a row has in a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// Yes or no.
    Flag(bool),
    /// Numbers in their order.
    Reals(Cow<'a, [f64]>),
}

/// What all cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Cell::Text`].
    Text,
    /// [`Cell::Integer`].
    Integer,
    /// [`Cell::Real`].
    Real,
    /// [`Cell::Flag`].
    Flag,
    /// [`Cell::Reals`].
    Reals,
}

/// A column.
pub struct Column {
    /// Its name, with the unit of its numbers.
    pub name: &'static str,
    /// What its cells are.
    #[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "CSV has no kinds"))]
    pub kind: Kind,
    cell: Get,
}

type Get = for<'a> fn(&'a Record) -> Option<Cell<'a>>;

impl Column {
    /// What a result has in it.
    pub fn of<'a>(&self, record: &'a Record) -> Option<Cell<'a>> {
        (self.cell)(record)
    }
}

/// All columns, in their order.
pub const COLUMNS: [Column; 59] = [
    column("time", Kind::Text, |r| text(&r.time)),
    column("machine", Kind::Text, |r| text(&r.machine)),
    column("tier", Kind::Text, |r| text(r.tier.name())),
    column("op", Kind::Text, |r| text(&r.config.op)),
    column("format", Kind::Text, |r| text(&r.config.format)),
    column("shape", Kind::Text, |r| Some(Cell::Text(r.config.shape.to_string().into()))),
    column("m", Kind::Integer, |r| extent(r, "m")),
    column("n", Kind::Integer, |r| extent(r, "n")),
    column("k", Kind::Integer, |r| extent(r, "k")),
    column("rows", Kind::Integer, |r| extent(r, "rows")),
    column("cols", Kind::Integer, |r| extent(r, "cols")),
    column("tokens", Kind::Integer, |r| extent(r, "tokens")),
    column("context", Kind::Integer, |r| extent(r, "context")),
    column("heads", Kind::Integer, |r| extent(r, "heads")),
    column("kv_heads", Kind::Integer, |r| extent(r, "kv_heads")),
    column("head_dim", Kind::Integer, |r| extent(r, "head_dim")),
    column("threads", Kind::Integer, |r| integer(r.config.threads)),
    column("packed", Kind::Flag, |r| Some(Cell::Flag(r.config.packed))),
    column("operands", Kind::Text, |r| text(r.config.operands.name())),
    column("kernel", Kind::Text, |r| text(&r.config.kernel)),
    column("fingerprint", Kind::Text, |r| text(&r.config.fingerprint)),
    column("isa", Kind::Text, |r| text(&r.config.isa)),
    column("tile_rows", Kind::Integer, |r| integer(r.config.tile.0)),
    column("tile_cols", Kind::Integer, |r| integer(r.config.tile.1)),
    column("kc", Kind::Integer, |r| integer(r.config.blocking?.0)),
    column("mc", Kind::Integer, |r| integer(r.config.blocking?.1)),
    column("nc", Kind::Integer, |r| integer(r.config.blocking?.2)),
    column("order", Kind::Text, |r| text(r.config.blocking?.3.name())),
    column("split", Kind::Text, |r| Some(Cell::Text(r.config.split?.to_string().into()))),
    column("split_varied", Kind::Flag, |r| Some(Cell::Flag(r.config.split_varied))),
    column("spin", Kind::Integer, |r| Some(Cell::Integer(r.config.spin?.into()))),
    column("default", Kind::Flag, |r| Some(Cell::Flag(r.default))),
    column("result", Kind::Text, |r| text(result(&r.outcome))),
    column("median_ns", Kind::Real, |r| Some(Cell::Real(r.median_ns()?.0))),
    column("ci_low_ns", Kind::Real, |r| Some(Cell::Real(r.median_ns()?.1.0))),
    column("ci_high_ns", Kind::Real, |r| Some(Cell::Real(r.median_ns()?.1.1))),
    column("samples_ns", Kind::Reals, |r| r.median_ns().map(|_| Cell::Reals(r.samples_ns().into()))),
    column("predicted_cycles", Kind::Real, |r| match &r.outcome {
        Outcome::Predicted { cycles, .. } => Some(Cell::Real(*cycles)),
        _ => None,
    }),
    column("predicted_limit", Kind::Text, |r| match &r.outcome {
        Outcome::Predicted { limit, .. } => text(limit),
        _ => None,
    }),
    column("dropped", Kind::Text, |r| match &r.outcome {
        Outcome::Timed { dropped, .. } => text(dropped.as_ref()?),
        _ => None,
    }),
    column("drift", Kind::Real, |r| match &r.outcome {
        Outcome::Timed { drift, .. } => Some(Cell::Real((*drift)?)),
        _ => None,
    }),
    column("against", Kind::Text, |r| paired(&r.outcome).and_then(|p| text(p.against))),
    column("against_fingerprint", Kind::Text, |r| paired(&r.outcome).and_then(|p| text(p.fingerprint?))),
    column("role", Kind::Text, |r| paired(&r.outcome).and_then(|p| text(p.role))),
    column("processes", Kind::Integer, |r| paired(&r.outcome).and_then(|p| integer(p.processes))),
    column("ratio", Kind::Real, |r| paired(&r.outcome).map(|p| Cell::Real(p.ratio))),
    column("ratio_ci_low", Kind::Real, |r| paired(&r.outcome).map(|p| Cell::Real(p.ratio_ci.0))),
    column("ratio_ci_high", Kind::Real, |r| paired(&r.outcome).map(|p| Cell::Real(p.ratio_ci.1))),
    column("pairs_ns", Kind::Reals, |r| paired(&r.outcome).map(|p| Cell::Reals(p.pairs_ns.iter().map(|p| p.0).collect()))),
    column("pairs_against_ns", Kind::Reals, |r| paired(&r.outcome).map(|p| Cell::Reals(p.pairs_ns.iter().map(|p| p.1).collect()))),
    column("reason", Kind::Text, |r| match &r.outcome {
        Outcome::Invalid { reason } => text(reason),
        _ => None,
    }),
    column("noise_floor", Kind::Real, |r| Some(Cell::Real(r.noise_floor))),
    column("verification_error", Kind::Real, |r| Some(Cell::Real(r.verification_error?))),
    column("forced", Kind::Flag, |r| Some(Cell::Flag(r.forced))),
    column("effort", Kind::Text, |r| text(r.effort?.name())),
    column("page_bytes", Kind::Integer, |r| integer(r.page_bytes)),
    column("huge_pages", Kind::Text, |r| text(r.huge_pages.as_ref()?)),
    column("compiler", Kind::Text, |r| text(&r.compiler)),
    column("flags", Kind::Text, |r| text(&r.flags)),
];

const fn column(name: &'static str, kind: Kind, cell: Get) -> Column {
    Column { name, kind, cell }
}

fn text(text: &str) -> Option<Cell<'_>> {
    Some(Cell::Text(text.into()))
}

fn integer<'a>(number: usize) -> Option<Cell<'a>> {
    Some(Cell::Integer(i64::try_from(number).ok()?))
}

/// An extent of a shape, if it has one of that name.
fn extent<'a>(record: &Record, name: &str) -> Option<Cell<'a>> {
    let extents: &[(&str, usize)] = &match record.config.shape {
        Shape::Product { m, n, k } => vec![("m", m), ("n", n), ("k", k)],
        Shape::Rows { rows, cols } => vec![("rows", rows), ("cols", cols)],
        Shape::Attention { tokens, context, heads, kv_heads, dim } => {
            vec![("tokens", tokens), ("context", context), ("heads", heads), ("kv_heads", kv_heads), ("head_dim", dim)]
        }
    };
    extents.iter().find(|e| e.0 == name).and_then(|e| integer(e.1))
}

fn result(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Timed { .. } => "timed",
        Outcome::Paired { .. } => "paired",
        Outcome::Predicted { .. } => "predicted",
        Outcome::Invalid { .. } => "invalid",
    }
}

/// A comparison in pairs.
struct Paired<'a> {
    against: &'a str,
    fingerprint: Option<&'a str>,
    role: &'a str,
    pairs_ns: &'a [(f64, f64)],
    processes: usize,
    ratio: f64,
    ratio_ci: (f64, f64),
}

fn paired(outcome: &Outcome) -> Option<Paired<'_>> {
    match outcome {
        Outcome::Paired { against, against_fingerprint, role, pairs_ns, processes, ratio, ratio_ci } => {
            let fingerprint = against_fingerprint.as_deref();
            Some(Paired { against, fingerprint, role, pairs_ns, processes: *processes, ratio: *ratio, ratio_ci: *ratio_ci })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{invalid, paired, predicted, timed};
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_field_of_a_store_has_its_columns() {
        let names: BTreeSet<&str> = COLUMNS.iter().map(|c| c.name).collect();
        assert_eq!(names.len(), COLUMNS.len(), "two columns have one name");
        for record in [timed(1.0), paired(0.5), invalid("wrong"), predicted()] {
            let fields = serde_json::to_value(&record).expect("JSON");
            for field in fields.as_object().expect("an object").keys() {
                let columns: &[&str] = match field.as_str() {
                    // All lines that can be read have the same.
                    "schema" => continue,
                    "tile" => &["tile_rows", "tile_cols"],
                    "blocking" => &["kc", "mc", "nc", "order"],
                    "cycles" => &["predicted_cycles"],
                    "limit" => &["predicted_limit"],
                    "ci_ns" => &["ci_low_ns", "ci_high_ns"],
                    "ratio_ci" => &["ratio_ci_low", "ratio_ci_high"],
                    "pairs_ns" => &["pairs_ns", "pairs_against_ns"],
                    other => &[other],
                };
                for name in columns {
                    let column = COLUMNS.iter().find(|c| c.name == *name);
                    let column = column.unwrap_or_else(|| panic!("the field {field} has no column {name}"));
                    assert!(column.of(&record).is_some(), "{name} is empty although {field} is there");
                }
            }
        }
    }

    #[test]
    fn cells_are_what_their_column_says() {
        for record in [timed(1.0), paired(0.5), invalid("wrong"), predicted()] {
            for column in &COLUMNS {
                let kind = column.of(&record).map(|cell| match cell {
                    Cell::Text(_) => Kind::Text,
                    Cell::Integer(_) => Kind::Integer,
                    Cell::Real(_) => Kind::Real,
                    Cell::Flag(_) => Kind::Flag,
                    Cell::Reals(_) => Kind::Reals,
                });
                assert!(kind.is_none_or(|kind| kind == column.kind), "{}", column.name);
            }
        }
    }

    #[test]
    fn what_a_result_does_not_have_is_empty() {
        let cell = |record: &Record, name: &str| COLUMNS.iter().find(|c| c.name == name).and_then(|c| c.of(record)).is_some();
        let (timed, paired, invalid) = (timed(1.0), paired(0.5), invalid("wrong"));
        for (name, has) in [("median_ns", [true, false, false]), ("ratio", [false, true, false]), ("reason", [false, false, true])] {
            assert_eq!([cell(&timed, name), cell(&paired, name), cell(&invalid, name)], has, "{name}");
        }
        assert!(cell(&timed, "m") && !cell(&timed, "rows") && !cell(&timed, "context"));
    }
}
