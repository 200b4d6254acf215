//! The sentence that answers "what holds the memory?".

use super::model::{Heap, Memory, Site};
use crate::human::{bytes, counted, cut, share};

/// The headline for a heap account.
pub fn heap(heap: &Heap, untraced: Option<&str>) -> String {
    let totals = &heap.totals;
    if let Some(reason) = untraced {
        return reason.to_owned();
    }
    if totals.live_objects == 0 {
        return if totals.alloc_objects == 0 {
            "Nothing was allocated while leakscope watched.".to_owned()
        } else {
            format!(
                "Nothing is left of {} allocated while leakscope watched.",
                counted(totals.alloc_objects, "block")
            )
        };
    }
    let held = format!(
        "{} in {} allocated while leakscope watched {} still live",
        bytes(totals.live_bytes),
        counted(totals.live_objects, "block"),
        if totals.live_objects == 1 { "is" } else { "are" }
    );
    let most = heap.sites.iter().max_by_key(|s| s.live_bytes);
    match most.and_then(|site| Some((site, place(site)?))) {
        Some((site, place)) => {
            format!("{held}; {} of that from {place}.", share(site.live_bytes, totals.live_bytes))
        }
        None => format!("{held}."),
    }
}

/// Characters of a function's name in the headline.
const LONGEST_NAME: usize = 100;

/// Function, file and line of a site's blame frame.
fn place(site: &Site) -> Option<String> {
    let frame = site.frames.get(site.blame? as usize)?;
    let name = frame.function.clone().or_else(|| {
        Some(format!("{}+{}", frame.module.as_deref()?.rsplit('/').next()?, frame.offset.as_deref()?))
    })?;
    let name = cut(&name, LONGEST_NAME);
    Some(match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{name} at {}:{line}", file.rsplit('/').next().unwrap_or(file)),
        _ => name,
    })
}

/// RSS growth below this says nothing.
const NOTABLE_GROWTH: u64 = 8 << 20;

/// What is known about the target where probes may see nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visibility<'a> {
    /// Probes that are attached.
    pub probes: usize,
    /// Hits of all probes.
    pub hits: u64,
    /// Files in which allocator functions were looked for.
    pub files_searched: usize,
    /// Why they may be missing, if that is known.
    pub reason: Option<&'a str>,
}

/// Why the account does not explain the memory, if it does not.
pub fn untraced(memory: &Memory, heap_live_bytes: u64, visible: Visibility<'_>) -> Option<String> {
    let because = visible.reason.map(|r| format!(" ({r})")).unwrap_or_default();
    if visible.probes == 0 {
        return Some(format!(
            "No allocator function was found in the {} that the target maps{because}: its heap cannot be traced.",
            counted(visible.files_searched as u64, "file")
        ));
    }
    let growth = memory.rss_end_bytes?.saturating_sub(memory.rss_start_bytes?);
    if growth < NOTABLE_GROWTH || heap_live_bytes >= growth / 2 {
        return None;
    }
    let grew = format!("RSS grew by {}, but only {} of it was traced", bytes(growth), bytes(heap_live_bytes));
    Some(if visible.hits == 0 {
        format!(
            "{grew}: no allocator function was called, so the memory comes from elsewhere, such as mmap or an allocator of the program's own{because}."
        )
    } else {
        format!(
            "{grew}: the rest was freed again but kept by the allocator, was mapped directly, or was allocated before the attach and touched only now{because}."
        )
    })
}
