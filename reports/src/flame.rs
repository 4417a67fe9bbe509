//! Flame graphs from folded stacks: one set as it is, or two sets as a difference.
//!
//! inferno draws them and its script stays in, so the SVG can be searched and zoomed. The document type and
//! the comments are cut off: nothing in it points anywhere else. It takes no samples.

use std::io;

use inferno::flamegraph::color::{BackgroundColor, BasicPalette, Palette};
use inferno::flamegraph::{self, Options};
use serde::{Deserialize, Serialize};

use crate::folded::Folded;
use crate::{ReportError, Tier, text};

/// Both sides of a difference are scaled to this many parts.
const PARTS: f64 = 1_000_000.0;

/// A flame graph as data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flame {
    /// Heading.
    pub title: String,
    /// Folded stacks, see [`Folded::parse`].
    pub folded: String,
    /// An earlier set of folded stacks: when given, the difference is drawn.
    #[serde(default)]
    pub before: Option<String>,
    /// How the samples were taken, such as `cpu-clock at 997 Hz, frame pointers`.
    #[serde(default)]
    pub how: Option<String>,
    /// Where the samples come from.
    pub tier: Tier,
}

impl Flame {
    /// The graph as an interactive stand-alone SVG whose width follows its surroundings.
    ///
    /// # Errors
    /// Those of [`Folded::parse`] and [`svg`] or [`diff_svg`].
    pub fn svg(&self) -> Result<String, ReportError> {
        let after = Folded::parse(&self.folded)?;
        let how = match &self.how {
            Some(how) => format!("{}, {how}", self.tier),
            None => self.tier.to_string(),
        };
        match &self.before {
            None => svg(&after, &self.title, &how),
            Some(before) => diff_svg(&Folded::parse(before)?, &after, &self.title, &how),
        }
    }
}

/// A flame graph of `stacks`. The subtitle gives the number of samples and then `how`.
///
/// # Errors
/// [`ReportError::Draw`] when the drawing fails.
pub fn svg(stacks: &Folded, title: &str, how: &str) -> Result<String, ReportError> {
    let total = stacks.total();
    let noun = if total == 1 { "sample" } else { "samples" };
    let subtitle = format!("{total} {noun}; {how}");
    // Last stack first: see `draw`.
    let lines: Vec<String> = stacks.stacks().rev().map(|(s, n)| format!("{} {n}", s.join(";"))).collect();
    draw(&lines, title, &subtitle, "samples", (255, 255, 255))
}

/// The difference of two sets: frames are as wide as in `after`, red where their share grew, blue where it
/// shrank. Both sides are first scaled to the same total, so that a longer run is not a slower one.
///
/// # Errors
/// [`ReportError::Draw`] when the drawing fails.
pub fn diff_svg(before: &Folded, after: &Folded, title: &str, how: &str) -> Result<String, ReportError> {
    let parts = |n: u64, of: &Folded| (n as f64 / of.total() as f64 * PARTS).round() as u64;
    let lines: Vec<String> = after
        .stacks()
        .rev()
        .map(|(s, n)| format!("{} {} {}", s.join(";"), parts(before.count(s), before), parts(n, after).max(1)))
        .collect();
    let gone: u64 = before.stacks().filter(|(s, _)| after.count(s) == 0).map(|(_, n)| n).sum();
    let gone = 100.0 * gone as f64 / before.total() as f64;
    let (a, b) = (before.total(), after.total());
    let subtitle = format!("{a} samples before, {b} after, equal totals: red grew, blue shrank, {gone:.1} % of before is gone; {how}");
    // Unchanged frames are nearly white: they need a darker ground.
    draw(&lines, title, &subtitle, "parts per million", (225, 229, 234))
}

/// Draws lines that come in descending order of their stacks.
fn draw(lines: &[String], title: &str, subtitle: &str, unit: &str, ground: (u8, u8, u8)) -> Result<String, ReportError> {
    let mut options = Options::default();
    options.title = text::short(title, 120);
    options.subtitle = Some(text::short(subtitle, 240));
    options.count_name = unit.to_string();
    options.deterministic = true;
    options.colors = Palette::Basic(BasicPalette::Orange);
    options.bgcolors = Some(BackgroundColor::Flat(ground.into()));
    // inferno sorts whole lines as text, which tears `f` and `f;g` apart when there is an `f::h`. The lines
    // are already sorted frame by frame; this setting takes them from the last to the first, unsorted.
    options.flame_chart = true;
    let mut out = Vec::new();
    let drawn: io::Result<()> = flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut out);
    drawn.map_err(|e| ReportError::Draw(format!("flame graph: {e}")))?;
    let svg = String::from_utf8(out).map_err(|e| ReportError::Draw(format!("flame graph: {e}")))?;
    Ok(bare(&svg))
}

/// The SVG without what stands before its root (declaration, document type) and without comments.
fn bare(svg: &str) -> String {
    let mut rest = svg.find("<svg").map_or(svg, |at| &svg[at..]);
    let mut out = String::with_capacity(rest.len());
    while let Some((head, tail)) = rest.split_once("<!--") {
        // Labels hold `&lt;`, never `<`, so this is a comment; without its end nothing more can be trusted.
        out.push_str(head);
        rest = tail.split_once("-->").map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACKS: &str = "main;run;f 30\nmain;run;f::h 5\nmain;run;f;g 10\nmain;load 5\n";

    fn titles(svg: &str) -> Vec<String> {
        let doc = roxmltree::Document::parse(svg).unwrap();
        doc.descendants().filter(|n| n.has_tag_name("title")).filter_map(|n| n.text()).map(String::from).collect()
    }

    #[test]
    fn frames_are_merged_and_counted() {
        let svg = svg(&Folded::parse(STACKS).unwrap(), "T", "measured").unwrap();
        let t = titles(&svg);
        assert!(t.contains(&"all (50 samples, 100%)".to_string()), "{t:?}");
        assert!(t.contains(&"f (40 samples, 80.00%)".to_string()), "{t:?}");
        assert!(svg.contains("50 samples; measured") && svg.contains("function init"));
        assert!(svg.starts_with("<svg") && !svg.contains("DOCTYPE") && !svg.contains("<!--"));
    }

    #[test]
    fn a_difference_compares_shares_not_counts() {
        // The same mixture sampled three times as long: nothing changed.
        let long = STACKS.replace(" 30", " 90").replace(" 5", " 15").replace(" 10", " 30");
        let svg = diff_svg(&Folded::parse(STACKS).unwrap(), &Folded::parse(&long).unwrap(), "D", "m").unwrap();
        for t in titles(&svg).iter().filter(|t| t.contains(';')) {
            assert!(t.contains("; 0.00%)"), "{t}");
        }
        let more = diff_svg(&Folded::parse("a;b 1\na;c 1\na;gone 2").unwrap(), &Folded::parse("a;b 3\na;c 1").unwrap(), "D", "m").unwrap();
        assert!(titles(&more).iter().any(|t| t.starts_with("b (750,000 parts per million, 75.00%; +50.00%)")));
        assert!(more.contains("50.0 % of before is gone"));
    }

    #[test]
    fn hostile_names_stay_text() {
        let evil = "</title><script>alert(1)</script>;\"onload=x' & <!-- -->;]]> 3 4\u{0} 9\n# root;x 2";
        for s in [
            svg(&Folded::parse(evil).unwrap(), "<script>", "-->").unwrap(),
            diff_svg(&Folded::parse(evil).unwrap(), &Folded::parse(evil).unwrap(), "</svg>", "&").unwrap(),
        ] {
            let doc = roxmltree::Document::parse(&s).unwrap();
            assert_eq!(doc.descendants().filter(|n| n.has_tag_name("script")).count(), 1);
            assert!(titles(&s).iter().any(|t| t.starts_with("</title><script>alert(1)</script> (")));
        }
    }
}
