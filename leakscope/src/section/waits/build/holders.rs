//! Which lock is held by whom, and who waits for whom.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::sites::Blocked;
use crate::wait::deadlock::{Cycle, Edge, cycles};
use crate::wait::locks::{Owner, RELEASED_BETWEEN};
use crate::wait::owners::{Inference, METHOD, Pointers};
use crate::wait::{ThreadSnapshot, WaitKind};

/// The holder of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Known { tid: u32, method: &'static str, inferred: bool },
    Unknown(String),
}

/// All locks that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Holders {
    by_lock: HashMap<u64, Holder>,
    held: BTreeMap<u32, BTreeSet<u64>>,
    cycles: Vec<Cycle>,
    in_cycles: HashSet<u32>,
}

impl Holders {
    pub(super) fn new(snapshot: &ThreadSnapshot, blocked: &[Blocked<'_>]) -> Self {
        let mut waiters: HashMap<u64, Vec<&Blocked<'_>>> = HashMap::new();
        for thread in blocked {
            if let Some(lock) = &thread.lock {
                waiters.entry(lock.address).or_default().push(thread);
            }
        }
        let pointers = Pointers::new(snapshot);
        let mut this = Self::default();
        for (&address, threads) in &waiters {
            let holder = holder(threads, &pointers);
            // Who is joined holds nothing.
            let joins = threads.iter().any(|thread| thread.classified.kind == WaitKind::Join);
            if let Holder::Known { tid, .. } = holder
                && !joins
            {
                this.held.entry(tid).or_default().insert(address);
            }
            this.by_lock.insert(address, holder);
        }
        let edge = |thread: &Blocked<'_>| {
            let lock = thread.lock.as_ref()?.address;
            match this.by_lock.get(&lock)? {
                Holder::Known { tid, inferred, .. } => {
                    Some(Edge { tid: thread.thread.tid, lock, owner: *tid, certain: !inferred })
                }
                Holder::Unknown(_) => None,
            }
        };
        let edges: Vec<Edge> = blocked.iter().filter_map(edge).collect();
        this.cycles = cycles(&edges);
        this.in_cycles = this.cycles.iter().flat_map(|cycle| &cycle.edges).map(|edge| edge.tid).collect();
        this
    }

    /// Who holds a lock.
    pub(super) fn of(&self, lock: u64) -> Option<&Holder> {
        self.by_lock.get(&lock)
    }

    /// The locks that a thread holds and others wait for.
    pub(super) fn held_by(&self, tid: u32) -> impl Iterator<Item = u64> {
        self.held.get(&tid).into_iter().flatten().copied()
    }

    pub(super) fn cycles(&self) -> &[Cycle] {
        &self.cycles
    }

    /// Whether a thread is part of a cycle.
    pub(super) fn is_deadlocked(&self, tid: u32) -> bool {
        self.in_cycles.contains(&tid)
    }
}

/// The holder of the lock that all of `waiters` wait for.
fn holder(waiters: &[&Blocked<'_>], pointers: &Pointers) -> Holder {
    let owners = || waiters.iter().filter_map(|thread| Some(&thread.lock.as_ref()?.owner));
    let named: BTreeSet<(u32, &'static str)> = owners()
        .filter_map(|owner| match owner {
            Owner::Thread { tid, method } => Some((*tid, *method)),
            Owner::Unknown { .. } => None,
        })
        .collect();
    let mut named_tids = named.iter().map(|&(tid, _)| tid).collect::<BTreeSet<_>>().into_iter();
    match (named_tids.next(), named_tids.next(), named.first()) {
        (Some(tid), None, Some(&(_, method))) => return Holder::Known { tid, method, inferred: false },
        (Some(_), Some(_), _) => return Holder::Unknown(RELEASED_BETWEEN.to_owned()),
        _ => {}
    }
    let why = owners().find_map(|owner| match owner {
        Owner::Unknown { why, held } => Some((why, *held)),
        Owner::Thread { .. } => None,
    });
    let Some((why, held)) = why else { return Holder::Unknown("nothing is known of it".to_owned()) };
    let is_lock = waiters.iter().all(|thread| thread.classified.kind.is_lock());
    if !held || !is_lock {
        return Holder::Unknown(why.clone());
    }
    let tids: HashSet<u32> = waiters.iter().map(|thread| thread.thread.tid).collect();
    let words: BTreeSet<u64> =
        waiters.iter().filter_map(|thread| Some(thread.classified.lock?.futex.word)).collect();
    let mut several = 0;
    for word in words {
        match pointers.holder(word, &tids) {
            Inference::Holder(tid) => return Holder::Known { tid, method: METHOD, inferred: true },
            Inference::Nobody => {}
            Inference::Several(n) => several = several.max(n),
        }
    }
    Holder::Unknown(match several {
        0 => format!("{why}, and only the waiters' stacks point to it"),
        n => format!("{why}, and the stacks of {n} other threads point to it"),
    })
}
