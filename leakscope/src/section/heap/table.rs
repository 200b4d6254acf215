//! The sites that hold memory.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;

use super::answer::lost;
use super::callers::Caller;
use super::place::{Place, stacks_of};
use super::words::Lost;
use super::wrappers::told;
use super::{GO, MALLOC};
use crate::human::{bytes, count, counted, cut, duration, share, signed_bytes};
use crate::layout::grid::{Column, Grid, Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::frame::Frame;
use crate::section::group::add;
use crate::section::label::name;
use crate::section::model::{Heap, Site, Stack, StackEnd};
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
    growth_bytes: i64,
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
            growth_bytes: place.growth_bytes,
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
            growth_bytes: site.growth_bytes,
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

/// Columns that are there where they tell something.
#[derive(Clone, Copy)]
struct Told {
    source: bool,
    growth: bool,
    stacks: bool,
}

impl Told {
    fn of(heap: &Heap, lines: &[Line<'_>]) -> Self {
        // Of a single report all that is live has grown.
        let all_grew = |line: &Line<'_>| i128::from(line.growth_bytes) == i128::from(line.live_bytes);
        Self {
            source: heap.sources.len() > 1,
            growth: lines.iter().any(|line| line.growth_bytes != 0) && !lines.iter().all(all_grew),
            stacks: lines.iter().any(|line| line.stacks > 1),
        }
    }

    fn columns(self, called: &'static str) -> Vec<Column> {
        let mut columns = vec![
            number("#", 0),
            number("live", 0),
            number("objects", 1),
            number(if self.source { "of source" } else { "share" }, 2),
            number("allocated", 0),
            number("oldest", 2),
        ];
        columns.extend(self.source.then(|| text("source", 1)));
        columns.extend(self.growth.then(|| number("growth", 1)));
        columns.extend(self.stacks.then(|| number("stacks", 1)));
        columns.push(text(called, 0));
        columns
    }
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
    let told = Told::of(heap, &shown);
    // Estimates and exact counts are no parts of one whole.
    let live = heap.live_of();
    let called = if page.style.stacks { "stack" } else { "place" };
    let mut columns = told.columns(called);
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
            format!("{about}{}", share(site.live_bytes, live(site.source))),
            rate,
            site.oldest_age_ns.map_or("-".into(), duration),
        ];
        cells.extend(told.source.then(|| cut(site.source, 8)));
        cells.extend(told.growth.then(|| signed_bytes(site.growth_bytes)));
        cells.extend(told.stacks.then(|| count(site.stacks)));
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
    page.more(hidden, called, "")
}

/// The callers below which most was allocated, where no place says much.
fn callers(heap: &Heap, page: &mut Page<'_>) -> io::Result<()> {
    if heap.callers.is_empty() {
        return Ok(());
    }
    page.blank()?;
    page.line(Paint::Bold, "No place has three tenths of what is live; this was allocated below:")?;
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
            if page.titled(site.rank, &held(site))? {
                page.stack(&site.stack, 2, Paint::Plain)?;
            }
        }
        return Ok(());
    }
    let mut stacks = stacks_of(heap);
    for place in heap.places.iter().filter(|place| place.live_objects > 0).take(most) {
        let sites = stacks.remove(&place.rank).unwrap_or_default();
        if let [only] = sites[..] {
            if page.titled(place.rank, &held(only))? {
                page.stack(&only.stack, 2, Paint::Plain)?;
            }
            continue;
        }
        stacks_of_place(place, &sites, page)?;
    }
    Ok(())
}

/// Stacks that look alike: they differ in addresses within lines alone.
struct Alike<'a> {
    first: &'a Site,
    stacks: u64,
    live_bytes: u64,
    live_objects: u64,
}

/// Adds up stacks that look alike, in their order.
fn alike<'a>(sites: &[&'a Site]) -> Vec<Alike<'a>> {
    let mut known: HashMap<AllLooks<'a>, usize> = HashMap::new();
    let mut all: Vec<Alike<'a>> = Vec::new();
    for site in sites {
        let Stack { frames, end, created_by, .. } = &site.stack;
        let frames = frames.iter().map(|frame| looks(frame)).collect();
        let key = (frames, end.as_ref(), created_by.as_deref().map(looks));
        let at = *known.entry(key).or_insert(all.len());
        if at == all.len() {
            all.push(Alike { first: site, stacks: 0, live_bytes: 0, live_objects: 0 });
        }
        all[at].stacks += 1;
        add(&mut all[at].live_bytes, site.live_bytes);
        add(&mut all[at].live_objects, site.live_objects);
    }
    all.sort_by_key(|one| Reverse(one.live_bytes));
    all
}

/// What a line shows of a frame.
type Looks<'a> = (Option<&'a str>, Option<&'a str>, Option<u32>, bool, Option<u64>);

/// What is shown of a stack: its frames, why it ends, and what created its goroutine.
type AllLooks<'a> = (Vec<Looks<'a>>, Option<&'a StackEnd>, Option<Looks<'a>>);

fn looks(frame: &Frame) -> Looks<'_> {
    let line = frame.line.filter(|_| frame.function.is_some() && frame.file.is_some());
    let offset = if line.is_none() { frame.offset.map(|offset| offset.0) } else { None };
    let file = if line.is_some() { frame.file.as_deref() } else { frame.module.as_deref() };
    (frame.function.as_deref(), file, line, frame.inlined, offset)
}

/// The largest stacks of a place that has several.
fn stacks_of_place(place: &Place, sites: &[&Site], page: &mut Page<'_>) -> io::Result<()> {
    let blocks = blocks(&place.source, place.live_objects);
    let all = counted(sites.len() as u64, "stack");
    if !page.titled(place.rank, &format!("{} in {blocks}, {all}", bytes(place.live_bytes)))? {
        return Ok(());
    }
    let sites = alike(sites);
    let worth = |one: &&Alike<'_>| one.live_bytes.saturating_mul(WORTH_SHOWING) >= place.live_bytes;
    let shown = sites.iter().take(STACKS).take_while(worth).count().max(1);
    for one in sites.iter().take(shown) {
        page.line(Paint::Plain, &format!("  {}", held_alike(one)))?;
        page.stack(&one.first.stack, 2, Paint::Plain)?;
    }
    let hidden = sites.get(shown..).unwrap_or_default();
    if hidden.is_empty() {
        return Ok(());
    }
    let sum = |of: fn(&Alike<'_>) -> u64| hidden.iter().map(of).fold(0, u64::saturating_add);
    let (rest, more) = (sum(|one| one.live_bytes), counted(sum(|one| one.stacks), "more stack"));
    page.line(Paint::Dim, &format!("  … {} in {more} (--by stack)", bytes(rest)))
}

/// What stacks that look alike hold together.
fn held_alike(one: &Alike<'_>) -> String {
    if one.stacks == 1 {
        return held(one.first);
    }
    let blocks = blocks(&one.first.source, one.live_objects);
    let stacks = counted(one.stacks, "stack");
    format!("{} in {blocks}, {stacks} that differ in addresses alone", bytes(one.live_bytes))
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
    let by = site.goroutine.map(|number| format!(", all by goroutine {number}")).unwrap_or_default();
    format!("{} in {}{estimate}{by}", bytes(site.live_bytes), blocks(&site.source, site.live_objects))
}

/// Sums and how sure they are.
pub(crate) fn totals(heap: &Heap, page: &mut Page<'_>) -> io::Result<()> {
    let only_go = heap.sources.iter().all(|source| source.name == "go") && !heap.sources.is_empty();
    if !only_go {
        page.sentences(Paint::Plain, &traced(heap))?;
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

fn traced(heap: &Heap) -> String {
    let sums = heap.sums(MALLOC);
    // Both sources are in the sum.
    let go = heap.sums(GO);
    let freed = heap.totals.free_objects.saturating_sub(go.alloc_objects.saturating_sub(go.live_objects));
    let older = match heap.totals.older_blocks {
        0 => String::new(),
        n => format!(
            ", {} reallocated (at least {})",
            counted(n, "older block"),
            bytes(heap.totals.older_bytes)
        ),
    };
    format!(
        "{}: {} live of {} allocated ({}), {} freed, {} of older or unknown blocks{older}",
        if heap.has(GO) { "Heap of C code" } else { "Heap" },
        counted(sums.live_objects, "block"),
        count(sums.alloc_objects),
        bytes(sums.alloc_bytes),
        count(freed),
        counted(heap.totals.unknown_frees, "free"),
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
        let pointers = if class.scan { "" } else { " without pointers" };
        let objects = match class.size_bytes {
            Some(size) => format!("{} of {} B", counted(class.objects, "object"), count(size)),
            None => counted(class.objects, "large object"),
        };
        format!("{} in {objects}{pointers}", bytes(class.bytes))
    });
    let told = told.collect::<Vec<_>>().join(", ");
    let more = if classes.len() > MOST_CLASSES { ", …" } else { "" };
    page.sentences(Paint::Plain, &format!("Go heap by size: {told}{more}"))
}
