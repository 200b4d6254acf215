//! Sites of goroutines added up.

use std::cmp::Reverse;

use crate::section::by::By;
use crate::section::group::{add, add_change, add_up};
use crate::section::model::{GoroutineSite, Goroutines};
use crate::section::site::rank;

/// Adds up the sites.
pub(crate) fn group(all: &mut Goroutines, by: By) {
    let state = |site: &GoroutineSite| (site.state.clone(), site.wait_reason.clone(), site.idle, site.system);
    add_up(&mut all.sites, by, state, add_goroutines);
    all.sites.sort_by_key(|site| (site.system, site.idle, Reverse(site.piling_up), Reverse(site.count)));
    rank(&mut all.sites);
}

/// Adds goroutines to others of the same place.
pub(super) fn add_goroutines(sum: &mut GoroutineSite, site: GoroutineSite) {
    add(&mut sum.count, site.count);
    add_change(&mut sum.growth, site.growth);
    add_change(&mut sum.growth_since_first, site.growth_since_first);
    if sum.place_id != site.place_id {
        sum.place_id.clear();
        add_change(&mut sum.place_growth_since_first, site.place_growth_since_first);
    }
    // Sites of one spot or creator have its growth, all of it.
    sum.spot_growth_since_first = sum.spot_growth_since_first.max(site.spot_growth_since_first);
    sum.creator_growth_since_first = sum.creator_growth_since_first.max(site.creator_growth_since_first);
    add(&mut sum.stuck, site.stuck);
    add(&mut sum.leaked, site.leaked);
    if sum.stuck_rule.is_none() {
        sum.stuck_rule.clone_from(&site.stuck_rule);
    }
    if sum.woken_by != site.woken_by {
        sum.woken_by = None;
    }
    sum.piling_up |= site.piling_up;
    if site.longest_blocked_ns > sum.longest_blocked_ns {
        sum.longest_blocked_ns = site.longest_blocked_ns;
        sum.blocked_at_least = site.blocked_at_least;
    }
    sum.since_last_gc &= site.since_last_gc;
    if sum.labels != site.labels {
        sum.labels = None;
    }
    add(&mut sum.label_sets, site.label_sets);
    add(&mut sum.locked_to_thread, site.locked_to_thread);
    sum.goroutine_ids.extend(site.goroutine_ids);
    sum.goroutine_ids.sort_unstable();
    sum.goroutine_ids.truncate(5);
    sum.tids.extend(site.tids);
    sum.tids.truncate(5);
    if sum.created_by != site.created_by {
        sum.created_by = None;
    }
    if sum.start_function != site.start_function {
        sum.start_function = None;
    }
    if sum.idle_rule != site.idle_rule {
        sum.idle_rule = None;
    }
}
