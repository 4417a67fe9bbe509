//! The tokenizer of a model folder: `tokenizer.json`, and the files that say where texts end. What differs from
//! Qwen2's tokenizer in a way that would change ids is refused; settings that change none are passed over.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::{Lists, Role, Token, Tokenizer, bad, split_merge};
use crate::error::Error;
use crate::gguf::shown;
use crate::hf::json::{Document, Json, malformed};
use crate::hf::{Folder, GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG};
use crate::model::folder_vocab;

/// How Qwen2's text is cut, as it is published; `split` does what it says.
const PIECES: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Ids that a vocabulary may have beyond twice its tokens. Real ones have a few hundred more than tokens.
const SPARE: usize = 1 << 16;

/// `tokenizer.json`, as far as ids depend on it.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Json>,
    pre_tokenizer: Option<Json>,
    post_processor: Option<Json>,
    model: Bpe,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Bpe {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: Vocabulary,
    merges: Vec<Merge>,
}

/// Tokens and their ids in the order of the file.
struct Vocabulary(Vec<(String, u32)>);

/// A merge as older and as newer writers have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

impl Tokenizer {
    /// Builds the tokenizer of a folder.
    ///
    /// # Errors
    /// A missing or malformed file, another tokenizer than Qwen2's, lists that contradict each other, ids beyond the
    /// vocabulary that `config.json` gives.
    pub fn from_folder(folder: &Folder) -> Result<Self, Error> {
        let Lists { tokens, merges, vocab, stops } = Lists::of_folder(folder)?;
        Self::from_lists(tokens, merges, vocab, stops)
    }
}

impl Lists {
    /// The lists of a folder's tokenizer.
    ///
    /// # Errors
    /// As [`Tokenizer::from_folder`].
    pub(crate) fn of_folder(folder: &Folder) -> Result<Self, Error> {
        let vocab = folder_vocab(folder)?;
        let file: File = serde_json::from_slice(&folder.tokenizer()?).map_err(|error| malformed(TOKENIZER, &error))?;
        check_pipeline(&file)?;
        let tokens = tokens(file.added_tokens, file.model.vocab.0)?;
        match tokens.last() {
            Some(last) if last.id as usize >= vocab => return Err(Error::TokenId { id: last.id.into(), vocab }),
            _ if vocab > 2 * tokens.len() + SPARE => {
                return Err(bad(format!("vocab_size is {vocab}, but {TOKENIZER} has {} tokens", tokens.len())));
            }
            _ => {}
        }
        let merges = file.model.merges.into_iter().map(|merge| match merge {
            Merge::Text(text) => split_merge(&text),
            Merge::Pair(left, right) => Ok((left, right)),
        });
        let merges = merges.collect::<Result<_, _>>()?;
        let stops = stops(folder, &tokens, vocab)?;
        Ok(Self { tokens, merges, vocab, stops })
    }
}

/// All tokens by ascending id. A token may be in both lists, with one id.
fn tokens(added: Vec<Added>, vocab: Vec<(String, u32)>) -> Result<Vec<Token>, Error> {
    let mut tokens: Vec<Token> = vocab.into_iter().map(|(text, id)| Token { id, text, role: Role::Ordinary }).collect();
    for token in added {
        if token.single_word || token.lstrip || token.rstrip {
            return Err(bad(format!("token '{}' wants its surroundings looked at, which is not supported", shown(&token.content))));
        }
        if token.content.is_empty() {
            return Err(bad("an added token is empty".to_owned()));
        }
        let role = if token.special { Role::Control } else { Role::UserDefined };
        tokens.push(Token { id: token.id, text: token.content, role });
    }
    // Stable: of one id, the added token comes last.
    tokens.sort_by_key(|token| token.id);
    tokens.dedup_by(|later, earlier| {
        let same = later.id == earlier.id && later.text == earlier.text && earlier.role == Role::Ordinary && later.role != Role::Ordinary;
        if same {
            earlier.role = later.role;
        }
        same
    });
    match tokens.windows(2).find(|pair| pair[0].id == pair[1].id) {
        Some(pair) => Err(bad(format!("token id {} is that of '{}' and of '{}'", pair[0].id, shown(&pair[0].text), shown(&pair[1].text)))),
        None => Ok(tokens),
    }
}

/// Refuses a tokenizer that would cut or join text in another way than Qwen2's.
fn check_pipeline(file: &File) -> Result<(), Error> {
    let kind = |json: &Option<Json>| json.as_ref().and_then(|json| json.get("type")?.as_str()).unwrap_or("none").to_owned();
    let normalizer = kind(&file.normalizer);
    if normalizer != "NFC" {
        return Err(bad(format!("the normalizer is '{}', only NFC is supported", shown(&normalizer))));
    }
    let cuts = file.pre_tokenizer.as_ref().and_then(|json| json.get("pretokenizers"));
    let is_qwen2 = match cuts {
        Some(Json::Array(steps)) => matches!(&steps[..], [split, bytes] if is_split(split) && is_byte_level(bytes)),
        _ => false,
    };
    if !is_qwen2 {
        return Err(bad("the pre-tokenizer is not Qwen2's: its expression, then bytes without a prefix".to_owned()));
    }
    let post = kind(&file.post_processor);
    if !matches!(post.as_str(), "none" | "ByteLevel") {
        return Err(bad(format!("the post-processor '{}' might add tokens, which Qwen2's does not", shown(&post))));
    }
    let model = &file.model;
    if let Some(other) = model.kind.as_deref().filter(|kind| *kind != "BPE") {
        return Err(bad(format!("the model is '{}', only BPE is supported", shown(other))));
    }
    let affix = |affix: &Option<String>| affix.as_deref().is_some_and(|text| !text.is_empty());
    let odd = [
        (model.dropout.is_some_and(|share| share != 0.0), "dropout"),
        (affix(&model.continuing_subword_prefix), "continuing_subword_prefix"),
        (affix(&model.end_of_word_suffix), "end_of_word_suffix"),
        (model.byte_fallback, "byte_fallback"),
        (model.ignore_merges, "ignore_merges"),
    ];
    match odd.iter().find(|(set, _)| *set) {
        Some((_, what)) => Err(bad(format!("'{what}' is set, which Qwen2's tokenizer does without"))),
        None => Ok(()),
    }
}

fn is_split(json: &Json) -> bool {
    let text = |key| json.get(key).and_then(Json::as_str);
    let regex = json.get("pattern").and_then(|pattern| pattern.get("Regex")?.as_str());
    let inverted = json.get("invert").is_some_and(|invert| *invert != Json::Bool(false));
    text("type") == Some("Split") && regex == Some(PIECES) && text("behavior") == Some("Isolated") && !inverted
}

fn is_byte_level(json: &Json) -> bool {
    let off = |key| json.get(key) == Some(&Json::Bool(false));
    json.get("type").and_then(Json::as_str) == Some("ByteLevel") && off("add_prefix_space") && off("use_regex")
}

/// Tokens after which a text is over, as the folder's files say. Every id that they name must exist.
fn stops(folder: &Folder, tokens: &[Token], vocab: usize) -> Result<Vec<u32>, Error> {
    let mut stops = ids(folder.config(), "eos_token_id", vocab)?;
    for key in ["bos_token_id", "pad_token_id"] {
        ids(folder.config(), key, vocab)?;
    }
    if let Some(generation) = folder.document(GENERATION_CONFIG)? {
        stops.extend(ids(&generation, "eos_token_id", vocab)?);
    }
    if let Some(settings) = folder.document(TOKENIZER_CONFIG)? {
        if settings.flag("add_bos_token")? {
            return Err(settings.wrong("'add_bos_token' is set, but Qwen2 texts have no token at their start".to_owned()));
        }
        let key = "eos_token";
        let text = match settings.get(key) {
            None => None,
            Some(Json::String(text)) => Some(text.as_str()),
            // A token with its settings, as older writers have it.
            Some(token) => match token.get("content") {
                Some(Json::String(text)) => Some(text.as_str()),
                _ => return Err(settings.mistyped(key, token, "a token")),
            },
        };
        if let Some(text) = text {
            let token = tokens.iter().find(|token| token.text == text);
            stops.push(token.ok_or_else(|| settings.wrong(format!("'{key}' is '{}', which is no token", shown(text))))?.id);
        }
    }
    Ok(stops)
}

/// The ids at `key`: none, one or several.
fn ids(document: &Document, key: &str, vocab: usize) -> Result<Vec<u32>, Error> {
    let list = match document.get(key) {
        None => &[],
        Some(Json::Array(list)) => &list[..],
        Some(one) => std::slice::from_ref(one),
    };
    let id = |value: &Json| match value {
        Json::Unsigned(id) if *id < vocab as u64 => Ok(*id as u32),
        Json::Unsigned(id) => Err(Error::TokenId { id: *id, vocab }),
        other => Err(document.mistyped(key, other, "a token id")),
    };
    list.iter().map(id).collect()
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Vocabulary, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    list.push(entry);
                }
                Ok(Vocabulary(list))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
