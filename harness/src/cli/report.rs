//! `kiln report`: a store as one HTML page.

use super::emit;
use crate::machine::limits;
use crate::machine::{Machine, lock};
use crate::model::figure;
use crate::progress::Progress;
use crate::ranking::{self, Current};
use crate::report::{self, Provenance};
use crate::store::{self, Limits, Reduced};
use anyhow::{Context, ensure};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What a page can show and a reader can read; so much is read into less than a gigabyte.
const LIMITS: Limits = Limits { of_a_problem: 256, problems: 1000, bytes: 256 << 20 };

/// Turns a store into one self-contained HTML page: plots, heat maps, rooflines, tables.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln report --out report\n  kiln report --store results.jsonl --out report --no-limits\n  \
kiln report --store fleet.jsonl --machine x86_64/AuthenticAMD/25/1/1/l1d32K-l2512K-l332M/avx2,fma,f16c --out report\n\n\
A store of any size is read in bounded memory. Of every problem the fastest results and those of the default and of each\n\
kernel are shown, and of more than 1000 problems those with most results; what is left out is counted, on the page too.")]
pub struct Args {
    /// Where the results are
    #[arg(long, default_value = super::STORE)]
    store: PathBuf,
    /// Folder of the page, which is made if need be
    #[arg(long)]
    out: PathBuf,
    /// The machine that the page is of, by its whole key [default: this one; if the store has nothing of it, the one with
    /// most results]
    #[arg(long, value_name = "KEY")]
    machine: Option<String>,
    /// Do not measure this machine's limits for the page
    #[arg(long)]
    no_limits: bool,
    /// Do not predict this machine's kernels for the page
    #[arg(long)]
    no_model: bool,
}

/// Writes OUT/index.html and prints its path.
///
/// # Errors
/// If the store holds nothing, or the page cannot be written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let here = Machine::detect();
    let mut read = Read::of(&args.store, args.machine.as_deref().unwrap_or(here.key()))?;
    if let (None, true, Some(most)) = (&args.machine, read.reduced.records.is_empty(), read.others.most()) {
        read = Read::of(&args.store, &most)?;
    }
    let Read { reduced, provenance, stale, others } = &read;
    let mut notes = reduced.notes(&args.store);
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    if *stale > 0 {
        eprintln!("note: {stale} results are of kernels that have changed since, and are left out");
    }
    match (&args.machine, others.most()) {
        (Some(key), Some(most)) if reduced.records.is_empty() => {
            anyhow::bail!("{} has no result of a machine with the key {key}: most results are of {most}", args.store.display())
        }
        _ => {
            ensure!(!reduced.records.is_empty(), "{} has no result of kernels as they are now: run kiln sweep first", args.store.display())
        }
    }
    let machine = reduced.records.first().is_some_and(|r| r.machine == here.key()).then_some(&here);
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let limits = match machine {
        Some(machine) if !args.no_limits => {
            let _machine = lock::machine(|note| eprintln!("note: {note}"))?;
            let progress = Progress::new(limits::steps(machine), "measuring limits");
            Some(limits::measure(machine, true, |what| {
                progress.at(what);
                progress.advance(1);
            }))
        }
        _ => None,
    };
    let path = args.out.join("index.html");
    let standings = ranking::standings(&reduced.records);
    let mut page = report::page(provenance, &standings, machine, limits.as_ref());
    page.notices.append(&mut notes);
    match machine {
        Some(_) if !args.no_model => figure::add(&mut page, &reduced.records),
        Some(_) => figure::leave_out(&mut page, "--no-model was given"),
        None => figure::leave_out(&mut page, "the results are of another machine; kiln model OP --cpu NAME --against STORE is for those"),
    }
    page.write(&path)?;
    emit(&path.display().to_string())
}

/// What a store has of one machine.
struct Read {
    reduced: Reduced,
    /// Of all results of that machine.
    provenance: Provenance,
    /// Results of kernels that have changed since.
    stale: u64,
    /// Results of other machines.
    others: Most,
}

impl Read {
    fn of(store: &Path, machine: &str) -> anyhow::Result<Read> {
        let (current, mut provenance, mut stale, mut others) = (Current::of_this_build(), Provenance::default(), 0, Most::default());
        let reduced = store::reduce(store, &LIMITS, |record| {
            if !current.has(record) {
                stale += 1;
            } else if record.machine != machine {
                others.add(&record.machine);
            } else {
                provenance.add(record);
                return true;
            }
            false
        })?;
        Ok(Read { reduced, provenance, stale, others })
    }
}

/// Which of any number of names comes most often: exact for so many names as are held; beyond that one that comes more often than
/// once in so many is always found (Misra and Gries 1982).
#[derive(Default)]
struct Most(HashMap<String, u64>);

impl Most {
    const HELD: usize = 4096;

    fn add(&mut self, name: &str) {
        if let Some(count) = self.0.get_mut(name) {
            *count += 1;
        } else if self.0.len() < Self::HELD {
            self.0.insert(name.to_owned(), 1);
        } else {
            self.0.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// It; of several the first by name.
    fn most(&self) -> Option<String> {
        self.0.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0))).map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_comes_most_often_is_found_among_any_number() {
        let mut few = Most::default();
        ["b", "a", "b", "c", "a"].iter().for_each(|name| few.add(name));
        assert_eq!(few.most().as_deref(), Some("a"));
        let mut many = Most::default();
        for i in 0..20_000 {
            many.add(&format!("once {i}"));
            if i % 100 == 0 {
                many.add("often");
            }
        }
        assert!(many.0.len() <= Most::HELD && many.most().as_deref() == Some("often"));
    }
}
