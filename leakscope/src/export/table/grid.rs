//! Columns and rows with borders, as wide as the terminal allows.

use std::io;

use super::page::{Page, Paint};
use crate::human::{columns, cut, printable};

/// A column. The last one of a grid takes what room is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Columns with the highest number go first where room is short: from [`EXTRA`] on, while the
    /// last column would have to be cut below [`ROOMY`]; others, below [`LEAST`]. Those with 0 stay.
    pub(super) spare: u8,
    /// Text goes to the left, numbers to the right.
    left: bool,
}

/// A column of numbers.
pub(super) const fn number(title: &'static str, spare: u8) -> Column {
    Column { title, spare, left: false }
}

/// A column of text.
pub(super) const fn text(title: &'static str, spare: u8) -> Column {
    Column { title, spare, left: true }
}

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) paint: Paint,
}

/// Columns and rows. There is at least one column.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// A row that a line with this text goes before.
    pub(super) parted: Option<(usize, &'static str)>,
}

/// Columns that are good to have, but not at the cost of cut names.
pub(super) const EXTRA: u8 = 3;
/// Room in which few names are cut.
const ROOMY: usize = 40;
/// Room that the last column gets at least, even if lines then are too long.
const LEAST: usize = 16;

impl Grid {
    /// Draws it.
    pub(super) fn draw(mut self, page: &mut Page<'_>) -> io::Result<()> {
        for cell in self.rows.iter_mut().flat_map(|row| &mut row.cells) {
            *cell = printable(cell);
        }
        let width = |c: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(c));
            cells.map(|cell| columns(cell)).max().unwrap_or(0).max(columns(self.columns[c].title))
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let Some(last) = shown.last().copied() else { return Ok(()) };
        // Borders and padding take 3 columns a cell and one at the end.
        let room = |shown: &[usize]| {
            let others: usize = shown.iter().filter(|&&c| c != last).map(|&c| widths[c]).sum();
            page.style.width.saturating_sub(others + shown.len() * 3 + 1)
        };
        while let Some(&first) = shown.iter().max_by_key(|&&c| self.columns[c].spare) {
            let spare = self.columns[first].spare;
            let wanted = if spare >= EXTRA { ROOMY } else { LEAST };
            if spare == 0 || room(&shown) >= wanted.min(widths[last]) {
                break;
            }
            shown.retain(|&c| c != first);
        }
        widths[last] = widths[last].min(room(&shown).max(LEAST));
        let widths: Vec<(usize, usize)> = shown.iter().map(|&c| (c, widths[c])).collect();

        let titles = self.columns.iter().map(|c| c.title.to_owned()).collect();
        rule(page, &widths, ["┌", "┬", "┐"], None)?;
        self.row(page, &widths, &Row { cells: titles, paint: Paint::Plain })?;
        // Even without a row there is a line under the titles.
        let under = self.parted.filter(|(at, _)| *at == 0).map(|(_, label)| label);
        rule(page, &widths, ["├", "┼", "┤"], under)?;
        for (i, cells) in self.rows.iter().enumerate() {
            if let Some((_, label)) = self.parted.filter(|(at, _)| i > 0 && *at == i) {
                rule(page, &widths, ["├", "┼", "┤"], Some(label))?;
            }
            self.row(page, &widths, cells)?;
        }
        rule(page, &widths, ["└", "┴", "┘"], None)
    }

    fn row(&self, page: &mut Page<'_>, widths: &[(usize, usize)], row: &Row) -> io::Result<()> {
        let mut line = String::from("│");
        for &(column, width) in widths {
            let text = cut(row.cells.get(column).map_or("", String::as_str), width);
            let fill = " ".repeat(width.saturating_sub(columns(&text)));
            let text = page.painted(row.paint, &text);
            let left = self.columns[column].left;
            line.push_str(&if left { format!(" {text}{fill} │") } else { format!(" {fill}{text} │") });
        }
        writeln!(page.out, "{line}")
    }
}

/// A line between rows, with a label in the last column.
fn rule(
    page: &mut Page<'_>,
    widths: &[(usize, usize)],
    ends: [&str; 3],
    label: Option<&str>,
) -> io::Result<()> {
    let mut line: Vec<String> = widths.iter().map(|(_, width)| "─".repeat(width + 2)).collect();
    if let (Some(label), Some((_, width)), Some(cell)) = (label, widths.last(), line.last_mut()) {
        let label = cut(&format!("─ {label} "), width + 2);
        *cell = format!("{label}{}", "─".repeat(width + 2 - columns(&label)));
    }
    writeln!(page.out, "{}{}{}", ends[0], line.join(ends[1]), ends[2])
}
