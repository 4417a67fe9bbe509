//! Parquet: a row a result, samples as lists. Rows are gathered until they are a row group of a few megabytes and then
//! written, so memory does not grow with the store, but for the some kilobytes that the file's index has for each group.

use super::columns::{COLUMNS, Cell, Kind};
use crate::store::Record;
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use std::io::Write;
use std::sync::Arc;

/// Bytes of lines in a row group.
const GROUP_BYTES: usize = 16 << 20;

/// Rows that go to a writer.
pub struct Rows<W: Write + Send> {
    file: SerializedFileWriter<W>,
    gathered: Vec<Record>,
    /// Bytes of the lines that they came from.
    bytes: usize,
    /// Bytes that a group has.
    most: usize,
}

impl<W: Write + Send> Rows<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(out: W) -> anyhow::Result<Rows<W>> {
        Rows::in_groups_of(out, GROUP_BYTES)
    }

    fn in_groups_of(out: W, most: usize) -> anyhow::Result<Rows<W>> {
        let schema = Arc::new(parse_message_type(&schema())?);
        let generator = format!("kiln version {}", env!("CARGO_PKG_VERSION"));
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).set_created_by(generator).build();
        let file = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        Ok(Rows { file, gathered: Vec::new(), bytes: 0, most })
    }

    /// Takes a result that came from a line of so many bytes.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, record: Record, bytes: usize) -> anyhow::Result<()> {
        self.gathered.push(record);
        self.bytes += bytes;
        if self.bytes >= self.most { self.write_group() } else { Ok(()) }
    }

    /// Writes what is left, and the index.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end(mut self) -> anyhow::Result<()> {
        if !self.gathered.is_empty() {
            self.write_group()?;
        }
        self.file.close()?;
        Ok(())
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        let mut group = self.file.next_row_group()?;
        let mut columns = COLUMNS.iter();
        while let (Some(mut out), Some(column)) = (group.next_column()?, columns.next()) {
            let cells = self.gathered.iter().map(|record| column.of(record));
            write_column(&mut out, column.kind, cells)?;
            out.close()?;
        }
        group.close()?;
        self.gathered.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// The columns in Parquet's language: any may be empty.
fn schema() -> String {
    let one = |(name, kind): (&str, Kind)| match kind {
        Kind::Text => format!("optional binary {name} (STRING);"),
        Kind::Integer => format!("optional int64 {name};"),
        Kind::Real => format!("optional double {name};"),
        Kind::Flag => format!("optional boolean {name};"),
        Kind::Reals => format!("optional group {name} (LIST) {{ repeated group list {{ required double element; }} }}"),
    };
    let columns: Vec<String> = COLUMNS.iter().map(|c| one((c.name, c.kind))).collect();
    format!("message results {{ {} }}", columns.join(" "))
}

/// Writes the cells of a column, a row each: the values that there are, and for each row whether it has one.
fn write_column<'a>(out: &mut SerializedColumnWriter<'_>, kind: Kind, cells: impl Iterator<Item = Option<Cell<'a>>>) -> anyhow::Result<()> {
    let (mut there, mut again) = (Vec::new(), Vec::new());
    let (mut texts, mut integers, mut reals, mut flags) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for cell in cells {
        again.push(0);
        // How much of a column's path is there: all of it, but for what is absent or a list without elements.
        there.push(match &cell {
            None => 0,
            Some(Cell::Reals(numbers)) if !numbers.is_empty() => 2,
            Some(_) => 1,
        });
        match cell {
            None => {}
            Some(Cell::Text(text)) => texts.push(ByteArray::from(text.as_bytes().to_vec())),
            Some(Cell::Integer(number)) => integers.push(number),
            Some(Cell::Real(number)) => reals.push(number),
            Some(Cell::Flag(flag)) => flags.push(flag),
            Some(Cell::Reals(numbers)) => {
                let more = numbers.len().saturating_sub(1);
                there.resize(there.len() + more, 2);
                again.resize(again.len() + more, 1);
                reals.extend_from_slice(&numbers);
            }
        }
    }
    let there = Some(there.as_slice());
    match kind {
        Kind::Text => out.typed::<ByteArrayType>().write_batch(&texts, there, None)?,
        Kind::Integer => out.typed::<Int64Type>().write_batch(&integers, there, None)?,
        Kind::Real => out.typed::<DoubleType>().write_batch(&reals, there, None)?,
        Kind::Flag => out.typed::<BoolType>().write_batch(&flags, there, None)?,
        Kind::Reals => out.typed::<DoubleType>().write_batch(&reals, there, Some(&again))?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{invalid, paired, timed};
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    #[test]
    fn rows_come_back_whatever_the_size_of_groups() {
        let records: Vec<Record> = [1.0, 2.0, 3.0].map(timed).into_iter().chain([paired(0.5), invalid("wrong")]).collect();
        for (most, groups) in [(1, 5), (250, 2), (1 << 20, 1)] {
            let file = tempfile::tempfile().expect("a file");
            let mut rows = Rows::in_groups_of(file.try_clone().expect("a handle"), most).expect("begun");
            records.iter().for_each(|r| rows.add(r.clone(), 100).expect("written"));
            rows.end().expect("written");
            let reader = SerializedFileReader::new(file).expect("Parquet");
            assert_eq!(reader.num_row_groups(), groups);
            let read: Vec<_> = reader.get_row_iter(None).expect("rows").map(|r| r.expect("a row")).collect();
            assert_eq!(read.len(), records.len());
            let at = |name: &str| COLUMNS.iter().position(|c| c.name == name).expect("a column");
            for (row, record) in read.iter().zip(&records) {
                assert_eq!(row.get_string(at("kernel")).ok(), Some(&record.config.kernel));
                assert_eq!(row.get_double(at("median_ns")).ok(), record.median_ns().map(|m| m.0));
                let samples = row.get_list(at("samples_ns")).ok().map(|list| list.elements().len());
                assert_eq!(samples, record.median_ns().map(|_| record.samples_ns().len()));
            }
        }
    }

    #[test]
    fn no_results_are_a_file_too() {
        let file = tempfile::tempfile().expect("a file");
        Rows::new(file.try_clone().expect("a handle")).expect("begun").end().expect("written");
        assert_eq!(SerializedFileReader::new(file).expect("Parquet").metadata().file_metadata().num_rows(), 0);
    }
}
