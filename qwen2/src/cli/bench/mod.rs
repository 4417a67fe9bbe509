//! `qwen2 bench`: times reading a prompt and generating, in the terms and field names of llama-bench.
//!
//! Every sample is one whole pass over a cleared session; one pass before them warms up and is not counted. Between samples
//! the weights are read once as fast as memory gives them: what that took is the limit of generation in the same minute.

mod clock;
mod limits;
mod output;
mod stages;

use std::time::Instant;

use clap::ValueEnum;
use qwen2::Error;
use qwen2::gguf::TensorType;
use qwen2::graph::Session;
use qwen2::model::{Config, Model};
use qwen2::{baked::Workers, threads};
use serde::Serialize;

use super::Failure;
use super::load::{ComputeArgs, FileArgs};
use super::progress::Progress;
use super::session::{CacheArgs, ChunkArgs};
use clock::{mean_and_deviation, median, utc_now};
use output::Output;

const EXAMPLES: &str = "\
Examples:
  qwen2 bench -m model.gguf -p 512 -n 128 -r 5
  qwen2 bench -m model.gguf -p 0 -n 32 -d 4096     generation behind a prompt of 4096 tokens
  qwen2 bench -m model.gguf --profile              where the time goes, by operation and by layer
  qwen2 bench --size 0.5b --type q4_0 -p 32,512 -n 64 -t 1 -o json";

/// Options of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    cache: CacheArgs,
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
    /// Tokens that are there before, untimed, separated by commas
    #[arg(short = 'd', long, value_name = "N", value_delimiter = ',', default_value = "0")]
    n_depth: Vec<usize>,
    /// Samples of each test
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    repetitions: usize,
    #[command(flatten)]
    chunks: ChunkArgs,
    /// Also tell where the time goes: by operation and by layer, prompts and generation apart
    #[arg(long)]
    profile: bool,
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

/// One test's result. Field names are llama-bench's where it has the field.
#[derive(Debug, Serialize)]
struct Test {
    build_version: &'static str,
    backends: &'static str,
    profile: &'static str,
    tier: &'static str,
    arithmetic: &'static str,
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
    /// Bytes of weights, and of keys and values, that one token of generation reads.
    bytes_per_token: u64,
    /// Bytes per second at which these threads read those very weights, between the samples: the median.
    read_bytes_per_s: f64,
    /// The share of that rate at which generation reads them: the median of samples.
    read_fraction: Option<f64>,
    /// Where the time went, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    stages: Option<stages::Stages>,
}

/// A model to time, and what to call it.
struct Subject {
    model: Model,
    filename: String,
    bytes: u64,
    kind: TensorType,
}

/// What is timed: tokens of a prompt or of generation, behind how many others.
#[derive(Clone, Copy)]
struct Lengths {
    prompt: usize,
    generated: usize,
    depth: usize,
}

impl Lengths {
    fn timed(self) -> usize {
        self.prompt + self.generated
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.repetitions == 0 {
        return Err(Error::Usage("-r 0 times nothing; ask for at least one repetition".to_owned()).into());
    }
    let tests = args.tests();
    if tests.is_empty() {
        return Err(Error::Usage("nothing to time; give -p or -n above 0".to_owned()).into());
    }
    let subject = args.subject()?;
    let limit = subject.model.config().context;
    if let Some(needed) = tests.iter().map(|test| test.timed().saturating_add(test.depth)).find(|&tokens| tokens > limit) {
        return Err(Error::Context { needed, what: "model's context", limit }.into());
    }
    let mut writer = output::Writer::new(if args.json { Output::Json } else { args.output })?;
    for lengths in tests {
        writer.write(args.time(&subject, lengths)?)?;
    }
    writer.finish()
}

impl Args {
    fn tests(&self) -> Vec<Lengths> {
        let prompts = self.n_prompt.iter().map(|&prompt| (prompt, 0));
        let generations = self.n_gen.iter().map(|&generated| (0, generated));
        let lengths = prompts.chain(generations).filter(|&(p, n)| p + n > 0);
        lengths.flat_map(|(prompt, generated)| self.n_depth.iter().map(move |&depth| Lengths { prompt, generated, depth })).collect()
    }

    fn subject(&self) -> Result<Subject, Failure> {
        let Some(size) = self.size else {
            let file = self.file.open()?;
            let bytes = file.tensors().iter().map(|tensor| tensor.len as u64).sum();
            let largest = file.tensors().iter().max_by_key(|tensor| tensor.elements());
            let kind = largest.map_or(TensorType::F32, |tensor| tensor.kind);
            let model = self.file.load_weights(&file, &self.compute)?;
            return Ok(Subject { model, filename: self.file.name(), bytes, kind });
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

    fn time(&self, subject: &Subject, lengths: Lengths) -> Result<Test, Failure> {
        let Lengths { prompt: n_prompt, generated: n_gen, depth } = lengths;
        let model = &subject.model;
        let tokens = lengths.timed();
        let cache = self.cache.format()?;
        let mut session = Session::with_cache(model, depth + tokens, self.chunks.chunk(), cache)?;
        let vocab = model.config().vocab;
        // Spread over the vocabulary: the same for every run, and no token twice in a row.
        let text: Vec<u32> = (0..depth + tokens).map(|i| (i.wrapping_mul(7919) % vocab) as u32).collect();
        let (before, timed) = text.split_at(depth);
        let test_time = utc_now();
        let mut progress = Progress::new("timing");
        let (mut samples_ns, mut reads) = (Vec::with_capacity(self.repetitions.min(1 << 16)), Vec::new());
        if depth > 0 {
            session.feed(before)?;
        }
        for repetition in 0..=self.repetitions {
            session.rewind(depth);
            reads.push(limits::read(model));
            session.profile(self.profile && repetition > 0);
            let start = Instant::now();
            if n_prompt > 0 {
                session.feed(timed)?;
            } else {
                for token in timed {
                    session.feed(std::slice::from_ref(token))?;
                }
            }
            let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
            session.profile(false);
            if repetition > 0 {
                samples_ns.push(took);
            }
            progress.set(repetition as u64 + 1, self.repetitions as u64 + 1);
        }
        let samples_ts: Vec<f64> = samples_ns.iter().map(|&ns| tokens as f64 * 1e9 / ns as f64).collect();
        let (avg_ns, stddev_ns) = mean_and_deviation(&samples_ns.iter().map(|&ns| ns as f64).collect::<Vec<_>>());
        let (avg_ts, stddev_ts) = mean_and_deviation(&samples_ts);
        let bytes_per_token = limits::bytes_per_token(model, cache, depth + n_gen / 2)?;
        let read = median(&reads);
        let stages = self.profile.then(|| stages::Stages::new(session.take_profile(), &samples_ns, read, model.team()));
        Ok(Test {
            build_version: env!("CARGO_PKG_VERSION"),
            backends: "CPU",
            profile: model.ops().profile,
            tier: model.ops().tier,
            arithmetic: model.ops().arithmetic.name(),
            model_filename: subject.filename.clone(),
            model_type: format!("qwen2 {} {}", output::short(model.parameters()), subject.kind),
            model_size: subject.bytes,
            model_n_params: model.parameters(),
            weights_on_huge_pages: model.weights().huge_share(),
            n_batch: self.chunks.batch(),
            n_ubatch: self.chunks.chunk(),
            n_threads: model.team().count(),
            type_k: cache.name(),
            type_v: cache.name(),
            n_prompt,
            n_gen,
            n_depth: depth,
            test_time,
            avg_ns: avg_ns as u64,
            stddev_ns: stddev_ns as u64,
            avg_ts,
            stddev_ts,
            bytes_per_token,
            read_bytes_per_s: read,
            read_fraction: (n_gen > 0).then(|| bytes_per_token as f64 * median(&samples_ts) / read),
            stages,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_consistent() {
        for size in Size::value_variants() {
            let config = size.config();
            assert_eq!(config.q_dim(), config.hidden);
            assert_eq!(config.heads % config.kv_heads, 0);
        }
    }
}
