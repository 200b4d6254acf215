//! Who ended the waits, and the longest single ones.

use std::io;

use crate::human::{count, duration};
use crate::layout::grid::{EXTRA, Grid, Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::label::name;
use crate::section::model::{Waits, Waker, WakerKind};

/// Long waits that are shown.
const MOST_LONG: usize = 5;
/// Sites of a waker that are shown.
const MOST_SITES: usize = 3;

/// The table of wakers.
pub(crate) fn table(waits: &Waits, page: &mut Page<'_>) -> io::Result<()> {
    if waits.wakers.is_empty() {
        return Ok(());
    }
    let columns = vec![
        number("#", 2),
        number("wait ended", 0),
        number("idle part", EXTRA),
        number("wakes", 1),
        text("at", EXTRA + 1),
        text("ended by", 0),
    ];
    let shown = page.style.shown(&waits.wakers);
    let rows = shown.iter().map(|waker| {
        let ended = waker.wait_ns.saturating_sub(waker.idle_wait_ns);
        let cells = vec![
            waker.rank.to_string(),
            if ended == 0 { "-".to_owned() } else { duration(ended) },
            if waker.idle_wait_ns == 0 { "-".to_owned() } else { duration(waker.idle_wait_ns) },
            count(waker.wakes),
            ranks(waits, waker),
            by(waker),
        ];
        Row { cells, paint: if ended == 0 { Paint::Dim } else { Paint::Plain } }
    });
    let rows = rows.collect();
    // The order is that of the wait time that was not idle.
    let parted = shown.iter().position(|w| w.wait_ns <= w.idle_wait_ns).map(|at| (at, "idle waits only"));
    page.blank()?;
    page.line(Paint::Bold, "Who ended waits")?;
    Grid { columns, rows, parted }.draw(page)?;
    page.more(waits.wakers.len() - shown.len(), "waker", "")
}

/// The ranks of the sites whose waits it ended.
fn ranks(waits: &Waits, waker: &Waker) -> String {
    let rank = |id: &String| waits.sites.iter().find(|s| s.site_id == *id).map(|s| format!("#{}", s.rank));
    let mut ranks: Vec<String> = waker.sites.iter().filter_map(rank).take(MOST_SITES + 1).collect();
    if let Some(last) = ranks.get_mut(MOST_SITES) {
        *last = "…".to_owned();
    }
    ranks.join(" ")
}

fn by(waker: &Waker) -> String {
    match (waker.by, &waker.comm) {
        (WakerKind::Thread, _) => waker.stack.told(name),
        (WakerKind::OtherProcess, Some(comm)) => format!("another process: {comm}"),
        (WakerKind::OtherProcess, None) => "another process".to_owned(),
        (WakerKind::TimerOrInterrupt, _) => "timer or interrupt".to_owned(),
    }
}

/// The table of single waits.
pub(crate) fn long(waits: &Waits, page: &mut Page<'_>) -> io::Result<()> {
    if waits.long_waits.is_empty() {
        return Ok(());
    }
    let columns = vec![number("thread", 0), number("began after", 1), number("took", 0), text("at", 0)];
    let shown = waits.long_waits.iter().take(MOST_LONG.min(page.style.top.max(1)));
    let rows = shown.map(|wait| {
        let site = waits.sites.iter().find(|s| s.site_id == wait.site_id);
        let place = site.map_or("-".to_owned(), |s| format!("#{} {}", s.rank, s.stack.told(name)));
        let cells = vec![wait.tid.to_string(), duration(wait.start_ns), duration(wait.wait_ns), place];
        Row { cells, paint: Paint::Plain }
    });
    let rows = rows.collect();
    page.blank()?;
    page.line(Paint::Bold, "The longest single waits that ended")?;
    Grid { columns, rows, parted: None }.draw(page)
}
