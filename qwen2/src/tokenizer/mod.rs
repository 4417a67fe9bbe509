//! The tokenizer, built from a GGUF file's own lists or a folder's `tokenizer.json`: byte-level BPE with Qwen2's
//! pre-tokenisation. Text is normalised to NFC as in the published tokenizer; special tokens written out in the text
//! are recognised. Lists that contradict each other are refused before the BPE model sees them. Wherever they come
//! from, the same code makes the tokenizer of them, so a model has the same ids in either form.

mod folder;
mod split;
mod utf8;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Model, NormalizedString, Normalizer, OffsetType, PreTokenizedString, PreTokenizer, TokenizerImpl};

use crate::error::Error;
use crate::gguf::{Array, Gguf, Value, shown};
use crate::model::{check_architecture, token_id};
use split::Qwen2Split;
pub use utf8::Utf8Stream;

/// Token types of the format.
mod kind {
    pub const CONTROL: i64 = 3;
    pub const USER_DEFINED: i64 = 4;
    pub const UNUSED: i64 = 5;
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Spelt in the byte alphabet and made by merges.
    Ordinary,
    /// A mark of the format of texts, spelt as it is.
    Control,
    /// A word that is taken as a whole, spelt as it is.
    UserDefined,
    /// Stands for nothing.
    Padding,
}

/// A token of the vocabulary.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) id: u32,
    pub(crate) text: String,
    pub(crate) role: Role,
}

/// What a tokenizer is made of.
#[derive(Debug)]
pub(crate) struct Lists {
    /// By ascending id, all below `vocab`. Ids without a token are padding.
    pub(crate) tokens: Vec<Token>,
    /// Pairs of tokens, by falling rank.
    pub(crate) merges: Vec<(String, String)>,
    /// Number of ids.
    pub(crate) vocab: usize,
    /// Tokens after which a text is over.
    pub(crate) stops: Vec<u32>,
}

/// Tokens that end a text in Qwen2's vocabulary, whatever the file calls its end of sequence.
const END_MARKS: [&str; 2] = ["<|im_end|>", "<|endoftext|>"];

/// Turns text into token ids and back.
#[derive(Debug)]
pub struct Tokenizer {
    bpe: TokenizerImpl<BPE, NFC, Qwen2Split, ByteLevel, ByteLevel>,
    /// The bytes of all tokens, one after the other.
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<usize>,
    stops: Vec<u32>,
    padding: Vec<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer, taking the token and merge lists out of the file's metadata.
    ///
    /// # Errors
    /// A missing key, another tokenizer than Qwen2's, lists that contradict each other, ids beyond the vocabulary.
    pub fn from_gguf(file: &mut Gguf) -> Result<Self, Error> {
        check_architecture(file)?;
        match file.string("tokenizer.ggml.model")? {
            "gpt2" => {}
            other => return Err(bad(format!("tokenizer.ggml.model is '{}', only gpt2 is supported", shown(other)))),
        }
        match file.string("tokenizer.ggml.pre")? {
            "qwen2" => {}
            other => return Err(bad(format!("tokenizer.ggml.pre is '{}', only qwen2 is supported", shown(other)))),
        }
        if file.get("tokenizer.ggml.add_bos_token") == Some(&Value::Bool(true)) {
            return Err(bad("tokenizer.ggml.add_bos_token is set, but Qwen2 texts have no token at their start".to_owned()));
        }
        let tokens = file.take_strings("tokenizer.ggml.tokens")?;
        let types = take_types(file, tokens.len())?;
        let merges = file.take_strings("tokenizer.ggml.merges")?;
        let vocab = tokens.len();
        let mut stops = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
            stops.extend(token_id(file, key, vocab)?);
        }
        for key in ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.padding_token_id"] {
            token_id(file, key, vocab)?;
        }
        let role = |text: &str, kind| match kind {
            kind::UNUSED => Role::Padding,
            _ if is_pad(text) => Role::Padding,
            kind::CONTROL => Role::Control,
            kind::USER_DEFINED => Role::UserDefined,
            _ => Role::Ordinary,
        };
        let tokens =
            (0u32..).zip(tokens.iter()).zip(types).map(|((id, text), kind)| Token { id, role: role(text, kind), text: text.to_owned() });
        let tokens = tokens.collect();
        let merges = merges.iter().map(split_merge).collect::<Result<_, _>>()?;
        Self::from_lists(tokens, merges, vocab, stops)
    }

    /// Builds it from `tokens` by ascending id, all below `vocab`. Ids without a token are padding.
    fn from_lists(tokens: Vec<Token>, merges: Vec<(String, String)>, vocab: usize, mut stops: Vec<u32>) -> Result<Self, Error> {
        let (bytes, ends) = spell(&tokens, vocab);
        let mut padding = Vec::new();
        let mut added = Vec::new();
        let mut next = 0;
        for token in &tokens {
            padding.extend(next..token.id);
            next = token.id + 1;
            match token.role {
                Role::Padding => padding.push(token.id),
                Role::Ordinary => {}
                role => {
                    added.push(AddedToken::from(token.text.as_str(), role == Role::Control).normalized(false));
                    if END_MARKS.contains(&token.text.as_str()) {
                        stops.push(token.id);
                    }
                }
            }
        }
        padding.extend(next..vocab as u32);
        stops.sort_unstable();
        stops.dedup();

        let mut bpe = TokenizerImpl::new(build_bpe(tokens, merges)?);
        bpe.with_normalizer(Some(NFC)).map_err(inner)?.with_pre_tokenizer(Some(Qwen2Split::new()));
        bpe.add_tokens(added).map_err(inner)?;
        Ok(Self { bpe, bytes, ends, stops, padding })
    }

    /// The ids of `text`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the BPE model fails, which it does for no text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.bpe.encode_fast(text, false).map_err(inner)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of `text`, in which special tokens written out are nothing but text: for what others wrote.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut text = NormalizedString::from(text);
        self.bpe.get_normalizer().map_or(Ok(()), |normalizer| normalizer.normalize(&mut text)).map_err(inner)?;
        let mut pieces = PreTokenizedString::from(text);
        self.bpe.get_pre_tokenizer().map_or(Ok(()), |split| split.pre_tokenize(&mut pieces)).map_err(inner)?;
        pieces.tokenize(|piece| self.bpe.get_model().tokenize(piece.get())).map_err(inner)?;
        Ok(pieces.into_encoding(None, 0, OffsetType::None).map_err(inner)?.get_ids().to_vec())
    }

    /// The special tokens, which [`encode`](Self::encode) finds where they are written out, and their ids, ascending.
    pub fn special(&self) -> Vec<(u32, String)> {
        let tokens = self.bpe.get_added_vocabulary().get_added_tokens_decoder();
        let mut tokens: Vec<(u32, String)> = tokens.iter().map(|(id, token)| (*id, token.content.clone())).collect();
        tokens.sort_unstable();
        tokens
    }

    /// The bytes that `id` stands for; nothing for an id beyond the vocabulary. They need not be UTF-8 by themselves.
    pub fn piece(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start..end]
    }

    /// The text of `ids`; bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.piece(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Number of tokens, padding included.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the vocabulary is empty.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Tokens after which a text is over, ascending.
    pub fn stops(&self) -> &[u32] {
        &self.stops
    }

    /// Tokens that stand for nothing and must never be sampled, ascending.
    pub fn padding(&self) -> &[u32] {
        &self.padding
    }
}

/// The token types, one for each token.
fn take_types(file: &mut Gguf, count: usize) -> Result<Vec<i64>, Error> {
    let key = "tokenizer.ggml.token_type";
    let types: Vec<i64> = match file.take(key) {
        Some(Value::Array(Array::I32(types))) => types.into_iter().map(i64::from).collect(),
        Some(Value::Array(Array::U32(types))) => types.into_iter().map(i64::from).collect(),
        Some(_) => return Err(bad(format!("{key} is not an array of 32-bit integers"))),
        None => return Err(bad(format!("{key} is missing"))),
    };
    if types.len() == count { Ok(types) } else { Err(bad(format!("{} token types for {count} tokens", types.len()))) }
}

/// The two tokens of a merge, which are written with a blank between them.
fn split_merge(merge: &str) -> Result<(String, String), Error> {
    let (left, right) = merge.split_once(' ').ok_or_else(|| bad(format!("merge '{}' is not two tokens", shown(merge))))?;
    Ok((left.to_owned(), right.to_owned()))
}

fn build_bpe(tokens: Vec<Token>, merges: Vec<(String, String)>) -> Result<BPE, Error> {
    let count = tokens.len();
    let vocab: Vocab = tokens.into_iter().map(|token| (token.text, token.id)).collect();
    if vocab.len() != count {
        return Err(bad(format!("{} of {count} tokens occur twice", count - vocab.len())));
    }
    if let Some(missing) = ByteLevel::alphabet().into_iter().find(|letter| !vocab.contains_key(letter.encode_utf8(&mut [0; 4]) as &str)) {
        return Err(bad(format!("no token for the single byte '{missing}', so not every text could be written")));
    }
    for (left, right) in &merges {
        let both = [left.as_str(), right].concat();
        if let Some(unknown) = [left, right, &both].into_iter().find(|token| !vocab.contains_key(*token)) {
            let merge = shown(&format!("{left} {right}"));
            return Err(bad(format!("merge '{merge}' needs the token '{}', which does not exist", shown(unknown))));
        }
    }
    BPE::builder().vocab_and_merges(vocab, merges).build().map_err(inner)
}

/// The bytes of all tokens and where each ends. Ordinary tokens are spelt in the byte alphabet, special ones as they are.
fn spell(tokens: &[Token], vocab: usize) -> (Vec<u8>, Vec<usize>) {
    let letters = byte_of_letter();
    let mut bytes = Vec::with_capacity(tokens.iter().map(|token| token.text.len()).sum());
    let mut ends = Vec::with_capacity(vocab);
    for token in tokens {
        // Ids without a token are spelt with no bytes.
        ends.resize(token.id as usize, bytes.len());
        let special = matches!(token.role, Role::Control | Role::UserDefined);
        for letter in token.text.chars() {
            match letters.get(letter as usize) {
                Some(Some(byte)) if !special => bytes.push(*byte),
                _ => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        ends.push(bytes.len());
    }
    ends.resize(vocab, bytes.len());
    (bytes, ends)
}

/// GPT-2's byte alphabet, backwards: printable Latin-1 stands for itself, the other bytes in order for U+0100 and on.
fn byte_of_letter() -> Vec<Option<u8>> {
    let mut letters = vec![None; 0x180];
    let mut next = 0x100;
    for byte in 0..=255u8 {
        let itself = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let letter = if itself { usize::from(byte) } else { next };
        next += usize::from(!itself);
        letters[letter] = Some(byte);
    }
    letters
}

/// Whether this is a converter's filler, `[PAD` with a number.
fn is_pad(token: &str) -> bool {
    token
        .strip_prefix("[PAD")
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn bad(why: String) -> Error {
    Error::Tokenizer(why)
}

fn inner(error: tokenizers::Error) -> Error {
    Error::Tokenizer(shown(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_the_crates() {
        let letters = byte_of_letter();
        let ours: std::collections::BTreeSet<char> =
            (0u32..0x180).filter(|&c| letters[c as usize].is_some()).filter_map(char::from_u32).collect();
        assert_eq!(ours, ByteLevel::alphabet().into_iter().collect());
        assert_eq!(letters[0x120], Some(b' '));
        assert_eq!(letters[0x10a], Some(b'\n'));
    }

    #[test]
    fn fillers_are_told_from_words() {
        assert!(is_pad("[PAD151700]"));
        assert!(!is_pad("[PAD]"));
        assert!(!is_pad("[PADx]"));
    }
}
