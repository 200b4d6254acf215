//! A part of the stacks that wait.

use std::cmp::Reverse;

use super::words::WaitsSaid;
use crate::section::focus::Focus;
use crate::section::model::Waits;
use crate::section::site::rank;

/// Leaves the asked-for sites; sums are those of what is left.
pub(crate) fn select(waits: &mut Waits, focus: &Focus) -> WaitsSaid {
    let before = waits.blocked_now;
    waits.sites.retain(|site| focus.keeps(&site.stack));
    rank(&mut waits.sites);
    waits.blocked_now = waits.sites.iter().map(|site| site.blocked_now).fold(0, u64::saturating_add);
    waits.threads = waits.blocked_now;
    waits.count_stuck();
    (waits.unsettled, waits.vanished) = (0, 0);
    let kept = |id: &String| waits.sites.iter().any(|site| site.site_id == *id);
    waits.deadlocks.retain(|deadlock| deadlock.cycle.iter().all(|thread| kept(&thread.site_id)));
    waits.long_waits.retain(|wait| kept(&wait.site_id));
    waits.wakers.retain(|waker| waker.sites.iter().any(kept));
    for holder in &mut waits.lock_holders {
        holder.waiters.retain(|site| kept(&site.site_id));
        holder.add_up();
    }
    waits.lock_holders.retain(|holder| !holder.waiters.is_empty());
    waits.lock_holders.sort_by_key(|holder| Reverse(holder.wait_ns));
    rank(&mut waits.lock_holders);
    WaitsSaid::Selected { blocked: waits.blocked_now, of: before }
}
