//! A store written for other tools. It is read line by line, as often as the format needs, and never held.

use super::files::{Documents, Place};
use super::group::{Count, Group, Wanted, the_only};
#[cfg(feature = "parquet")]
use super::parquet;
use super::{csv, t1, t4};
use crate::store::{Record, Unreadable, scan_shown};
use anyhow::ensure;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a store can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Results of FAIR auto-tuning, a document for each problem
    T4,
    /// The search space that they are of, a document for each problem
    T1,
    /// A row a result
    Csv,
    /// A row a result, for data frames and databases
    Parquet,
}

impl Format {
    /// Whether it has a document for each problem, and not one file.
    pub fn has_documents(self) -> bool {
        matches!(self, Format::T4 | Format::T1)
    }
}

/// Results of search spaces that are held at a time; one problem that has more is still held.
const AT_A_TIME: u64 = 1 << 18;

/// What was written.
#[derive(Debug, Default)]
pub struct Exported {
    /// Results, comparisons among them.
    pub results: u64,
    /// Problems of machines; 0 of formats that have no documents.
    pub problems: usize,
    /// The files; none if it was stdout.
    pub files: Vec<PathBuf>,
    /// What could not be read.
    pub unreadable: Unreadable,
}

/// Writes the results of `store` that are `wanted`.
///
/// # Errors
/// If the store cannot be read or has none of them, if they are of several problems and there is one document to write, or
/// if something cannot be written.
pub fn export(store: &Path, format: Format, wanted: &Wanted, place: Place) -> anyhow::Result<Exported> {
    match format {
        Format::Csv | Format::Parquet => rows(store, format, wanted, place),
        Format::T4 | Format::T1 => documents(store, format, wanted, place),
    }
}

fn nothing(store: &Path, unreadable: &Unreadable) -> String {
    let unread = unreadable.complaint(store).map(|c| format!(" ({c})")).unwrap_or_default();
    format!("{} has no result of that kind: 'kiln store export --help' says how results are chosen{unread}", store.display())
}

/// Rows of one of the formats that have rows.
enum Table<'a> {
    Csv(csv::Rows<&'a mut (dyn Write + Send)>),
    #[cfg(feature = "parquet")]
    Parquet(parquet::Rows<&'a mut (dyn Write + Send)>),
}

impl<'a> Table<'a> {
    fn new(format: Format, out: &'a mut (dyn Write + Send)) -> anyhow::Result<Table<'a>> {
        Ok(match format {
            #[cfg(feature = "parquet")]
            Format::Parquet => Table::Parquet(parquet::Rows::new(out)?),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => anyhow::bail!("this kiln was built without the feature parquet: build it with that, or ask for csv"),
            _ => Table::Csv(csv::Rows::new(out)?),
        })
    }

    #[cfg_attr(not(feature = "parquet"), expect(unused_variables, reason = "rows are written one by one"))]
    fn add(&mut self, record: Record, bytes: usize) -> anyhow::Result<()> {
        match self {
            Table::Csv(rows) => rows.add(&record),
            #[cfg(feature = "parquet")]
            Table::Parquet(rows) => rows.add(record, bytes),
        }
    }

    fn end(self) -> anyhow::Result<()> {
        match self {
            Table::Csv(rows) => rows.end(),
            #[cfg(feature = "parquet")]
            Table::Parquet(rows) => rows.end(),
        }
    }
}

fn rows(store: &Path, format: Format, wanted: &Wanted, place: Place) -> anyhow::Result<Exported> {
    let mut documents = Documents::begin(place, &[], store)?;
    let mut exported = Exported::default();
    // Nothing is written before there is a row, so that a store without any leaves no half table on stdout.
    let (mut out, mut table) = (Some(documents.writer(0)?), None);
    exported.unreadable = scan_shown(store, |record, line| {
        if !wanted.takes(&record) {
            return Ok(());
        }
        exported.results += 1;
        if let Some(out) = out.take() {
            table = Some(Table::new(format, out)?);
        }
        table.as_mut().map_or(Ok(()), |table| table.add(record, line.len()))
    })?
    .unreadable;
    ensure!(exported.results > 0, nothing(store, &exported.unreadable));
    table.map_or(Ok(()), Table::end)?;
    exported.files = documents.end()?;
    Ok(exported)
}

fn documents(store: &Path, format: Format, wanted: &Wanted, place: Place) -> anyhow::Result<Exported> {
    let mut groups: BTreeMap<Group, Count> = BTreeMap::new();
    let unreadable = scan_shown(store, |record, _| {
        if wanted.takes(&record) {
            let count = groups.entry(Group::of(&record)).or_default();
            match t4::List::of(&record) {
                t4::List::Results => count.results += 1,
                t4::List::Comparisons => count.comparisons += 1,
            }
        }
        Ok(())
    })?
    .unreadable;
    ensure!(!groups.is_empty(), nothing(store, &unreadable));
    let kind = if format == Format::T4 { "t4" } else { "t1" };
    let names = match place {
        Place::Folder(_) => Group::file_names(groups.keys(), kind),
        Place::Stdout | Place::File(_) => {
            the_only(&groups)?;
            Vec::new()
        }
    };
    let mut documents = Documents::begin(place, &names, store)?;
    let groups: Vec<(Group, Count)> = groups.into_iter().collect();
    let results = match format {
        Format::T4 => results(store, wanted, &groups, &mut documents)?,
        _ => spaces(store, wanted, &groups, &mut documents)?,
    };
    Ok(Exported { results, problems: groups.len(), files: documents.end()?, unreadable })
}

/// Gives the wanted results of a store to `each` with the number of their group; one that was added to the store since the
/// groups were counted, and has none, is left.
fn of_groups(
    store: &Path,
    wanted: &Wanted,
    groups: &[(Group, Count)],
    mut each: impl FnMut(usize, Record) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    scan_shown(store, |record, _| {
        if !wanted.takes(&record) {
            return Ok(());
        }
        let group = Group::of(&record);
        groups.binary_search_by(|(g, _)| g.cmp(&group)).map_or(Ok(()), |number| each(number, record))
    })?;
    Ok(())
}

fn results(store: &Path, wanted: &Wanted, groups: &[(Group, Count)], documents: &mut Documents) -> anyhow::Result<u64> {
    let mut written = 0;
    for (number, (group, _)) in groups.iter().enumerate() {
        t4::begin(documents.writer(number)?, group)?;
    }
    for list in [t4::List::Results, t4::List::Comparisons] {
        let count = |(_, count): &(Group, Count)| if list == t4::List::Results { count.results } else { count.comparisons };
        let mut first = vec![true; groups.len()];
        if groups.iter().any(|g| count(g) > 0) {
            of_groups(store, wanted, groups, |number, record| {
                if t4::List::of(&record) == list {
                    let first = std::mem::replace(&mut first[number], false);
                    t4::element(documents.writer(number)?, &record, &groups[number].0, first)?;
                    written += 1;
                }
                Ok(())
            })?;
        }
        for number in 0..groups.len() {
            match list {
                t4::List::Results => t4::next_list(documents.writer(number)?)?,
                t4::List::Comparisons => t4::end(documents.writer(number)?)?,
            }
        }
    }
    Ok(written)
}

fn spaces(store: &Path, wanted: &Wanted, groups: &[(Group, Count)], documents: &mut Documents) -> anyhow::Result<u64> {
    let (mut from, mut seen) = (0, 0);
    while from < groups.len() {
        let mut held = 0;
        let more = groups[from..].iter().take_while(|(_, count)| {
            held += count.results;
            held <= AT_A_TIME
        });
        let to = from + more.count().max(1);
        let mut spaces: Vec<t1::Space> = (from..to).map(|_| t1::Space::default()).collect();
        of_groups(store, wanted, groups, |number, record| {
            if (from..to).contains(&number) && t4::List::of(&record) == t4::List::Results {
                spaces[number - from].add(&groups[number].0, &record);
                seen += 1;
            }
            Ok(())
        })?;
        for (number, space) in (from..to).zip(&spaces) {
            let out = documents.writer(number)?;
            serde_json::to_writer_pretty(&mut *out, &space.document(&groups[number].0))?;
            writeln!(out)?;
        }
        from = to;
    }
    Ok(seen)
}
