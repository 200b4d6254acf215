//! The differences of the sections of two reports.

use std::cmp::Reverse;

use super::key::{Frames, Keys, StackKey};
use super::model::{
    GoroutineSiteDiff, GoroutinesDiff, HeapDiff, HeapSite, HeapTotals, MemoryDiff, ThreadsDiff, WaitSiteDiff,
    WaitsDiff,
};
use super::pairs::{Pair, matched};
use crate::report::Report;
use crate::report::model::{GoroutineSite, Site, Totals, WaitSite};
use crate::section::growth::growth;
use crate::section::site::rank;

/// The resident sets.
pub(super) fn memory(old: &Report, new: &Report) -> Option<MemoryDiff> {
    let (old, new) = (old.memory.rss_end_bytes?, new.memory.rss_end_bytes?);
    Some(MemoryDiff { old_rss_bytes: old, new_rss_bytes: new, growth_bytes: growth(old, new) })
}

/// The heaps.
pub(super) fn heap<'a>(
    old: &'a Report,
    new: &'a Report,
    keys: &mut Keys<'a>,
    by_objects: bool,
) -> Option<HeapDiff> {
    let (old, new) = (old.heap.as_ref()?, new.heap.as_ref()?);
    let key = |site: &'a Site, which| (site.source.as_str(), keys.stack(&site.stack, which));
    let mut sites: Vec<HeapSite> = matched(&old.sites, &new.sites, key).iter().map(heap_site).collect();
    if by_objects {
        sites.sort_by_key(|site| Reverse((site.growth_objects, site.growth_bytes)));
    } else {
        sites.sort_by_key(|site| Reverse((site.growth_bytes, site.growth_objects)));
    }
    rank(&mut sites);
    Some(HeapDiff { exact: old.exact && new.exact, totals: totals(&old.totals, &new.totals), sites })
}

fn totals(old: &Totals, new: &Totals) -> HeapTotals {
    HeapTotals {
        old_live_bytes: old.live_bytes,
        new_live_bytes: new.live_bytes,
        growth_bytes: growth(old.live_bytes, new.live_bytes),
        old_live_objects: old.live_objects,
        new_live_objects: new.live_objects,
        growth_objects: growth(old.live_objects, new.live_objects),
        old_alloc_bytes: old.alloc_bytes,
        new_alloc_bytes: new.alloc_bytes,
        old_alloc_objects: old.alloc_objects,
        new_alloc_objects: new.alloc_objects,
    }
}

fn heap_site(pair: &Pair<'_, Site>) -> HeapSite {
    let shown = pair.shown();
    let (old_live_bytes, new_live_bytes) = pair.sums(|site| site.live_bytes);
    let (old_live_objects, new_live_objects) = pair.sums(|site| site.live_objects);
    let (old_alloc_bytes, new_alloc_bytes) = pair.sums(|site| site.alloc_bytes);
    let (old_alloc_objects, new_alloc_objects) = pair.sums(|site| site.alloc_objects);
    let growth_bytes = growth(old_live_bytes, new_live_bytes);
    HeapSite {
        rank: 0,
        change: pair.change(growth_bytes),
        source: shown.source.clone(),
        old_live_bytes,
        new_live_bytes,
        growth_bytes,
        old_live_objects,
        new_live_objects,
        growth_objects: growth(old_live_objects, new_live_objects),
        old_alloc_bytes,
        new_alloc_bytes,
        old_alloc_objects,
        new_alloc_objects,
        old_stacks: pair.old.len() as u64,
        new_stacks: pair.new.len() as u64,
        stack: shown.stack.clone(),
    }
}

/// Blocked threads.
pub(super) fn waits<'a>(old: &'a Report, new: &'a Report, keys: &mut Keys<'a>) -> Option<WaitsDiff> {
    let (old, new) = (old.waits.as_ref()?, new.waits.as_ref()?);
    let key = |site: &'a WaitSite, which| (site.kind, keys.stack(&site.stack, which));
    // A `dump` knows no times of waits that ended.
    let counted = |sites: &[WaitSite]| sites.is_empty() || sites.iter().any(|site| site.wait_ns.is_some());
    let counted = counted(&old.sites) && counted(&new.sites);
    let pairs = matched(&old.sites, &new.sites, key);
    let mut sites: Vec<WaitSiteDiff> = pairs.iter().map(|pair| wait_site(pair, counted)).collect();
    sites.sort_by_key(|site| (site.idle, Reverse(site.growth_blocked), Reverse(site.growth_wait_ns)));
    rank(&mut sites);
    let stuck = |sites: &[WaitSite]| {
        sites.iter().filter(|site| !site.idle).map(|site| site.blocked_now).fold(0, u64::saturating_add)
    };
    Some(WaitsDiff {
        exact: old.exact && new.exact,
        old_blocked: old.blocked_now,
        new_blocked: new.blocked_now,
        growth_blocked: growth(old.blocked_now, new.blocked_now),
        growth_stuck: growth(stuck(&old.sites), stuck(&new.sites)),
        old_deadlocks: old.deadlocks.len() as u64,
        new_deadlocks: new.deadlocks.len() as u64,
        sites,
    })
}

/// `counted` tells whether both reports know the times of waits that ended; a side without the site has
/// waited for no time then.
fn wait_site(pair: &Pair<'_, WaitSite>, counted: bool) -> WaitSiteDiff {
    let shown = pair.shown();
    let (old_blocked, new_blocked) = pair.sums(|site| site.blocked_now);
    let (old_waits, new_waits) = pair.known(|site| site.waits);
    let (old_wait_ns, new_wait_ns) = pair.known(|site| site.wait_ns);
    let growth_blocked = growth(old_blocked, new_blocked);
    let known = |ns: Option<u64>, side: &[_]| ns.or((counted && side.is_empty()).then_some(0));
    WaitSiteDiff {
        rank: 0,
        change: pair.change(growth_blocked),
        kind: shown.kind,
        primitive: shown.primitive.clone(),
        idle: shown.idle,
        old_blocked,
        new_blocked,
        growth_blocked,
        old_waits,
        new_waits,
        old_wait_ns,
        new_wait_ns,
        growth_wait_ns: known(old_wait_ns, &pair.old)
            .zip(known(new_wait_ns, &pair.new))
            .map(|(old, new)| growth(old, new)),
        longest_blocked_ns: pair.new.iter().filter_map(|site| site.longest_blocked_ns).max(),
        stack: shown.stack.clone(),
    }
}

/// Goroutines.
pub(super) fn goroutines<'a>(
    old: &'a Report,
    new: &'a Report,
    keys: &mut Keys<'a>,
) -> Option<GoroutinesDiff> {
    let (old, new) = (old.goroutines.as_ref()?, new.goroutines.as_ref()?);
    let pairs = matched(&old.sites, &new.sites, |site, which| goroutine_key(site, keys, which));
    let mut sites: Vec<GoroutineSiteDiff> = pairs.iter().map(goroutine_site).collect();
    sites.sort_by_key(|site| (site.system, site.idle, Reverse(site.growth)));
    rank(&mut sites);
    Some(GoroutinesDiff {
        exact: old.exact && new.exact,
        old_total: old.total,
        new_total: new.total,
        growth: growth(old.total, new.total),
        sites,
    })
}

/// What is the same of goroutines in another build or run: state, creator, whether they are the runtime's,
/// stack.
pub(super) fn goroutine_key<'a>(
    site: &'a GoroutineSite,
    keys: &mut Keys<'a>,
    which: Frames,
) -> (&'a str, Option<u32>, bool, StackKey) {
    let creator = site.created_by.as_ref().map(|frame| keys.frame(frame));
    (state(site), creator, site.system, keys.stack(&site.stack, which))
}

/// What goroutines do; running and waiting to run are the same moment seen twice.
fn state(site: &GoroutineSite) -> &str {
    match site.wait_reason.as_deref() {
        Some(reason) => reason,
        None if site.state == "runnable" => "running",
        None => &site.state,
    }
}

fn goroutine_site(pair: &Pair<'_, GoroutineSite>) -> GoroutineSiteDiff {
    let shown = pair.shown();
    let (old_count, new_count) = pair.sums(|site| site.count);
    let growth = growth(old_count, new_count);
    GoroutineSiteDiff {
        rank: 0,
        change: pair.change(growth),
        old_count,
        new_count,
        growth,
        state: shown.state.clone(),
        wait_reason: shown.wait_reason.clone(),
        idle: shown.idle,
        system: shown.system,
        created_by: shown.created_by.clone(),
        stack: shown.stack.clone(),
    }
}

/// How many threads there are.
pub(super) fn threads(old: &Report, new: &Report) -> Option<ThreadsDiff> {
    let alive = |report: &Report| {
        let counted = report.threads.as_ref().and_then(|threads| threads.alive);
        counted.or_else(|| report.waits.as_ref().map(|waits| waits.threads))
    };
    let (old, new) = (alive(old)?, alive(new)?);
    Some(ThreadsDiff { old_alive: old, new_alive: new, growth: growth(old, new) })
}
