//! A part of the heap's stacks.

use super::place::place;
use super::words::HeapSaid;
use crate::collect::heap::Sort;
use crate::section::focus::Focus;
use crate::section::model::{Heap, Site};
use crate::section::site::rank;

/// Leaves the asked-for sites; sums are those of what is left.
pub(crate) fn select(heap: &mut Heap, focus: &Focus) -> HeapSaid {
    let before = heap.totals.live_bytes;
    heap.sites.retain(|site| focus.keeps(&site.stack));
    rank(&mut heap.sites);
    let totals = &mut heap.totals;
    let sum = |of: fn(&Site) -> u64| heap.sites.iter().map(of).fold(0, u64::saturating_add);
    totals.live_bytes = sum(|site| site.live_bytes);
    totals.live_objects = sum(|site| site.live_objects);
    totals.older_blocks = sum(|site| site.older_blocks);
    totals.older_bytes = sum(|site| site.older_bytes);
    totals.alloc_bytes = sum(|site| site.alloc_bytes);
    totals.alloc_objects = sum(|site| site.alloc_objects);
    totals.free_objects = totals.alloc_objects.saturating_sub(totals.live_objects);
    totals.unknown_frees = 0;
    totals.growth_bytes = heap.sites.iter().map(|site| site.growth_bytes).fold(0, i64::saturating_add);
    let live_bytes = totals.live_bytes;
    place(heap, Sort::LiveBytes);
    HeapSaid::Selected { live_bytes, of_bytes: before }
}
