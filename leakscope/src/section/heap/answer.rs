//! What answers "what holds the memory?".

use super::words::{HeapSaid, Most};
use crate::section::label::place;
use crate::section::model::Heap;

/// What a heap account has to say. Blocks younger than `min_age_ns` were left out of what is live.
pub fn heap(heap: &Heap, min_age_ns: u64) -> HeapSaid {
    let totals = &heap.totals;
    match (totals.live_objects, totals.alloc_objects) {
        (0, 0) => HeapSaid::NothingAllocated {},
        (0, alloc_objects) => HeapSaid::NothingLeft { alloc_objects, min_age_ns },
        (live_objects, _) => {
            HeapSaid::Live { live_bytes: totals.live_bytes, live_objects, min_age_ns, most: most(heap) }
        }
    }
}

/// What a heap that the Go runtime keeps has to say, alone or beside what is traced.
pub(crate) fn go_heap(heap: &Heap) -> HeapSaid {
    let totals = &heap.totals;
    if totals.live_objects == 0 {
        return HeapSaid::GoUnplaced { in_use_bytes: heap.go_in_use_bytes };
    }
    let go = || heap.sources.iter().filter(|source| source.name == super::GO);
    HeapSaid::GoLive {
        live_bytes: totals.live_bytes,
        live_objects: totals.live_objects,
        beside_c: heap.sources.len() > go().count(),
        exact: go().all(|source| source.exact),
        most: most(heap),
    }
}

/// The place of the site that holds most.
fn most(heap: &Heap) -> Option<Most> {
    let site = heap.sites.iter().max_by_key(|site| site.live_bytes)?;
    Some(Most { bytes: site.live_bytes, place: place(site.stack.blamed()?)? })
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

/// Why the account does not explain the memory, if it does not. `rss` is the resident set at the start and at
/// the end.
pub fn untraced(
    rss: (Option<u64>, Option<u64>),
    live_bytes: u64,
    visible: Visibility<'_>,
) -> Option<HeapSaid> {
    let reason = visible.reason.map(ToOwned::to_owned);
    if visible.probes == 0 {
        return Some(HeapSaid::NoAllocator { files: visible.files_searched as u64, reason });
    }
    let growth_bytes = rss.1?.saturating_sub(rss.0?);
    if growth_bytes < NOTABLE_GROWTH || live_bytes >= growth_bytes / 2 {
        return None;
    }
    Some(if visible.hits == 0 {
        HeapSaid::GrownElsewhere { growth_bytes, live_bytes, reason }
    } else {
        HeapSaid::GrownUnexplained { growth_bytes, live_bytes, reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::finding::Said as _;
    use crate::section::model::Totals;

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
            wrappers: Vec::new(),
            go_in_use_bytes: None,
            go_size_classes: None,
            go_agreement: None,
        }
    }

    #[test]
    fn headlines_say_what_is_left() {
        assert_eq!(heap(&account(0, 0), 0).text(), "Nothing was allocated while leakscope watched.");
        assert_eq!(
            heap(&account(0, 5), 0).text(),
            "No blocks are left of 5 blocks allocated while leakscope watched."
        );
        assert_eq!(
            heap(&account(2, 5), 1_500_000_000).text(),
            "20 B in 2 blocks allocated while leakscope watched that are 1.5 s old or older are still live."
        );
    }

    #[test]
    fn memory_that_the_account_does_not_explain() {
        let memory = |growth: u64| (Some(1 << 20), Some((1 << 20) + growth));
        let untraced = |memory, live, seen| untraced(memory, live, seen).map(|said| said.text());
        let seen = Visibility { probes: 5, hits: 7, files_searched: 3, reason: Some("because") };
        assert_eq!(untraced(memory(1 << 20), 0, seen), None, "too little to say anything");
        assert_eq!(untraced(memory(64 << 20), 60 << 20, seen), None, "explained");
        let text = untraced(memory(64 << 20), 1 << 20, seen).expect("unexplained");
        assert!(
            text.contains("64.0 MiB") && text.contains("kept by the allocator") && text.contains("because")
        );
        let silent = untraced(memory(64 << 20), 0, Visibility { hits: 0, ..seen }).expect("unexplained");
        assert!(silent.contains("no allocator function was called"), "{silent}");
        let blind = untraced(memory(0), 0, Visibility { probes: 0, ..seen }).expect("nothing found");
        assert!(blind.contains("No allocator function was found in the 3 files"), "{blind}");
    }
}
