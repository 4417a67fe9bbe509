//! `qwen2 bench`: times reading a prompt and generating, in the terms and field names of llama-bench.
//! Every sample is one whole pass over a cleared session; one pass before them warms up and is not counted.

use std::io::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use qwen2::Error;
use qwen2::gguf::TensorType;
use qwen2::graph::{DEFAULT_CHUNK, Session};
use qwen2::model::{Config, Model};
use qwen2::{baked::Workers, threads};
use serde::Serialize;

use super::load::{ComputeArgs, FileArgs};
use super::progress::Progress;
use super::{Failure, print_json};

const EXAMPLES: &str = "\
Examples:
  qwen2 bench -m model.gguf -p 512 -n 128 -r 5
  qwen2 bench --size 0.5b --type f16 -p 32,512 -n 64 -t 1 -o json";

/// Options of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Instead of a file: random weights of this shape, made in memory
    #[arg(long, conflicts_with = "model")]
    size: Option<Size>,
    /// Type the random weights are stored in: f32, f16, bf16, q8_0, q4_0, q4_k, …
    #[arg(long = "type", value_name = "TYPE", default_value = "f16", requires = "size")]
    kind: TensorType,
    /// Prompt lengths to time, separated by commas; 0: none
    #[arg(short = 'p', long, value_name = "N", value_delimiter = ',', default_value = "512")]
    n_prompt: Vec<usize>,
    /// Numbers of tokens to generate, separated by commas; 0: none
    #[arg(short = 'n', long, value_name = "N", value_delimiter = ',', default_value = "128")]
    n_gen: Vec<usize>,
    /// Samples of each test
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    repetitions: usize,
    /// Tokens of a prompt that are read together
    #[arg(short, long, value_name = "N", default_value_t = DEFAULT_CHUNK)]
    batch_size: usize,
    /// Form of the answer
    #[arg(short, long, default_value = "md")]
    output: Output,
    /// The same as -o json
    #[arg(long)]
    json: bool,
}

/// Shapes that random weights can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    /// Two small layers, for trying things out
    Tiny,
    /// Qwen2.5-0.5B
    #[value(name = "0.5b")]
    Half,
    /// Qwen2.5-1.5B
    #[value(name = "1.5b")]
    OneAndHalf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table
    Md,
    /// An array of tests
    Json,
}

/// One test's result. Field names are llama-bench's where it has the field.
#[derive(Debug, Serialize)]
struct Test {
    build_version: &'static str,
    backends: &'static str,
    profile: &'static str,
    tier: &'static str,
    model_filename: String,
    model_type: String,
    model_size: u64,
    model_n_params: u64,
    /// The share of the packed weights that lies on huge pages.
    weights_on_huge_pages: Option<f64>,
    n_batch: usize,
    n_ubatch: usize,
    n_threads: usize,
    type_k: &'static str,
    type_v: &'static str,
    n_prompt: usize,
    n_gen: usize,
    n_depth: usize,
    test_time: String,
    avg_ns: u64,
    stddev_ns: u64,
    avg_ts: f64,
    stddev_ts: f64,
    samples_ns: Vec<u64>,
    samples_ts: Vec<f64>,
}

/// A model to time, and what to call it.
struct Subject {
    model: Model,
    filename: String,
    bytes: u64,
    kind: TensorType,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.repetitions == 0 {
        return Err(Error::Usage("-r 0 times nothing; ask for at least one repetition".to_owned()).into());
    }
    let prompts = args.n_prompt.iter().map(|&n| (n, 0));
    let generations = args.n_gen.iter().map(|&n| (0, n));
    let lengths: Vec<(usize, usize)> = prompts.chain(generations).filter(|&(p, n)| p + n > 0).collect();
    if lengths.is_empty() {
        return Err(Error::Usage("nothing to time; give -p or -n above 0".to_owned()).into());
    }
    let subject = args.subject()?;
    let limit = subject.model.config().context;
    if let Some(needed) = lengths.iter().map(|(p, n)| p.saturating_add(*n)).find(|&tokens| tokens > limit) {
        return Err(Error::Context { needed, what: "model's context", limit }.into());
    }
    if args.batch_size == 0 {
        return Err(Error::Usage("the batch size must be at least 1".to_owned()).into());
    }
    let json = args.json || args.output == Output::Json;
    if !json {
        writeln!(
            std::io::stdout(),
            "| model | size | params | profile | threads | test | t/s |\n| --- | ---: | ---: | --- | ---: | ---: | ---: |"
        )?;
    }
    let mut tests = Vec::new();
    for (n_prompt, n_gen) in lengths {
        let test = args.time(&subject, n_prompt, n_gen)?;
        if json {
            tests.push(test);
        } else {
            write_row(&test)?;
        }
    }
    if json { print_json(&tests) } else { Ok(()) }
}

impl Args {
    fn subject(&self) -> Result<Subject, Failure> {
        let Some(size) = self.size else {
            let file = self.file.open()?;
            let bytes = file.tensors().iter().map(|tensor| tensor.len as u64).sum();
            let largest = file.tensors().iter().max_by_key(|tensor| tensor.elements());
            let kind = largest.map_or(TensorType::F32, |tensor| tensor.kind);
            drop(file);
            let loaded = self.file.load(&self.compute)?;
            return Ok(Subject { model: loaded.model, filename: loaded.name, bytes, kind });
        };
        let kind = self.kind;
        let ops = self.compute.ops()?;
        let mut progress = Progress::new("making weights");
        let model = Model::random(size.config(), kind, 1, ops, self.compute.threads(), &mut |done, total| progress.set(done, total))?;
        threads::settle(self.compute.threads());
        let blocks = model.parameters() / kind.block_elements() as u64;
        let filename = format!("random {}", model.config().name);
        Ok(Subject { filename, bytes: blocks * kind.block_bytes() as u64, kind, model })
    }

    fn time(&self, subject: &Subject, n_prompt: usize, n_gen: usize) -> Result<Test, Failure> {
        let model = &subject.model;
        let tokens = n_prompt + n_gen;
        let mut session = Session::new(model, tokens, self.batch_size)?;
        let vocab = model.config().vocab;
        // Spread over the vocabulary: the same for every run, and no token twice in a row.
        let prompt: Vec<u32> = (0..tokens).map(|i| (i.wrapping_mul(7919) % vocab) as u32).collect();
        let test_time = utc_now();
        let mut progress = Progress::new("timing");
        let mut samples_ns = Vec::with_capacity(self.repetitions.min(1 << 16));
        for repetition in 0..=self.repetitions {
            session.rewind(0);
            let start = Instant::now();
            if n_prompt > 0 {
                session.feed(&prompt)?;
            } else {
                for token in &prompt {
                    session.feed(std::slice::from_ref(token))?;
                }
            }
            let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
            if repetition > 0 {
                samples_ns.push(took);
            }
            progress.set(repetition as u64 + 1, self.repetitions as u64 + 1);
        }
        let samples_ts: Vec<f64> = samples_ns.iter().map(|&ns| tokens as f64 * 1e9 / ns as f64).collect();
        let (avg_ns, stddev_ns) = mean_and_deviation(&samples_ns.iter().map(|&ns| ns as f64).collect::<Vec<_>>());
        let (avg_ts, stddev_ts) = mean_and_deviation(&samples_ts);
        Ok(Test {
            build_version: env!("CARGO_PKG_VERSION"),
            backends: "CPU",
            profile: model.ops().profile,
            tier: model.ops().tier,
            model_filename: subject.filename.clone(),
            model_type: format!("qwen2 {} {}", short(model.parameters()), subject.kind),
            model_size: subject.bytes,
            model_n_params: model.parameters(),
            weights_on_huge_pages: model.weights().huge_share(),
            n_batch: self.batch_size,
            n_ubatch: self.batch_size,
            n_threads: model.team().count(),
            type_k: "f32",
            type_v: "f32",
            n_prompt,
            n_gen,
            n_depth: 0,
            test_time,
            avg_ns: avg_ns as u64,
            stddev_ns: stddev_ns as u64,
            avg_ts,
            stddev_ts,
            samples_ns,
            samples_ts,
        })
    }
}

impl Size {
    /// The published shape.
    fn config(self) -> Config {
        let base = Config {
            name: "Qwen2.5-0.5B".to_owned(),
            layers: 24,
            hidden: 896,
            ffn: 4864,
            heads: 14,
            kv_heads: 2,
            head_dim: 64,
            vocab: 151_936,
            context: 32_768,
            rms_eps: 1e-6,
            rope_base: 1e6,
        };
        match self {
            Self::Half => base,
            Self::OneAndHalf => {
                Config { name: "Qwen2.5-1.5B".to_owned(), layers: 28, hidden: 1536, ffn: 8960, heads: 12, head_dim: 128, ..base }
            }
            Self::Tiny => Config { name: "tiny".to_owned(), layers: 2, hidden: 128, ffn: 320, heads: 4, head_dim: 32, vocab: 1000, ..base },
        }
    }
}

fn write_row(test: &Test) -> Result<(), Failure> {
    let what = if test.n_prompt > 0 { format!("pp{}", test.n_prompt) } else { format!("tg{}", test.n_gen) };
    let mut out = std::io::stdout();
    writeln!(
        out,
        "| {} | {} | {} | {} ({}) | {} | {what} | {:.2} ± {:.2} |",
        test.model_type,
        indicatif::BinaryBytes(test.model_size),
        short(test.model_n_params),
        test.profile,
        test.tier,
        test.n_threads,
        test.avg_ts,
        test.stddev_ts,
    )?;
    Ok(out.flush()?)
}

/// Arithmetic mean and sample standard deviation; 0 for a single sample.
fn mean_and_deviation(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    if samples.len() < 2 {
        return (mean, 0.0);
    }
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

/// A number of parameters in millions or billions.
fn short(parameters: u64) -> String {
    let millions = parameters as f64 / 1e6;
    if millions < 100.0 { format!("{millions:.1}M") } else { format!("{:.2}B", millions / 1e3) }
}

/// Now, as `2026-01-31T12:00:00Z`.
fn utc_now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day counted from 1970.
fn date(mut day: u64) -> (u64, u64, u64) {
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let mut year = 1970;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_453), (2025, 12, 31));
    }

    #[test]
    fn deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_deviation(&[2.0, 4.0]), (3.0, 2f64.sqrt()));
        assert_eq!(mean_and_deviation(&[7.0]), (7.0, 0.0));
    }

    #[test]
    fn shapes_are_consistent() {
        for size in Size::value_variants() {
            let config = size.config();
            assert_eq!(config.q_dim(), config.hidden);
            assert_eq!(config.heads % config.kv_heads, 0);
        }
    }
}
