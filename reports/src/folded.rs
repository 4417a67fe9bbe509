//! Folded stacks: one line for each distinct call stack, `outermost;…;innermost COUNT`.
//!
//! Reads them strictly (a line that cannot be read is an error, not a warning) and makes the names safe for
//! every writer downstream. It neither samples nor symbolises.

use std::collections::BTreeMap;

use crate::{ReportError, text};

/// Name of a frame that has none.
const UNNAMED: &str = "(unnamed)";
/// Deeper stacks come from a broken unwinder; the pictures of them cannot be read either.
const DEEPEST: usize = 2048;

/// Call stacks with their sample counts: at least one stack, every count above 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// Frames from the outermost to the innermost. Sorted frame by frame, so that stacks with a common
    /// beginning are neighbours.
    stacks: BTreeMap<Vec<String>, u64>,
    total: u64,
}

impl Folded {
    /// Reads folded text. Blank lines and lines that begin with `# ` are skipped, equal stacks are added up,
    /// stacks with a count of 0 are dropped.
    ///
    /// # Errors
    /// [`ReportError::Folded`] for a line without a count, with a count that is not a whole number, or with more
    /// than 2048 frames; [`ReportError::Value`] when the counts exceed 2^53; [`ReportError::Empty`] when no
    /// sample remains.
    pub fn parse(folded: &str) -> Result<Folded, ReportError> {
        let mut stacks: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        let mut total = 0u64;
        for (i, line) in folded.lines().enumerate() {
            let bad = |why: String| ReportError::Folded { line: i + 1, why };
            let line = line.trim();
            if line.is_empty() || line.starts_with("# ") || line == "#" {
                continue;
            }
            let (stack, count) =
                line.rsplit_once([' ', '\t']).ok_or_else(|| bad(format!("no count after the stack '{}'", text::short(line, 60))))?;
            let count: u64 = count.parse().map_err(|_| bad(format!("'{}' is not a whole number of samples", text::short(count, 40))))?;
            if count == 0 {
                continue;
            }
            let frames: Vec<String> = stack.trim().split(';').map(frame).collect();
            if frames.len() > DEEPEST {
                return Err(bad(format!("{} frames: at most {DEEPEST} can be shown", frames.len())));
            }
            // Counts up to 2^53 are exact in JSON and in the scripts that read it.
            total = total
                .checked_add(count)
                .filter(|t| *t <= 1 << 53)
                .ok_or_else(|| ReportError::Value("folded stacks: the counts add up to more than 2^53".into()))?;
            *stacks.entry(frames).or_default() += count;
        }
        if stacks.is_empty() {
            return Err(ReportError::Empty("the folded stacks hold no sample".into()));
        }
        Ok(Folded { stacks, total })
    }

    /// The number of samples, above 0.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Each stack, outermost frame first, with its number of samples; neighbours share their beginning.
    pub fn stacks(&self) -> impl DoubleEndedIterator<Item = (&[String], u64)> {
        self.stacks.iter().map(|(s, n)| (s.as_slice(), *n))
    }

    /// The number of samples of exactly this stack.
    pub fn count(&self, stack: &[String]) -> u64 {
        self.stacks.get(stack).copied().unwrap_or(0)
    }
}

/// A frame name that every writer can hold: no control characters, not empty, and never ending in a blank and
/// a number, which a reader of folded lines would take for a count.
fn frame(name: &str) -> String {
    let name = text::clean(name.trim());
    let name = name.trim();
    if name.is_empty() {
        return UNNAMED.to_string();
    }
    match name.rsplit_once(' ') {
        Some((head, tail)) if tail.chars().all(|c| c.is_ascii_digit() || c == '.') => {
            format!("{head}\u{a0}{tail}")
        }
        _ => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_and_groups_by_frame() {
        let f = Folded::parse("# made by hand\n\nmain;a::b 2\r\nmain;a 1\nmain;a;c 4\nmain;a 1\nidle 0\n").unwrap();
        assert_eq!(f.total(), 8);
        let all: Vec<_> = f.stacks().map(|(s, n)| (s.join(";"), n)).collect();
        // As plain text `main;a::b` would stand between `main;a` and `main;a;c`.
        assert_eq!(all, [("main;a".into(), 2), ("main;a;c".into(), 4), ("main;a::b".into(), 2)]);
        assert_eq!(f.count(&["main".into(), "a".into()]), 2);
    }

    #[test]
    fn bad_lines_are_named() {
        for (input, want) in [
            ("main", "line 1: no count"),
            ("a 1\nmain;f x", "line 2: 'x' is not a whole number"),
            ("main 1.5", "'1.5' is not"),
            ("main -1", "'-1' is not"),
            ("a 9007199254740993", "more than 2^53"),
            ("a 18446744073709551615\nb 1", "more than 2^53"),
            ("", "no sample"),
            ("# nothing\nmain 0", "no sample"),
        ] {
            let e = Folded::parse(input).unwrap_err().to_string();
            assert!(e.contains(want) && !e.contains('\n'), "{input:?}: {e}");
        }
        assert!(Folded::parse(&format!("{}x 1", "f;".repeat(3000))).is_err());
    }

    #[test]
    fn names_are_made_safe() {
        let f = Folded::parse("a;;x\u{1}y;odd 7 3\n").unwrap();
        let (stack, n) = f.stacks().next().unwrap();
        assert_eq!(n, 3);
        assert_eq!(stack, ["a", UNNAMED, "x\u{fffd}y", "odd\u{a0}7"]);
    }
}
