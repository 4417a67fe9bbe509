//! One axis: from a value to a place between 0 and 1, and where the labels stand. It draws nothing.

use crate::ReportError;
use crate::text;

/// A linear or base-2 logarithmic axis over `lo..=hi` (for a log axis the bounds are exponents).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    log: bool,
    lo: f64,
    hi: f64,
}

/// A place on an axis between 0 (lo) and 1 (hi), and its label.
pub(crate) struct Tick {
    pub(crate) at: f64,
    pub(crate) label: String,
}

impl Scale {
    /// From 0 to a little more than the largest of `values`, ending on a label.
    pub(crate) fn from_zero(values: impl Iterator<Item = f64>) -> Scale {
        let top = values.fold(0.0, f64::max);
        let top = if top > 0.0 { top * 1.06 } else { 1.0 };
        let step = step_for(top, 6);
        Scale { log: false, lo: 0.0, hi: (top / step).ceil() * step }
    }

    /// A log axis over all `values` with `pad` of an octave free on each side; the values must be positive.
    pub(crate) fn log2(values: impl Iterator<Item = f64>, pad: f64) -> Scale {
        let (lo, hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v.log2()), hi.max(v.log2())));
        if !lo.is_finite() || !hi.is_finite() {
            return Scale { log: true, lo: 0.0, hi: 1.0 };
        }
        // A single size still gets an axis with a label on each side.
        let pad = if hi - lo < 1e-9 { 1.0 } else { pad };
        Scale { log: true, lo: lo - pad, hi: hi + pad }
    }

    /// The least and the greatest value of the axis.
    pub(crate) fn bounds(&self) -> (f64, f64) {
        if self.log { (self.lo.exp2(), self.hi.exp2()) } else { (self.lo, self.hi) }
    }

    /// From end to end: octaves of a log axis.
    pub(crate) fn span(&self) -> f64 {
        self.hi - self.lo
    }

    /// Where `v` stands: 0 at the low end, 1 at the high end, beyond them when it lies outside.
    pub(crate) fn at(&self, v: f64) -> f64 {
        let v = if self.log { v.log2() } else { v };
        (v - self.lo) / self.span()
    }

    /// At most about `max` labelled places, in ascending order.
    pub(crate) fn ticks(&self, max: usize) -> Vec<Tick> {
        let max = max.max(2);
        let span = self.span();
        let step = if self.log { (span / max as f64).ceil().max(1.0) } else { step_for(span, max) };
        let first = (self.lo / step - 1e-9).ceil() as i64;
        let last = (self.hi / step + 1e-9).floor() as i64;
        (first..=last)
            .map(|i| {
                let v = i as f64 * step;
                Tick { at: (v - self.lo) / span, label: if self.log { text::power_of_two(v as i32) } else { text::tick(v) } }
            })
            .collect()
    }
}

/// A step of 1, 2 or 5 times a power of ten that cuts `span` into at most `parts`.
fn step_for(span: f64, parts: usize) -> f64 {
    let raw = span / parts.max(1) as f64;
    let decade = 10f64.powf(raw.log10().floor());
    let lead = raw / decade;
    let nice = [1.0, 2.0, 5.0].into_iter().find(|n| lead <= *n + 1e-9).unwrap_or(10.0);
    nice * decade
}

/// Fails unless `v` lies between 1e-15 and 1e15, or is 0 and `zero` allows it; `what` names it.
pub(crate) fn check(v: f64, zero: bool, what: impl Fn() -> String) -> Result<(), ReportError> {
    // NaN is in no range, and the infinities are in neither.
    if (1e-15..=1e15).contains(&v) || (zero && v == 0.0) {
        return Ok(());
    }
    let need = if zero { "0 or between 1e-15 and 1e15" } else { "between 1e-15 and 1e15" };
    Err(ReportError::Value(format!("{} is {v}: it must be {need}", text::clean(&what()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(s: Scale, max: usize) -> Vec<String> {
        s.ticks(max).into_iter().map(|t| t.label).collect()
    }

    #[test]
    fn labels_are_round() {
        let s = Scale::from_zero([113.4, 80.0].into_iter());
        assert_eq!(labels(s, 6), ["0", "50", "100", "150"]);
        assert_eq!(s.at(0.0), 0.0);
        let s = Scale::log2([256.0, 1024.0].into_iter(), 0.3);
        assert_eq!(labels(s, 8), ["256", "512", "1024"]);
        assert!((s.at(512.0) - 0.5).abs() < 1e-12);
        let s = Scale::log2([0.1, 300.0].into_iter(), 0.2);
        assert_eq!(labels(s, 20)[0..3], ["1/8", "1/4", "1/2"]);
    }

    #[test]
    fn degenerate_ranges_still_give_an_axis() {
        assert!(labels(Scale::from_zero(std::iter::empty()), 6).len() > 1);
        assert!(labels(Scale::from_zero([0.0].into_iter()), 6).len() > 1);
        assert!(labels(Scale::log2([512.0].into_iter(), 0.1), 6).len() > 1);
        assert!(labels(Scale::log2([500.0].into_iter(), 0.1), 6).len() > 1);
        assert!(labels(Scale::from_zero([1e15].into_iter()), 6).len() > 1);
        assert!(labels(Scale::log2([1e-15, 1e15].into_iter(), 0.1), 6).len() < 10);
    }

    #[test]
    fn unplaceable_values_are_named() {
        for v in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
            let e = check(v, false, || "size".into()).unwrap_err().to_string();
            assert!(e.starts_with("size is "), "{e}");
        }
        assert!(check(0.0, true, String::new).is_ok());
    }
}
