//! `kiln pairs`: one comparison in a process of its own, for the process that asks for it.

use super::emit;
use crate::measure::apart::Job;
use std::io::Read;

/// Does the job on stdin and prints its pairs.
///
/// # Errors
/// If there is no job on stdin, or it cannot be done.
pub fn run() -> anyhow::Result<i32> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let job: Job =
        serde_json::from_str(&text).map_err(|e| anyhow::anyhow!("this command is for kiln itself; on stdin there is no job: {e}"))?;
    emit(&serde_json::to_string(&job.run()?)?)
}
