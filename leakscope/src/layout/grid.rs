//! Columns and rows with borders, as wide as the terminal allows.

use std::io::{self, Write as _};

use tabled::Table;
use tabled::builder::Builder;
use tabled::settings::object::{Columns, Rows};
use tabled::settings::style::{HorizontalLine, LineText};
use tabled::settings::{Alignment, Color, Style};

use crate::human::{columns, cut, cut_place, sanitize};
use crate::layout::markup;
use crate::layout::page::{Page, Paint};

/// A column. The last one of a grid takes what room is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Columns with the highest number go first where room is short: from [`EXTRA`] on, while the
    /// last column would have to be cut below [`ROOMY`]; others, below [`LEAST`]. Those with 0 stay.
    pub(crate) spare: u8,
    /// Text goes to the left, numbers to the right.
    left: bool,
}

impl Column {
    /// Whether it holds text, not numbers.
    pub(crate) const fn is_text(&self) -> bool {
        self.left
    }
}

/// A column of numbers.
pub(crate) const fn number(title: &'static str, spare: u8) -> Column {
    Column { title, spare, left: false }
}

/// A column of text.
pub(crate) const fn text(title: &'static str, spare: u8) -> Column {
    Column { title, spare, left: true }
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    pub(crate) paint: Paint,
}

/// Columns and rows. There is at least one column.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    /// A row that a line with this text goes before.
    pub(crate) parted: Option<(usize, &'static str)>,
}

/// Columns that are good to have, but not at the cost of cut names.
pub(crate) const EXTRA: u8 = 3;
/// Room in which few names are cut.
const ROOMY: usize = 40;
/// Room that the last column gets at least, even if lines then are too long.
const LEAST: usize = 16;
/// A cell's left border and padding; the last one has a right border too.
const BORDERS: usize = 3;

impl Grid {
    pub(crate) fn draw(mut self, page: &mut Page<'_>) -> io::Result<()> {
        for cell in self.rows.iter_mut().flat_map(|row| &mut row.cells) {
            *cell = sanitize(cell);
        }
        if page.style.html {
            return writeln!(page.out, "{}", markup::table(&self));
        }
        let width = |c: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(c));
            cells.map(|cell| columns(cell)).max().unwrap_or(0).max(columns(self.columns[c].title))
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let Some(last) = shown.last().copied() else { return Ok(()) };
        let room = |shown: &[usize]| {
            let others: usize = shown.iter().filter(|&&c| c != last).map(|&c| widths[c]).sum();
            page.style.width.saturating_sub(others + shown.len() * BORDERS + 1)
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
        writeln!(page.out, "{}", self.table(page, &shown, &widths))
    }

    /// The table of the columns that are shown.
    fn table(&self, page: &Page<'_>, shown: &[usize], widths: &[usize]) -> Table {
        let titles = shown.iter().map(|&c| cut(self.columns[c].title, widths[c]));
        let mut builder = Builder::from_iter([titles.collect::<Vec<_>>()]);
        for row in &self.rows {
            let cell = |&c: &usize| cut_place(row.cells.get(c).map_or("", String::as_str), widths[c]);
            builder.push_record(shown.iter().map(cell));
        }
        let mut table = builder.build();
        // Even without a row there is a line under the titles.
        let line = HorizontalLine::full('─', '┼', '├', '┤');
        let parted = self.parted.map_or(1, |(at, _)| at + 1);
        table.with(Style::sharp().horizontals([(1, line), (parted, line)]));
        for (at, &c) in shown.iter().enumerate() {
            let side = if self.columns[c].left { Alignment::left() } else { Alignment::right() };
            table.modify(Columns::one(at), side);
        }
        for (at, row) in self.rows.iter().enumerate() {
            if let Some((on, off)) = page.codes(row.paint) {
                table.modify(Rows::one(at + 1), Color::new(on, off));
            }
        }
        if let (Some((at, label)), [others @ .., last]) = (self.parted, shown) {
            // It stands in the last column, one place from its left border.
            let before: usize = others.iter().map(|&c| widths[c] + BORDERS).sum();
            let label = cut(&format!(" {label} "), widths[*last] + 1);
            table.with(LineText::new(label, Rows::one(at + 1)).offset(before + 2));
        }
        table
    }
}
