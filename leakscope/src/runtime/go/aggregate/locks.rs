//! Locks that goroutines wait for, by place.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::runtime::go::goroutine::{GoroutineSnapshot, Link};

/// Locks that are kept, and places and holders of each.
const MOST_LOCKS: usize = 1 << 10;
const MOST_EACH: usize = 16;

/// A goroutine that has a part in a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoParty {
    /// Its number.
    pub goroutine: u64,
    /// What it does: the number of its place.
    pub place: u64,
    /// The function whose return unlocks the lock; `None` where it holds none.
    pub function: Option<Arc<str>>,
}

/// A lock that goroutines wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoLock {
    /// Where it lies.
    pub address: u64,
    /// Whether it is a `sync.RWMutex`.
    pub read_write: bool,
    /// How many wait.
    pub waiters: u64,
    /// Where: the numbers of their places, with how many there are.
    pub places: Vec<(u64, u64)>,
    /// Who holds it, where that shows.
    pub holders: Vec<GoParty>,
}

/// Goroutines of which each waits for the lock that the next one holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoCircle {
    /// They; each with the function of the next one that holds what it waits for.
    pub parties: Vec<GoParty>,
    /// How many circles are like this one.
    pub count: u64,
}

/// The locks, those with most waiters first. `places` are those of the goroutines.
pub(super) fn wanted(read: &GoroutineSnapshot, places: &[u64]) -> Vec<GoLock> {
    let party = |goroutine: usize, function: &Arc<str>| {
        Some(GoParty {
            goroutine: read.goroutines.get(goroutine)?.id,
            place: *places.get(goroutine)?,
            function: Some(Arc::clone(function)),
        })
    };
    let lock = |lock: &crate::runtime::go::goroutine::WantedLock| {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for place in lock.waiters.iter().filter_map(|i| places.get(*i)) {
            *counts.entry(*place).or_default() += 1;
        }
        let mut counts: Vec<(u64, u64)> = counts.into_iter().collect();
        counts.sort_by_key(|(place, n)| (std::cmp::Reverse(*n), *place));
        counts.truncate(MOST_EACH);
        let holders = lock.holders.iter().take(MOST_EACH);
        GoLock {
            address: lock.address,
            read_write: lock.read_write,
            waiters: lock.waiters.len() as u64,
            places: counts,
            holders: holders.filter_map(|holder| party(holder.goroutine, &holder.function)).collect(),
        }
    };
    let mut locks: Vec<GoLock> = read.locks.iter().map(lock).collect();
    locks.sort_by_key(|lock| (std::cmp::Reverse(lock.waiters), lock.address));
    locks.truncate(MOST_LOCKS);
    locks
}

/// A step of a circle, as it is compared: a place, and the function that unlocks.
type Step = (u64, Option<Arc<str>>);

/// The circles: those in the same places and functions once.
pub(super) fn circles(read: &GoroutineSnapshot, places: &[u64]) -> Vec<GoCircle> {
    let party = |link: &Link| {
        Some(GoParty {
            goroutine: read.goroutines.get(link.goroutine)?.id,
            place: *places.get(link.goroutine)?,
            function: link.held_by.clone(),
        })
    };
    let mut circles: Vec<GoCircle> = Vec::new();
    let mut known: BTreeMap<Vec<Step>, usize> = BTreeMap::new();
    for circle in &read.circles {
        let parties: Vec<GoParty> = circle.iter().filter_map(party).collect();
        let mut key: Vec<Step> = parties.iter().map(|party| (party.place, party.function.clone())).collect();
        key.sort();
        let at = *known.entry(key).or_insert(circles.len());
        match circles.get_mut(at) {
            Some(circle) => circle.count += 1,
            None => circles.push(GoCircle { parties, count: 1 }),
        }
    }
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.count));
    circles
}
