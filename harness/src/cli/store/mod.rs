//! `kiln store`: what can be done with results as such, without measuring or choosing. One file a subcommand.

mod export;
mod generate;
mod import;
mod merge;
mod query;

/// Works on stores of results.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln store merge all.jsonl node0.jsonl node1.jsonl\n  \
kiln store query --best --op gemm all.jsonl\n  kiln store generate --size 10G big.jsonl\n  \
kiln store export --format t4 --folder t4 all.jsonl\n  kiln store import --format t4 t4/*.json again.jsonl")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Merge(merge::Args),
    Export(export::Args),
    Import(import::Args),
    Query(query::Args),
    Generate(generate::Args),
}

/// Does it.
///
/// # Errors
/// If a store cannot be read or written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    match &args.what {
        What::Merge(args) => merge::run(args),
        What::Export(args) => export::run(args),
        What::Import(args) => import::run(args),
        What::Query(args) => query::run(args),
        What::Generate(args) => generate::run(args),
    }
}
