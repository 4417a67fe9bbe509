//! The drawing surface all plots share: paper, pen, markers, legend and axes, on the SVG back end.
//!
//! Coordinates are pixels, y grows downwards. It holds the colours (the Okabe-Ito set, which stays distinct
//! with colour-blind eyes; every series has its own marker as well) and knows no quantity or unit.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::ReportError;
use crate::scale::Scale;
use crate::text;

pub(crate) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(crate) const INK: RGBColor = RGBColor(0x1c, 0x23, 0x2e);
pub(crate) const FAINT: RGBColor = RGBColor(0x5a, 0x64, 0x72);
pub(crate) const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xeb);
/// Width of every plot; the page scales it.
pub(crate) const WIDTH: i32 = 960;
/// Font size of labels.
pub(crate) const SMALL: f64 = 13.0;
const ROW: i32 = 22;

const SERIES: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x8f, 0x68),
    RGBColor(0xb6, 0x5c, 0x8e),
    RGBColor(0xb8, 0x7f, 0x00),
    RGBColor(0x3a, 0x97, 0xcc),
    RGBColor(0x77, 0x7d, 0x85),
];

/// The colour of series number `i`.
pub(crate) fn colour(i: usize) -> RGBColor {
    SERIES[i % SERIES.len()]
}

/// Rough width in pixels of `s`: there is no font here to ask, so it errs on the wide side.
pub(crate) fn text_width(s: &str, size: f64) -> i32 {
    (s.chars().count() as f64 * size * 0.58).ceil() as i32
}

/// How a line or a legend entry looks.
#[derive(Clone, Copy)]
pub(crate) struct Stroke {
    pub(crate) colour: RGBColor,
    pub(crate) width: u32,
    /// Length of dash and gap; `None` is a solid line.
    pub(crate) dash: Option<(i32, i32)>,
}

/// One legend entry: a piece of line, a marker, or both, and its label.
pub(crate) struct Entry {
    pub(crate) label: String,
    pub(crate) line: Option<Stroke>,
    pub(crate) marker: Option<usize>,
    pub(crate) colour: RGBColor,
}

/// Draws on one SVG.
pub(crate) struct Pen<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// The back end takes whole numbers: pixels are drawn this much enlarged and shrunk by the view box.
const FINE: i32 = 4;

fn fine((x, y): (i32, i32)) -> (i32, i32) {
    (x * FINE, y * FINE)
}

/// Runs `paint` on fresh paper and returns the SVG; `title` becomes its accessible name.
pub(crate) fn draw(title: &str, height: i32, paint: impl FnOnce(&Pen<'_>) -> Result<(), ReportError>) -> Result<String, ReportError> {
    let mut svg = String::new();
    let (w, h) = fine((WIDTH, height.max(1)));
    {
        let pen = Pen { area: SVGBackend::with_string(&mut svg, (w as u32, h as u32)).into_drawing_area() };
        pen.rect((0, 0), (WIDTH, height), PAPER)?;
        paint(&pen)?;
        pen.area.present().map_err(refused)?;
    }
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {w} {h}\">\n\
         <title>{}</title>{body}",
        escape(&text::clean(title))
    ))
}

/// The five characters of markup as entities.
pub(crate) fn escape(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn refused<E: std::error::Error + Send + Sync>(e: DrawingAreaErrorKind<E>) -> ReportError {
    ReportError::Draw(e.to_string())
}

impl Pen<'_> {
    /// A polyline through `points`.
    pub(crate) fn line(&self, points: &[(i32, i32)], s: Stroke) -> Result<(), ReportError> {
        let style = s.colour.stroke_width(s.width * FINE as u32);
        let fine: Vec<_> = points.iter().copied().map(fine).collect();
        let Some((dash, gap)) = s.dash else {
            return self.area.draw(&PathElement::new(fine, style)).map_err(refused);
        };
        fine.windows(2).try_for_each(|ends| {
            dashes(ends[0], ends[1], dash * FINE, gap * FINE)
                .try_for_each(|d| self.area.draw(&PathElement::new(d.to_vec(), style)).map_err(refused))
        })
    }

    /// A filled rectangle between two corners.
    pub(crate) fn rect(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Result<(), ReportError> {
        self.area.draw(&Rectangle::new([fine(from), fine(to)], colour.filled())).map_err(refused)
    }

    /// The outline of a rectangle between two corners.
    pub(crate) fn outline(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor, width: u32) -> Result<(), ReportError> {
        let corners = [from, (to.0, from.1), to, (from.0, to.1), from];
        self.line(&corners, Stroke { colour, width, dash: None })
    }

    /// Text whose left end, middle or right end stands at `at`, centred on its height.
    pub(crate) fn text(&self, s: &str, at: (i32, i32), side: HPos, look: Look) -> Result<(), ReportError> {
        let weight = if look.bold { FontStyle::Bold } else { FontStyle::Normal };
        // The back end divides sizes by 1.24 to come from points to pixels.
        let font = FontDesc::new(FontFamily::SansSerif, look.size * f64::from(FINE) * 1.24, weight);
        let style = TextStyle::from(font).color(&look.colour).pos(Pos::new(side, VPos::Center));
        self.area.draw(&Text::new(text::clean(s), fine(at), style)).map_err(refused)
    }

    /// The marker of series `i`: seven shapes, so that no series is told by colour alone. Shapes and colours
    /// repeat out of step: 49 series differ.
    pub(crate) fn marker(&self, i: usize, at: (i32, i32), colour: RGBColor) -> Result<(), ReportError> {
        self.shape(i, at, colour, FINE)
    }

    /// The same at half the size, for where there are hundreds.
    pub(crate) fn dot(&self, i: usize, at: (i32, i32), colour: RGBColor) -> Result<(), ReportError> {
        self.shape(i, at, colour, FINE / 2)
    }

    /// A marker whose unit is that many parts of a pixel.
    fn shape(&self, i: usize, at: (i32, i32), colour: RGBColor, unit: i32) -> Result<(), ReportError> {
        let (x, y) = fine(at);
        let poly = |p: &[(i32, i32)]| {
            let p: Vec<_> = p.iter().map(|(dx, dy)| (x + dx * unit, y + dy * unit)).collect();
            self.area.draw(&Polygon::new(p, colour.filled())).map_err(refused)
        };
        let disc = |style: ShapeStyle| self.area.draw(&Circle::new((x, y), 5 * unit, style)).map_err(refused);
        match (i + i / SERIES.len()) % SERIES.len() {
            0 => disc(colour.filled()),
            1 => poly(&[(-5, -5), (5, -5), (5, 5), (-5, 5)]),
            2 => poly(&[(0, -7), (6, 5), (-6, 5)]),
            3 => poly(&[(0, -7), (7, 0), (0, 7), (-7, 0)]),
            4 => poly(&[(0, 7), (6, -5), (-6, -5)]),
            5 => poly(&[(-7, -3), (-3, -7), (7, 3), (3, 7)]),
            _ => disc(colour.stroke_width(2 * unit as u32)),
        }
    }

    /// Draws the title, the subtitle and the legend from the top; [`header_height`] says how high it gets.
    pub(crate) fn header(&self, title: &str, subtitle: &str, legend: &[Entry]) -> Result<(), ReportError> {
        self.text(&text::short(title, 84), (24, 28), HPos::Left, Look { size: 17.0, bold: true, colour: INK })?;
        self.text(&text::short(subtitle, 120), (24, 50), HPos::Left, Look::small(FAINT))?;
        for (entry, (x, row)) in legend.iter().zip(places(legend)) {
            let y = 76 + row * ROW;
            if let Some(stroke) = entry.line {
                self.line(&[(x, y), (x + 30, y)], stroke)?;
            }
            if let Some(i) = entry.marker {
                self.marker(i, (x + 15, y), entry.colour)?;
            }
            self.text(&legend_label(entry), (x + 38, y), HPos::Left, Look::small(INK))?;
        }
        Ok(())
    }
}

/// Size, weight and colour of text.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) size: f64,
    pub(crate) bold: bool,
    pub(crate) colour: RGBColor,
}

impl Look {
    /// The label size in `colour`.
    pub(crate) fn small(colour: RGBColor) -> Look {
        Look { size: SMALL, bold: false, colour }
    }
}

/// The height of [`Pen::header`], where the plot may begin.
pub(crate) fn header_height(legend: &[Entry]) -> i32 {
    let rows = places(legend).last().map_or(0, |(_, row)| row + 1);
    66 + rows * ROW
}

fn legend_label(e: &Entry) -> String {
    text::short(&e.label, 64)
}

/// Left end and row of each entry, filling rows from the left.
fn places(legend: &[Entry]) -> Vec<(i32, i32)> {
    let (mut x, mut row) = (24, 0);
    legend
        .iter()
        .map(|e| {
            let width = 38 + text_width(&legend_label(e), SMALL) + 20;
            if x > 24 && x + width > WIDTH - 16 {
                x = 24;
                row += 1;
            }
            let place = (x, row);
            x += width;
            place
        })
        .collect()
}

/// The pieces of a dashed line between two points.
fn dashes(a: (i32, i32), b: (i32, i32), dash: i32, gap: i32) -> impl Iterator<Item = [(i32, i32); 2]> {
    let (dx, dy) = (f64::from(b.0 - a.0), f64::from(b.1 - a.1));
    let length = dx.hypot(dy).max(1e-9);
    let at = move |d: f64| {
        let t = (d / length).min(1.0);
        (a.0 + (dx * t).round() as i32, a.1 + (dy * t).round() as i32)
    };
    let period = f64::from((dash + gap).max(1));
    (0..(length / period).ceil() as i32).map(move |i| {
        let from = f64::from(i) * period;
        [at(from), at(from + f64::from(dash))]
    })
}

/// The rectangle of a plot with its two axes.
pub(crate) struct Frame {
    pub(crate) left: i32,
    pub(crate) top: i32,
    pub(crate) right: i32,
    pub(crate) bottom: i32,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
}

impl Frame {
    /// The pixel of a value.
    pub(crate) fn place(&self, x: f64, y: f64) -> (i32, i32) {
        let dx = self.x.at(x) * f64::from(self.right - self.left);
        let dy = self.y.at(y) * f64::from(self.bottom - self.top);
        (self.left + dx.round() as i32, self.bottom - dy.round() as i32)
    }

    /// Grid, tick labels and axis names; the y name stands above its axis, so that it reads without turning.
    pub(crate) fn axes(&self, pen: &Pen<'_>, x_name: &str, y_name: &str) -> Result<(), ReportError> {
        let grid = Stroke { colour: GRID, width: 1, dash: None };
        let axis = Stroke { colour: FAINT, width: 1, dash: None };
        for t in self.x.ticks(((self.right - self.left) / 62) as usize) {
            let x = self.left + (t.at * f64::from(self.right - self.left)).round() as i32;
            pen.line(&[(x, self.top), (x, self.bottom)], grid)?;
            pen.line(&[(x, self.bottom), (x, self.bottom + 5)], axis)?;
            pen.text(&t.label, (x, self.bottom + 17), HPos::Center, Look::small(FAINT))?;
        }
        for t in self.y.ticks(((self.bottom - self.top) / 42) as usize) {
            let y = self.bottom - (t.at * f64::from(self.bottom - self.top)).round() as i32;
            pen.line(&[(self.left, y), (self.right, y)], grid)?;
            pen.text(&t.label, (self.left - 8, y), HPos::Right, Look::small(FAINT))?;
        }
        pen.line(&[(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)], axis)?;
        pen.text(y_name, (24, self.top - 20), HPos::Left, Look::small(INK))?;
        pen.text(x_name, ((self.left + self.right) / 2, self.bottom + 40), HPos::Center, Look::small(INK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(label: &str) -> Entry {
        Entry { label: label.into(), line: None, marker: Some(0), colour: INK }
    }

    #[test]
    fn legend_wraps_and_never_overlaps() {
        let legend: Vec<_> = (0..17).map(|i| entry(&"x".repeat(5 * (i % 7) + 1))).collect();
        let at = places(&legend);
        for (i, w) in at.windows(2).enumerate() {
            let end = w[0].0 + 38 + text_width(&legend[i].label, SMALL);
            assert!(w[1].1 > w[0].1 || w[1].0 >= end, "entry {i}");
            assert!(end <= WIDTH);
        }
        assert!(header_height(&legend) > header_height(&legend[..1]));
    }

    #[test]
    fn dashes_stay_on_the_line() {
        let all: Vec<_> = dashes((0, 0), (100, 0), 8, 6).collect();
        assert_eq!(all.len(), 8);
        assert!(all.iter().all(|d| d[1].0 <= 100 && d[0].0 < d[1].0));
        assert!(dashes((5, 5), (5, 5), 8, 6).count() <= 1);
    }

    #[test]
    fn the_title_is_escaped() {
        let svg = draw("<b>\"&'\u{0}", 10, |_| Ok(())).unwrap();
        assert!(svg.contains("<title>&lt;b&gt;&quot;&amp;&#39;\u{fffd}</title>"), "{svg}");
        roxmltree::Document::parse(&svg).unwrap();
    }
}
