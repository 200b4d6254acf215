//! Losses by name, and what they spoil.

use std::collections::BTreeMap;

use leakscope_common::counter::{Loss, Tally};
use leakscope_common::unwind::StackEnd;

/// Events that the kernel did not hand to a program because that ran already.
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
/// Functions that can return where no probe is.
pub const EXITS_UNSEEN: &str = "heap.exits_unseen";
/// Its meaning.
pub const EXITS_UNSEEN_MEANING: &str = "allocator functions that can also return where no probe could be placed; some of their blocks may be missing";
/// Mapped files that could not be read.
pub const FILES_UNREAD: &str = "heap.files_unread";
/// Its meaning.
pub const FILES_UNREAD_MEANING: &str =
    "mapped files that could not be read for want of rights; allocators in them are not traced";
/// Allocators loaded while recording.
pub const LOADED_LATE: &str = "heap.loaded_late";
/// Its meaning.
pub const LOADED_LATE_MEANING: &str = "libraries with an allocator that were loaded while leakscope watched; what they allocated before their probes were placed is missing";
/// Files whose unwind rows are not complete.
pub const ROWS_INCOMPLETE: &str = "stacks.rows_incomplete";
/// Its meaning.
pub const ROWS_INCOMPLETE_MEANING: &str =
    "files whose unwind information was too much or too damaged to be taken whole";
/// Executable mappings that did not fit the table.
pub const MAPPINGS_FULL: &str = "stacks.mappings_full";
/// Its meaning.
pub const MAPPINGS_FULL_MEANING: &str = "executable mappings that did not fit the table; stacks end there";
/// Goroutines that kept changing.
pub const GO_UNSETTLED: &str = "go.unsettled";
/// Its meaning.
pub const GO_UNSETTLED_MEANING: &str =
    "goroutines that kept changing while they were read; they are listed without a stack";
/// Goroutines whose memory makes no sense.
pub const GO_DAMAGED: &str = "go.unreadable";
/// Its meaning.
pub const GO_DAMAGED_MEANING: &str = "goroutines whose memory could not be read; they are not listed";
/// Labels that could not be read.
pub const GO_LABELS: &str = "go.labels_unread";
/// Its meaning.
pub const GO_LABELS_MEANING: &str = "sets of goroutine labels that could not be read; they are not shown";
/// Stacks that did not reach the root, by the number of their end.
const UNFINISHED: [(StackEnd, &str, &str); 8] = [
    (
        StackEnd::Truncated,
        "stacks.truncated",
        "stacks with more than 127 frames; the outermost ones are left out",
    ),
    (
        StackEnd::NoMapping,
        "stacks.mapping_unknown",
        "stacks that end in code that was not known (yet) to be mapped",
    ),
    (
        StackEnd::NoRows,
        "stacks.no_rows",
        "stacks that end in code without unwind information or frame pointers",
    ),
    (
        StackEnd::Unsupported,
        "stacks.unsupported_rule",
        "stacks that end at an unwind rule that needs what is not known there",
    ),
    (StackEnd::ReadFault, "stacks.read_fault", "stacks whose memory could not be read"),
    (StackEnd::NotAbove, "stacks.not_above", "stacks that end where the next frame does not lie above"),
    (
        StackEnd::Trampoline,
        "stacks.trampoline",
        "stacks that end at a pending return probe of another tracer",
    ),
    (
        StackEnd::NoReturnAddress,
        "stacks.no_return_address",
        "stacks that end at a return address of 0, where nothing says that the function has no caller",
    ),
];

/// Losses that no counter of the kernel side has, and what they mean.
const OTHERS: &[(&str, &str)] = &[
    (RECURSION_MISSES, RECURSION_MISSES_MEANING),
    (STACKS_MISSING, STACKS_MISSING_MEANING),
    (ROWS_FULL, ROWS_FULL_MEANING),
    (PROBES_FAILED, PROBES_FAILED_MEANING),
    (LOADED_LATE, LOADED_LATE_MEANING),
    (FILES_UNREAD, FILES_UNREAD_MEANING),
    (ROWS_INCOMPLETE, ROWS_INCOMPLETE_MEANING),
    (EXITS_UNSEEN, EXITS_UNSEEN_MEANING),
    (MAPPINGS_FULL, MAPPINGS_FULL_MEANING),
    (GO_UNSETTLED, GO_UNSETTLED_MEANING),
    (GO_DAMAGED, GO_DAMAGED_MEANING),
    (GO_LABELS, GO_LABELS_MEANING),
];

/// The non-zero losses of the counter map by name.
pub fn named(counters: &[u64], recursion_misses: u64) -> BTreeMap<String, u64> {
    let mut losses: BTreeMap<String, u64> = Loss::ALL
        .iter()
        .filter_map(|l| Some((l.name().to_owned(), *counters.get(*l as usize)?)))
        .filter(|(_, n)| *n > 0)
        .collect();
    for (end, name, _) in UNFINISHED {
        let n = counters.get(Tally::StackEnd0 as usize + end as usize).copied().unwrap_or(0);
        if n > 0 {
            losses.insert(name.to_owned(), n);
        }
    }
    if recursion_misses > 0 {
        losses.insert(RECURSION_MISSES.to_owned(), recursion_misses);
    }
    losses
}

/// What a loss means, for the reader.
pub fn meaning(name: &str) -> &'static str {
    OTHERS
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, meaning)| *meaning)
        .or_else(|| unfinished_meaning(name))
        .or_else(|| Loss::ALL.iter().find(|l| l.name() == name).map(|l| l.meaning()))
        .unwrap_or_default()
}

/// The names of all losses that there may be.
pub fn names() -> impl Iterator<Item = &'static str> {
    let counted = Loss::ALL.iter().map(|loss| loss.name());
    counted.chain(UNFINISHED.iter().map(|(_, name, _)| *name)).chain(OTHERS.iter().map(|(name, _)| *name))
}

fn unfinished_meaning(name: &str) -> Option<&'static str> {
    UNFINISHED.iter().find(|(_, n, _)| *n == name).map(|(_, _, meaning)| *meaning)
}

/// Whether a loss makes the numbers of the heap inexact. Losses of stacks do not: the blocks are
/// counted, only where they come from is less than certain.
pub fn spoils_heap(name: &str) -> bool {
    name.starts_with("heap.") || name == RECURSION_MISSES
}

/// Whether a loss makes the numbers of the waits inexact.
pub fn spoils_waits(name: &str) -> bool {
    (name.starts_with("waits.") && name != Loss::LongWaitLost.name()) || name == RECURSION_MISSES
}

/// Losses of goroutines by name on a recording's tape, for serde's `with`: names that are not known are left out.
pub mod of_goroutines {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{GO_DAMAGED, GO_LABELS, GO_UNSETTLED};

    /// Writes them.
    pub fn serialize<S: Serializer>(all: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
        all.serialize(serializer)
    }

    /// Reads them.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(&'static str, u64)>, D::Error> {
        let all: Vec<(String, u64)> = Vec::deserialize(deserializer)?;
        let known = |(name, n): (String, u64)| {
            Some(([GO_UNSETTLED, GO_DAMAGED, GO_LABELS].into_iter().find(|known| *known == name)?, n))
        };
        Ok(all.into_iter().filter_map(known).collect())
    }
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
        counters[Tally::StackEnd0 as usize + StackEnd::Truncated as usize] = 4;
        let losses = named(&counters, 2);
        assert_eq!(losses.get("heap.live_full"), Some(&3));
        assert_eq!(losses.get(RECURSION_MISSES), Some(&2));
        assert_eq!(losses.get("stacks.truncated"), Some(&4));
        assert_eq!(losses.len(), 4);
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
