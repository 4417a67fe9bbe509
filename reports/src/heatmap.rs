//! The heat map of one shape: tile (rows by columns) to GFLOP/s.
//!
//! Rows and columns are those that occur among the cells; a pair that was not measured stays an empty cell and
//! says so. It ranks nothing beyond outlining the highest figure.

use std::collections::{BTreeMap, BTreeSet};

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;
use serde::{Deserialize, Serialize};

use crate::canvas::{self, FAINT, GRID, INK, Look, Pen, WIDTH};
use crate::scale::check;
use crate::{ReportError, Tier, text};

/// A heat map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heatmap {
    /// Heading, such as `f32 GEMM 512 x 512 x 512, 1 thread`.
    pub title: String,
    /// What a row is, such as `MR (rows)`.
    pub row_name: String,
    /// What a column is, such as `NR (vectors, unroll)`.
    pub col_name: String,
    /// The figures; of several for one place the highest is shown, and the subtitle says so.
    pub cells: Vec<Cell>,
    /// Where all of its figures come from.
    pub tier: Tier,
}

/// One figure of a [`Heatmap`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Tile rows; the map's rows are sorted by it.
    pub row: usize,
    /// Column label; columns are sorted by it, numbers within labels by their value.
    pub col: String,
    /// Rate in GFLOP/s, 0 or more.
    pub gflops: f64,
}

/// Not the usual ink and paper: a page's dark theme recolours those, and what stands on a cell must stay.
const BLACK: RGBColor = RGBColor(0, 0, 0);
const WHITE: RGBColor = RGBColor(0xfe, 0xfe, 0xfe);

/// Dark to light anchors of a palette that rises evenly in lightness for normal and colour-blind eyes.
const RAMP: [(u8, u8, u8); 6] = [(0, 34, 78), (53, 69, 108), (102, 105, 112), (148, 142, 119), (200, 184, 102), (254, 232, 56)];

impl Heatmap {
    /// The map as a stand-alone SVG, 960 pixels wide.
    ///
    /// # Errors
    /// [`ReportError::Empty`] without a cell, [`ReportError::Value`] for a rate that is not finite or negative
    /// or when there are more than 64 rows or columns.
    pub fn svg(&self) -> Result<String, ReportError> {
        let grid = Grid::new(self)?;
        let names = grid.cols.iter().map(|c| canvas::text_width(&text::short(&c.1, 12), canvas::SMALL));
        let left = 24 + 80;
        let width = names.max().unwrap_or(0).clamp(56, 130) + 14;
        let width = width.min((WIDTH - left - 130) / grid.cols.len() as i32);
        let (top, high) = (128, 38);
        let bottom = top + high * grid.rows.len() as i32;
        canvas::draw(&self.title, bottom.max(top + 160) + 24, |pen| {
            let mut note = format!("{}: GFLOP/s, best outlined", self.tier);
            if grid.most > 1 {
                note += &format!("; the best of up to {} variants for each place", grid.most);
            }
            pen.header(&self.title, &note, &[])?;
            pen.text(&text::short(&self.row_name, 24), (24, top - 20), HPos::Left, Look::small(INK))?;
            pen.text(&text::short(&self.col_name, 80), (left, top - 46), HPos::Left, Look::small(INK))?;
            for (j, (_, label)) in grid.cols.iter().enumerate() {
                let x = left + width * j as i32 + width / 2;
                let fits = (width as usize / 8).max(2);
                pen.text(&text::short(label, fits), (x, top - 20), HPos::Center, Look::small(FAINT))?;
            }
            for (i, row) in grid.rows.iter().enumerate() {
                let y = top + high * i as i32;
                pen.text(&row.to_string(), (left - 12, y + high / 2), HPos::Right, Look::small(FAINT))?;
                for (j, col) in grid.cols.iter().enumerate() {
                    let x = left + width * j as i32;
                    let v = grid.values.get(&(*row, &col.1)).map(|c| c.0);
                    grid.cell(pen, (x + 1, y + 1), (x + width - 1, y + high - 1), v)?;
                }
            }
            grid.ramp(pen, left + width * grid.cols.len() as i32 + 28, top)
        })
    }
}

/// The cells sorted into rows and columns.
struct Grid<'a> {
    rows: Vec<usize>,
    cols: Vec<(Natural, String)>,
    /// The best figure and the number of figures of each place.
    values: BTreeMap<(usize, &'a str), (f64, usize)>,
    low: f64,
    high: f64,
    most: usize,
}

impl<'a> Grid<'a> {
    fn new(map: &'a Heatmap) -> Result<Grid<'a>, ReportError> {
        if map.cells.is_empty() {
            return Err(ReportError::Empty(format!("the heat map '{}' has no cells", text::clean(&map.title))));
        }
        let mut values: BTreeMap<(usize, &str), (f64, usize)> = BTreeMap::new();
        for c in &map.cells {
            check(c.gflops, true, || format!("the rate of the tile {} x {}", c.row, c.col))?;
            let best = values.entry((c.row, &c.col)).or_insert((c.gflops, 0));
            *best = (best.0.max(c.gflops), best.1 + 1);
        }
        let rows: BTreeSet<usize> = map.cells.iter().map(|c| c.row).collect();
        let cols: BTreeSet<_> = map.cells.iter().map(|c| (natural(&c.col), c.col.clone())).collect();
        if rows.len() > 64 || cols.len() > 64 {
            let (r, c) = (rows.len(), cols.len());
            return Err(ReportError::Value(format!("a heat map of {r} x {c} places: at most 64 x 64 can be read")));
        }
        Ok(Grid {
            rows: rows.into_iter().collect(),
            cols: cols.into_iter().collect(),
            low: values.values().fold(f64::INFINITY, |a, v| a.min(v.0)),
            high: values.values().fold(0.0, |a, v| a.max(v.0)),
            most: values.values().map(|v| v.1).max().unwrap_or(0),
            values,
        })
    }

    fn cell(&self, pen: &Pen<'_>, from: (i32, i32), to: (i32, i32), v: Option<f64>) -> Result<(), ReportError> {
        let middle = ((from.0 + to.0) / 2, (from.1 + to.1) / 2);
        let Some(v) = v else {
            pen.outline(from, to, GRID, 1)?;
            return pen.text("–", middle, HPos::Center, Look::small(FAINT));
        };
        let t = if self.high > self.low { (v - self.low) / (self.high - self.low) } else { 1.0 };
        let back = shade(t);
        pen.rect(from, to, back)?;
        if v == self.high {
            pen.outline((from.0 + 1, from.1 + 1), (to.0 - 1, to.1 - 1), BLACK, 2)?;
        }
        let label = if v >= 1000.0 { format!("{v:.0}") } else { format!("{v:.1}") };
        if canvas::text_width(&label, canvas::SMALL) <= to.0 - from.0 {
            let look = Look { size: canvas::SMALL, bold: v == self.high, colour: ink_on(back) };
            pen.text(&label, middle, HPos::Center, look)?;
        }
        Ok(())
    }

    /// The colour scale with its two ends.
    fn ramp(&self, pen: &Pen<'_>, x: i32, top: i32) -> Result<(), ReportError> {
        const STEPS: i32 = 40;
        for i in 0..STEPS {
            let t = 1.0 - f64::from(i) / f64::from(STEPS - 1);
            pen.rect((x, top + i * 4), (x + 16, top + (i * 4 + 5).min(STEPS * 4)), shade(t))?;
        }
        pen.text(&text::num(self.high), (x + 24, top + 6), HPos::Left, Look::small(FAINT))?;
        pen.text(&text::num(self.low), (x + 24, top + STEPS * 4 - 6), HPos::Left, Look::small(FAINT))
    }
}

/// The colour at `t` of the ramp, 0 dark to 1 light.
fn shade(t: f64) -> RGBColor {
    let at = t.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    let i = (at.floor() as usize).min(RAMP.len() - 2);
    let f = at - i as f64;
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * f).round() as u8;
    let (a, b) = (RAMP[i], RAMP[i + 1]);
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Black or white, whichever has the higher contrast on `back`.
fn ink_on(back: RGBColor) -> RGBColor {
    let linear = |v: u8| (f64::from(v) / 255.0).powf(2.2);
    let light = 0.2126 * linear(back.0) + 0.7152 * linear(back.1) + 0.0722 * linear(back.2);
    if light > 0.179 { BLACK } else { WHITE }
}

/// A sort key in which `2v` comes before `10v`: alternating text and numbers.
type Natural = Vec<(String, u128)>;

fn natural(s: &str) -> Natural {
    let mut key: Natural = Vec::new();
    let mut rest = s;
    while !rest.is_empty() {
        let word = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[word..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |n| word + n);
        key.push((rest[..word].to_string(), rest[word..digits].parse().unwrap_or(0)));
        rest = &rest[digits..];
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_sort_by_number() {
        let mut v = ["10v u2", "2v u8", "2v u10", "2v", "x", ""];
        v.sort_by_key(|s| natural(s));
        assert_eq!(v, ["", "2v", "2v u8", "2v u10", "10v u2", "x"]);
    }

    #[test]
    fn text_keeps_its_contrast_over_the_ramp() {
        for i in 0..=20 {
            let back = shade(f64::from(i) / 20.0);
            let lum = |c: RGBColor| {
                let l = |v: u8| (f64::from(v) / 255.0).powf(2.2);
                0.2126 * l(c.0) + 0.7152 * l(c.1) + 0.0722 * l(c.2) + 0.05
            };
            let (a, b) = (lum(back), lum(ink_on(back)));
            assert!(a.max(b) / a.min(b) >= 4.5, "step {i}");
        }
    }
}
