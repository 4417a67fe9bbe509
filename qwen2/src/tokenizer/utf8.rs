//! Text out of tokens as they come: a character's bytes may be spread over several tokens, so incomplete ones
//! wait for the rest. Bytes that can never become a character turn into U+FFFD at once; nothing is lost or repeated.

/// Collects bytes and gives out whole characters.
#[derive(Debug, Default, Clone)]
pub struct Utf8Stream {
    /// The beginning of a character, at most three bytes.
    waiting: Vec<u8>,
}

impl Utf8Stream {
    /// Adds bytes; returns the text that is complete now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let mut text = String::new();
        let mut used = 0;
        for chunk in self.waiting.utf8_chunks() {
            text.push_str(chunk.valid());
            used += chunk.valid().len();
            let rest = chunk.invalid();
            let last = used + rest.len() == self.waiting.len();
            if rest.is_empty() || (last && is_prefix(rest)) {
                continue;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            used += rest.len();
        }
        self.waiting.drain(..used);
        text
    }

    /// What is left at the end: U+FFFD for an incomplete character, else nothing.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.waiting).into_owned();
        self.waiting.clear();
        text
    }
}

/// Whether more bytes could make a character of these.
fn is_prefix(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_wait_for_their_last_byte() {
        let mut stream = Utf8Stream::default();
        let crab = "🦀".as_bytes();
        assert_eq!(stream.push(&crab[..1]), "");
        assert_eq!(stream.push(&crab[1..3]), "");
        assert_eq!(stream.push(&[crab[3], b'!']), "🦀!");
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn broken_bytes_are_replaced_once() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(&[0xff, b'a', 0xe2, 0x82]), "\u{fffd}a");
        assert_eq!(stream.push(b"b"), "\u{fffd}b");
        assert_eq!(stream.push(&[0xe2, 0x82]), "");
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    #[test]
    fn any_cut_gives_the_same_text() {
        let text = "naïve — 東京 🦀\n".as_bytes();
        for cut in 0..=text.len() {
            let mut stream = Utf8Stream::default();
            let whole = stream.push(&text[..cut]) + &stream.push(&text[cut..]) + &stream.finish();
            assert_eq!(whole.as_bytes(), text);
        }
    }
}
