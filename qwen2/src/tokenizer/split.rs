//! How Qwen2 cuts text into the pieces within which byte pairs merge.
//!
//! The published expression ends in `\s+(?!\S)|\s+`. A backtracking engine needs a stack as deep as a run of
//! blanks is long for that look-ahead and gives up on megabytes of them, so the look-ahead is done by hand here:
//! a run of blanks followed by something else leaves its last blank to what follows. Time is linear in the text.

use std::sync::LazyLock;

use regex::Regex;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::pattern::Pattern;
use tokenizers::{Offsets, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

static PIECES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let contraction = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    let word = r"[^\r\n\p{L}\p{N}]?\p{L}+";
    let digit = r"\p{N}";
    let symbols = r" ?[^\s\p{L}\p{N}]+[\r\n]*";
    let blanks = r"\s*[\r\n]+|\s+";
    Regex::new(&format!("{contraction}|{word}|{digit}|{symbols}|{blanks}")).ok()
});

/// Cuts text into pieces and spells each piece in the byte alphabet.
#[derive(Debug)]
pub(super) struct Qwen2Split(ByteLevel);

impl Qwen2Split {
    pub(super) fn new() -> Self {
        Self(ByteLevel::new(false, false, false))
    }
}

impl PreTokenizer for Qwen2Split {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        text.split(|_, part| part.split(Pieces, SplitDelimiterBehavior::Isolated))?;
        self.0.pre_tokenize(text)
    }
}

struct Pieces;

impl Pattern for Pieces {
    fn find_matches(&self, text: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        Ok(pieces(text).into_iter().map(|piece| (piece, true)).collect())
    }
}

/// Byte ranges of the pieces; together they are the whole text.
fn pieces(text: &str) -> Vec<Offsets> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let found = PIECES.as_ref().and_then(|regex| regex.find_at(text, at));
        // The alternatives cover every character, so a match starts at `at`; if not, what is between is a piece.
        let (start, mut end) = found.map_or((at, text.len()), |found| (found.start(), found.end()));
        if start > at {
            out.push((at, start));
        }
        let piece = &text[start..end];
        if let Some(last) = piece.chars().next_back()
            && last.is_whitespace()
            && !matches!(last, '\r' | '\n')
            && end < text.len()
            && piece.len() > last.len_utf8()
        {
            // Only `\s+` ends in a blank that breaks no line, and it stopped at something that is none.
            end -= last.len_utf8();
        }
        out.push((start, end));
        at = end;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::pieces;

    fn cut(text: &str) -> Vec<&str> {
        pieces(text).into_iter().map(|(from, to)| &text[from..to]).collect()
    }

    #[test]
    fn the_expression_stands() {
        assert!(super::PIECES.is_some());
    }

    #[test]
    fn blanks_leave_their_last_to_the_word() {
        assert_eq!(cut("a   b"), ["a", "  ", " b"]);
        assert_eq!(cut("a   "), ["a", "   "]);
        assert_eq!(cut("a \t1"), ["a", " ", "\t", "1"]);
        assert_eq!(cut("a  \n  \n  b"), ["a", "  \n  \n", " ", " b"]);
        assert_eq!(cut("a\u{3000}\u{3000}!"), ["a", "\u{3000}", "\u{3000}", "!"]);
    }

    #[test]
    fn words_digits_and_contractions() {
        assert_eq!(cut("I'll pay 12€!!\n"), ["I", "'ll", " pay", " ", "1", "2", "€!!\n"]);
        assert_eq!(cut("It'S"), ["It", "'S"]);
        assert_eq!(cut(""), Vec::<&str>::new());
    }

    #[test]
    fn long_runs_take_no_stack() {
        let text = " ".repeat(5_000_000) + "a";
        assert_eq!(pieces(&text), [(0, 4_999_999), (4_999_999, 5_000_001)]);
    }
}
