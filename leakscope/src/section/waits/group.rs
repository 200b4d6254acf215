//! Sites of waits added up.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::section::by::By;
use crate::section::group::{add, add_known, add_up};
use crate::section::model::{HeldUp, WaitSite, Waits};
use crate::section::site::rank;

/// Adds up the sites; what names one names the sum then.
pub(crate) fn group(waits: &mut Waits, by: By) {
    let ids = add_up(&mut waits.sites, by, |site| (site.kind, site.idle), add_sites);
    waits.sites.sort_by_key(|site| (site.idle, Reverse(site.blocked_now), Reverse(site.wait_ns)));
    rank(&mut waits.sites);
    let renamed = |id: &mut String| {
        if let Some(new) = ids.get(id) {
            id.clone_from(new);
        }
    };
    waits.deadlocks.iter_mut().flat_map(|d| &mut d.cycle).for_each(|t| renamed(&mut t.site_id));
    waits.long_waits.iter_mut().for_each(|wait| renamed(&mut wait.site_id));
    for holder in &mut waits.lock_holders {
        let mut sums: BTreeMap<String, HeldUp> = BTreeMap::new();
        for mut site in holder.waiters.drain(..) {
            renamed(&mut site.site_id);
            let new = HeldUp { site_id: site.site_id.clone(), wait_ns: 0, contentions: 0 };
            let sum = sums.entry(site.site_id).or_insert(new);
            add(&mut sum.wait_ns, site.wait_ns);
            add(&mut sum.contentions, site.contentions);
        }
        holder.waiters = sums.into_values().collect();
        holder.waiters.sort_by_key(|site| Reverse(site.wait_ns));
    }
    for waker in &mut waits.wakers {
        waker.sites.iter_mut().for_each(renamed);
        let mut seen = Vec::new();
        waker.sites.retain(|id| {
            !seen.contains(id) && {
                seen.push(id.clone());
                true
            }
        });
    }
}

fn add_sites(sum: &mut WaitSite, site: WaitSite) {
    add(&mut sum.blocked_now, site.blocked_now);
    add_known(&mut sum.waits, site.waits);
    add_known(&mut sum.wait_ns, site.wait_ns);
    sum.longest_blocked_ns = sum.longest_blocked_ns.max(site.longest_blocked_ns);
    sum.max_wait_ns = sum.max_wait_ns.max(site.max_wait_ns);
    let mut histogram: BTreeMap<u64, u64> = sum.histogram.drain(..).collect();
    for (bound, n) in site.histogram {
        add(histogram.entry(bound).or_default(), n);
    }
    sum.histogram = histogram.into_iter().collect();
    sum.threads.extend(site.threads);
    sum.threads.sort_by_key(|thread| Reverse(thread.blocked_ns));
    for lock in site.locks {
        match sum.locks.iter_mut().find(|known| known.address == lock.address) {
            Some(known) => add(&mut known.waiters, lock.waiters),
            None => sum.locks.push(lock),
        }
    }
    if sum.operation != site.operation {
        sum.operation = None;
    }
    if sum.primitive != site.primitive {
        sum.primitive = None;
    }
    if sum.idle_rule != site.idle_rule {
        sum.idle_rule = None;
    }
}
