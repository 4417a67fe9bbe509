//! `qwen2 logits`: what the model thinks of the next token, for comparing engines number by number.

use std::io::Write;

use qwen2::graph::{DEFAULT_CHUNK, Session};
use serde_json::json;

use super::load::{ComputeArgs, FileArgs};
use super::{Failure, print_json};

/// Tokens shown without `--json`.
const SHOWN: usize = 10;

/// Options of `logits`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Token ids that come before, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    /// Print {"logits": [...]}, one number per token of the vocabulary
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let loaded = args.file.load(&args.compute)?;
    let mut session = Session::new(&loaded.model, args.tokens.len(), DEFAULT_CHUNK)?;
    let logits = session.feed(&args.tokens)?;
    if args.json {
        return print_json(&json!({ "logits": logits }));
    }
    let mut order: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut out = std::io::stdout().lock();
    for (id, logit) in order.into_iter().take(SHOWN) {
        let text = loaded.tokenizer.decode(&[id as u32]);
        writeln!(out, "{logit:>10.4}  {id:>6}  {text:?}")?;
    }
    Ok(())
}
