//! The sites that hold memory.

use std::io;

use super::answer::lost;
use super::callers::Caller;
use super::place::{Place, stacks_of};
use super::words::Lost;
use super::wrappers::told;
use crate::human::{bytes, count, counted, cut, duration, share};
use crate::layout::grid::{Grid, Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::label::name;
use crate::section::model::{Heap, Site, Totals};
use crate::section::site::StackSite as _;

/// The column of the rate of allocation.
const RATE: usize = 4;
/// Sizes of Go's objects that are told.
const MOST_CLASSES: usize = 4;

/// Stacks of a place that are shown, if each has at least a part of it.
const STACKS: usize = 3;
/// That part: one in so many.
const WORTH_SHOWING: u64 = 5;

/// What a row tells: of a place, or of a stack.
struct Line<'a> {
    rank: u64,
    live_bytes: u64,
    live_objects: u64,
    alloc_bytes: u64,
    oldest_age_ns: Option<u64>,
    estimate: bool,
    source: &'a str,
    /// Distinct stacks.
    stacks: u64,
    label: String,
}

impl<'a> Line<'a> {
    fn of_place(place: &'a Place) -> Self {
        Self {
            rank: place.rank,
            live_bytes: place.live_bytes,
            live_objects: place.live_objects,
            alloc_bytes: place.alloc_bytes,
            oldest_age_ns: place.oldest_age_ns,
            estimate: place.samples.is_some(),
            source: &place.source,
            stacks: place.stacks,
            label: place.stack().told(name),
        }
    }

    fn of_site(site: &'a Site) -> Self {
        Self {
            rank: site.rank,
            live_bytes: site.live_bytes,
            live_objects: site.live_objects,
            alloc_bytes: site.alloc_bytes,
            oldest_age_ns: site.oldest_age_ns,
            estimate: site.live_bytes_low.is_some(),
            source: &site.source,
            stacks: 1,
            label: site.stack.told(name),
        }
    }
}

/// The rows that there are: places, or stacks where these are asked for. And how many are not shown.
fn lines<'a>(heap: &'a Heap, page: &Page<'_>) -> (Vec<Line<'a>>, usize) {
    let most = page.style.top;
    let live = |n: usize| n.saturating_sub(most);
    if page.style.stacks {
        let all = || heap.sites.iter().filter(|site| site.live_objects > 0);
        return (all().take(most).map(Line::of_site).collect(), live(all().count()));
    }
    let all = || heap.places.iter().filter(|place| place.live_objects > 0);
    (all().take(most).map(Line::of_place).collect(), live(all().count()))
}

/// The table of sites.
pub(crate) fn table(heap: &Heap, window_ns: u64, page: &mut Page<'_>) -> io::Result<()> {
    let (shown, hidden) = lines(heap, page);
    if shown.is_empty() {
        return Ok(());
    }
    callers(heap, page)?;
    // Of a part that is not known no share is exact.
    let about = if lost(heap) == Lost::default() { "" } else { "~" };
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
    let of_several = shown.iter().any(|line| line.stacks > 1);
    if of_several {
        columns.push(number("stacks", 1));
    }
    columns.push(text(if page.style.stacks { "stack" } else { "place" }, 0));
    let rows = shown.iter().map(|site| {
        let estimate = if site.estimate { "~" } else { "" };
        // What Go's runtime counts did not begin with the window.
        let rate = match site.source {
            "go" => "-".to_owned(),
            _ => format!("{}/s", bytes((site.alloc_bytes as f64 / seconds) as u64)),
        };
        let mut cells = vec![
            site.rank.to_string(),
            format!("{estimate}{}", bytes(site.live_bytes)),
            count(site.live_objects),
            format!("{about}{}", share(site.live_bytes, heap.totals.live_bytes)),
            rate,
            site.oldest_age_ns.map_or("-".into(), duration),
        ];
        if several {
            cells.push(cut(site.source, 8));
        }
        if of_several {
            cells.push(count(site.stacks));
        }
        cells.push(site.label.clone());
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
    page.more(hidden, if page.style.stacks { "stack" } else { "place" }, "")
}

/// The callers below which most was allocated, where no place says much.
fn callers(heap: &Heap, page: &mut Page<'_>) -> io::Result<()> {
    if heap.callers.is_empty() {
        return Ok(());
    }
    page.blank()?;
    page.line(Paint::Bold, "No place has a notable part; of what is live, this was allocated below:")?;
    let columns = vec![number("live", 0), number("objects", 1), number("share", 2), text("caller", 0)];
    let row = |caller: &Caller| Row {
        cells: vec![
            bytes(caller.live_bytes),
            count(caller.live_objects),
            share(caller.live_bytes, heap.totals.live_bytes),
            caller.label.clone(),
        ],
        paint: Paint::Plain,
    };
    Grid { columns, rows: heap.callers.iter().map(row).collect(), parted: None }.draw(page)
}

/// The stacks of what is shown.
pub(crate) fn stacks(heap: &Heap, page: &mut Page<'_>) -> io::Result<()> {
    let most = page.style.top;
    if page.style.stacks {
        for site in heap.sites.iter().filter(|site| site.live_objects > 0).take(most) {
            page.blank()?;
            page.line(Paint::Bold, &format!("#{} {}", site.rank, held(site)))?;
            page.stack(&site.stack, 2, Paint::Plain)?;
        }
        return Ok(());
    }
    let mut stacks = stacks_of(heap);
    for place in heap.places.iter().filter(|place| place.live_objects > 0).take(most) {
        let sites = stacks.remove(&place.rank).unwrap_or_default();
        page.blank()?;
        if let [only] = sites[..] {
            page.line(Paint::Bold, &format!("#{} {}", place.rank, held(only)))?;
            page.stack(&only.stack, 2, Paint::Plain)?;
            continue;
        }
        stacks_of_place(place, &sites, page)?;
    }
    Ok(())
}

/// The largest stacks of a place that has several.
fn stacks_of_place(place: &Place, sites: &[&Site], page: &mut Page<'_>) -> io::Result<()> {
    let blocks = blocks(&place.source, place.live_objects);
    let all = counted(sites.len() as u64, "stack");
    let title = format!("#{} {} in {blocks}, {all}", place.rank, bytes(place.live_bytes));
    page.line(Paint::Bold, &title)?;
    let worth = |site: &&&Site| site.live_bytes.saturating_mul(WORTH_SHOWING) >= place.live_bytes;
    let shown = sites.iter().take(STACKS).take_while(worth).count().max(1);
    for site in sites.iter().take(shown) {
        page.line(Paint::Plain, &format!("  {}", held(site)))?;
        page.stack(&site.stack, 2, Paint::Plain)?;
    }
    let hidden = sites.get(shown..).unwrap_or_default();
    if hidden.is_empty() {
        return Ok(());
    }
    let rest = hidden.iter().map(|site| site.live_bytes).fold(0, u64::saturating_add);
    let more = counted(hidden.len() as u64, "more stack");
    page.line(Paint::Dim, &format!("  … {} in {more} (--by stack)", bytes(rest)))
}

fn blocks(source: &str, objects: u64) -> String {
    counted(objects, if source == super::GO { "Go object" } else { "block" })
}

/// What a stack holds, and how sure that is.
fn held(site: &Site) -> String {
    let interval = site.live_bytes_low.zip(site.live_bytes_high);
    let interval = interval.map(|(low, high)| format!(", between {} and {}", bytes(low), bytes(high)));
    let samples = site.samples.map(|n| format!(" ({})", counted(n, "sample")));
    let estimate = format!("{}{}", interval.unwrap_or_default(), samples.unwrap_or_default());
    format!("{} in {}{estimate}", bytes(site.live_bytes), blocks(&site.source, site.live_objects))
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
    let older = match totals.older_blocks {
        0 => String::new(),
        n => format!(", {} reallocated ({})", counted(n, "older block"), bytes(totals.older_bytes)),
    };
    format!(
        "Heap: {} live of {} allocated ({}), {} freed, {} of older or unknown blocks{older}",
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
