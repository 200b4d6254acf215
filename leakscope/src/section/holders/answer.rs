//! What answers "what holds the memory?".

use super::model::{HeldHeap, HolderSite, Holders, Resident, ResidentKind};
use super::table::{resident_name, subject};
use super::words::{HoldersSaid, Told};
use crate::human::bytes;

/// Fewer samples tell nothing of where things are allocated.
const FEW_SAMPLES: u64 = 3;
/// Less of the heap is not worth a word.
const SHARE: u64 = 10;
/// A heap of less than one in so many bytes of the memory that the process has for itself is not the answer.
const HEAP_SHARE: u64 = 4;
/// Less growth isn't, either.
const NOTABLE: i64 = 1 << 20;

/// What holds most; where nothing is known of holders, where resident memory is.
pub(crate) fn answer(holders: &Holders) -> HoldersSaid {
    match (&holders.heap, holders.sites.first()) {
        // Most of the memory is not that of the heap.
        (Some(heap), _) if is_small(holders, heap) => HoldersSaid::Resident { told: resident(holders) },
        // What is not known is more than the largest that is.
        (Some(heap), Some(first)) if heap.unreached_bytes > first.held_bytes => unreached(heap),
        (Some(heap), Some(_)) => most(holders, heap),
        _ if holders.resident.is_empty() => unknown(holders),
        _ => HoldersSaid::Resident { told: resident(holders) },
    }
}

/// Whether the heap is a small part of the resident memory that is of no file and not shared.
fn is_small(holders: &Holders, heap: &HeldHeap) -> bool {
    let is_own = |part: &&Resident| matches!(part.kind, ResidentKind::Brk | ResidentKind::Anonymous);
    let own =
        holders.resident.iter().filter(is_own).fold(0_u64, |sum, part| sum.saturating_add(part.rss_bytes));
    own / HEAP_SHARE > heap.live_bytes
}

fn most(holders: &Holders, heap: &HeldHeap) -> HoldersSaid {
    match holders.sites.first() {
        Some(first) => HoldersSaid::Most { told: told(first), live_bytes: heap.live_bytes },
        None => unknown(holders),
    }
}

fn unreached(heap: &HeldHeap) -> HoldersSaid {
    HoldersSaid::Unreached { unreached_bytes: heap.unreached_bytes, live_bytes: heap.live_bytes }
}

fn unknown(holders: &Holders) -> HoldersSaid {
    let nothing = "nothing was reached".to_owned();
    HoldersSaid::Unknown { why: holders.unknown.clone().unwrap_or(nothing) }
}

/// What else there is to say.
pub(crate) fn findings(holders: &Holders) -> Vec<HoldersSaid> {
    let mut said = Vec::new();
    if let Some(heap) = &holders.heap {
        let small = is_small(holders, heap);
        said.extend(small.then(|| most(holders, heap)));
        said.extend(grew(holders));
        match holders.sites.first() {
            Some(first) if heap.unreached_bytes > first.held_bytes && !small => {
                said.push(most(holders, heap))
            }
            _ if heap.unreached_bytes > heap.live_bytes / SHARE => said.push(unreached(heap)),
            _ => {}
        }
    } else if !holders.resident.is_empty() {
        said.push(unknown(holders));
    }
    said
}

/// Who has grown most, by at least a half of what holders have grown by.
pub(crate) fn grew(holders: &Holders) -> Option<HoldersSaid> {
    let all_growth_bytes = holders.heap.as_ref()?.growth_bytes?;
    let grown = |site: &&HolderSite| site.growth_bytes.is_some_and(|growth| growth > 0);
    let sum =
        holders.sites.iter().filter(grown).filter_map(|site| site.growth_bytes).fold(0, i64::saturating_add);
    let site = holders.sites.iter().max_by_key(|site| site.growth_bytes)?;
    let growth_bytes = site.growth_bytes.filter(|growth| *growth >= NOTABLE && *growth >= sum / 2)?;
    // Whoever was not there at all may have been missed.
    let new = growth_bytes.cast_unsigned() >= site.held_bytes;
    if new && all_growth_bytes < growth_bytes / 4 * 3 {
        return None;
    }
    Some(HoldersSaid::Grew { told: told(site), growth_bytes, all_growth_bytes })
}

fn resident(holders: &Holders) -> String {
    let mut parts: Vec<(ResidentKind, u64)> =
        holders.resident.iter().map(|part| (part.kind, part.rss_bytes)).filter(|(_, rss)| *rss > 0).collect();
    parts.sort_by_key(|(_, rss)| std::cmp::Reverse(*rss));
    let told: Vec<String> =
        parts.into_iter().map(|(kind, rss)| format!("{} {}", bytes(rss), resident_name(kind))).collect();
    told.join(", ")
}

fn told(site: &HolderSite) -> Told {
    let samples: u64 = site.allocated.iter().map(|at| at.samples).sum();
    let sampled = site.allocated.iter().fold(0_u64, |sum, at| sum.saturating_add(at.estimated_bytes));
    let first = site.allocated.first();
    Told {
        holder: subject(site),
        type_name: site.type_name.clone(),
        held_bytes: site.held_bytes,
        // Of less than half of it nothing is said.
        container: site.container.clone().filter(|of| of.held_bytes >= site.held_bytes / 2),
        named: site.name.is_some() && site.file.is_none(),
        allocated: first.filter(|_| samples >= FEW_SAMPLES).cloned(),
        share: first.map_or(0, |at| at.estimated_bytes.saturating_mul(100) / sampled.max(1)),
    }
}
