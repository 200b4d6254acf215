//! What answers "what is stuck?".

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::words::{Held, LockWaits, Owner, Spot, ThreadName, Unknown, WaitsSaid};
use crate::section::label::{line_first, place_in_list};
use crate::section::model::{Deadlock, DeadlockThread, WaitKind, WaitLock, WaitSite, Waits};
use crate::wait::kind::Stuck;
use crate::wait::verdict::{STORAGE_NS, Verdict};

/// Who waits so long for a lock is stuck.
const STUCK_NS: u64 = 1_000_000_000;
/// If several threads wait for a lock, so long is enough.
const CROWD_NS: u64 = 100_000_000;
/// Time spent in finished waits for a lock that is worth a sentence.
const CONTENTION_NS: u64 = 1_000_000_000;
/// Threads of a deadlock that a sentence names.
const NAMED: usize = 4;
/// Second-rank findings about sites.
const MORE_SITES: usize = 3;

/// Whether a site is stuck, and for so long that it is worth a sentence.
pub fn is_notable(site: &WaitSite) -> bool {
    let longest = site.longest_blocked_ns.unwrap_or_default();
    if site.blocked_now == 0 || site.verdict() != Verdict::Stuck {
        return false;
    }
    match site.kind.row().stuck {
        Stuck::Always => true,
        Stuck::Late => longest >= STORAGE_NS,
        // What is waited for is usually had at once, and sooner if several wait.
        Stuck::Soon | Stuck::Never => {
            // What is only a bound may be much more.
            let soon = site.blocked_now > 1 || site.is_at_least();
            longest >= STUCK_NS || (soon && longest >= CROWD_NS)
        }
    }
}

/// What is stuck; `None` if there is no evidence that anything is.
pub fn waits(waits: &Waits) -> Option<WaitsSaid> {
    let circle = waits.deadlocks.first().map(|first| deadlock(first, waits));
    circle
        .or_else(|| waits.mutual_waits.first().map(|first| mutual_wait(first, waits)))
        .or_else(|| waits.sites.iter().find(|site| is_notable(site)).map(|site| stuck(site, waits)))
}

/// What there is to say if [`waits()`] has nothing.
pub fn waits_idle(waits: &Waits) -> WaitsSaid {
    if waits.threads == 0 {
        return WaitsSaid::NoThreads {};
    }
    let unknown = waits.blocked(Verdict::Unknown).max_by_key(|site| {
        // The first of those that are equal, as they are ranked.
        (site.blocked_now, site.longest_blocked_ns, Reverse(site.rank))
    });
    let several = |first: &WaitSite| waits.sites.iter().any(|site| first.shares_stack_with(site));
    WaitsSaid::Calm {
        threads: waits.threads,
        idle: waits.blocked(Verdict::Idle).map(|site| site.blocked_now).fold(0, u64::saturating_add),
        running: waits.threads.saturating_sub(waits.blocked_now),
        locks: lock_waits(waits),
        unknown: unknown.map(|site| Unknown {
            threads: waits.unknown_now,
            here: site.blocked_now,
            spot: spot(site),
            // Of one stack that waits for several kinds of things this is one.
            kind: several(site).then_some(site.kind),
            longest_blocked_ns: site.longest_blocked_ns.unwrap_or_default(),
            why: waited_for(site).or_else(|| site.verdict_reason.clone()).unwrap_or_default(),
        }),
    }
}

/// What all threads of a site wait for, if that is one thing outside of the process.
fn waited_for(site: &WaitSite) -> Option<String> {
    let first = site.threads.first()?.peer.as_ref()?;
    let all = site.threads.iter().all(|thread| thread.peer.as_ref() == Some(first));
    all.then(|| first.to_string())
}

/// Who waits for locks, where nobody has done so for long.
fn lock_waits(waits: &Waits) -> LockWaits {
    let stuck = || waits.blocked(Verdict::Stuck).filter(|site| site.kind.is_lock());
    let threads = stuck().map(|site| site.blocked_now).fold(0, u64::saturating_add);
    let all_seen = waits.unsettled == 0
        && waits.sites.iter().all(|site| site.blocked_now == 0 || site.stack.end.is_some());
    if threads > 0 {
        let longest_ns = stuck().filter_map(|site| site.longest_blocked_ns).max().unwrap_or_default();
        let at_least = stuck().any(WaitSite::is_at_least);
        LockWaits::Some { threads, longest_ns, at_least }
    } else if all_seen && !waits.blocked(Verdict::Unknown).any(may_want_lock) {
        LockWaits::None
    } else {
        LockWaits::NoneKnown
    }
}

/// Whether a wait of which little is known may be one for a lock: locks are made of such things.
fn may_want_lock(site: &WaitSite) -> bool {
    let made_of = matches!(site.kind, WaitKind::Futex | WaitKind::Semaphore | WaitKind::Unknown);
    let name = site.primitive.as_deref().unwrap_or_default().to_lowercase();
    made_of || site.kind.is_lock() || ["park", "lock", "acquire"].iter().any(|part| name.contains(part))
}

/// Facts of second rank, most important first; what [`waits()`] says is not repeated.
pub fn findings(waits: &Waits) -> Vec<WaitsSaid> {
    let mut findings = Vec::new();
    let said = usize::from(waits.deadlocks.is_empty());
    if waits.deadlocks.len() > 1 {
        findings.push(WaitsSaid::Deadlocks { deadlocks: waits.deadlocks.len() as u64 });
    }
    // The first one is the headline where there is no deadlock.
    let mutual = waits.mutual_waits.iter().skip(said).take(MORE_SITES);
    findings.extend(mutual.map(|circle| mutual_wait(circle, waits)));
    let said = usize::from(waits.deadlocks.is_empty() && waits.mutual_waits.is_empty());
    let cycles = waits.deadlocks.iter().chain(&waits.mutual_waits).flat_map(|deadlock| &deadlock.cycle);
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
        at_least: site.is_at_least(),
        waits_for: waited_for(site),
        hidden: site.kind.is_lock() && site.locks.is_empty(),
        held: held(&site.locks),
    }
}

/// Who holds what a site waits for.
fn held(locks: &[WaitLock]) -> Option<Held> {
    let most = locks.first()?;
    let owner = most.owner_tid.map(|tid| Owner {
        thread: ThreadName { tid, name: most.owner_name.clone().unwrap_or_default() },
        process: most.owner_process.clone(),
        inferred: most.owner_inferred,
        state: most.owner_state.clone(),
        place: most.owner_stack.as_ref().and_then(|stack| line_first(stack.blamed()?)),
    });
    Some(Held { locks: locks.len() as u64, owner, owner_unknown: most.owner_unknown.clone() })
}

fn deadlock(deadlock: &Deadlock, waits: &Waits) -> WaitsSaid {
    let Circle { named, places, joins, blocked_ns } = circle(deadlock, waits);
    WaitsSaid::Deadlock {
        threads: deadlock.cycle.len() as u64,
        named,
        places,
        certain: deadlock.certain,
        joins,
        blocked_ns,
        also_blocked: deadlock.also_blocked,
    }
}

fn mutual_wait(ring: &Deadlock, waits: &Waits) -> WaitsSaid {
    let Circle { named, places, blocked_ns, .. } = circle(ring, waits);
    WaitsSaid::MutualWait {
        threads: ring.cycle.len() as u64,
        named,
        places,
        certain: ring.certain,
        // It ends as the first of them gives up.
        limit_ns: ring.cycle.iter().filter_map(|thread| thread.limit_ns).min(),
        blocked_ns,
    }
}

/// What is told of a circle of threads.
struct Circle {
    named: Vec<ThreadName>,
    places: Vec<String>,
    joins: bool,
    blocked_ns: Option<u64>,
}

fn circle(deadlock: &Deadlock, waits: &Waits) -> Circle {
    let by_id: HashMap<&str, &WaitSite> =
        waits.sites.iter().map(|site| (site.site_id.as_str(), site)).collect();
    let site_of = |thread: &DeadlockThread| by_id.get(thread.site_id.as_str()).copied();
    let mut places: Vec<String> = Vec::new();
    for thread in deadlock.cycle.iter().take(NAMED) {
        let place = site_of(thread).and_then(|site| place_in_list(site.stack.blamed()?));
        places.extend(place.filter(|place| !places.contains(place)));
    }
    let name = |thread: &DeadlockThread| ThreadName { tid: thread.tid, name: thread.name.clone() };
    Circle {
        named: deadlock.cycle.iter().take(NAMED).map(name).collect(),
        places,
        joins: deadlock.cycle.iter().filter_map(site_of).any(|site| site.kind == WaitKind::Join),
        // It is as old as the wait that closed the circle.
        blocked_ns: deadlock.cycle.iter().filter_map(|thread| thread.blocked_ns).min(),
    }
}

#[cfg(test)]
mod tests;
