//! The roofline: attainable rate over arithmetic intensity, and where kernels stand under it.
//!
//! Ceilings and points are given; it only draws them on log-log axes. Points carry numbers and are named in
//! the legend, so that close neighbours stay readable.

use plotters::style::text_anchor::HPos;
use serde::{Deserialize, Serialize};

use crate::canvas::{self, Entry, Frame, Look, Stroke, WIDTH};
use crate::gflops::{Peak, limit};
use crate::scale::{Scale, check};
use crate::{ReportError, Tier, text};

/// A roofline plot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Roofline {
    /// Heading.
    pub title: String,
    /// Horizontal ceilings in GFLOP/s; at least one.
    pub peaks: Vec<Peak>,
    /// Sloping ceilings; at least one.
    pub bandwidths: Vec<Bandwidth>,
    /// The kernels; there may be none.
    #[serde(default)]
    pub points: Vec<KernelPoint>,
    /// Where all of its figures come from.
    pub tier: Tier,
}

/// A bandwidth ceiling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Name in the legend; the figure is appended.
    pub label: String,
    /// Bandwidth in GB/s (10^9 bytes), above 0.
    pub gbytes_per_s: f64,
}

/// One kernel at one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelPoint {
    /// Name in the legend.
    pub label: String,
    /// Arithmetic intensity in FLOP per byte the algorithm must move, above 0.
    pub intensity: f64,
    /// Rate in GFLOP/s, above 0.
    pub gflops: f64,
}

impl Roofline {
    /// The plot as a stand-alone SVG, 960 pixels wide.
    ///
    /// # Errors
    /// [`ReportError::Empty`] without a peak or without a bandwidth, [`ReportError::Value`] for a figure that is
    /// not a finite number above 0.
    pub fn svg(&self) -> Result<String, ReportError> {
        self.check()?;
        let legend = self.legend();
        let top = canvas::header_height(&legend) + 38;
        let highest = self.peaks.iter().fold(0.0, |a: f64, p| a.max(p.gflops));
        // Show every ridge (where a slope meets a peak) with room on both sides of it.
        let ridges = self.peaks.iter().flat_map(|p| self.bandwidths.iter().map(|b| p.gflops / b.gbytes_per_s));
        let x = Scale::log2(ridges.flat_map(|r| [r / 8.0, r * 8.0]).chain(self.points.iter().map(|p| p.intensity)), 0.5);
        let slopes = self.bandwidths.iter().map(|b| (x.bounds().0 * b.gbytes_per_s).min(highest));
        let y = Scale::log2(slopes.chain(self.peaks.iter().map(|p| p.gflops)).chain(self.points.iter().map(|p| p.gflops)), 0.5);
        let frame = Frame { left: 76, top, right: WIDTH - 28, bottom: top + 400, x, y };
        canvas::draw(&self.title, frame.bottom + 60, |pen| {
            pen.header(&self.title, &format!("{}: both axes are logarithmic", self.tier), &legend)?;
            frame.axes(pen, "arithmetic intensity in FLOP per byte", "GFLOP/s")?;
            let (x0, x1) = frame.x.bounds();
            let widest = self.bandwidths.iter().fold(0.0, |a: f64, b| a.max(b.gbytes_per_s));
            for (i, peak) in self.peaks.iter().enumerate() {
                let from = (peak.gflops / widest).max(x0);
                pen.line(&[frame.place(from, peak.gflops), frame.place(x1, peak.gflops)], limit(i))?;
            }
            for (i, band) in self.bandwidths.iter().enumerate() {
                let y0 = frame.y.bounds().0;
                let from = (y0 / band.gbytes_per_s).max(x0);
                let to = highest / band.gbytes_per_s;
                let ends = [from, to].map(|x| frame.place(x, x * band.gbytes_per_s));
                pen.line(&ends, slope(i))?;
            }
            for (i, p) in self.points.iter().enumerate() {
                let (x, y) = frame.place(p.intensity, p.gflops);
                pen.marker(i, (x, y), canvas::colour(i))?;
                let look = Look { size: 12.0, bold: true, colour: canvas::INK };
                pen.text(&(i + 1).to_string(), (x + 10, y + 9), HPos::Left, look)?;
            }
            Ok(())
        })
    }

    fn legend(&self) -> Vec<Entry> {
        let peaks = self.peaks.iter().enumerate().map(|(i, p)| (&p.label, p.gflops, "GFLOP/s", limit(i)));
        let bands = self.bandwidths.iter().enumerate().map(|(i, b)| (&b.label, b.gbytes_per_s, "GB/s", slope(i)));
        let ceilings = peaks.chain(bands).map(|(label, value, unit, stroke)| Entry {
            label: format!("{} {} {unit}", text::short(label, 44), text::num(value)),
            line: Some(stroke),
            marker: None,
            colour: stroke.colour,
        });
        let points = self.points.iter().enumerate().map(|(i, p)| Entry {
            label: format!("{}: {}", i + 1, p.label),
            line: None,
            marker: Some(i),
            colour: canvas::colour(i),
        });
        ceilings.chain(points).collect()
    }

    fn check(&self) -> Result<(), ReportError> {
        if self.peaks.is_empty() || self.bandwidths.is_empty() {
            return Err(ReportError::Empty("a roofline needs a peak and a bandwidth".into()));
        }
        for p in &self.peaks {
            check(p.gflops, false, || format!("the peak '{}'", p.label))?;
        }
        for b in &self.bandwidths {
            check(b.gbytes_per_s, false, || format!("the bandwidth '{}'", b.label))?;
        }
        for p in &self.points {
            check(p.intensity, false, || format!("the intensity of '{}'", p.label))?;
            check(p.gflops, false, || format!("the rate of '{}'", p.label))?;
        }
        Ok(())
    }
}

/// How bandwidth number `i` is drawn.
fn slope(i: usize) -> Stroke {
    Stroke { colour: canvas::FAINT, ..limit(i) }
}
