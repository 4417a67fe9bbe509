//! A chat: messages in the form that the model's template gives them, keys and values kept between turns, so that of each
//! turn only what is new is read.
//!
//! Special tokens are the template's alone. Where a message has one written out, it is read as text: the text of messages
//! gets a mark inside everything that could begin a special token before it is rendered, the template's own special tokens
//! are found, and what is between them is encoded as plain text without the marks. So no message can end its turn or pretend
//! to be another's, unless that is asked for.

mod template;

use regex::Regex;

use crate::error::Error;
use crate::generate::{Generated, Stop};
use crate::graph::Session;
use crate::tokenizer::Tokenizer;
pub use template::{Message, Role, Template};

/// Characters that no text has to hold (Unicode keeps them out of interchange): one that occurs in no message is the mark.
const MARKS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

/// A chat in progress.
#[derive(Debug)]
pub struct Chat<'m> {
    session: Session<'m>,
    tokenizer: &'m Tokenizer,
    template: Template,
    special: Special,
    messages: Vec<Message>,
    /// What was rendered and answered so far, as the template wrote it; empty where tokens do not spell just that.
    text: String,
    /// Its tokens. The session has read the first of them, all but one or all.
    ids: Vec<u32>,
    /// How many messages were there at the start.
    kept: usize,
}

/// The special tokens of a vocabulary.
#[derive(Debug)]
struct Special {
    /// Finds them, the longest where several begin.
    find: Option<Regex>,
    ids: Vec<(u32, String)>,
    /// Characters that one begins with.
    first: Vec<char>,
    /// Whether messages may contain them.
    in_messages: bool,
}

impl Special {
    fn new(tokenizer: &Tokenizer, in_messages: bool) -> Self {
        let mut ids = tokenizer.special();
        // One of a single character has no inside for a mark.
        ids.retain(|(_, token)| token.chars().nth(1).is_some());
        ids.sort_by_key(|(_, token)| std::cmp::Reverse(token.len()));
        let names: Vec<String> = ids.iter().map(|(_, token)| regex::escape(token)).collect();
        let find = if names.is_empty() { None } else { Regex::new(&names.join("|")).ok() };
        let mut first: Vec<char> = ids.iter().filter_map(|(_, token)| token.chars().next()).collect();
        first.sort_unstable();
        first.dedup();
        Self { find, ids, first, in_messages }
    }

    /// `text` without special tokens: with `mark` after every character that could begin one.
    fn break_up(&self, text: &str, mark: char) -> String {
        let mut out = String::with_capacity(text.len());
        for letter in text.chars() {
            out.push(letter);
            if !self.in_messages && self.first.contains(&letter) {
                out.push(mark);
            }
        }
        out
    }

    /// The ids of rendered `text`.
    fn encode(&self, tokenizer: &Tokenizer, text: &str, mark: char) -> Result<Vec<u32>, Error> {
        let plain = |text: &str| tokenizer.encode_plain(&text.replace(mark, ""));
        let mut out = Vec::new();
        let mut at = 0;
        for found in self.find.iter().flat_map(|find| find.find_iter(text)) {
            out.extend(plain(&text[at..found.start()])?);
            out.extend(self.ids.iter().find(|(_, token)| token == found.as_str()).map(|(id, _)| *id));
            at = found.end();
        }
        out.extend(plain(&text[at..])?);
        Ok(out)
    }
}

/// What is to be read next.
#[derive(Debug)]
pub struct Turn<'c, 'm> {
    /// The session, rewound to what it has read of the text already.
    pub session: &'c mut Session<'m>,
    /// That.
    pub before: Vec<u32>,
    /// The tokens to read: what is new.
    pub prompt: Vec<u32>,
}

impl<'m> Chat<'m> {
    /// A chat in `session`, beginning with the message of the system, if there is one. With `special` messages may contain
    /// special tokens.
    pub fn new(session: Session<'m>, tokenizer: &'m Tokenizer, template: Template, system: Option<&str>, special: bool) -> Self {
        let special = Special::new(tokenizer, special);
        let messages: Vec<Message> = system.map(|text| Message { role: Role::System, content: text.to_owned() }).into_iter().collect();
        let kept = messages.len();
        Self { session, tokenizer, template, special, messages, text: String::new(), ids: Vec::new(), kept }
    }

    /// Forgets everything but the message of the system.
    pub fn reset(&mut self) {
        self.messages.truncate(self.kept);
        self.text.clear();
        self.session.rewind(0);
        self.ids.clear();
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Tokens of the text so far.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing was said yet.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Tokens there is room for.
    pub fn capacity(&self) -> usize {
        self.session.capacity()
    }

    /// Adds a message of the user. What it returns is to be read and continued, and [`answered`](Self::answered) told of it.
    ///
    /// # Errors
    /// [`Error::Context`] when there is no room for it and one token of a reply, [`Error::Template`]; the chat is then as it
    /// was.
    pub fn ask(&mut self, text: &str) -> Result<Turn<'_, 'm>, Error> {
        self.messages.push(Message { role: Role::User, content: text.to_owned() });
        let rendered = self.render().and_then(|(text, mark)| Ok((self.encode(&text, mark)?, text)));
        let limit = self.session.capacity();
        let (ids, text) = match rendered {
            Ok((ids, text)) if ids.len() < limit => (ids, text),
            other => {
                self.messages.pop();
                let needed = other?.0.len() + 1;
                return Err(Error::Context { needed, what: "context", limit });
            }
        };
        let read = self.session.position();
        let common = ids.iter().zip(&self.ids[..read.min(self.ids.len())]).take_while(|(a, b)| a == b).count();
        // Something must be read for there to be logits.
        let common = common.min(ids.len().saturating_sub(1));
        self.session.rewind(common);
        let turn = (ids[..common].to_vec(), ids[common..].to_vec());
        (self.ids, self.text) = (ids, text);
        Ok(Turn { session: &mut self.session, before: turn.0, prompt: turn.1 })
    }

    /// Adds the model's reply: what was generated, and the text that was shown of it.
    pub fn answered(&mut self, generated: &Generated, text: &str) {
        self.ids.extend(&generated.tokens);
        self.messages.push(Message { role: Role::Assistant, content: text.to_owned() });
        if generated.stop == Stop::StopString {
            self.text.clear(); // the tokens go on where the text ends
        } else {
            let mark = self.mark();
            self.text.push_str(&self.special.break_up(text, mark));
        }
    }

    /// The text of all messages with marks, and the mark.
    fn render(&self) -> Result<(String, char), Error> {
        let mark = self.mark();
        let broken = |message: &Message| Message { role: message.role, content: self.special.break_up(&message.content, mark) };
        let messages: Vec<Message> = self.messages.iter().map(broken).collect();
        Ok((self.template.render(&messages, true)?, mark))
    }

    /// The tokens of `text`, which was rendered with `mark`: those there are, and of what is new.
    fn encode(&self, text: &str, mark: char) -> Result<Vec<u32>, Error> {
        // Encoding a reply again need not give the tokens that the model chose for it.
        let new = if self.text.is_empty() { None } else { text.strip_prefix(&self.text) };
        let mut ids = if new.is_some() { self.ids.clone() } else { Vec::new() };
        ids.extend(self.special.encode(self.tokenizer, new.unwrap_or(text), mark)?);
        Ok(ids)
    }

    /// A character that occurs in no message.
    fn mark(&self) -> char {
        let unused = |mark: &char| !self.messages.iter().any(|message| message.content.contains(*mark));
        MARKS.clone().find(unused).unwrap_or(*MARKS.end())
    }
}
