//! Where threads were created.

use std::io;

use crate::human::{count, signed_count};
use crate::layout::grid::{EXTRA, Grid, Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::label::name;
use crate::section::model::Threads;

/// How many came and went; `counted` tells whether it was said how many there are.
pub(crate) fn totals(threads: &Threads, counted: bool, page: &mut Page<'_>) -> io::Result<()> {
    let alive = threads.alive.filter(|_| !counted);
    let alive = alive.map(|n| format!(", {} alive", count(n))).unwrap_or_default();
    let (began, ended) = (count(threads.created), count(threads.exited));
    page.sentences(Paint::Plain, &format!("Threads: {began} began, {ended} ended{alive}"))
}

/// The table of creating stacks.
pub(crate) fn table(threads: &Threads, page: &mut Page<'_>) -> io::Result<()> {
    if threads.sites.is_empty() {
        return Ok(());
    }
    let columns = vec![
        number("#", 1),
        number("created", EXTRA),
        number("exited", EXTRA + 1),
        number("alive", 0),
        number("growth", 2),
        text("threads created by", 0),
    ];
    let shown = page.style.shown(&threads.sites);
    let rows = shown.iter().map(|site| {
        let cells = vec![
            site.rank.to_string(),
            count(site.created),
            count(site.exited),
            count(site.alive),
            signed_count(site.growth),
            site.stack.told(name),
        ];
        Row { cells, paint: if site.alive == 0 { Paint::Dim } else { Paint::Plain } }
    });
    let rows = rows.collect();
    page.blank()?;
    Grid { columns, rows, parted: None }.draw(page)?;
    page.more(threads.sites.len() - shown.len(), "site", "")
}
