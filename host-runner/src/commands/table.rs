//! Aligned columns for a terminal.

use std::fmt;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows of cells, each column as wide as its widest cell. The last column is not filled up.
#[derive(Debug)]
pub(super) struct Table {
    indent: usize,
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Between two columns.
    const GAP: &'static str = "  ";

    /// An empty table whose rows begin `indent` spaces from the left.
    pub(super) fn new(indent: usize, columns: &[Align]) -> Self {
        Self {
            indent,
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; cells beyond the last column are left out.
    pub(super) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().take(self.columns.len()).map(Into::into);
        self.rows.push(cells.collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = vec![0; self.columns.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let mut line = " ".repeat(self.indent);
            for (number, ((cell, width), align)) in row.iter().zip(&widths).zip(&self.columns).enumerate() {
                if number > 0 {
                    line.push_str(Self::GAP);
                }
                let space = " ".repeat(width.saturating_sub(cell.chars().count()));
                let (before, after) = match align {
                    Align::Left => ("", &*space),
                    Align::Right => (&*space, ""),
                };
                line.push_str(before);
                line.push_str(cell);
                line.push_str(after);
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces() {
        let mut table = Table::new(2, &[Align::Left, Align::Right, Align::Left]);
        table.row(["a", "10", "x"]);
        table.row(["größe", "9", ""]);
        assert_eq!(table.to_string(), "  a      10  x\n  größe   9\n");
    }
}
