//! What answers "what holds the memory?".

use super::model::{HolderSite, Holders, ResidentKind};
use super::table::{resident_name, subject};
use super::words::{HoldersSaid, Told};
use crate::human::bytes;

/// Fewer samples tell nothing of where things are allocated.
const FEW_SAMPLES: u64 = 3;
/// Less of the heap is not worth a word.
const SHARE: u64 = 10;
/// Less growth isn't, either.
const NOTABLE: i64 = 1 << 20;

/// What holds most; where nothing is known of holders, where resident memory is.
pub(crate) fn answer(holders: &Holders) -> HoldersSaid {
    match (&holders.heap, holders.sites.first()) {
        (Some(heap), Some(first)) => HoldersSaid::Most { told: told(first), live_bytes: heap.live_bytes },
        _ if holders.resident.is_empty() => unknown(holders),
        _ => HoldersSaid::Resident { told: resident(holders) },
    }
}

fn unknown(holders: &Holders) -> HoldersSaid {
    let nothing = "nothing was reached".to_owned();
    HoldersSaid::Unknown { why: holders.unknown.clone().unwrap_or(nothing) }
}

/// What else there is to say.
pub(crate) fn findings(holders: &Holders) -> Vec<HoldersSaid> {
    let mut said = Vec::new();
    if let Some(heap) = &holders.heap {
        let grown = holders.sites.iter().max_by_key(|site| site.growth_bytes);
        if let (Some(site), Some(all_growth_bytes)) = (grown, heap.growth_bytes)
            && let Some(growth_bytes) = site.growth_bytes.filter(|growth| *growth >= NOTABLE)
            && growth_bytes >= all_growth_bytes / 2
            && all_growth_bytes > 0
        {
            said.push(HoldersSaid::Grew { told: told(site), growth_bytes, all_growth_bytes });
        }
        if heap.unreached_bytes > heap.live_bytes / SHARE {
            said.push(HoldersSaid::Unreached {
                unreached_bytes: heap.unreached_bytes,
                live_bytes: heap.live_bytes,
            });
        }
    } else if !holders.resident.is_empty() {
        said.push(unknown(holders));
    }
    said
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
