//! Markdown tables padded to line up on a terminal.

use std::fmt::Write;

/// Cells in rows below one header row.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// `header` holds the column names separated by `|`.
    pub(crate) fn new(header: &str) -> Self {
        let names = header.split('|').map(|name| name.trim().to_owned());
        Self {
            rows: vec![names.collect()],
        }
    }

    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Numbers to the right: every column but the first is aligned so. Empty when there is no row.
    pub(crate) fn render(&self) -> String {
        if self.rows.len() < 2 {
            return String::new();
        }
        let columns = self.rows[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(3))
            .collect();
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a string cannot fail.
                let _ = if column == 0 {
                    write!(text, "| {cell:<width$} ")
                } else {
                    write!(text, "| {cell:>width$} ")
                };
            }
            text += "|\n";
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width - usize::from(column > 0));
                    let _ = write!(text, "| {dashes}{} ", if column == 0 { "" } else { ":" });
                }
                text += "|\n";
            }
        }
        text
    }
}
