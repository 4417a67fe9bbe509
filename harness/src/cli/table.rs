//! Tables for people: columns as wide as their contents, nothing cut off.

use comfy_table::presets::ASCII_MARKDOWN;
use std::fmt;

/// A table under construction; prints without a line end.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table with these column heads.
    pub(crate) fn new<'a>(heads: impl IntoIterator<Item = &'a str>) -> Table {
        let mut table = comfy_table::Table::new();
        table.load_style(ASCII_MARKDOWN).set_header(heads.into_iter().map(str::to_owned).collect::<Vec<_>>());
        Table(table)
    }

    /// Adds a row.
    pub(crate) fn row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) {
        self.0.add_row(cells.into_iter().map(str::to_owned).collect::<Vec<_>>());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Trailing spaces would only make logs longer.
        f.write_str(&self.0.trim_fmt())
    }
}
