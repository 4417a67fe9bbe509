//! `kiln serve-bench`: measures in a process of its own, for the process that asks for it.

use crate::measure::apart;

/// Answers the requests on stdin.
///
/// # Errors
/// If a line on stdin is no request.
pub fn run() -> anyhow::Result<i32> {
    apart::serve().map(|()| 0)
}
