//! The sentence that answers "what holds the memory?".

use super::model::{Heap, Memory};
use crate::human::{bytes, counted, duration, share};
use crate::section::label::place;

/// The headline for a heap account. Blocks younger than `min_age_ns` were left out of what is live.
pub fn heap(heap: &Heap, min_age_ns: u64, untraced: Option<&str>) -> String {
    let totals = &heap.totals;
    if let Some(reason) = untraced {
        return reason.to_owned();
    }
    let old = if min_age_ns > 0 {
        format!(" that are {} old or older", duration(min_age_ns))
    } else {
        String::new()
    };
    if totals.live_objects == 0 {
        return if totals.alloc_objects == 0 {
            "Nothing was allocated while leakscope watched.".to_owned()
        } else {
            let allocated = counted(totals.alloc_objects, "block");
            format!("No blocks{old} are left of {allocated} allocated while leakscope watched.")
        };
    }
    let held = format!(
        "{} in {} allocated while leakscope watched{old} {} still live",
        bytes(totals.live_bytes),
        counted(totals.live_objects, "block"),
        if totals.live_objects == 1 { "is" } else { "are" }
    );
    let most = heap.sites.iter().max_by_key(|s| s.live_bytes);
    match most.and_then(|site| Some((site, place(site.stack.blamed()?)?))) {
        Some((site, place)) => {
            format!("{held}; {} of that from {place}.", share(site.live_bytes, totals.live_bytes))
        }
        None => format!("{held}."),
    }
}

/// What is to say of a Go program that allocates nothing by the functions that are probed.
pub(super) const NO_C: &str =
    "No C code allocated anything while leakscope watched; the Go runtime's own heap was not looked at.";

/// The headline for a heap that the Go runtime keeps, alone or beside what is traced.
pub(super) fn go_heap(heap: &Heap) -> String {
    let totals = &heap.totals;
    let in_use = heap.go_in_use_bytes.map(|n| format!(", of {} in use", bytes(n))).unwrap_or_default();
    if totals.live_objects == 0 {
        return format!("Nothing that is live on the Go heap is known by its place{in_use}.");
    }
    let go: Vec<_> = heap.sources.iter().filter(|source| source.name == super::GO).collect();
    let sure = if go.iter().all(|source| source.exact) { "" } else { " (an estimate)" };
    let which = if heap.sources.len() == go.len() { "the Go heap" } else { "the heaps of Go and C" };
    let are = if totals.live_objects == 1 { "is" } else { "are" };
    let held = format!(
        "{} in {} {are} live on {which}{sure}",
        bytes(totals.live_bytes),
        counted(totals.live_objects, "object")
    );
    let most = heap.sites.iter().max_by_key(|site| site.live_bytes);
    match most.and_then(|site| Some((site, place(site.stack.blamed()?)?))) {
        Some((site, place)) => {
            format!("{held}; {} of that from {place}.", share(site.live_bytes, totals.live_bytes))
        }
        None => format!("{held}."),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::Totals;

    fn account(live: u64, allocated: u64) -> Heap {
        let totals = Totals {
            live_bytes: live * 10,
            live_objects: live,
            alloc_bytes: allocated * 10,
            alloc_objects: allocated,
            free_objects: allocated - live,
            unknown_frees: 0,
            growth_bytes: 0,
        };
        Heap {
            exact: true,
            sources: Vec::new(),
            totals,
            sites: Vec::new(),
            go_in_use_bytes: None,
            go_size_classes: None,
            go_agreement: None,
        }
    }

    #[test]
    fn headlines_say_what_is_left() {
        assert_eq!(heap(&account(0, 0), 0, None), "Nothing was allocated while leakscope watched.");
        assert_eq!(
            heap(&account(0, 5), 0, None),
            "No blocks are left of 5 blocks allocated while leakscope watched."
        );
        assert_eq!(
            heap(&account(2, 5), 1_500_000_000, None),
            "20 B in 2 blocks allocated while leakscope watched that are 1.5 s old or older are still live."
        );
        assert_eq!(heap(&account(2, 5), 0, Some("why")), "why");
    }

    #[test]
    fn memory_that_the_account_does_not_explain() {
        let memory = |growth: u64| Memory {
            rss_start_bytes: Some(1 << 20),
            rss_end_bytes: Some((1 << 20) + growth),
            untraced_reason: None,
        };
        let seen = Visibility { probes: 5, hits: 7, files_searched: 3, reason: Some("because") };
        assert_eq!(untraced(&memory(1 << 20), 0, seen), None, "too little to say anything");
        assert_eq!(untraced(&memory(64 << 20), 60 << 20, seen), None, "explained");
        let text = untraced(&memory(64 << 20), 1 << 20, seen).expect("unexplained");
        assert!(
            text.contains("64.0 MiB") && text.contains("kept by the allocator") && text.contains("because")
        );
        let silent = untraced(&memory(64 << 20), 0, Visibility { hits: 0, ..seen }).expect("unexplained");
        assert!(silent.contains("no allocator function was called"), "{silent}");
        let blind = untraced(&memory(0), 0, Visibility { probes: 0, ..seen }).expect("nothing found");
        assert!(blind.contains("No allocator function was found in the 3 files"), "{blind}");
    }
}
