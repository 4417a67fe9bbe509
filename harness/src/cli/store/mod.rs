//! `kiln store`: what can be done with results as such, without measuring or choosing. One file a subcommand.

mod generate;
mod merge;
mod query;

/// Works on stores of results.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln store merge all.jsonl node0.jsonl node1.jsonl\n  \
kiln store query --best --op gemm all.jsonl\n  kiln store generate --size 10G big.jsonl")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Merge(merge::Args),
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
        What::Query(args) => query::run(args),
        What::Generate(args) => generate::run(args),
    }
}
