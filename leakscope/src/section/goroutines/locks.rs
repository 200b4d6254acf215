//! Locks that goroutines wait for, in a report, and what is said of them.

use crate::runtime::go::aggregate::locks::{GoCircle, GoLock, GoParty};
use crate::section::goroutines::model::{
    GoroutineDeadlock, GoroutineLock, GoroutineLockPlace, GoroutineParty,
};
use crate::symbol::name;

fn place_id(number: u64) -> String {
    format!("{number:016x}")
}

fn party(party: &GoParty) -> GoroutineParty {
    GoroutineParty {
        goroutine_id: party.goroutine,
        place_id: place_id(party.place),
        unlocks_in: party.function.as_deref().map(|function| name::bounded(function).into_owned()),
    }
}

pub(super) fn lock(lock: &GoLock) -> GoroutineLock {
    let place =
        |(place, count): &(u64, u64)| GoroutineLockPlace { place_id: place_id(*place), count: *count };
    GoroutineLock {
        address: format!("{:#x}", lock.address),
        kind: if lock.read_write { "sync.RWMutex" } else { "sync.Mutex" }.to_owned(),
        waiters: lock.waiters,
        places: lock.places.iter().map(place).collect(),
        holders: lock.holders.iter().map(party).collect(),
    }
}

pub(super) fn deadlock(circle: &GoCircle) -> GoroutineDeadlock {
    GoroutineDeadlock { goroutines: circle.parties.iter().map(party).collect(), count: circle.count }
}
