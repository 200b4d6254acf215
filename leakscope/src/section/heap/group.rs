//! Sites of the heap added up.

use std::cmp::Reverse;

use super::place::place;
use crate::collect::heap::Sort;
use crate::section::by::By;
use crate::section::group::{add, add_known, add_signed, add_up};
use crate::section::model::{Heap, Site};
use crate::section::site::rank;

/// Adds up the sites.
pub(crate) fn group(heap: &mut Heap, by: By) {
    add_up(&mut heap.sites, by, |site| site.source.clone(), add_sites);
    heap.sites.sort_by_key(|site| Reverse(site.live_bytes));
    rank(&mut heap.sites);
    place(heap, Sort::LiveBytes);
}

fn add_sites(sum: &mut Site, site: Site) {
    add(&mut sum.live_bytes, site.live_bytes);
    add(&mut sum.live_objects, site.live_objects);
    add(&mut sum.older_blocks, site.older_blocks);
    add(&mut sum.older_bytes, site.older_bytes);
    add(&mut sum.alloc_bytes, site.alloc_bytes);
    add(&mut sum.alloc_objects, site.alloc_objects);
    add_signed(&mut sum.growth_bytes, site.growth_bytes);
    sum.oldest_age_ns = sum.oldest_age_ns.max(site.oldest_age_ns);
    sum.youngest_age_ns = [sum.youngest_age_ns, site.youngest_age_ns].into_iter().flatten().min();
    // The interval of a sum is not the sum of intervals.
    (sum.live_bytes_low, sum.live_bytes_high) = (None, None);
    add_known(&mut sum.samples, site.samples);
    if sum.goroutine != site.goroutine {
        sum.goroutine = None;
    }
}
