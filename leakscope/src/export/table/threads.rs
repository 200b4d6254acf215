//! Where threads were created.

use std::io;

use super::grid::{EXTRA, Grid, Row, number, text};
use super::page::{Page, Paint};
use crate::human::{count, counted, signed_count};
use crate::report::model::Threads;
use crate::section::label::name;

/// The table of creating stacks.
pub(super) fn table(threads: &Threads, page: &mut Page<'_>) -> io::Result<()> {
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
    let shown = &threads.sites[..threads.sites.len().min(page.style.top)];
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
    if threads.sites.len() > shown.len() {
        let more = counted((threads.sites.len() - shown.len()) as u64, "site");
        page.line(Paint::Plain, &format!("and {more} more (--top, or --format json for all)"))?;
    }
    Ok(())
}
