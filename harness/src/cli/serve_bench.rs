//! `kiln serve-bench`: measures in a process of its own, for the process that asks for it, and never longer than that lives.

use crate::measure::apart;
use anyhow::Context;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Answers the requests on stdin.
///
/// # Errors
/// If a line on stdin is no request.
pub fn run() -> anyhow::Result<i32> {
    die_with_parent()?;
    apart::serve().map(|()| 0)
}

/// Has the system end this process when the one that started it ends, however that ends: nobody would read what is measured,
/// and it would disturb whoever measures next.
fn die_with_parent() -> anyhow::Result<()> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot ask to be ended with the process that asks")?;
    // It may have ended before the system was asked.
    anyhow::ensure!(getppid() == parent, "the process that asks is gone");
    Ok(())
}
