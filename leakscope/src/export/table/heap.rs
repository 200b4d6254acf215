//! The sites that hold memory.

use std::io;

use super::grid::{Grid, Row, number, text};
use super::page::{Page, Paint, StackView};
use crate::human::{bytes, count, counted, duration, share};
use crate::report::model::{Heap, Site};

/// The column of the rate of allocation.
const RATE: usize = 4;

/// The sites that are shown.
fn shown<'a>(heap: &'a Heap, page: &Page<'_>) -> Vec<&'a Site> {
    heap.sites.iter().filter(|s| s.live_objects > 0).take(page.style.top).collect()
}

fn view(site: &Site) -> StackView<'_> {
    StackView { frames: &site.frames, blame: site.blame, end: site.stack_end.as_deref() }
}

/// The table of sites.
pub(super) fn table(heap: &Heap, window_ns: u64, page: &mut Page<'_>) -> io::Result<()> {
    let shown = shown(heap, page);
    if shown.is_empty() {
        return Ok(());
    }
    let seconds = (window_ns as f64 / 1e9).max(1e-9);
    let mut columns = vec![
        number("#", 0),
        number("live", 0),
        number("objects", 1),
        number("share", 2),
        number("allocated", 0),
        number("oldest", 2),
        text("site", 0),
    ];
    let rows = shown.iter().map(|site| Row {
        cells: vec![
            site.rank.to_string(),
            bytes(site.live_bytes),
            count(site.live_objects),
            share(site.live_bytes, heap.totals.live_bytes),
            format!("{}/s", bytes((site.alloc_bytes as f64 / seconds) as u64)),
            site.oldest_age_ns.map_or("-".into(), duration),
            view(site).blamed(),
        ],
        paint: Paint::Plain,
    });
    let mut rows: Vec<Row> = rows.collect();
    // The rate is the first to go where the terminal is narrow.
    if page.style.width < 100 {
        columns.remove(RATE);
        rows.iter_mut().for_each(|row| drop(row.cells.remove(RATE)));
    }
    page.blank()?;
    Grid { columns, rows, parted: None }.draw(page)?;
    let live = heap.sites.iter().filter(|s| s.live_objects > 0).count();
    if live > shown.len() {
        let more = counted((live - shown.len()) as u64, "site");
        page.line(Paint::Plain, &format!("and {more} more (--top, or --format json for all)"))?;
    }
    Ok(())
}

/// The stacks of the sites.
pub(super) fn stacks(heap: &Heap, page: &mut Page<'_>) -> io::Result<()> {
    for site in shown(heap, page) {
        page.blank()?;
        let blocks = counted(site.live_objects, "block");
        page.line(Paint::Bold, &format!("#{} {} in {blocks}", site.rank, bytes(site.live_bytes)))?;
        page.stack(view(site), 2, Paint::Plain)?;
    }
    Ok(())
}

/// Sums and how sure they are.
pub(super) fn totals(heap: &Heap, page: &mut Page<'_>) -> io::Result<()> {
    let totals = &heap.totals;
    page.line(
        Paint::Plain,
        &format!(
            "Heap: {} live of {} allocated ({}), {} freed, {} of older or unknown blocks",
            counted(totals.live_objects, "block"),
            count(totals.alloc_objects),
            bytes(totals.alloc_bytes),
            count(totals.free_objects),
            counted(totals.unknown_frees, "free"),
        ),
    )?;
    for source in &heap.sources {
        let exact = if source.exact { "exact" } else { "not exact" };
        page.line(Paint::Plain, &format!("Source {}: {exact}, {}", source.name, source.method))?;
    }
    Ok(())
}
