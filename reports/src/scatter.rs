//! The scatter plot of times: one way of knowing them against another, with the diagonal on which they agree.
//!
//! It draws the points it is given and computes no correlation. Both axes have the same unit, and each says of which tier
//! its times are.

use serde::{Deserialize, Serialize};

use crate::canvas::{self, Entry, Frame, Stroke, WIDTH};
use crate::scale::{Scale, check};
use crate::{ReportError, Tier, text};

/// Times against times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scatter {
    /// Heading, such as `gemm, 1 thread`.
    pub title: String,
    /// What the points are, under the heading.
    pub note: String,
    /// The times that points stand at from left to right.
    pub x: Axis,
    /// The times that they stand at from below to above.
    pub y: Axis,
    /// The points by what tells them apart; at least one must have a point.
    pub clouds: Vec<Cloud>,
}

/// What an axis has the times of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// Its name, such as `measured time`; tier and unit are appended.
    pub label: String,
    /// Where its times come from.
    pub tier: Tier,
}

/// Points of one colour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cloud {
    /// Name in the legend.
    pub label: String,
    /// Pairs of times in nanoseconds, above 0: the one to the right, the one above.
    pub points: Vec<(f64, f64)>,
}

/// Units of time, in nanoseconds, the longest first.
const UNITS: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];

impl Scatter {
    /// The plot as a stand-alone SVG, 960 pixels wide; a factor is as long on one axis as on the other.
    ///
    /// # Errors
    /// [`ReportError::Empty`] without a point, [`ReportError::Value`] for a time that is not a finite number above 0.
    pub fn svg(&self) -> Result<String, ReportError> {
        let unit = self.check()?;
        let points = |of: fn(&(f64, f64)) -> f64| self.points().map(move |p| of(p) / unit.0);
        // Octaves are as many pixels on the one as on the other, so that the diagonal is one.
        let (x, y) = (Scale::log2(points(|p| p.0), 0.5), Scale::log2(points(|p| p.1), 0.5));
        let legend = self.legend();
        let top = canvas::header_height(&legend) + 38;
        let (width, most) = (WIDTH - 28 - 76, 620);
        let octave = (f64::from(width) / x.span()).min(f64::from(most) / y.span());
        let side = |scale: &Scale| ((octave * scale.span()).round() as i32).max(240);
        let (right, bottom) = (76 + side(&x).min(width), top + side(&y).min(most));
        let frame = Frame { left: 76, top, right, bottom, x, y };
        canvas::draw(&self.title, frame.bottom + 60, |pen| {
            pen.header(&self.title, &self.note, &legend)?;
            let name = |a: &Axis| format!("{} in {}, {}", text::short(&a.label, 60), unit.1, a.tier);
            frame.axes(pen, &name(&self.x), &name(&self.y))?;
            let ((x0, x1), (y0, y1)) = (frame.x.bounds(), frame.y.bounds());
            let (from, to) = (x0.max(y0), x1.min(y1));
            if from < to {
                pen.line(&[frame.place(from, from), frame.place(to, to)], DIAGONAL)?;
            }
            // In turns, so that no cloud lies over another as a whole.
            let longest = self.clouds.iter().map(|c| c.points.len()).max().unwrap_or(0);
            for at in 0..longest {
                for (i, cloud) in self.clouds.iter().enumerate() {
                    if let Some((x, y)) = cloud.points.get(at) {
                        pen.dot(i, frame.place(x / unit.0, y / unit.0), canvas::colour(i))?;
                    }
                }
            }
            Ok(())
        })
    }

    fn points(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.clouds.iter().flat_map(|c| &c.points)
    }

    fn legend(&self) -> Vec<Entry> {
        let cloud = |(i, c): (usize, &Cloud)| Entry { label: c.label.clone(), line: None, marker: Some(i), colour: canvas::colour(i) };
        let agree = Entry { label: "equal".into(), line: Some(DIAGONAL), marker: None, colour: DIAGONAL.colour };
        self.clouds.iter().enumerate().map(cloud).chain([agree]).collect()
    }

    /// Fails unless all can be drawn; gives the unit that the times are best told in.
    fn check(&self) -> Result<(f64, &'static str), ReportError> {
        for cloud in &self.clouds {
            for (x, y) in &cloud.points {
                check(*x, false, || format!("a time of '{}' on the x axis", cloud.label))?;
                check(*y, false, || format!("a time of '{}' on the y axis", cloud.label))?;
            }
        }
        let longest = self.points().fold(0.0, |most: f64, p| most.max(p.0).max(p.1));
        if longest == 0.0 {
            return Err(ReportError::Empty(format!("the plot '{}' has no points", text::clean(&self.title))));
        }
        Ok(UNITS.into_iter().find(|u| longest >= 2.0 * u.0).unwrap_or(UNITS[3]))
    }
}

/// Where both times are equal.
const DIAGONAL: Stroke = Stroke { colour: canvas::INK, width: 2, dash: Some((9, 6)) };
