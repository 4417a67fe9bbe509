//! Text out of tokens as they come, up to a stop string. What might become one is held back until it has, or cannot
//! any more; nothing is lost, repeated or given out of order.

use crate::error::Error;
use crate::tokenizer::Utf8Stream;

/// Collects the bytes of tokens and gives out the text that is certain.
#[derive(Debug, Default, Clone)]
pub struct TextStream {
    characters: Utf8Stream,
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl TextStream {
    /// A text that ends before the first of `stops` that occurs in it.
    ///
    /// # Errors
    /// [`Error::Usage`] when one of them is empty.
    pub fn new(stops: &[String]) -> Result<Self, Error> {
        if stops.iter().any(String::is_empty) {
            return Err(Error::Usage("a stop string is empty; it must have at least one character".to_owned()));
        }
        Ok(Self { stops: stops.to_vec(), ..Self::default() })
    }

    /// Adds bytes; returns the text that is certain now. Nothing more comes once it [has stopped](Self::stopped).
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let text = self.characters.push(bytes);
        self.give(&text)
    }

    /// What was held back, when no more bytes will come.
    pub fn finish(&mut self) -> String {
        let text = self.characters.finish();
        let mut text = self.give(&text);
        text.push_str(&std::mem::take(&mut self.held));
        text
    }

    /// Whether a stop string was met. It is not given out, nor is what comes after it.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    fn give(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let undecided = |from: usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[from..]));
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        let keep = (from..self.held.len()).find(|&at| self.held.is_char_boundary(at) && undecided(at));
        let rest = self.held.split_off(keep.unwrap_or(self.held.len()));
        std::mem::replace(&mut self.held, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stops: &[&str]) -> TextStream {
        TextStream::new(&stops.iter().map(|stop| stop.to_string()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn without_stops_text_passes() {
        let mut text = stream(&[]);
        assert_eq!(text.push(b"ab\xf0\x9f"), "ab");
        assert_eq!(text.push(b"\xa6\x80"), "🦀");
        assert_eq!(text.push(b"\xe2"), "");
        assert_eq!(text.finish(), "\u{fffd}");
        assert!(!text.stopped());
    }

    #[test]
    fn the_beginning_of_a_stop_waits() {
        let mut text = stream(&["\nUser:", "END"]);
        assert_eq!(text.push(b"one\n"), "one");
        assert_eq!(text.push(b"U"), "");
        assert_eq!(text.push(b"se it EN"), "\nUse it ");
        assert_eq!(text.push(b"E"), "EN");
        assert_eq!(text.push(b"NDless"), "");
        assert!(text.stopped());
        assert_eq!((text.push(b"more"), text.finish()), (String::new(), String::new()));
    }

    #[test]
    fn the_first_of_several_stops_counts() {
        let mut text = stream(&["cd", "b"]);
        assert_eq!(text.push(b"abcd"), "a");
        assert!(text.stopped());
    }

    #[test]
    fn what_was_held_comes_at_the_end() {
        let mut text = stream(&["aab"]);
        assert_eq!(text.push("naïve aaa".as_bytes()), "naïve a");
        assert_eq!(text.finish(), "aa");
        assert!(!text.stopped());
    }

    #[test]
    fn any_cut_gives_the_same_text() {
        let whole = "é🦀 a stop here: 東京END and more".as_bytes();
        for first in 0..=whole.len() {
            let mut text = stream(&["京END", "EN?"]);
            let got = text.push(&whole[..first]) + &text.push(&whole[first..]) + &text.finish();
            assert_eq!((got.as_str(), text.stopped()), ("é🦀 a stop here: 東", true));
        }
    }

    #[test]
    fn an_empty_stop_is_refused() {
        assert!(TextStream::new(&[String::new()]).is_err());
    }
}
