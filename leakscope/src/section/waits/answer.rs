//! What answers "what is stuck?".

use std::collections::{HashMap, HashSet};

use super::words::{Held, Owner, Spot, ThreadName, WaitsSaid};
use crate::section::label::{line_first, place_in_list};
use crate::section::model::{Deadlock, DeadlockThread, WaitKind, WaitLock, WaitSite, Waits};
use crate::wait::kind::Stuck;

/// Who waits so long for a lock is stuck.
const STUCK_NS: u64 = 1_000_000_000;
/// If several threads wait for a lock, so long is enough.
const CROWD_NS: u64 = 100_000_000;
/// A file or a page of memory may take that long.
const STORAGE_NS: u64 = 10_000_000_000;
/// More threads than this that wait for a condition are no pool.
const CROWD: u64 = 64;
/// Time spent in finished waits for a lock that is worth a sentence.
const CONTENTION_NS: u64 = 1_000_000_000;
/// Threads of a deadlock that a sentence names.
const NAMED: usize = 4;
/// Second-rank findings about sites.
const MORE_SITES: usize = 3;

/// Whether a site looks stuck now.
pub fn is_notable(site: &WaitSite) -> bool {
    let longest = site.longest_blocked_ns.unwrap_or_default();
    if site.idle || site.blocked_now == 0 {
        return false;
    }
    match site.kind.row().stuck {
        Stuck::Soon => longest >= STUCK_NS || (site.blocked_now > 1 && longest >= CROWD_NS),
        Stuck::Crowded => site.blocked_now > CROWD && longest >= STUCK_NS,
        Stuck::Late => longest >= STORAGE_NS,
        Stuck::Always => true,
        Stuck::Never => false,
    }
}

/// What is stuck; `None` if nothing looks so.
pub fn waits(waits: &Waits) -> Option<WaitsSaid> {
    match waits.deadlocks.first() {
        Some(first) => Some(deadlock(first, waits)),
        None => waits.sites.iter().find(|site| is_notable(site)).map(|site| stuck(site, waits)),
    }
}

/// What there is to say if [`waits()`] has nothing.
pub fn waits_idle(waits: &Waits) -> WaitsSaid {
    if waits.threads == 0 {
        return WaitsSaid::NoThreads {};
    }
    let others = || waits.sites.iter().filter(|site| !site.idle && site.blocked_now > 0);
    let Some(first) = others().next() else { return WaitsSaid::Calm { threads: waits.threads } };
    // Of one stack that waits for several kinds of things this is one.
    let several = waits.sites.iter().any(|site| first.shares_stack_with(site));
    WaitsSaid::CalmBut {
        threads: waits.threads,
        blocked: others().map(|site| site.blocked_now).sum(),
        here: first.blocked_now,
        spot: spot(first),
        kind: several.then_some(first.kind),
    }
}

/// Facts of second rank, most important first; what [`waits()`] says is not repeated.
pub fn findings(waits: &Waits) -> Vec<WaitsSaid> {
    let mut findings = Vec::new();
    let said = usize::from(waits.deadlocks.is_empty());
    if waits.deadlocks.len() > 1 {
        findings.push(WaitsSaid::Deadlocks { deadlocks: waits.deadlocks.len() as u64 });
    }
    let cycles = waits.deadlocks.iter().flat_map(|deadlock| &deadlock.cycle);
    let deadlocked: HashSet<&str> = cycles.map(|thread| thread.site_id.as_str()).collect();
    let more =
        waits.sites.iter().filter(|site| is_notable(site) && !deadlocked.contains(site.site_id.as_str()));
    // All stopped threads are told of at once.
    let mut said_stopped = false;
    let more =
        more.filter(|site| site.kind != WaitKind::Stopped || !std::mem::replace(&mut said_stopped, true));
    let more = more.skip(said);
    findings.extend(more.take(MORE_SITES).map(|site| stuck(site, waits)));
    let contended = |site: &&WaitSite| {
        site.kind.is_lock() && !site.idle && site.wait_ns.is_some_and(|ns| ns >= CONTENTION_NS)
    };
    let contended = waits.sites.iter().filter(contended).max_by_key(|site| site.wait_ns);
    findings.extend(contended.map(|site| WaitsSaid::Contended {
        waits: site.waits.unwrap_or_default(),
        spot: spot(site),
        wait_ns: site.wait_ns.unwrap_or_default(),
        max_wait_ns: site.max_wait_ns.unwrap_or_default(),
    }));
    if waits.unsettled > 0 {
        findings.push(WaitsSaid::Unsettled { threads: waits.unsettled });
    }
    findings
}

/// What a site waits in, as a reader knows it, and where. The line comes first: what waits has been said before.
fn spot(site: &WaitSite) -> Spot {
    let what = match (&site.primitive, site.kind.row().phrase, &site.operation) {
        (Some(primitive), ..) => primitive.clone(),
        (None, Some(phrase), _) => phrase.to_owned(),
        (None, None, Some(operation)) => operation.clone(),
        (None, None, None) => format!("a wait of kind {}", site.kind),
    };
    Spot { what, place: site.stack.blamed().and_then(line_first) }
}

fn stuck(site: &WaitSite, waits: &Waits) -> WaitsSaid {
    if site.kind == WaitKind::Stopped {
        let sites = waits.sites.iter().filter(|site| site.kind == WaitKind::Stopped);
        let stopped = sites.fold(0u64, |sum, site| sum.saturating_add(site.blocked_now));
        return WaitsSaid::Stopped { stopped, threads: waits.threads };
    }
    let only = match site.threads.as_slice() {
        [only] => Some(ThreadName { tid: only.tid, name: only.name.clone() }),
        _ => None,
    };
    WaitsSaid::Stuck {
        blocked: site.blocked_now,
        threads: waits.threads,
        only,
        spot: spot(site),
        longest_blocked_ns: site.longest_blocked_ns,
        held: held(&site.locks),
    }
}

/// Who holds what a site waits for.
fn held(locks: &[WaitLock]) -> Option<Held> {
    let most = locks.first()?;
    let owner = most.owner_tid.map(|tid| Owner {
        thread: ThreadName { tid, name: most.owner_name.clone().unwrap_or_default() },
        inferred: most.owner_inferred,
        state: most.owner_state.clone(),
        place: most.owner_stack.as_ref().and_then(|stack| line_first(stack.blamed()?)),
    });
    Some(Held { locks: locks.len() as u64, owner, owner_unknown: most.owner_unknown.clone() })
}

fn deadlock(deadlock: &Deadlock, waits: &Waits) -> WaitsSaid {
    let by_id: HashMap<&str, &WaitSite> =
        waits.sites.iter().map(|site| (site.site_id.as_str(), site)).collect();
    let site_of = |thread: &DeadlockThread| by_id.get(thread.site_id.as_str()).copied();
    let mut places: Vec<String> = Vec::new();
    for thread in deadlock.cycle.iter().take(NAMED) {
        let place = site_of(thread).and_then(|site| place_in_list(site.stack.blamed()?));
        places.extend(place.filter(|place| !places.contains(place)));
    }
    let name = |thread: &DeadlockThread| ThreadName { tid: thread.tid, name: thread.name.clone() };
    WaitsSaid::Deadlock {
        threads: deadlock.cycle.len() as u64,
        named: deadlock.cycle.iter().take(NAMED).map(name).collect(),
        places,
        certain: deadlock.certain,
        joins: deadlock.cycle.iter().filter_map(site_of).any(|site| site.kind == WaitKind::Join),
        // It is as old as the wait that closed the circle.
        blocked_ns: deadlock.cycle.iter().filter_map(|thread| thread.blocked_ns).min(),
        also_blocked: deadlock.also_blocked,
    }
}

#[cfg(test)]
mod tests;
