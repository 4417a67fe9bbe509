//! The command line: options shared by the commands, dispatch, and how failures are told.
//! Answers go to stdout, everything else to stderr; with `--json` stdout holds one JSON document and nothing more.

mod bench;
mod chat;
mod eval;
mod info;
mod load;
mod logits;
mod perplexity;
mod progress;
mod quantize;
mod run;
mod sampling;
mod session;
mod tokenize;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::error::ErrorKind as ClapKind;
use clap::{Parser, Subcommand};
use qwen2::Error;
use qwen2::baked::Workers;
use qwen2::model::Model;
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  qwen2 run -p 'The borrow checker' -n 64         continue a text with the embedded model
  qwen2 run -m model.gguf -f prompt.txt --temp 0.7 --seed 1
  qwen2 run -m Qwen2.5-0.5B/ -p 'Hello'           the same of a folder from Hugging Face (config.json, safetensors)
  qwen2 chat -m model.gguf                        talk; /exit ends, /reset forgets, Ctrl-C stops a reply
  qwen2 bench -m model.gguf -p 512 -n 128         time prompt reading and generation
  qwen2 bench --size 0.5b --type f16 -o json      the same for random weights of that shape
  qwen2 quantize f16.gguf q4.gguf --type q4_k_m   a smaller model file, the same as llama.cpp makes
  qwen2 perplexity -m model.gguf -f text.txt      how well the model predicts that text
  qwen2 eval -m model.gguf --task arc.jsonl       accuracy on multiple-choice questions
  qwen2 info --kernels                            the kernels in this binary and why they were chosen
  echo -n 'Hello' | qwen2 tokenize --json

KILN_WITHOUT=avx512,… in the environment: as if this CPU lacked those instruction sets and all that extend them.";

/// Qwen2 on CPU kernels chosen by measurement.
#[derive(Debug, Parser)]
#[command(name = "qwen2", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Continue a text.
    Run(run::Args),
    /// Talk with the model.
    Chat(chat::Args),
    /// Time prompt reading and generation, with llama-bench's field names.
    Bench(bench::Args),
    /// Print the token ids of the text on stdin, taken as it is.
    Tokenize(tokenize::Args),
    /// Score how well a model predicts a text, or how far it is from another one's predictions.
    Perplexity(perplexity::Args),
    /// Score multiple-choice questions.
    Eval(eval::Args),
    /// Print the logits of what follows the given tokens.
    Logits(logits::Args),
    /// Write a model in fewer bits.
    Quantize(quantize::Args),
    /// Describe a model and the kernels in this binary.
    Info(info::Args),
}

/// A failure and the file it concerns.
#[derive(Debug)]
pub(crate) struct Failure {
    about: Option<String>,
    error: Error,
}

impl Failure {
    /// A failure that concerns the file `name`.
    pub(crate) fn about(name: &str) -> impl FnOnce(Error) -> Self {
        let name = name.to_owned();
        move |error| {
            let named = matches!(
                error,
                Error::Io { .. }
                    | Error::Write { .. }
                    | Error::NotAFile(_)
                    | Error::NotAModel(_)
                    | Error::Baseline { .. }
                    | Error::Question { .. }
            );
            Self { about: (!named).then_some(name), error }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { about: None, error }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Error::Output(error).into()
    }
}

/// Parses the arguments and runs the command.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(std::env::args_os().map(in_full)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if let Err(refused) = kiln_profiles::without::from_environment() {
        note(&format!("qwen2: {refused}"));
        return ExitCode::from(2);
    }
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Info(args) => info::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever was reading has seen enough.
        Err(Failure { error: Error::Output(error), .. }) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure { about, error }) => {
            let about = about.map_or(String::new(), |name| format!("{name}: "));
            note(&format!("qwen2: {about}{error}"));
            ExitCode::from(2)
        }
    }
}

/// llama.cpp's short options of several letters, in full.
fn in_full(argument: OsString) -> OsString {
    let full = match argument.to_str() {
        Some("-ub") => "--ubatch-size",
        Some("-ctk") => "--cache-type-k",
        Some("-ctv") => "--cache-type-v",
        _ => return argument,
    };
    full.into()
}

/// Help goes out whole; of a usage error the first paragraph, as one line.
fn usage(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion);
    if asked || error.kind() == ClapKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A closed pipe is no failure of help.
        let _ = error.print();
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let text = error.to_string();
    let first: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    let first = first.join(" ");
    note(&format!("qwen2: {}; see 'qwen2 --help'", first.strip_prefix("error: ").unwrap_or(&first)));
    ExitCode::from(2)
}

/// With what a model is computed, for notes.
fn computed_by(model: &Model) -> String {
    let ops = model.ops();
    format!("{} threads, profile {} ({}), {} arithmetic", model.team().count(), ops.profile, ops.tier, ops.arithmetic.name())
}

/// Writes a line to stderr, as far as there is one.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes one JSON document to stdout.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}
