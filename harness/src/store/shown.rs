//! A scan that shows on a terminal how far it is, for stores that take longer than a moment to read.

use super::{Record, Scanned, scan};
use crate::progress::Progress;
use std::path::Path;

/// Bytes in a step of the bar.
const STEP: u64 = 1 << 20;

/// [`scan`] with a bar of megabytes.
///
/// # Errors
/// If the file cannot be read; those of `each`.
pub fn scan_shown(path: &Path, mut each: impl FnMut(Record, &[u8]) -> anyhow::Result<()>) -> anyhow::Result<Scanned> {
    let progress = Progress::new(std::fs::metadata(path).map_or(0, |m| m.len() / STEP), "reading results, MB");
    let mut unshown = 0;
    scan(path, |record, line| {
        unshown += line.len() as u64 + 1;
        if unshown >= STEP {
            progress.advance(unshown / STEP);
            unshown %= STEP;
        }
        each(record, line)
    })
}
