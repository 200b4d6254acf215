//! The sites that hold memory.

use std::io;

use super::wrappers::told;
use crate::human::{bytes, count, counted, cut, duration, share};
use crate::layout::grid::{Grid, Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::label::name;
use crate::section::model::{Heap, Site, Totals};

/// The column of the rate of allocation.
const RATE: usize = 4;
/// Sizes of Go's objects that are told.
const MOST_CLASSES: usize = 4;

/// The sites that are shown.
fn shown<'a>(heap: &'a Heap, page: &Page<'_>) -> Vec<&'a Site> {
    heap.sites.iter().filter(|s| s.live_objects > 0).take(page.style.top).collect()
}

/// The table of sites.
pub(crate) fn table(heap: &Heap, window_ns: u64, page: &mut Page<'_>) -> io::Result<()> {
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
    ];
    let several = heap.sources.len() > 1;
    if several {
        columns.push(text("source", 1));
    }
    columns.push(text("site", 0));
    let rows = shown.iter().map(|site| {
        let estimate = if site.live_bytes_low.is_some() { "~" } else { "" };
        // What Go's runtime counts did not begin with the window.
        let rate = match site.source.as_str() {
            "go" => "-".to_owned(),
            _ => format!("{}/s", bytes((site.alloc_bytes as f64 / seconds) as u64)),
        };
        let mut cells = vec![
            site.rank.to_string(),
            format!("{estimate}{}", bytes(site.live_bytes)),
            count(site.live_objects),
            share(site.live_bytes, heap.totals.live_bytes),
            rate,
            site.oldest_age_ns.map_or("-".into(), duration),
        ];
        if several {
            cells.push(cut(&site.source, 8));
        }
        cells.push(site.stack.told(name));
        Row { cells, paint: Paint::Plain }
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
    page.more(live - shown.len(), "site", "")
}

/// The stacks of the sites.
pub(crate) fn stacks(heap: &Heap, page: &mut Page<'_>) -> io::Result<()> {
    for site in shown(heap, page) {
        page.blank()?;
        let go = site.source == "go";
        let blocks = counted(site.live_objects, if go { "Go object" } else { "block" });
        let interval = site.live_bytes_low.zip(site.live_bytes_high);
        let interval = interval.map(|(low, high)| format!(", between {} and {}", bytes(low), bytes(high)));
        let samples = site.samples.map(|n| format!(" ({})", counted(n, "sample")));
        let estimate = format!("{}{}", interval.unwrap_or_default(), samples.unwrap_or_default());
        let title = format!("#{} {} in {blocks}{estimate}", site.rank, bytes(site.live_bytes));
        page.line(Paint::Bold, &title)?;
        page.stack(&site.stack, 2, Paint::Plain)?;
    }
    Ok(())
}

/// Sums and how sure they are.
pub(crate) fn totals(heap: &Heap, page: &mut Page<'_>) -> io::Result<()> {
    let totals = &heap.totals;
    let only_go = heap.sources.iter().all(|source| source.name == "go") && !heap.sources.is_empty();
    if !only_go {
        page.sentences(Paint::Plain, &traced(totals))?;
    }
    for source in &heap.sources {
        let exact = if source.exact { "exact" } else { "not exact" };
        let error = source.error_bytes.filter(|n| *n > 0);
        let error = error.map(|n| format!(" (± {})", bytes(n))).unwrap_or_default();
        page.sentences(Paint::Plain, &format!("Source {}: {exact}{error}, {}", source.name, source.method))?;
    }
    if let Some(told) = told(&heap.wrappers) {
        page.sentences(Paint::Plain, &told)?;
    }
    go(heap, page)
}

fn traced(totals: &Totals) -> String {
    format!(
        "Heap: {} live of {} allocated ({}), {} freed, {} of older or unknown blocks",
        counted(totals.live_objects, "block"),
        count(totals.alloc_objects),
        bytes(totals.alloc_bytes),
        count(totals.free_objects),
        counted(totals.unknown_frees, "free"),
    )
}

/// What a Go program's heap holds by size, and how far the sites explain it.
fn go(heap: &Heap, page: &mut Page<'_>) -> io::Result<()> {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(heap.go_in_use_bytes.map(|n| format!("{} in use", bytes(n))));
    parts.extend(heap.go_agreement.clone());
    if !parts.is_empty() {
        page.sentences(Paint::Plain, &format!("Go heap: {}", parts.join("; ")))?;
    }
    let Some(classes) = heap.go_size_classes.as_deref().filter(|classes| !classes.is_empty()) else {
        return Ok(());
    };
    let told = classes.iter().take(MOST_CLASSES).map(|class| {
        let size = class.size_bytes.map_or("large".to_owned(), |n| format!("{n}-byte"));
        let pointers = if class.scan { "" } else { " without pointers" };
        format!("{} in {} {size} objects{pointers}", bytes(class.bytes), count(class.objects))
    });
    let told = told.collect::<Vec<_>>().join(", ");
    let more = if classes.len() > MOST_CLASSES { ", …" } else { "" };
    page.sentences(Paint::Plain, &format!("Go heap by size: {told}{more}"))
}
