//! What changed on the heap, for people.

use std::io;

use super::{HeapDiff, HeapPlace, HeapTotals};
use crate::human::{bytes, count, counted, signed_bytes, signed_count};
use crate::layout::grid::{Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::growth::{draw, paint, told};

/// Sums.
pub(super) fn totals(totals: &HeapTotals, page: &mut Page<'_>) -> io::Result<()> {
    let (was, is) = (bytes(totals.old_live_bytes), bytes(totals.new_live_bytes));
    let (old, new) = (count(totals.old_live_objects), counted(totals.new_live_objects, "block"));
    let text = match totals.growth_bytes.zip(totals.growth_objects) {
        Some((grown, more)) => {
            format!(
                "Heap: {was} → {is} live ({}), {old} → {new} ({})",
                signed_bytes(grown),
                signed_count(more)
            )
        }
        None => format!("Heap: of what each window saw allocated, {was} and {is} were kept, {old} and {new}"),
    };
    page.sentences(Paint::Plain, &text)
}

/// The places that changed, and the stack of each that says most.
pub(super) fn table(heap: &HeapDiff, page: &mut Page<'_>) -> io::Result<()> {
    let changed = |place: &&HeapPlace| match heap.separate_windows {
        true => place.old_live_bytes > 0 || place.new_live_bytes > 0,
        false => (place.growth_bytes, place.growth_objects) != (Some(0), Some(0)),
    };
    let changed: Vec<_> = heap.places.iter().filter(changed).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let shown = &changed[..changed.len().min(page.style.top)];
    if heap.separate_windows {
        rates(shown, changed.len(), page)?;
    } else {
        growths(shown, changed.len(), page)?;
    }
    let grown = |place: &&&HeapPlace| match heap.separate_windows {
        true => place.new_live_bytes > 0,
        false => place.growth_bytes > Some(0) || place.growth_objects > Some(0),
    };
    for place in shown.iter().filter(grown) {
        let Some(site) = heap.most(place) else { continue };
        page.blank()?;
        let stacks = place.new_stacks.max(place.old_stacks);
        let of =
            if stacks > 1 { format!("; the largest of {}", counted(stacks, "stack")) } else { String::new() };
        let what = match place.growth_bytes.zip(place.growth_objects) {
            Some((grown, more)) => format!("{}, {} blocks", signed_bytes(grown), signed_count(more)),
            None => format!("{}/s", bytes(place.new_bytes_per_s.unwrap_or(0))),
        };
        page.title(Paint::Bold, place.rank, &format!("{what}{of}"))?;
        page.stack(&site.stack, 2, Paint::Plain)?;
    }
    Ok(())
}

fn growths(shown: &[&HeapPlace], changed: usize, page: &mut Page<'_>) -> io::Result<()> {
    let columns = vec![
        number("#", 0),
        number("growth", 0),
        number("objects", 1),
        number("was", 2),
        number("is", 0),
        text("", 1),
        text("place", 0),
    ];
    let row = |place: &&HeapPlace| {
        let grown = place.growth_bytes.unwrap_or(0);
        Row {
            cells: vec![
                place.rank.to_string(),
                signed_bytes(grown),
                signed_count(place.growth_objects.unwrap_or(0)),
                bytes(place.old_live_bytes),
                bytes(place.new_live_bytes),
                told(place.change).to_owned(),
                place.label.clone(),
            ],
            paint: paint(place.change, grown),
        }
    };
    draw(columns, shown.iter().map(row).collect(), changed, page)
}

/// Of two windows of one process: what was kept a second.
fn rates(shown: &[&HeapPlace], changed: usize, page: &mut Page<'_>) -> io::Result<()> {
    let columns = vec![
        number("#", 0),
        number("kept, old window", 1),
        number("kept, new window", 0),
        text("", 1),
        text("place", 0),
    ];
    let rate = |rate: Option<u64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{}/s", bytes(rate)));
    let row = |place: &&HeapPlace| Row {
        cells: vec![
            place.rank.to_string(),
            rate(place.old_bytes_per_s),
            rate(place.new_bytes_per_s),
            told(place.change).to_owned(),
            place.label.clone(),
        ],
        paint: Paint::Plain,
    };
    draw(columns, shown.iter().map(row).collect(), changed, page)
}
