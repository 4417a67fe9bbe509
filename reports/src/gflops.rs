//! The GFLOPS plot: rate over problem size, one line per system, with intervals and measured peaks. Where no
//! operations are counted, the rate is that of bytes.
//!
//! It draws medians and intervals as given and computes no statistics.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::canvas::{self, Entry, Frame, Stroke, WIDTH};
use crate::scale::{Scale, check};
use crate::{ReportError, Tier, text};

/// What the rates of a plot count.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// 10⁹ floating-point operations in a second.
    #[default]
    #[serde(rename = "GFLOP/s")]
    Gflops,
    /// 10⁹ bytes in a second.
    #[serde(rename = "GB/s")]
    Gbytes,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Unit::Gflops => "GFLOP/s",
            Unit::Gbytes => "GB/s",
        })
    }
}

/// A plot of rates over size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GflopsPlot {
    /// Heading, such as `f32 GEMM, 1 thread`.
    pub title: String,
    /// What the x axis counts, such as `M = N = K`.
    pub x_label: String,
    /// What the rates count.
    #[serde(default)]
    pub unit: Unit,
    /// The lines; at least one must have a point.
    pub series: Vec<Series>,
    /// Points of a series are not joined: they are of unlike shapes, between which there is nothing.
    #[serde(default)]
    pub unlike: bool,
    /// Horizontal limits, such as the measured peak.
    #[serde(default)]
    pub peaks: Vec<Peak>,
    /// Where all of its figures come from.
    pub tier: Tier,
}

/// One line of a [`GflopsPlot`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Name in the legend.
    pub label: String,
    /// Points in any order.
    pub points: Vec<Point>,
}

/// One point: a size and the rate measured there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Problem size, above 0.
    pub x: f64,
    /// Median rate, 0 or more.
    pub median: f64,
    /// 95 % interval of the median, low end first.
    #[serde(default)]
    pub ci: Option<(f64, f64)>,
}

/// A horizontal limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// Name in the legend; the figure is appended.
    pub label: String,
    /// Rate, above 0; in GFLOP/s, unless the plot has another unit.
    pub gflops: f64,
}

impl GflopsPlot {
    /// The plot as a stand-alone SVG, 960 pixels wide, sizes on a base-2 logarithmic axis.
    ///
    /// # Errors
    /// [`ReportError::Empty`] without a point, [`ReportError::Value`] for a figure that is not finite, negative,
    /// or an interval that is the wrong way round.
    pub fn svg(&self) -> Result<String, ReportError> {
        self.check()?;
        let legend = self.legend();
        let top = canvas::header_height(&legend) + 38;
        let sizes = self.points().map(|p| p.x);
        let rates = self.points().flat_map(|p| [p.median, p.ci.map_or(0.0, |ci| ci.1)]).chain(self.peaks.iter().map(|p| p.gflops));
        let frame = Frame { left: 76, top, right: WIDTH - 28, bottom: top + 360, x: Scale::log2(sizes, 0.35), y: Scale::from_zero(rates) };
        canvas::draw(&self.title, frame.bottom + 60, |pen| {
            let spread = if self.points().any(|p| p.ci.is_some()) { "medians with 95 % intervals" } else { "medians, no intervals given" };
            let note = format!("{}: {spread}", self.tier);
            pen.header(&self.title, &note, &legend)?;
            frame.axes(pen, &text::short(&self.x_label, 80), &self.unit.to_string())?;
            let (x0, x1) = frame.x.bounds();
            for (i, peak) in self.peaks.iter().enumerate() {
                pen.line(&[frame.place(x0, peak.gflops), frame.place(x1, peak.gflops)], limit(i))?;
            }
            for (i, series) in self.series.iter().enumerate() {
                let colour = canvas::colour(i);
                let mut points = series.points.clone();
                points.sort_by(|a, b| a.x.total_cmp(&b.x));
                let way: Vec<_> = points.iter().map(|p| frame.place(p.x, p.median)).collect();
                if !self.unlike {
                    pen.line(&way, Stroke { colour, width: 2, dash: None })?;
                }
                for (p, at) in points.iter().zip(way) {
                    if let Some((lo, hi)) = p.ci {
                        let bar = Stroke { colour, width: 1, dash: None };
                        let (y0, y1) = (frame.place(p.x, lo).1, frame.place(p.x, hi).1);
                        pen.line(&[(at.0, y0), (at.0, y1)], bar)?;
                        pen.line(&[(at.0 - 6, y0), (at.0 + 6, y0)], bar)?;
                        pen.line(&[(at.0 - 6, y1), (at.0 + 6, y1)], bar)?;
                    }
                    pen.marker(i, at, colour)?;
                }
            }
            Ok(())
        })
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|s| &s.points)
    }

    fn legend(&self) -> Vec<Entry> {
        let lines = self.series.iter().enumerate().map(|(i, s)| {
            let colour = canvas::colour(i);
            let line = (!self.unlike).then_some(Stroke { colour, width: 2, dash: None });
            Entry { label: s.label.clone(), line, marker: Some(i), colour }
        });
        let peaks = self.peaks.iter().enumerate().map(|(i, p)| Entry {
            label: format!("{} {} {}", text::short(&p.label, 44), text::num(p.gflops), self.unit),
            line: Some(limit(i)),
            marker: None,
            colour: canvas::INK,
        });
        lines.chain(peaks).collect()
    }

    fn check(&self) -> Result<(), ReportError> {
        if self.points().next().is_none() {
            return Err(ReportError::Empty(format!("the plot '{}' has no points", text::clean(&self.title))));
        }
        for s in &self.series {
            for p in &s.points {
                check(p.x, false, || format!("a size of series '{}'", s.label))?;
                check(p.median, true, || format!("the rate of series '{}' at {}", s.label, p.x))?;
                if let Some((lo, hi)) = p.ci {
                    check(lo, true, || format!("the interval of series '{}' at {}", s.label, p.x))?;
                    check(hi, true, || format!("the interval of series '{}' at {}", s.label, p.x))?;
                    if lo > hi {
                        let label = text::clean(&s.label);
                        return Err(ReportError::Value(format!("the interval of series '{label}' at {} runs from {lo} down to {hi}", p.x)));
                    }
                }
            }
        }
        self.peaks.iter().try_for_each(|p| check(p.gflops, false, || format!("the peak '{}'", p.label)))
    }
}

/// How limit number `i` is drawn: each has its own dash.
pub(crate) fn limit(i: usize) -> Stroke {
    let dash = [(9, 6), (3, 4), (14, 5), (6, 10)][i % 4];
    Stroke { colour: canvas::INK, width: 2, dash: Some(dash) }
}
