//! `kiln count-calls`: calls of one kernel, for `kiln compare --counts`, which has the instructions of this process counted.

use super::emit;
use crate::compare::baseline::calls::{self, Outcome, Request};
use std::io::Read;

/// Calls the kernel that stdin asks for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of calls
    calls: usize,
}

/// Makes the calls and prints what was called.
///
/// # Errors
/// If stdin asks for nothing that can be called here.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let mut text = String::new();
    std::io::stdin().take(1 << 16).read_to_string(&mut text)?;
    let request: Request =
        serde_json::from_str(&text).map_err(|e| anyhow::anyhow!("this command is for kiln itself; on stdin there is no request: {e}"))?;
    match calls::run(&request, args.calls)? {
        Outcome::Called(answer) => emit(&serde_json::to_string(&answer)?),
        Outcome::Wrong(why) => {
            eprintln!("kiln: {why}");
            Ok(1)
        }
    }
}
