//! Where goroutines waited, and who released the locks that they waited for.

use std::io;

use super::model::GoroutineWaits;
use crate::human::{count, counted, duration};
use crate::layout::grid::{EXTRA, Grid, Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::label::name;

/// A number with how far it can be off.
pub(super) fn with_error(value: u64, error: Option<u64>, tell: fn(u64) -> String) -> String {
    match error {
        Some(0) => tell(value),
        Some(error) => format!("{} ± {}", tell(value), tell(error)),
        None => format!("about {}", tell(value)),
    }
}

/// The sums, and how sure they are.
pub(crate) fn totals(all: &GoroutineWaits, page: &mut Page<'_>) -> io::Result<()> {
    let waits = match all.waits_error {
        Some(0) => counted(all.waits, "wait"),
        error => format!("{} waits", with_error(all.waits, error, count)),
    };
    let time = with_error(all.wait_ns, all.wait_ns_error, duration);
    page.sentences(Paint::Plain, &format!("Waits of goroutines that ended: {waits}, {time} in all"))?;
    let exact = if all.exact { "exact" } else { "not exact" };
    page.sentences(Paint::Plain, &format!("Their numbers: {exact}, {}", all.method))?;
    if all.long_waits > 0 {
        let waits = counted(all.long_waits, "wait");
        let told = format!("Left out: {waits} in windows that took most of one or all of it");
        page.sentences(Paint::Plain, &told)?;
    }
    Ok(())
}

/// The table of who waited.
pub(crate) fn waits(all: &GoroutineWaits, page: &mut Page<'_>) -> io::Result<()> {
    if all.sites.is_empty() {
        return Ok(());
    }
    let waiting = all.sites.iter().any(|site| site.waiting.is_some());
    let mut columns = vec![number("#", 1), number("waited", 0), number("waits", 0), number("max", EXTRA + 1)];
    if waiting {
        columns.push(number("waiting now", EXTRA));
    }
    columns.extend([text("for", 2), text("goroutines waited at", 0)]);
    let shown = page.style.shown(&all.sites);
    let rows = shown.iter().map(|site| {
        let mut cells = vec![
            site.rank.to_string(),
            with_error(site.wait_ns, site.wait_ns_error, duration),
            with_error(site.waits, site.waits_error, count),
            duration(site.max_wait_ns),
        ];
        if waiting {
            cells.push(site.waiting.map_or("-".to_owned(), count));
        }
        cells.extend([site.kind.shown().to_owned(), site.stack.told(name)]);
        Row { cells, paint: Paint::Plain }
    });
    let rows = rows.collect();
    page.blank()?;
    Grid { columns, rows, parted: None }.draw(page)?;
    page.more(all.sites.len() - shown.len(), "site", "")
}

/// The table of who released locks.
pub(crate) fn releases(all: &GoroutineWaits, page: &mut Page<'_>) -> io::Result<()> {
    if all.releases.is_empty() {
        return Ok(());
    }
    let columns = vec![
        number("#", 1),
        number("others waited", 0),
        number("contentions", EXTRA),
        text("lock released at", 0),
    ];
    let shown = page.style.shown(&all.releases);
    let rows = shown.iter().map(|release| {
        let cells = vec![
            release.rank.to_string(),
            with_error(release.wait_ns, release.wait_ns_error, duration),
            with_error(release.contentions, release.contentions_error, count),
            release.stack.told(name),
        ];
        Row { cells, paint: Paint::Plain }
    });
    let rows = rows.collect();
    page.blank()?;
    Grid { columns, rows, parted: None }.draw(page)?;
    page.more(all.releases.len() - shown.len(), "site", "")
}
