//! What there is to say of locks that goroutines wait for.

use super::answer::doing;
use super::model::{GoroutineLock, GoroutineParty};
use super::stuck::in_deadlock;
use super::words::{Deadlocked, GoroutinesSaid, Group, HeldBy};
use crate::section::model::{GoroutineSite, Goroutines};

/// The site of a place.
fn site<'a>(all: &'a Goroutines, place: &str) -> Option<&'a GoroutineSite> {
    all.sites.iter().find(|site| site.place_id == place)
}

/// Deadlocks, those first of which there are most.
pub(super) fn deadlocks(all: &Goroutines) -> impl Iterator<Item = GoroutinesSaid> {
    let party = |party: &GoroutineParty| Deadlocked {
        goroutine_id: party.goroutine_id,
        doing: site(all, &party.place_id).map(doing),
        unlocked_by: party.unlocks_in.clone(),
    };
    let stuck = all.sites.iter().filter(|site| in_deadlock(site)).map(|site| site.stuck);
    let stuck = stuck.fold(0, u64::saturating_add);
    all.deadlocks.iter().enumerate().map(move |(i, deadlock)| GoroutinesSaid::Deadlocked {
        circle: deadlock.goroutines.iter().map(party).collect(),
        count: deadlock.count,
        // Told once.
        stuck: if i == 0 { stuck } else { 0 },
        total: all.total,
    })
}

/// Whether these wait for a lock (`runtime/runtime2.go`, `waitReasonStrings`).
fn waits_for_lock(site: &GoroutineSite) -> bool {
    matches!(
        site.wait_reason.as_deref(),
        Some("sync.Mutex.Lock" | "sync.RWMutex.Lock" | "sync.RWMutex.RLock")
    )
}

/// Goroutines that wait for locks, however that is known.
pub(super) fn want_locks(all: &Goroutines) -> u64 {
    let by_reason = all.sites.iter().filter(|site| !site.system && waits_for_lock(site));
    let by_reason = by_reason.fold(0, |sum: u64, site| sum.saturating_add(site.count));
    by_reason.max(all.locks.iter().fold(0, |sum, lock| sum.saturating_add(lock.waiters)))
}

/// The lock that most goroutines wait for, those in deadlocks apart.
pub(super) fn most_wanted(all: &Goroutines) -> Option<GoroutinesSaid> {
    let is_dead = |lock: &GoroutineLock| {
        lock.places.iter().any(|place| site(all, &place.place_id).is_some_and(|site| site.stuck > 0))
    };
    let mut wanted = all.locks.iter().filter(|lock| !is_dead(lock));
    let lock = wanted.next()?;
    let (elsewhere, other_locks) =
        wanted.fold((0u64, 0), |(sum, n), lock| (sum.saturating_add(lock.waiters), n + 1));
    let most = lock
        .places
        .first()
        .and_then(|place| Some(Group { count: place.count, doing: doing(site(all, &place.place_id)?) }));
    Some(GoroutinesSaid::WantLock {
        count: lock.waiters,
        total: all.total,
        lock: lock.kind.clone(),
        places: lock.places.len() as u64,
        most,
        holder: lock.holders.first().and_then(|holder| {
            Some(HeldBy {
                goroutine_id: holder.goroutine_id,
                doing: site(all, &holder.place_id).map(doing),
                unlocks_in: holder.unlocks_in.clone()?,
            })
        }),
        elsewhere,
        other_locks,
    })
}
