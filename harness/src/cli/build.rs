//! `kiln build`: the deployment build of qwen2 with given profiles.

use super::{emit, emit_json};
use crate::build::{self, Request};
use serde_json::json;

/// Builds qwen2 with the kernels of one or more profiles, and no others.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln build --profile zen3\n  kiln build --profile zen3,generic-x86_64\n  \
kiln build --profile neoverse-n2 --target aarch64-unknown-linux-gnu")]
pub struct Args {
    /// Profiles by name or path, best first, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    profile: Vec<String>,
    /// Rust's name of the target [default: this machine]
    #[arg(long)]
    target: Option<String>,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Builds and prints where the binary is.
///
/// # Errors
/// If a profile is unknown or unfit, or cargo fails.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let binary = build::qwen2(&Request { profiles: &args.profile, target: args.target.as_deref() })?;
    match args.json {
        true => emit_json(&json!({ "binary": binary, "profiles": args.profile, "target": args.target })),
        false => emit(&binary.display().to_string()),
    }
}
