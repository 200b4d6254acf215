//! What changed between two reports: the answer, what makes them hard to compare, the sites that grew most.

use std::io::{self, Write};

use super::TableStyle;
use super::grid::{Column, Grid, Row, number, text};
use super::page::{Page, Paint};
use super::waits::kind;
use crate::diff::Diff;
use crate::diff::model::{
    Change, GoroutineSiteDiff, GoroutinesDiff, HeapDiff, Side, WaitSiteDiff, WaitsDiff,
};
use crate::human::{bytes, count, counted, duration, moment, signed_bytes, signed_count};
use crate::section::label::name;

/// Writes `diff`.
pub fn write(diff: &Diff, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page { style, out };
    header(diff, page)?;
    if let Some(all) = &diff.goroutines {
        goroutines(all, page)?;
    }
    if let Some(all) = &diff.heap {
        heap(all, page)?;
    }
    if let Some(all) = &diff.waits {
        waits(all, page)?;
    }
    Ok(())
}

fn side(name: &str, side: &Side, page: &mut Page<'_>) -> io::Result<()> {
    let when = match side.duration_ns {
        0 => "looked at".to_owned(),
        ns => format!("watched for {} from", duration(ns)),
    };
    let text = format!("{name}: {} (PID {}), {when} {}", side.comm, side.pid, moment(&side.started_at));
    page.sentences(Paint::Plain, &text)
}

fn header(diff: &Diff, page: &mut Page<'_>) -> io::Result<()> {
    side("old", &diff.old, page)?;
    side("new", &diff.new, page)?;
    page.blank()?;
    page.sentences(Paint::Bold, diff.summary.headline())?;
    for finding in diff.summary.texts() {
        page.sentences(Paint::Plain, finding)?;
    }
    for note in &diff.notes {
        page.paragraph(Paint::Warn, 0, 4, &format!("Note: {note}"))?;
    }
    page.blank()?;
    if let Some(memory) = &diff.memory {
        let (old, new) = (bytes(memory.old_rss_bytes), bytes(memory.new_rss_bytes));
        let text = format!("RSS {old} → {new} ({})", signed_bytes(memory.growth_bytes));
        page.sentences(Paint::Plain, &text)?;
    }
    if let Some(heap) = &diff.heap {
        let totals = &heap.totals;
        page.sentences(
            Paint::Plain,
            &format!(
                "Heap: {} → {} live ({}), {} → {} ({})",
                bytes(totals.old_live_bytes),
                bytes(totals.new_live_bytes),
                signed_bytes(totals.growth_bytes),
                count(totals.old_live_objects),
                counted(totals.new_live_objects, "block"),
                signed_count(totals.growth_objects)
            ),
        )?;
    }
    if let Some(all) = &diff.goroutines {
        let (old, new) = (count(all.old_total), count(all.new_total));
        page.sentences(Paint::Plain, &format!("Goroutines: {old} → {new} ({})", signed_count(all.growth)))?;
    }
    if let Some(waits) = &diff.waits {
        let (old, new) = (count(waits.old_blocked), counted(waits.new_blocked, "thread"));
        let (growth, stuck) = (signed_count(waits.growth_blocked), signed_count(waits.growth_stuck));
        page.sentences(Paint::Plain, &format!("Blocked: {old} → {new} ({growth}), not idle {stuck}"))?;
    }
    if let Some(threads) = &diff.threads {
        let (old, new) = (count(threads.old_alive), count(threads.new_alive));
        page.sentences(Paint::Plain, &format!("Threads: {old} → {new} ({})", signed_count(threads.growth)))?;
    }
    Ok(())
}

/// How a change is told in a table.
fn told(change: Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Gone => "gone",
        Change::Grown | Change::Same | Change::Shrunk => "",
    }
}

fn paint(change: Change, growth: i64) -> Paint {
    match change {
        Change::Gone => Paint::Dim,
        _ if growth < 0 => Paint::Dim,
        _ => Paint::Plain,
    }
}

/// Draws a grid, and tells how much is not in it.
fn draw(mut columns: Vec<Column>, mut rows: Vec<Row>, changed: usize, page: &mut Page<'_>) -> io::Result<()> {
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
    if more > 0 {
        let more = counted(more as u64, "site");
        page.line(Paint::Plain, &format!("and {more} more that changed (--top, or --format json for all)"))?;
    }
    Ok(())
}

fn heap(heap: &HeapDiff, page: &mut Page<'_>) -> io::Result<()> {
    let changed: Vec<_> =
        heap.sites.iter().filter(|site| (site.growth_bytes, site.growth_objects) != (0, 0)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let shown = &changed[..changed.len().min(page.style.top)];
    let columns = vec![
        number("#", 0),
        number("growth", 0),
        number("objects", 1),
        number("was", 2),
        number("is", 0),
        text("", 1),
        text("site", 0),
    ];
    let rows = shown.iter().map(|site| Row {
        cells: vec![
            site.rank.to_string(),
            signed_bytes(site.growth_bytes),
            signed_count(site.growth_objects),
            bytes(site.old_live_bytes),
            bytes(site.new_live_bytes),
            told(site.change).to_owned(),
            site.stack.told(name),
        ],
        paint: paint(site.change, site.growth_bytes),
    });
    draw(columns, rows.collect(), changed.len(), page)?;
    for site in shown.iter().filter(|site| site.growth_bytes > 0 || site.growth_objects > 0) {
        page.blank()?;
        let (growth, objects) = (signed_bytes(site.growth_bytes), signed_count(site.growth_objects));
        page.line(Paint::Bold, &format!("#{} {growth}, {objects} blocks", site.rank))?;
        page.stack(&site.stack, 2, Paint::Plain)?;
    }
    Ok(())
}

fn goroutines(all: &GoroutinesDiff, page: &mut Page<'_>) -> io::Result<()> {
    let changed: Vec<&GoroutineSiteDiff> =
        all.sites.iter().filter(|site| site.growth != 0 && !site.system).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let shown = &changed[..changed.len().min(page.style.top)];
    let state = |site: &GoroutineSiteDiff| site.wait_reason.as_ref().unwrap_or(&site.state).clone();
    let columns = vec![
        number("#", 0),
        number("growth", 0),
        number("was", 2),
        number("is", 0),
        text("", 1),
        text("state", 1),
        text("goroutines at", 0),
    ];
    let rows = shown.iter().map(|site| Row {
        cells: vec![
            site.rank.to_string(),
            signed_count(site.growth),
            count(site.old_count),
            count(site.new_count),
            told(site.change).to_owned(),
            state(site),
            site.stack.told(name),
        ],
        paint: paint(site.change, site.growth),
    });
    draw(columns, rows.collect(), changed.len(), page)?;
    for site in shown.iter().filter(|site| site.growth > 0) {
        page.blank()?;
        let idle = if site.idle { " (idle)" } else { "" };
        let growth = signed_count(site.growth);
        page.line(Paint::Bold, &format!("#{} {}{idle}: {growth} goroutines", site.rank, state(site)))?;
        page.stack(&site.stack, 2, Paint::Plain)?;
        if let Some(creator) = &site.created_by {
            page.line(Paint::Plain, &format!("  created by {}", name(creator)))?;
        }
    }
    Ok(())
}

fn waits(all: &WaitsDiff, page: &mut Page<'_>) -> io::Result<()> {
    let changed: Vec<&WaitSiteDiff> = all.sites.iter().filter(|site| site.growth_blocked != 0).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let shown = &changed[..changed.len().min(page.style.top)];
    let columns = vec![
        number("#", 0),
        number("growth", 0),
        number("was", 2),
        number("is", 0),
        number("longest", 2),
        text("", 1),
        text("for", 1),
        text("blocked at", 0),
    ];
    let rows = shown.iter().map(|site| Row {
        cells: vec![
            site.rank.to_string(),
            signed_count(site.growth_blocked),
            count(site.old_blocked),
            count(site.new_blocked),
            site.longest_blocked_ns.map_or("-".to_owned(), duration),
            told(site.change).to_owned(),
            format!("{}{}", kind(site.kind), if site.idle { " (idle)" } else { "" }),
            site.stack.told(name),
        ],
        paint: if site.idle { Paint::Dim } else { paint(site.change, site.growth_blocked) },
    });
    draw(columns, rows.collect(), changed.len(), page)?;
    for site in shown.iter().filter(|site| site.growth_blocked > 0 && !site.idle) {
        page.blank()?;
        let growth = signed_count(site.growth_blocked);
        page.line(Paint::Bold, &format!("#{} {}: {growth} threads", site.rank, kind(site.kind)))?;
        page.stack(&site.stack, 2, Paint::Plain)?;
    }
    Ok(())
}
