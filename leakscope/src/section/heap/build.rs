//! The section on the heap.

use leakscope_common::counter::Loss;

use super::MALLOC;
use super::answer::Visibility;
use super::go::{self, GoHeapInputs};
use super::place::place;
use super::wrappers::charge_callers;
use crate::collect::heap::{HeapAccount, HeapSnapshot, SiteSnapshot};
use crate::runtime::rules;
use crate::section::made::{Facts, Made};
use crate::section::model::{Heap, Site, Source, Totals};
use crate::section::site::{NameStack, site_id};

/// Losses of allocations.
const NOT_RECORDED: [Loss; 6] = [
    Loss::LiveFull,
    Loss::LiveNoMemory,
    Loss::InflightFull,
    Loss::OutUnreadable,
    Loss::ScratchBusy,
    Loss::NestingUnsure,
];
/// Losses of frees.
const STILL_LISTED: [Loss; 1] = [Loss::FreeFailed];

/// What it is made from.
#[derive(Clone, Copy, Debug)]
pub struct HeapInputs<'a> {
    /// The account.
    pub snapshot: &'a HeapSnapshot,
    /// Blocks younger than this were left out.
    pub min_age_ns: u64,
    /// Functions whose probes are single-stepped.
    pub slow_probes: usize,
    /// What the probes could see; the hits are filled in while the report is built.
    pub visibility: Visibility<'a>,
}

impl<'a> From<&'a HeapAccount> for HeapInputs<'a> {
    fn from(account: &'a HeapAccount) -> Self {
        Self {
            snapshot: &account.snapshot,
            min_age_ns: account.min_age_ns,
            slow_probes: account.coverage.slow,
            visibility: Visibility {
                probes: account.coverage.probes,
                hits: 0,
                files_searched: account.coverage.files_searched,
                reason: account.coverage.reason.as_deref(),
            },
        }
    }
}

impl Made for Heap {
    fn make(facts: &mut Facts<'_, '_>) -> Option<Self> {
        let inputs: Option<HeapInputs<'_>> = facts.collected.heap.map(Into::into);
        let whole = facts.whole("heap");
        let traced = inputs.map(|inputs| {
            // What a thread waits for is known by names; whose memory it is, can wait.
            facts.hurried.set(true);
            let mut heap = heap(&inputs, whole, facts.ended, facts.name);
            facts.hurried.set(false);
            heap.wrappers = charge_callers(&mut heap.sites, &rules().owners, facts.charging);
            heap
        });
        let go = facts.runtime.go;
        let mut heap = match go.and_then(|go| Some((go.heap?, go.code))) {
            // Probes of which there are none say nothing beside the Go runtime's own account.
            Some((snapshot, code)) => {
                let traced = traced.filter(|_| inputs.is_some_and(|inputs| inputs.visibility.probes > 0));
                go::join(traced, &GoHeapInputs { snapshot, sort: facts.sort }, code)
            }
            None => traced?,
        };
        if let Some(caveat) = facts.caveat() {
            heap.exact = false;
            for source in &mut heap.sources {
                (source.exact, source.error_bytes) = (false, None);
                source.method = caveat.to_owned();
            }
        }
        let lost = |name: &Loss| facts.lost.get(name.name()).copied().unwrap_or(0);
        heap.lost_allocations = NOT_RECORDED.iter().map(lost).fold(0, u64::saturating_add);
        heap.lost_frees = STILL_LISTED.iter().map(lost).fold(0, u64::saturating_add);
        place(&mut heap, facts.sort);
        Some(heap)
    }

    fn missing_stacks(&self) -> u64 {
        let unnamed = |site: &&Site| site.source == MALLOC && site.stack.frames.is_empty();
        self.sites.iter().filter(unnamed).count() as u64
    }
}

/// The section. `nothing_lost` tells whether all events were counted, `ended` whether the account stands
/// still.
pub(crate) fn heap(
    inputs: &HeapInputs<'_>,
    nothing_lost: bool,
    ended: bool,
    name: &mut NameStack<'_>,
) -> Heap {
    let snapshot = inputs.snapshot;
    let exact = nothing_lost && ended && inputs.visibility.probes > 0;
    let mut method = String::from("every call of the allocator's functions was counted");
    if inputs.visibility.probes == 0 {
        method = "no allocator function was found, so nothing was counted".to_owned();
    } else if !ended {
        method = "every call is counted; the numbers were read while the target ran, so they can be off by the calls of that moment".to_owned();
    } else if !nothing_lost {
        method = "calls were counted, but some were lost: see the losses".to_owned();
    }
    if inputs.min_age_ns > 0 {
        method.push_str("; only blocks of the asked age count as live");
    }
    Heap {
        exact,
        sources: vec![Source {
            name: super::MALLOC.to_owned(),
            exact,
            method,
            error_bytes: exact.then_some(0),
        }],
        totals: Totals {
            live_bytes: snapshot.live_bytes,
            live_objects: snapshot.live_objects,
            older_blocks: snapshot.older_blocks,
            older_bytes: snapshot.older_bytes,
            alloc_bytes: snapshot.alloc_bytes,
            alloc_objects: snapshot.alloc_objects,
            free_objects: snapshot.free_objects,
            unknown_frees: snapshot.unknown_frees,
            growth_bytes: snapshot.growth_bytes,
        },
        sites: snapshot.sites.iter().zip(1..).map(|(s, rank)| site(s, rank, name)).collect(),
        ..Heap::default()
    }
}

fn site(snapshot: &SiteSnapshot, rank: u64, name: &mut NameStack<'_>) -> Site {
    Site {
        site_id: site_id(snapshot.stack),
        rank,
        label: "".into(),
        place: 0,
        source: super::MALLOC.to_owned(),
        live_bytes: snapshot.live_bytes,
        live_objects: snapshot.live_objects,
        older_blocks: snapshot.older_blocks,
        older_bytes: snapshot.older_bytes,
        alloc_bytes: snapshot.alloc_bytes,
        alloc_objects: snapshot.alloc_objects,
        growth_bytes: snapshot.growth_bytes,
        oldest_age_ns: snapshot.oldest_age_ns,
        youngest_age_ns: snapshot.youngest_age_ns,
        live_bytes_low: None,
        live_bytes_high: None,
        samples: None,
        goroutine: snapshot.goroutine,
        stack: snapshot.stack.and_then(name).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use leakscope_common::counter::Domain;

    use super::*;

    /// Losses that say nothing of how many blocks are live: a stack is missing, a call had no effect that is known, an
    /// older block was dropped for the one that is there now, a size is unknown.
    const OTHERS: [Loss; 4] = [Loss::SitesFull, Loss::CallAbandoned, Loss::FreeMissed, Loss::SizeOverflow];

    /// A loss that nobody has judged would be passed over by the answer.
    #[test]
    fn every_loss_of_the_heap_is_judged() {
        for loss in Loss::ALL.iter().filter(|loss| loss.spoils().contains(&Domain::Heap)) {
            let judged = [&NOT_RECORDED[..], &STILL_LISTED, &OTHERS];
            assert_eq!(judged.iter().filter(|of| of.contains(loss)).count(), 1, "{}", loss.name());
        }
    }
}
