//! What is more than before.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stack::Stack;
use crate::layout::grid::{Column, Grid, Row};
use crate::layout::page::{Page, Paint};

/// New less old, as far as a number goes.
pub(crate) fn growth(old: u64, new: u64) -> i64 {
    let difference = i128::from(new) - i128::from(old);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

/// The part of a growth that one site has, in words.
pub(crate) fn part(site: i64, all: i64) -> String {
    if site >= all {
        return if site == all { "all of that" } else { "all of that and more" }.to_owned();
    }
    format!("{:.0} % of that", site as f64 * 100.0 / all as f64)
}

/// What happened to a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only the new report has it.
    New,
    /// It has grown.
    Grown,
    /// It is as it was.
    Same,
    /// It has shrunk.
    Shrunk,
    /// Only the old report has it.
    Gone,
}

/// How a change is told in a table.
pub(crate) fn told(change: Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Gone => "gone",
        Change::Grown | Change::Same | Change::Shrunk => "",
    }
}

pub(crate) fn paint(change: Change, growth: i64) -> Paint {
    match change {
        Change::Gone => Paint::Dim,
        _ if growth < 0 => Paint::Dim,
        _ => Paint::Plain,
    }
}

/// Draws a grid, and tells how much is not in it.
pub(crate) fn draw(
    mut columns: Vec<Column>,
    mut rows: Vec<Row>,
    changed: usize,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let more = changed - rows.len();
    // Whether sites are new or gone is told where one is.
    if let Some(at) = columns.iter().position(|column| column.title.is_empty())
        && rows.iter().all(|row| row.cells[at].is_empty())
    {
        columns.remove(at);
        rows.iter_mut().for_each(|row| drop(row.cells.remove(at)));
    }
    page.blank()?;
    Grid { columns, rows, parted: None }.draw(page)?;
    page.more(more, "site", " that changed")
}

/// Where something grew, in a sentence.
pub(crate) fn place(stack: &Stack) -> String {
    stack.shown().map_or_else(|| "a stack that was not captured".to_owned(), super::label::function)
}
