//! `qwen2 chat`: a talk on the terminal, or with whoever writes lines to stdin. Turning messages into tokens is the
//! library's; here are lines, commands, and what Ctrl-C does: it ends a reply, never the program while one is written.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use qwen2::Error;
use qwen2::chat::{Chat, Template, Turn};
use qwen2::generate::{Flow, Stop};
use qwen2::sampler::Sampler;
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, config::Configurer};
use serde_json::{Value, json};

use super::load::{ComputeArgs, FileArgs, Loaded};
use super::sampling::{SamplingArgs, told};
use super::session::SessionArgs;
use super::{Failure, note, print_json};

/// Room for tokens, unless told otherwise or the model's context is shorter.
const DEFAULT_ROOM: usize = 8192;

const EXAMPLES: &str = "\
Examples:
  qwen2 chat -m model.gguf
  qwen2 chat -m model.gguf -s 'Answer in French.' --temp 0
  printf 'Hi\\nAnd what is 2+2?\\n' | qwen2 chat -m model.gguf --json

On a terminal: /exit or Ctrl-D ends, /reset forgets all but the system's message, Ctrl-C stops a reply. Otherwise each
line of stdin is a message, and these commands work too. Special tokens of the vocabulary such as <|im_end|> are plain text
in a message, unless --special is given.";

/// Options of `chat`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    /// The system's message, which comes first [default: what the template has]
    #[arg(short, long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    session: SessionArgs,
    /// Tokens of a reply, at most [default: as many as there is room for]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    n_predict: Option<u32>,
    /// Let messages contain special tokens
    #[arg(long)]
    special: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Print one JSON document when all is said
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let options = args.sampling.options(0.7)?; // bad options are told before a long load
    let loaded = args.file.load_for(&args.compute, &args.session, DEFAULT_ROOM)?;
    let Loaded { name, tokenizer, model, template } = &loaded;
    let template = Template::new(template.as_deref()).map_err(Failure::about(name))?;
    let sampler = Sampler::new(options, tokenizer.padding())?;
    let session = args.session.open(model, DEFAULT_ROOM)?;
    let chat = Chat::new(session, tokenizer, template, args.system.as_deref(), args.special);
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut talk = Talk { args, loaded: &loaded, chat, sampler, interrupted, turns: Vec::new() };
    if std::io::stdin().is_terminal() {
        talk.with_a_person()?
    } else {
        talk.with_lines()?
    }
    if args.json {
        print_json(&json!({ "model": name, "turns": talk.turns }))?;
    }
    Ok(())
}

struct Talk<'a> {
    args: &'a Args,
    loaded: &'a Loaded,
    chat: Chat<'a>,
    sampler: Sampler,
    /// Ctrl-C was pressed.
    interrupted: Arc<AtomicBool>,
    turns: Vec<Value>,
}

/// What a line asks for.
enum Line<'l> {
    Nothing,
    Exit,
    Reset,
    Unknown(&'l str),
    Message(&'l str),
}

impl<'l> Line<'l> {
    fn of(line: &'l str) -> Self {
        match line.trim() {
            "" => Self::Nothing,
            "/exit" | "/quit" => Self::Exit,
            "/reset" => Self::Reset,
            word if word.starts_with('/') && !word.contains(char::is_whitespace) && !word[1..].contains('/') => Self::Unknown(word),
            _ => Self::Message(line),
        }
    }
}

impl Talk<'_> {
    /// Lines are edited; what goes wrong with one is told, and the talk goes on.
    fn with_a_person(&mut self) -> Result<(), Failure> {
        let broken = |error: ReadlineError| match error {
            ReadlineError::Io(source) => Error::Io { path: "stdin".into(), source },
            other => Error::Usage(format!("cannot edit lines here: {other}")),
        };
        let interrupted = Arc::clone(&self.interrupted);
        ctrlc::set_handler(move || interrupted.store(true, Relaxed)).map_err(|why| Error::Usage(format!("cannot watch Ctrl-C: {why}")))?;
        let mut editor = DefaultEditor::new().map_err(broken)?;
        editor.set_auto_add_history(true);
        note(&format!(
            "[{}; room for {} tokens; /exit ends, /reset forgets, Ctrl-C stops a reply]",
            self.loaded.name,
            self.chat.capacity()
        ));
        loop {
            let line = match editor.readline("> ") {
                Ok(line) => line,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(ReadlineError::Interrupted) => {
                    note("[/exit or Ctrl-D ends]");
                    continue;
                }
                Err(error) => return Err(broken(error).into()),
            };
            match Line::of(&line) {
                Line::Nothing => {}
                Line::Exit => return Ok(()),
                Line::Reset => {
                    self.reset()?;
                    note("[forgotten]");
                }
                Line::Unknown(word) => note(&format!("['{word}' is no command; there are /exit and /reset]")),
                Line::Message(text) => match self.say(text) {
                    Ok(()) => {}
                    Err(Failure { error: Error::Context { needed, limit, .. }, .. }) => {
                        note(&format!("[no room: {needed} tokens with this message, {limit} fit; /reset forgets, -c N gives more]"));
                    }
                    Err(Failure { error: error @ Error::Template(_), .. }) => note(&format!("[{error}]")),
                    Err(failure) => return Err(failure),
                },
            }
        }
    }

    /// Each line is a message; the first that cannot be answered ends it all.
    fn with_lines(&mut self) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        let mut stdin = std::io::stdin().lock();
        for number in 1.. {
            bytes.clear();
            let unreadable = |source| Error::Io { path: "stdin".into(), source };
            if stdin.read_until(b'\n', &mut bytes).map_err(unreadable)? == 0 {
                break;
            }
            let line = std::str::from_utf8(&bytes)
                .map_err(|error| Error::NotUtf8 { what: format!("line {number} of stdin"), at: error.valid_up_to() })?;
            match Line::of(line.trim_end_matches(['\n', '\r'])) {
                Line::Nothing => {}
                Line::Exit => break,
                Line::Reset => self.reset()?,
                Line::Unknown(word) => return Err(Error::Usage(format!("'{word}' is no command; there are /exit and /reset")).into()),
                Line::Message(text) => self.say(text)?,
            }
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Failure> {
        self.chat.reset();
        self.sampler = Sampler::new(*self.sampler.options(), self.loaded.tokenizer.padding())?;
        Ok(())
    }

    /// Says `text` to the model and shows the reply as it comes.
    fn say(&mut self, text: &str) -> Result<(), Failure> {
        let Self { args, loaded, chat, sampler, interrupted, turns } = self;
        let tokenizer = &loaded.tokenizer;
        let (mut stream, mut reply, mut out) = (args.sampling.text()?, String::new(), std::io::stdout().lock());
        let Turn { session, before, prompt } = chat.ask(text)?;
        let most = args.n_predict.map_or(usize::MAX, |count| count as usize);
        // The room ends a reply; the look-up takes a number.
        let count = most.min(session.capacity() - before.len() - prompt.len() + 1);
        interrupted.store(false, Relaxed);
        let mut tell = |piece: String| -> Result<(), Error> {
            if !args.json && !piece.is_empty() {
                out.write_all(piece.as_bytes())?;
                out.flush()?;
            }
            reply.push_str(&piece);
            Ok(())
        };
        let each = |token| {
            tell(stream.push(tokenizer.piece(token)))?;
            Ok(match (stream.stopped(), interrupted.load(Relaxed)) {
                (true, _) => Flow::End(Stop::StopString),
                (_, true) => Flow::End(Stop::Interrupted),
                _ => Flow::Continue,
            })
        };
        let (mut generated, lookup) = args.sampling.generate(session, &before, &prompt, count, tokenizer.stops(), sampler, each)?;
        tell(stream.finish())?;
        if generated.stop == Stop::Length && generated.tokens.len() < most {
            generated.stop = Stop::Context;
        }
        chat.answered(&generated, &reply);
        if !args.json {
            writeln!(out)?;
            match generated.stop {
                Stop::Context => note(&format!("[the room of {} tokens is full; /reset forgets, -c N gives more]", chat.capacity())),
                Stop::Length | Stop::Interrupted => note(&format!("[stopped: {}]", generated.stop)),
                Stop::EndMark | Stop::StopString => {}
            }
            lookup.iter().for_each(|lookup| note(&told(lookup, generated.steps)));
        }
        turns.push(json!({
            "user": text,
            "reply": reply,
            "stop": generated.stop,
            "read": prompt.len(),
            "ids": generated.tokens,
            "tokens": chat.len(),
            "lookup": lookup,
        }));
        Ok(())
    }
}
