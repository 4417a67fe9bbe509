//! `qwen2 run`: continues a text, writing it as it comes.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use qwen2::Error;
use qwen2::baked::Workers;
use qwen2::generate::{Flow, Generated, Stop};
use qwen2::sampler::Sampler;
use serde_json::json;

use super::load::{ComputeArgs, FileArgs, Loaded};
use super::sampling::{SamplingArgs, told};
use super::session::SessionArgs;
use super::tokenize::{read_file, read_stdin};
use super::{Failure, computed_by, note, print_json};

const EXAMPLES: &str = "\
Examples:
  qwen2 run -p 'The borrow checker' -n 64
  qwen2 run -m model.gguf -f prompt.txt --temp 0.7 --top-p 0.9 --seed 1
  qwen2 run -m model.gguf -f prompt.txt --stop User: --lookup
  echo -n 'A vector is' | qwen2 run --json";

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Text to continue; without -p and -f it is read from stdin
    #[arg(short, long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// File with the text to continue
    #[arg(short = 'f', long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Tokens to make at most
    #[arg(short, long, value_name = "N", default_value_t = 128)]
    n_predict: usize,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Print one JSON document: prompt, text, tokens, times
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let prompt = args.read_prompt()?;
    let options = args.sampling.options(0.0)?; // bad options are told before a long load
    // A token has a byte of text at least.
    let loaded = args.file.load_for(&args.compute, &args.session, prompt.len().saturating_add(args.n_predict))?;
    let Loaded { tokenizer, model, .. } = &loaded;
    let mut sampler = Sampler::new(options, tokenizer.padding())?;
    let ids = tokenizer.encode(&prompt)?;
    let (needed, wanted) = (ids.len(), ids.len().saturating_add(args.n_predict));
    let limit = args.session.room(model.config(), wanted);
    if needed > limit {
        let what = if limit == model.config().context { "model's context" } else { "context (-c)" };
        return Err(Error::Context { needed, what, limit }.into());
    }
    let mut session = args.session.open(model, wanted)?;

    let mut stream = args.sampling.text()?;
    let mut text = String::new();
    let mut out = std::io::stdout().lock();
    let mut tell = |piece: String| -> Result<(), Error> {
        if args.json {
            text.push_str(&piece);
        } else if !piece.is_empty() {
            out.write_all(piece.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    };
    let each = |token| {
        tell(stream.push(tokenizer.piece(token)))?;
        Ok(if stream.stopped() { Flow::End(Stop::StopString) } else { Flow::Continue })
    };
    let (generated, lookup) = args.sampling.generate(&mut session, &[], &ids, args.n_predict, tokenizer.stops(), &mut sampler, each)?;
    tell(stream.finish())?;
    if !args.json {
        writeln!(out)?;
        note(&summary(&loaded, ids.len(), &generated));
        if let Some(lookup) = &lookup {
            note(&told(lookup, generated.steps));
        }
        return Ok(());
    }
    drop(out);
    let phase =
        |count: usize, time: Duration| json!({ "tokens": count, "seconds": time.as_secs_f64(), "tokens_per_second": rate(count, time) });
    print_json(&json!({
        "model": loaded.name,
        "profile": model.ops().profile,
        "tier": model.ops().tier,
        "arithmetic": model.ops().arithmetic.name(),
        "threads": model.team().count(),
        "prompt": prompt,
        "prompt_ids": ids,
        "text": text,
        "ids": generated.tokens,
        "stop": generated.stop,
        "read": phase(ids.len(), generated.prompt_time),
        "generated": phase(generated.steps, generated.token_time),
        "lookup": lookup,
    }))
}

impl Args {
    fn read_prompt(&self) -> Result<String, Failure> {
        match (&self.prompt, &self.prompt_file) {
            (Some(prompt), _) => Ok(prompt.clone()),
            (None, Some(path)) => read_file(path),
            (None, None) if std::io::stdin().is_terminal() => {
                Err(Error::Usage("no text to continue; give -p TEXT, -f FILE or something on stdin".to_owned()).into())
            }
            (None, None) => read_stdin(),
        }
    }
}

/// Tokens per second, where there was something to time.
fn rate(count: usize, time: Duration) -> Option<f64> {
    (count > 0 && !time.is_zero()).then(|| count as f64 / time.as_secs_f64())
}

fn summary(loaded: &Loaded, prompt: usize, generated: &Generated) -> String {
    let shown = |count, time| rate(count, time).map_or("-".to_owned(), |rate| format!("{rate:.1} tok/s"));
    format!(
        "[read {prompt} tokens: {}; made {} tokens: {}; stopped: {}; {}; {}]",
        shown(prompt, generated.prompt_time),
        generated.tokens.len(),
        shown(generated.steps, generated.token_time),
        generated.stop,
        loaded.name,
        computed_by(&loaded.model),
    )
}
