//! CSV: a row a result, as it is read. Samples are one column, with `;` between them.

use super::columns::{COLUMNS, Cell};
use crate::store::Record;
use std::io::Write;

/// Rows that go to a writer.
pub struct Rows<W: Write>(csv::Writer<W>);

impl<W: Write> Rows<W> {
    /// Writes the names of the columns.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn new(out: W) -> anyhow::Result<Rows<W>> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(COLUMNS.iter().map(|c| c.name)).map_err(cause)?;
        Ok(Rows(writer))
    }

    /// Writes a result.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, record: &Record) -> anyhow::Result<()> {
        self.0.write_record(COLUMNS.iter().map(|c| c.of(record).map_or(String::new(), text))).map_err(cause)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end(mut self) -> anyhow::Result<()> {
        Ok(self.0.flush()?)
    }
}

/// What the system said, if it was the system.
fn cause(error: csv::Error) -> anyhow::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => anyhow::anyhow!("a row cannot be written: {other:?}"),
    }
}

fn text(cell: Cell) -> String {
    match cell {
        Cell::Text(text) => text.into_owned(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Reals(numbers) => numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(";"),
    }
}
