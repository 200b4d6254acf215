//! Waits of goroutines added up.

use std::cmp::Reverse;

use super::model::{GoroutineRelease, GoroutineWaitSite, GoroutineWaits};
use crate::section::by::By;
use crate::section::group::{add, add_up};
use crate::section::site::rank;

/// Adds up the sites.
pub(crate) fn group(all: &mut GoroutineWaits, by: By) {
    add_up(&mut all.sites, by, |site| site.kind, add_sites);
    all.sites.sort_by_key(|site| Reverse((site.wait_ns, site.waits)));
    rank(&mut all.sites);
    add_up(&mut all.releases, by, |_| (), add_releases);
    all.releases.sort_by_key(|release| Reverse((release.wait_ns, release.contentions)));
    rank(&mut all.releases);
}

/// Errors of two sums, at most.
fn add_error(sum: &mut Option<u64>, error: Option<u64>) {
    *sum = sum.zip(error).map(|(a, b)| a.saturating_add(b));
}

fn add_sites(sum: &mut GoroutineWaitSite, site: GoroutineWaitSite) {
    add(&mut sum.waits, site.waits);
    add(&mut sum.wait_ns, site.wait_ns);
    add_error(&mut sum.waits_error, site.waits_error);
    add_error(&mut sum.wait_ns_error, site.wait_ns_error);
    add_error(&mut sum.waiting, site.waiting);
    sum.max_wait_ns = sum.max_wait_ns.max(site.max_wait_ns);
    sum.longest_waiting_ns = sum.longest_waiting_ns.max(site.longest_waiting_ns);
}

fn add_releases(sum: &mut GoroutineRelease, site: GoroutineRelease) {
    add(&mut sum.contentions, site.contentions);
    add(&mut sum.wait_ns, site.wait_ns);
    add_error(&mut sum.contentions_error, site.contentions_error);
    add_error(&mut sum.wait_ns_error, site.wait_ns_error);
}
