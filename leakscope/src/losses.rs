//! Losses by name, and what they spoil.
//!
//! There are three lists: of what the kernel side counts ([`Loss`]), of what this side notices (below), and of
//! stacks that end early. A report names losses; a number has only what the kernel side counts.

use std::collections::BTreeMap;

use leakscope_common::counter::{Domain, Loss, Tally};
use leakscope_common::unwind::StackEnd;

/// A loss, whoever counts it.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// What it belongs to, a dot, and what was lost.
    name: &'static str,
    /// What it makes inexact.
    spoils: &'static [Domain],
    /// What it means for the reader of a report, after a number.
    meaning: &'static str,
}

/// Makes a constant of each name and a list of all rows.
macro_rules! losses {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, [$($domain:ident),+], $meaning:literal;)*) => {
        $($(#[$doc])* pub const $constant: &str = $name;)*

        /// Losses that no counter of the kernel side has.
        const NOTICED: &[Row] = &[
            $(Row { name: $name, spoils: &[$(Domain::$domain),+], meaning: $meaning },)*
        ];
    };
}

losses! {
    /// Events that the kernel did not hand to a program because that ran already.
    RECURSION_MISSES = "programs.recursion_misses", [Heap, Waits],
        "events not recorded because the kernel skipped the BPF program";
    /// Sites whose frames never arrived.
    STACKS_MISSING = "stacks.missing", [Stacks],
        "sites whose stack never got through the ring buffer";
    /// Unwind rows that did not fit the table.
    ROWS_FULL = "stacks.rows_full", [Stacks],
        "libraries loaded after the attach whose unwind rows did not fit; frame pointers are used there";
    /// Probes on libraries loaded later that could not be attached.
    PROBES_FAILED = "heap.probes_failed", [Heap],
        "allocator functions that no probe could be attached to";
    /// Functions that can return where no probe is.
    EXITS_UNSEEN = "heap.exits_unseen", [Heap],
        "allocator functions that can also return where no probe could be placed; some of their blocks may be missing";
    /// Mapped files that could not be read.
    FILES_UNREAD = "heap.files_unread", [Heap],
        "mapped files that could not be read for want of rights; allocators in them are not traced";
    /// Allocators loaded while recording.
    LOADED_LATE = "heap.loaded_late", [Heap],
        "libraries with an allocator that were loaded while leakscope watched; what they allocated before their probes were placed is missing";
    /// Files whose unwind rows are not complete.
    ROWS_INCOMPLETE = "stacks.rows_incomplete", [Stacks],
        "files whose unwind information was too much or too damaged to be taken whole";
    /// Executable mappings that did not fit the table.
    MAPPINGS_FULL = "stacks.mappings_full", [Stacks],
        "executable mappings that did not fit the table; stacks end there";
    /// Records of mapped code that are missing while some code could not be named.
    MAPPED_CODE_LOST = "stacks.mapped_code_lost", [Stacks],
        "records of mapped code, of whatever process, that did not fit their buffer; code that is gone may have no name";
    /// Files that were mapped where stacks had been seen in others.
    CODE_REPLACED = "stacks.code_replaced", [Stacks],
        "times that a library was mapped where another one had been: a stack from before leakscope noticed may have the other one's names";
    /// Goroutines that kept changing.
    GO_UNSETTLED = "go.unsettled", [Go],
        "goroutines that kept changing while they were read; they are listed without a stack";
    /// Goroutines whose memory makes no sense.
    GO_DAMAGED = "go.unreadable", [Go],
        "goroutines whose memory could not be read; they are not listed";
    /// Labels that could not be read.
    GO_LABELS = "go.labels_unread", [Go],
        "sets of goroutine labels that could not be read; they are not shown";
}

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

/// All losses that there may be.
fn rows() -> impl Iterator<Item = Row> {
    let counted = Loss::ALL.iter().map(|loss| Row {
        name: loss.name(),
        spoils: loss.spoils(),
        meaning: loss.meaning(),
    });
    let unfinished =
        UNFINISHED.iter().map(|&(_, name, meaning)| Row { name, spoils: &[Domain::Stacks], meaning });
    counted.chain(unfinished).chain(NOTICED.iter().copied())
}

fn row(name: &str) -> Option<Row> {
    rows().find(|row| row.name == name)
}

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

/// What a loss means, for the reader; empty for those of other versions.
pub fn meaning(name: &str) -> &'static str {
    row(name).map_or("", |row| row.meaning)
}

/// The names of all losses that there may be.
pub fn names() -> impl Iterator<Item = &'static str> {
    rows().map(|row| row.name)
}

fn spoils(name: &str, domain: Domain) -> bool {
    row(name).is_some_and(|row| row.spoils.contains(&domain))
}

/// Whether a loss makes the numbers of the heap inexact. Losses of stacks do not: the blocks are
/// counted, only where they come from is less than certain.
pub fn spoils_heap(name: &str) -> bool {
    spoils(name, Domain::Heap)
}

/// Whether a loss makes the numbers of the waits inexact.
pub fn spoils_waits(name: &str) -> bool {
    spoils(name, Domain::Waits)
}

/// Whether a loss makes the numbers of a section inexact.
pub fn spoils_section(section: &str, name: &str) -> bool {
    match section {
        "heap" => spoils_heap(name),
        "waits" => spoils_waits(name),
        "goroutines" => spoils(name, Domain::Go),
        "goroutine_waits" => spoils(name, Domain::GoWaits),
        _ => false,
    }
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
    fn every_loss_has_one_name_and_a_sentence() {
        let mut known = std::collections::BTreeSet::new();
        for row in rows() {
            assert!(known.insert(row.name), "{} stands for two losses", row.name);
            assert!(row.name.contains('.') && !row.meaning.is_empty() && !row.spoils.is_empty(), "{row:?}");
        }
    }

    /// Which losses make which numbers inexact is told by their rows alone.
    #[test]
    fn domains() {
        let of = |domain| rows().filter(move |row| row.spoils.contains(&domain)).map(|row| row.name);
        assert!(of(Domain::Heap).all(|name| name.starts_with("heap.") || name == RECURSION_MISSES));
        assert_eq!(of(Domain::Heap).count(), names().filter(|name| name.starts_with("heap.")).count() + 1);
        assert!(!spoils_waits(Loss::LongWaitLost.name()) && !spoils_waits("waits.of_another_version"));
        assert!(spoils_waits(Loss::WakesFull.name()) && spoils_waits(RECURSION_MISSES));
    }
}
