//! `qwen2 eval`: accuracy on multiple-choice questions. Asking is the library's; here are options, files and what is shown.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use qwen2::Error;
use qwen2::baked::Workers;
use qwen2::eval::task::{Format, Question, parse};
use qwen2::eval::{Encoded, ask};
use qwen2::perplexity::Estimate;
use serde_json::json;

use super::load::{ComputeArgs, FileArgs, Loaded};
use super::progress::Progress;
use super::tokenize::read_file;
use super::{Failure, computed_by, note, print_json};

const EXAMPLES: &str = "\
Examples:
  qwen2 eval -m model.gguf --task ARC-Challenge-Test.jsonl
  qwen2 eval -m model.gguf --task hellaswag_val.jsonl --limit 400
  qwen2 eval -m model.gguf --task ceval-law-val.jsonl --shots 5 --shots-from ceval-law-dev.jsonl \\
      --description '以下是中国关于法学的单项选择题，请选出其中的正确答案。'

Texts are those of lm-eval. acc is by the sum of a choice's log-likelihoods, acc_norm by that sum per byte of its text.";

/// Options of `eval`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Questions, one JSON object a line
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// How they are written
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: FormatName,
    /// Ask the first N questions [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Put N answered questions before each, the first of the file; these are not asked
    #[arg(long, value_name = "N", default_value_t = 0)]
    shots: usize,
    /// Take these from another file of the same format
    #[arg(long, value_name = "FILE")]
    shots_from: Option<PathBuf>,
    /// Text before everything, an empty line after it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatName {
    Auto,
    Arc,
    Hellaswag,
    Ceval,
}

impl FormatName {
    fn format(self) -> Option<Format> {
        match self {
            Self::Auto => None,
            Self::Arc => Some(Format::Arc),
            Self::Hellaswag => Some(Format::HellaSwag),
            Self::Ceval => Some(Format::CEval),
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (format, examples, questions) = args.read()?; // bad files are told before a long load
    let loaded = args.file.load(&args.compute)?;
    let Loaded { name, tokenizer, model, .. } = &loaded;
    let questions: Vec<Encoded> =
        questions.iter().map(|question| Encoded::new(tokenizer, &examples, question)).collect::<Result<_, _>>()?;
    let total = questions.len() as u64;
    let mut progress = Progress::new("asking");
    let start = Instant::now();
    let found = ask(model, &questions, |done, _| progress.set(done as u64, total))?;
    drop(progress);
    let seconds = start.elapsed().as_secs_f64();
    if found.cut > 0 {
        note(&format!("[{} questions exceed the model's context of {}: their beginning was left out]", found.cut, model.config().context));
    }
    if args.json {
        return print_json(&json!({
            "model": name,
            "profile": model.ops().profile,
            "tier": model.ops().tier,
            "arithmetic": model.ops().arithmetic.name(),
            "threads": model.team().count(),
            "task": args.task.display().to_string(),
            "format": format.to_string(),
            "shots": args.shots,
            "questions": found.questions,
            "acc": found.acc.value,
            "acc_stderr": found.acc.error,
            "acc_norm": found.acc_norm.value,
            "acc_norm_stderr": found.acc_norm.error,
            "cut": found.cut,
            "tokens": found.tokens,
            "seconds": seconds,
        }));
    }
    let shown = |estimate: Estimate| {
        let error = estimate.error.map_or(String::new(), |error| format!(" ± {:.2}", 100.0 * error));
        format!("{:.2}{error} %", 100.0 * estimate.value)
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "questions  {} ({format}, {} shots)", found.questions, args.shots)?;
    writeln!(out, "acc        {}", shown(found.acc))?;
    writeln!(out, "acc_norm   {}", shown(found.acc_norm))?;
    out.flush()?;
    let rate = found.tokens as f64 / seconds;
    note(&format!("[{} tokens in {seconds:.1} s: {rate:.1} tok/s; {name}; {}]", found.tokens, computed_by(model)));
    Ok(())
}

impl Args {
    /// The format, what comes before each question, and the questions.
    fn read(&self) -> Result<(Format, String, Vec<Question>), Failure> {
        let (format, mut questions) = parse(&read_file(&self.task)?, &self.task, self.format.format())?;
        let (path, examples) = match &self.shots_from {
            Some(path) => {
                let (_, mut examples) = parse(&read_file(path)?, path, Some(format))?;
                let count = examples.len();
                examples.truncate(self.shots);
                (path, if count < self.shots { Err(count) } else { Ok(examples) })
            }
            None if questions.len() > self.shots => {
                let rest = questions.split_off(self.shots);
                (&self.task, Ok(std::mem::replace(&mut questions, rest)))
            }
            None => (&self.task, Err(questions.len())),
        };
        let examples = examples.map_err(|count| {
            let left = if self.shots_from.is_some() { "" } else { " and one to ask" };
            Error::Usage(format!("{} examples{left} are asked for, but '{}' has {count} questions", self.shots, path.display()))
        })?;
        questions.truncate(self.limit.map_or(usize::MAX, |limit| limit as usize));
        let description = self.description.as_ref().map_or(String::new(), |text| format!("{text}\n\n"));
        let examples: String = examples.iter().map(Question::example).collect();
        Ok((format, description + &examples, questions))
    }
}
