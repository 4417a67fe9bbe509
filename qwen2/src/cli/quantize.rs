//! `qwen2 quantize`: a model in fewer bits, as a GGUF file.

use std::io::Write;
use std::path::PathBuf;

use qwen2::gguf::TensorType;
use qwen2::quantize::{Count, Counts, FolderInput, Input, Output, Summary, Target, quantize};
use qwen2::{Error, ModelFile};
use serde_json::{Value, json};

use super::load::KernelArgs;
use super::progress::Progress;
use super::{Failure, print_json};

const EXAMPLES: &str = "\
Types: q8_0, q4_0, q4_1, q5_0, q5_1, q4_k_m, q6_k, f16, bf16, f32

Without --pure the head has more bits in q4_0 … q5_1 (Q6_K), and in q4_k_m (Q6_K) so have values and down projections
of half of the layers. Rows that are no multiple of 256 get Q5_0 for Q4_K and Q8_0 for Q6_K. Every tensor is the same,
byte by byte, as llama.cpp makes it. Vectors stay F32.

Examples:
  qwen2 quantize model-f16.gguf model-q4_k_m.gguf --type q4_k_m
  qwen2 quantize Qwen2.5-0.5B/ model-q8_0.gguf --type q8_0
  qwen2 quantize model-f16.gguf model-q4_0.gguf --type q4_0 --pure --force --json";

/// Options of `quantize`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// GGUF file, or folder from Hugging Face, with weights in F32, F16 or BF16
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// GGUF file to write; it gets this name when it is complete
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// What to quantise to
    #[arg(long = "type", value_name = "TYPE")]
    target: Target,
    /// One type for all matrices
    #[arg(long)]
    pure: bool,
    /// Replace OUT if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    kernels: KernelArgs,
    /// Print one JSON document: tensors, elements and bytes of each type before and after
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let ops = args.kernels.ops()?;
    let name = args.input.display().to_string();
    let file = ModelFile::open(&args.input).map_err(Failure::about(&name))?;
    let folder;
    let input: &dyn Input = match &file {
        ModelFile::Gguf(file) => file,
        ModelFile::Folder(files) => {
            folder = FolderInput::new(files).map_err(Failure::about(&name))?;
            &folder
        }
    };
    let mut output = Output::create(&args.output, &args.input, args.force)?;
    let mut progress = Progress::new("quantising");
    let how = (args.target, args.pure);
    let summary =
        quantize(input, how, &ops, args.kernels.threads(), &mut output, &mut |done, total| progress.set(done, total)).map_err(|error| {
            match error {
                Error::Output(source) => Error::Write { path: args.output.clone(), source }.into(),
                other => Failure::about(&name)(other),
            }
        })?;
    output.keep()?;
    drop(progress);
    if args.json { print_json(&document(args, &summary)) } else { Ok(std::io::stdout().write_all(text(args, &summary).as_bytes())?) }
}

fn document(args: &Args, summary: &Summary) -> Value {
    let side = |counts: &Counts| {
        let types: Vec<Value> = counts
            .iter()
            .map(|(kind, count)| json!({ "type": kind.name(), "tensors": count.tensors, "elements": count.elements, "bytes": count.bytes }))
            .collect();
        json!({ "bytes": Summary::total(counts).bytes, "types": types })
    };
    let fallbacks: Vec<Value> = summary
        .fallbacks
        .iter()
        .map(|fallback| json!({ "tensor": fallback.name, "wanted": fallback.wanted.name(), "type": fallback.kind.name() }))
        .collect();
    json!({
        "input": args.input.display().to_string(),
        "output": args.output.display().to_string(),
        "target": args.target.name(),
        "pure": args.pure,
        "before": side(&summary.before),
        "after": side(&summary.after),
        "bits_per_weight": bits(&summary.after),
        "fallbacks": fallbacks,
        "file_bytes": summary.file_bytes,
    })
}

fn text(args: &Args, summary: &Summary) -> String {
    let side = |counts: &Counts| {
        let types = |(kind, count): (&TensorType, &Count)| format!("{} {kind}", count.tensors);
        let types: Vec<String> = counts.iter().map(types).collect();
        let size = indicatif::BinaryBytes(Summary::total(counts).bytes).to_string();
        format!("{size}, {:.2} bits per weight; tensors: {}", bits(counts), types.join(", "))
    };
    let mut text = format!("before  {}\nafter   {}\n", side(&summary.before), side(&summary.after));
    if let Some(first) = summary.fallbacks.first() {
        let count = summary.fallbacks.len();
        let example = format!("'{}' {} for {}", first.name, first.kind, first.wanted);
        text += &format!(
            "note    {count} of them with rows that are no whole blocks got another type ({example}{})\n",
            if count > 1 { ", …" } else { "" }
        );
    }
    text += &format!("file    {}, {}\n", args.output.display(), indicatif::BinaryBytes(summary.file_bytes));
    text
}

fn bits(counts: &Counts) -> f64 {
    let total = Summary::total(counts);
    total.bytes as f64 * 8.0 / total.elements as f64
}
