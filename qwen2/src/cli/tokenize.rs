//! `qwen2 tokenize`: the ids of the text on stdin, to the last byte. Needs no tensors, so a vocabulary file, or a
//! folder without weights, will do.

use std::io::{Read, Write};
use std::path::Path;

use qwen2::Error;
use serde_json::json;

use super::load::FileArgs;
use super::{Failure, print_json};

/// Options of `tokenize`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgs,
    /// Print {"ids": [...]}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut file = args.file.open()?;
    let tokenizer = file.tokenizer().map_err(Failure::about(&args.file.name()))?;
    let text = read_stdin()?;
    let ids = tokenizer.encode(&text)?;
    if args.json {
        return print_json(&json!({ "ids": ids }));
    }
    let line: Vec<String> = ids.iter().map(u32::to_string).collect();
    Ok(writeln!(std::io::stdout(), "{}", line.join(" "))?)
}

/// All of stdin as text.
pub(super) fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|source| Error::Io { path: "stdin".into(), source })?;
    utf8(bytes, "stdin")
}

/// All of the file at `path` as text.
pub(super) fn read_file(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    utf8(bytes, &format!("'{}'", path.display()))
}

/// `bytes` as text, or an error that names where they stop being it.
fn utf8(bytes: Vec<u8>, what: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::NotUtf8 { what: what.to_owned(), at }.into()
    })
}
