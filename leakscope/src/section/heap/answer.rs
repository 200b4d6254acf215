//! What answers "what holds the memory?".

mod most;

use serde_json::Value;

use self::most::told;
use super::callers::is_notable;
use super::words::{BesideGo, HeapSaid, Lost, Older};
use super::{GO, MALLOC};
use crate::section::finding::Finding;
use crate::section::model::Heap;

/// What a heap account has to say. Blocks younger than `min_age_ns` were left out of what is live.
pub fn heap(heap: &Heap, min_age_ns: u64) -> HeapSaid {
    let totals = &heap.totals;
    match (totals.live_objects, totals.alloc_objects) {
        (0, 0) => HeapSaid::NothingAllocated {},
        (0, alloc_objects) => {
            let older = Older { blocks: totals.older_blocks, bytes: totals.older_bytes };
            HeapSaid::NothingLeft { alloc_objects, min_age_ns, older }
        }
        (live_objects, _) => {
            let live_bytes = totals.live_bytes;
            let (most, lost) = (told(heap, MALLOC), lost(heap));
            let unseen_frees = unseen_beside(heap, lost, live_objects);
            HeapSaid::Live { live_bytes, live_objects, min_age_ns, most, lost, unseen_frees }
        }
    }
}

/// The same of a heap; what was lost may be among them.
fn unseen_beside(heap: &Heap, lost: Lost, live_objects: u64) -> u64 {
    if lost.allocations == 0 { unseen(heap.totals.unknown_frees, live_objects) } else { 0 }
}

/// Frees of blocks that were not seen allocated, where they are a notable part of what was: what a full cache keeps
/// is no growth if it drops as much.
pub(super) fn unseen(frees: u64, live_objects: u64) -> u64 {
    if is_notable(frees, live_objects) { frees } else { 0 }
}

/// A place that has allocated less than one in so many bytes is not worth a word.
const FEW_OF: u64 = 10;

/// Bytes of C code that the answer names beside a Go heap, at least: a page. A thread that begins leaves some hundred.
const LEAST_BESIDE: u64 = 4096;

/// What a heap that the Go runtime keeps has to say, alone or beside what is traced.
pub(crate) fn go_heap(heap: &Heap) -> HeapSaid {
    let (go, c) = (heap.sums(GO), heap.sums(MALLOC));
    let in_use_bytes = heap.go_in_use_bytes;
    let lost = lost(heap);
    let worth_a_word = c.live_bytes >= LEAST_BESIDE || lost != Lost::default() || in_use_bytes.is_none();
    let beside = (c.live_objects > 0 && worth_a_word).then(|| BesideGo {
        live_bytes: c.live_bytes,
        live_objects: c.live_objects,
        most: told(heap, MALLOC),
        lost,
        unseen_frees: unseen_beside(heap, lost, c.live_objects),
    });
    if go.live_objects == 0 && beside.is_none() {
        // Without growth of what is live, where most is allocated is the best that is known.
        let most =
            heap.places.iter().filter(|place| place.source == GO).max_by_key(|place| place.alloc_bytes);
        let most = most.filter(|place| place.alloc_bytes >= go.alloc_bytes / FEW_OF && place.alloc_bytes > 0);
        return HeapSaid::GoUnplaced {
            in_use_bytes,
            alloc_bytes: if heap.go_since_attach() { go.alloc_bytes } else { 0 },
            most: most.map(|place| place.label.clone()),
            most_bytes: most.map_or(0, |place| place.alloc_bytes),
        };
    }
    let mut sources = heap.sources.iter().filter(|source| source.name == GO);
    HeapSaid::GoLive {
        in_use_bytes,
        live_bytes: go.live_bytes,
        live_objects: go.live_objects,
        since_attach: heap.go_since_attach(),
        exact: sources.all(|source| source.exact),
        most: told(heap, GO),
        beside,
        unsampled_bytes: heap.go_unsampled_bytes,
    }
}

/// The same of rows that have changed since, as by `--by`; none of what is not said of the rows.
pub(crate) fn again(rows: &Heap, said: &Finding) -> Option<HeapSaid> {
    match said.code.name() {
        "heap_live" => Some(heap(rows, said.args.get("min_age_ns").and_then(Value::as_u64).unwrap_or(0))),
        "go_heap_live" => Some(go_heap(rows)),
        "heap_callers" => callers_of_most(rows),
        _ => None,
    }
}

pub(crate) use self::most::callers_of_most;

/// A loss below this part of what is live changes nothing: one in so many.
const NOTABLE_LOSS: u64 = 100;

/// What was lost, where it can change the answer.
pub(crate) fn lost(heap: &Heap) -> Lost {
    let all = heap.sums(MALLOC).live_objects;
    let notable = |lost: u64| if lost.saturating_mul(NOTABLE_LOSS) >= all { lost } else { 0 };
    Lost { allocations: notable(heap.lost_allocations), frees: notable(heap.lost_frees) }
}

/// What can change the answer. `table_full` tells whether it was the table of live blocks that lost some.
pub(crate) fn losses(heap: &Heap, table_full: bool) -> Vec<HeapSaid> {
    let Lost { allocations, frees } = lost(heap);
    let live_objects = heap.sums(MALLOC).live_objects;
    let lost = (allocations > 0 || frees > 0).then_some(HeapSaid::Lost {
        allocations,
        frees,
        live_objects,
        table_full,
    });
    let unplaced =
        heap.sites.iter().filter(|site| site.source == super::MALLOC && site.stack.frames.is_empty());
    let unplaced_bytes = unplaced.map(|site| site.live_bytes).fold(0, u64::saturating_add);
    let live_bytes = heap.sums(MALLOC).live_bytes;
    let unplaced = unplaced_bytes > 0 && unplaced_bytes.saturating_mul(NOTABLE_LOSS) >= live_bytes;
    lost.into_iter().chain(unplaced.then_some(HeapSaid::Unplaced { unplaced_bytes, live_bytes })).collect()
}

/// That some blocks were there before, where they are a notable part of what is traced, or of the resident set.
/// Where nothing else is left, the answer says it.
pub(crate) fn older(heap: &Heap, rss_bytes: Option<u64>) -> Option<HeapSaid> {
    let totals = &heap.totals;
    let older = Older { blocks: totals.older_blocks, bytes: totals.older_bytes };
    let notable = is_notable(older.bytes, totals.live_bytes.saturating_add(older.bytes))
        || rss_bytes.is_some_and(|rss| is_notable(older.bytes, rss))
        || is_notable(older.blocks, totals.live_objects);
    let told = older.bytes > 0 && totals.live_objects > 0 && notable;
    told.then_some(HeapSaid::Older { older, lost: heap.lost_allocations > 0 })
}

/// Growth of the resident set that is not explained says nothing below this.
const NOTABLE_GROWTH: u64 = 2 << 20;

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
    lost: bool,
) -> Option<HeapSaid> {
    let reason = visible.reason.map(ToOwned::to_owned);
    if visible.probes == 0 {
        return Some(HeapSaid::NoAllocator { files: visible.files_searched as u64, reason });
    }
    let growth_bytes = rss.1?.saturating_sub(rss.0?);
    // From a tenth that is not explained.
    let unexplained = growth_bytes.saturating_sub(live_bytes);
    if unexplained < NOTABLE_GROWTH || unexplained < growth_bytes / 10 {
        return None;
    }
    Some(if visible.hits == 0 {
        HeapSaid::GrownElsewhere { growth_bytes, live_bytes, reason }
    } else {
        HeapSaid::GrownUnexplained { growth_bytes, live_bytes, lost, reason }
    })
}

#[cfg(test)]
mod consistent;

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
            older_blocks: 0,
            older_bytes: 0,
            unknown_frees: 0,
            growth_bytes: 0,
        };
        Heap { exact: true, totals, ..Heap::default() }
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
    fn blocks_from_before() {
        let mut some = account(2, 5);
        let said = |heap: &Heap, rss| older(heap, rss).map(|said| said.text());
        assert_eq!(said(&some, Some(100)), None);
        (some.totals.older_blocks, some.totals.older_bytes) = (3, 50 << 20);
        assert_eq!(
            said(&some, None).as_deref(),
            Some(
                "3 blocks (at least 50.0 MiB) are older than the attach and were reallocated while leakscope \
                 watched: only what they have grown by since their smallest size that was seen is counted. How large \
                 they were at the attach is not known."
            )
        );
        some.totals.older_blocks = 1;
        some.lost_allocations = 1;
        assert_eq!(
            said(&some, None).as_deref(),
            Some(
                "1 block (at least 50.0 MiB) that was reallocated is older than the attach, or its allocation could \
                 not be recorded: only what it has grown by since its smallest size that was seen is counted. How \
                 large it was at the attach is not known."
            )
        );
        (some.totals.live_bytes, some.totals.live_objects) = (10 << 30, 1000);
        assert_eq!(said(&some, Some(10 << 30)), None, "too little to say anything");
        assert!(said(&some, Some(1 << 29)).is_some(), "a part of what is resident");
        let mut none = account(0, 5);
        (none.totals.older_blocks, none.totals.older_bytes) = (1, 50 << 20);
        assert_eq!(said(&none, None), None);
        assert_eq!(
            heap(&none, 0).text(),
            "No blocks are left of 5 blocks allocated or reallocated while leakscope watched, beside 1 block (at \
             least 50.0 MiB) from before the attach that was reallocated and has not grown since."
        );
    }

    #[test]
    fn memory_that_the_account_does_not_explain() {
        let memory = |growth: u64| (Some(1 << 20), Some((1 << 20) + growth));
        let untraced = |memory, live, seen| untraced(memory, live, seen, false).map(|said| said.text());
        let seen = Visibility { probes: 5, hits: 7, files_searched: 3, reason: Some("because") };
        assert_eq!(untraced(memory(1 << 20), 0, seen), None, "too little to say anything");
        assert_eq!(untraced(memory(64 << 20), 60 << 20, seen), None, "explained");
        let text = untraced(memory(64 << 20), 1 << 20, seen).expect("unexplained");
        assert!(
            text.contains("64.0 MiB")
                && text.contains("freed blocks that it keeps")
                && text.contains("because")
        );
        let silent = untraced(memory(64 << 20), 0, Visibility { hits: 0, ..seen }).expect("unexplained");
        assert!(silent.contains("no allocator function was called"), "{silent}");
        let blind = untraced(memory(0), 0, Visibility { probes: 0, ..seen }).expect("nothing found");
        assert!(blind.contains("No allocator function was found in the 3 files"), "{blind}");
    }
}
