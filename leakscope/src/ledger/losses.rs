//! Losses by name, and what they spoil.

use std::collections::BTreeMap;

use leakscope_common::counter::Loss;

/// Counters that the kernel keeps itself: a program skipped because it ran already.
pub const RECURSION_MISSES: &str = "programs.recursion_misses";
/// Its meaning.
pub const RECURSION_MISSES_MEANING: &str = "events not recorded because the kernel skipped the BPF program";
/// Sites whose frames never arrived.
pub const STACKS_MISSING: &str = "stacks.missing";
/// Its meaning.
pub const STACKS_MISSING_MEANING: &str = "sites whose stack never got through the ring buffer";
/// Unwind rows that did not fit the table.
pub const ROWS_FULL: &str = "stacks.rows_full";
/// Its meaning.
pub const ROWS_FULL_MEANING: &str =
    "libraries loaded after the attach whose unwind rows did not fit; frame pointers are used there";
/// Probes on libraries loaded later that could not be attached.
pub const PROBES_FAILED: &str = "heap.probes_failed";
/// Its meaning.
pub const PROBES_FAILED_MEANING: &str = "allocator functions that no probe could be attached to";
/// Executable mappings that did not fit the table.
pub const MAPPINGS_FULL: &str = "stacks.mappings_full";
/// Its meaning.
pub const MAPPINGS_FULL_MEANING: &str = "executable mappings that did not fit the table; stacks end there";
/// Stacks that did not reach the root.
pub const UNFINISHED: &str = "stacks.unfinished";
/// Its meaning.
pub const UNFINISHED_MEANING: &str = "stacks that ended before the thread's first function";

/// The non-zero losses of the counter map by name.
pub fn named(counters: &[u64], recursion_misses: u64) -> BTreeMap<String, u64> {
    let mut losses: BTreeMap<String, u64> = Loss::ALL
        .iter()
        .filter_map(|l| Some((l.name().to_owned(), *counters.get(*l as usize)?)))
        .filter(|(_, n)| *n > 0)
        .collect();
    if recursion_misses > 0 {
        losses.insert(RECURSION_MISSES.to_owned(), recursion_misses);
    }
    losses
}

/// What a loss means, for the reader.
pub fn meaning(name: &str) -> &'static str {
    match name {
        RECURSION_MISSES => RECURSION_MISSES_MEANING,
        STACKS_MISSING => STACKS_MISSING_MEANING,
        ROWS_FULL => ROWS_FULL_MEANING,
        PROBES_FAILED => PROBES_FAILED_MEANING,
        MAPPINGS_FULL => MAPPINGS_FULL_MEANING,
        UNFINISHED => UNFINISHED_MEANING,
        _ => Loss::ALL.iter().find(|l| l.name() == name).map_or("", |l| l.meaning()),
    }
}

/// Whether a loss makes the numbers of the heap inexact. Losses of stacks do not: the blocks are
/// counted, only where they come from is less than certain.
pub fn spoils_heap(name: &str) -> bool {
    name.starts_with("heap.") || name == RECURSION_MISSES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_named() {
        let mut counters = vec![0; 64];
        assert!(named(&counters, 0).is_empty());
        counters[Loss::LiveFull as usize] = 3;
        counters[Loss::RingFull as usize] = 1;
        let losses = named(&counters, 2);
        assert_eq!(losses.get("heap.live_full"), Some(&3));
        assert_eq!(losses.get(RECURSION_MISSES), Some(&2));
        assert_eq!(losses.len(), 3);
        assert!(losses.keys().all(|name| !meaning(name).is_empty()));
        assert!(
            spoils_heap("heap.live_full")
                && spoils_heap(RECURSION_MISSES)
                && !spoils_heap("stacks.ring_full")
        );
    }

    #[test]
    fn every_loss_has_a_meaning_and_a_domain() {
        for loss in Loss::ALL {
            assert!(!meaning(loss.name()).is_empty());
            assert!(loss.name().contains('.'));
        }
    }
}
