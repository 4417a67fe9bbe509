//! `qwen2 perplexity`: how well a model predicts a text, and with a baseline how far it is from another model's
//! predictions of it. Computing is the library's; here are options, files and what is shown.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use qwen2::baked::Workers;
use qwen2::perplexity::baseline::{Reader, Writer};
use qwen2::perplexity::{Comparison, Divergence, Estimate, Perplexity, Windows, score};
use qwen2::{Error, Tokenizer};
use serde_json::json;

use super::load::{ComputeArgs, FileArgs, Loaded};
use super::progress::Progress;
use super::tokenize::{read_file, read_stdin};
use super::{Failure, computed_by, note, print_json};

const EXAMPLES: &str = "\
Examples:
  qwen2 perplexity -m f16.gguf -f text.txt                        every token of each window but its first is scored
  qwen2 perplexity -m f16.gguf -f text.txt --llama                as llama-perplexity -c 512: the second half of each
  qwen2 perplexity -m f16.gguf -f text.txt --save-logits f16.logp
  qwen2 perplexity -m q4_0.gguf --baseline f16.logp               divergence from what was recorded, of the same text

A baseline takes two bytes for each token of the vocabulary and each token scored; --windows limits it.";

/// Options of `perplexity`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    /// File with the text; without it and --baseline the text is read from stdin
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with = "baseline")]
    text: Option<PathBuf>,
    /// Tokens of a window
    #[arg(long, value_name = "N", default_value_t = 512, conflicts_with = "baseline")]
    window: usize,
    /// Windows to read at most [default: all]
    #[arg(long, value_name = "N", conflicts_with = "baseline")]
    windows: Option<usize>,
    /// Score the second half of each window alone, as llama-perplexity does
    #[arg(long, conflicts_with = "baseline")]
    llama: bool,
    /// Record the predictions in this file
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    save_logits: Option<PathBuf>,
    /// Compare with the predictions recorded in this file, for the text that is in it
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let text = args.read_text()?;
    let loaded = args.file.load(&args.compute)?;
    let Loaded { tokenizer, model, .. } = &loaded;
    let mut baseline = args.baseline.as_ref().map(|path| Reader::open(path, tokenizer)).transpose()?;
    let (tokens, windows) = match &baseline {
        Some(baseline) => (baseline.tokens().to_vec(), baseline.windows()),
        None => args.cut(tokenizer, &text)?,
    };
    let context = model.config().context;
    if windows.window() > context {
        return Err(Error::Usage(format!("a window of {} tokens exceeds the model's context of {context}", windows.window())).into());
    }
    let mut record = args.save_logits.as_ref().map(|path| Writer::create(path, tokenizer, &tokens, windows)).transpose()?;
    let mut comparison = Comparison::default();
    let mut progress = Progress::new("reading");
    let start = Instant::now();
    let scored = score(
        model,
        &tokens,
        windows,
        |prediction| {
            if let Some(record) = &mut record {
                record.add(&prediction)?;
            }
            if let Some(baseline) = &mut baseline {
                comparison.add(&prediction, baseline.read()?);
            }
            Ok(())
        },
        |done| progress.set(done as u64, windows.count() as u64),
    )?;
    drop(progress);
    record.map_or(Ok(()), Writer::finish)?;
    let (seconds, divergence) = (start.elapsed().as_secs_f64(), comparison.finish());
    if !args.json {
        tell(&scored, divergence.as_ref())?;
        let rate = windows.tokens() as f64 / seconds;
        note(&format!("[{} tokens in {seconds:.1} s: {rate:.1} tok/s; {}; {}]", windows.tokens(), loaded.name, computed_by(model)));
        return Ok(());
    }
    print_json(&json!({
        "model": loaded.name,
        "profile": model.ops().profile,
        "tier": model.ops().tier,
        "arithmetic": model.ops().arithmetic.name(),
        "threads": model.team().count(),
        "method": if args.llama { "llama" } else if args.baseline.is_some() { "baseline" } else { "windows" },
        "window": scored.window,
        "windows": scored.windows,
        "scored": scored.scored,
        "nll": scored.nll.value,
        "nll_stderr": scored.nll.error,
        "ppl": scored.perplexity.value,
        "ppl_stderr": scored.perplexity.error,
        "divergence": divergence,
        "seconds": seconds,
    }))
}

impl Args {
    /// The text, if it is not a baseline's.
    fn read_text(&self) -> Result<String, Failure> {
        match (&self.text, &self.baseline) {
            (_, Some(_)) => Ok(String::new()),
            (Some(path), None) => read_file(path),
            (None, None) if std::io::stdin().is_terminal() => {
                Err(Error::Usage("no text to score; give -f FILE or something on stdin".to_owned()).into())
            }
            (None, None) => read_stdin(),
        }
    }

    /// The tokens of `text` and the windows that they are cut into.
    fn cut(&self, tokenizer: &Tokenizer, text: &str) -> Result<(Vec<u32>, Windows), Failure> {
        let tokens = tokenizer.encode(text)?;
        let cut = if self.llama { Windows::llama } else { Windows::whole };
        let windows = cut(self.window, tokens.len(), self.windows)?;
        Ok((tokens, windows))
    }
}

fn tell(scored: &Perplexity, divergence: Option<&Divergence>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let shown = |estimate: Estimate, digits: usize| match estimate.error {
        Some(error) => format!("{:.digits$} ± {error:.digits$}", estimate.value),
        None => format!("{:.digits$}", estimate.value),
    };
    writeln!(out, "perplexity        {}", shown(scored.perplexity, 4))?;
    writeln!(out, "nats per token    {}", shown(scored.nll, 5))?;
    writeln!(out, "tokens scored     {} in {} windows of {}", scored.scored, scored.windows, scored.window)?;
    if let Some(found) = divergence {
        let percent = Estimate { value: found.same_top.value * 100.0, error: found.same_top.error.map(|error| error * 100.0) };
        writeln!(out, "baseline          {:.4}", found.baseline_perplexity)?;
        writeln!(out, "perplexity ratio  {}", shown(found.perplexity_ratio, 5))?;
        writeln!(out, "mean divergence   {} nats", shown(found.mean, 6))?;
        writeln!(out, "median, 99 %, max {:.6}, {:.6}, {:.6}", found.median, found.percentile_99, found.max)?;
        writeln!(out, "same top token    {} %", shown(percent, 3))?;
    }
    Ok(out.flush()?)
}
