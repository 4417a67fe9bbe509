//! The results a profile rests on, beside it, small enough to be committed: samples of those that were
//! dropped early go first, then those of everything that neither won nor came second nor was default.

use crate::store::{Outcome, Record};
use anyhow::Context;
use kiln_profiles::schema::Tuned;
use std::path::{Path, PathBuf};

/// The evidence stays below this many bytes as long as leaving out samples can achieve it.
const LIMIT: usize = 900_000;

/// Writes `evidence/results.jsonl` under a profile's folder; the file is replaced whole.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(folder: &Path, records: &[&Record], tuned: &Tuned) -> anyhow::Result<PathBuf> {
    let path = folder.join("evidence").join("results.jsonl");
    let named: Vec<&str> = tuned
        .variants
        .iter()
        .flat_map(|v| &v.choices)
        .flat_map(|c| c.kernels().map(|named| named.kernel).chain(c.runner_up.as_deref()))
        .collect();
    let mut text = lines(records, &|_| true)?;
    if text.len() > LIMIT {
        text = lines(records, &|r| !matches!(&r.outcome, Outcome::Timed { dropped: Some(_), .. }))?;
    }
    if text.len() > LIMIT {
        text = lines(records, &|r| r.default || named.contains(&r.config.kernel.as_str()))?;
    }
    let cannot = || format!("cannot write {}", path.display());
    std::fs::create_dir_all(folder.join("evidence")).with_context(cannot)?;
    let new = path.with_extension("new");
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path)).with_context(cannot)?;
    Ok(path)
}

/// One line a record; samples and pairs only of those that `keep` names.
fn lines(records: &[&Record], keep: &dyn Fn(&Record) -> bool) -> anyhow::Result<String> {
    let mut text = String::new();
    for record in records {
        let mut record = (*record).clone();
        if !keep(&record) {
            match &mut record.outcome {
                Outcome::Timed { samples_ns, .. } => samples_ns.clear(),
                Outcome::Paired { pairs_ns, .. } => pairs_ns.clear(),
                Outcome::Predicted { .. } | Outcome::Invalid { .. } => {}
            }
        }
        text.push_str(&serde_json::to_string(&record).context("a result cannot be written as JSON")?);
        text.push('\n');
    }
    Ok(text)
}
