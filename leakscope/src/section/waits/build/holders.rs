//! Which lock is held by whom, and who waits for whom.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::book::Book;
use super::sites::Blocked;
use super::suspects::{interrupted, suspects};
use crate::wait::deadlock::{Cycle, Edge, cycles};
use crate::wait::locks::{Elsewhere, Held, Owner, RELEASED_BETWEEN};
use crate::wait::owners::{self, INTERRUPTED, Inference, Question, Suspect};
use crate::wait::{ThreadSnapshot, WaitKind};

/// The holder of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Known { tid: u32, method: &'static str, inferred: bool },
    Elsewhere(Elsewhere),
    Unknown(String),
}

/// All locks that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Holders {
    by_lock: HashMap<u64, Holder>,
    held: BTreeMap<u32, BTreeSet<u64>>,
    cycles: Vec<Cycle>,
    /// Threads in a cycle, and whether it does not end by itself.
    in_cycles: HashMap<u32, bool>,
}

impl Holders {
    pub(super) fn new(snapshot: &ThreadSnapshot, blocked: &[Blocked<'_>], book: &mut Book<'_, '_>) -> Self {
        let mut waiters: HashMap<u64, Vec<&Blocked<'_>>> = HashMap::new();
        for thread in blocked {
            if let Some(lock) = &thread.lock {
                waiters.entry(lock.address).or_default().push(thread);
            }
        }
        let suspects = suspects(snapshot, blocked, book);
        let mut this = Self::default();
        for (&address, threads) in &waiters {
            let holder = holder(threads, &suspects, book);
            // Who is joined holds nothing.
            let joins = threads.iter().any(|thread| thread.classified.kind == WaitKind::Join);
            if let Holder::Known { tid, .. } = holder
                && !joins
            {
                this.held.entry(tid).or_default().insert(address);
            }
            this.by_lock.insert(address, holder);
        }
        let edges: Vec<Edge> = blocked.iter().filter_map(|thread| this.edge(thread)).collect();
        this.cycles = cycles(&edges);
        for cycle in &this.cycles {
            let endless = cycle.endless();
            this.in_cycles.extend(cycle.edges.iter().map(|edge| (edge.tid, endless)));
        }
        this
    }

    /// Whom a thread waits for.
    fn edge(&self, thread: &Blocked<'_>) -> Option<Edge> {
        let lock = thread.lock.as_ref()?.address;
        let timed = thread.classified.lock.is_some_and(|lock| lock.futex.timed);
        match self.by_lock.get(&lock)? {
            Holder::Known { tid, inferred, .. } => {
                Some(Edge { tid: thread.thread.tid, lock, owner: *tid, certain: !inferred, timed })
            }
            Holder::Elsewhere(_) | Holder::Unknown(_) => None,
        }
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

    /// If a thread is part of a cycle: whether that does not end by itself.
    pub(super) fn circle(&self, tid: u32) -> Option<bool> {
        self.in_cycles.get(&tid).copied()
    }
}

/// The holder of the lock that all of `waiters` wait for.
fn holder(waiters: &[&Blocked<'_>], suspects: &[Suspect], book: &mut Book<'_, '_>) -> Holder {
    let owners = || waiters.iter().filter_map(|thread| Some(&thread.lock.as_ref()?.owner));
    let named: BTreeSet<(u32, &'static str)> = owners()
        .filter_map(|owner| match owner {
            Owner::Thread { tid, method } => Some((*tid, *method)),
            Owner::Elsewhere(_) | Owner::Unknown { .. } => None,
        })
        .collect();
    let mut named_tids = named.iter().map(|&(tid, _)| tid).collect::<BTreeSet<_>>().into_iter();
    match (named_tids.next(), named_tids.next(), named.first()) {
        (Some(tid), None, Some(&(_, method))) => return Holder::Known { tid, method, inferred: false },
        (Some(_), Some(_), _) => return Holder::Unknown(RELEASED_BETWEEN.to_owned()),
        _ => {}
    }
    let elsewhere = owners().find_map(|owner| match owner {
        Owner::Elsewhere(thread) => Some(thread),
        Owner::Thread { .. } | Owner::Unknown { .. } => None,
    });
    if let Some(elsewhere) = elsewhere {
        return Holder::Elsewhere(elsewhere.clone());
    }
    let why = owners().find_map(|owner| match owner {
        Owner::Unknown { why, held } => Some((why, *held)),
        Owner::Thread { .. } | Owner::Elsewhere(_) => None,
    });
    let Some((why, held)) = why else { return Holder::Unknown("nothing is known of it".to_owned()) };
    if held == Held::Unknown || !waiters.iter().all(|thread| wants_lock(thread, book)) {
        return Holder::Unknown(why.clone());
    }
    if let [only] = waiters
        && interrupted(only, &book.get(only.thread.stack))
    {
        return Holder::Known { tid: only.thread.tid, method: INTERRUPTED, inferred: true };
    }
    let tids: HashSet<u32> = waiters.iter().map(|thread| thread.thread.tid).collect();
    let words: Vec<u64> =
        waiters.iter().filter_map(|thread| Some(thread.classified.lock?.futex.word)).collect();
    let question = Question {
        words: &words,
        waiters: &tids,
        once: held == Held::Initialiser,
        reads: if held == Held::Reader { own_reader(waiters) } else { None },
    };
    match owners::holder(suspects, &question) {
        Inference::Holder(tid, method) => Holder::Known { tid, method, inferred: true },
        Inference::Unknown(more) => Holder::Unknown(format!("{why}, and {more}")),
    }
}

/// Whether a thread waits for a lock, and not for a condition that is made from one.
fn wants_lock(thread: &Blocked<'_>, book: &mut Book<'_, '_>) -> bool {
    let entry = book.get(thread.thread.stack);
    let row = thread.classified.primitive_frame.and_then(|at| entry.marks.get(at)?.row);
    thread.classified.kind.is_lock() && !row.is_some_and(|(_, row)| row.may_be_condition)
}

/// Of those that wait for a lock that one reader holds, the one whose own read lock explains it: a reader waits only
/// behind a writer, so the one that waits to read again holds it; and where none waits to read, the only writer
/// wants more than the read lock that it has. It must have a pointer to what the lock guards, which only a guard gives.
fn own_reader(waiters: &[&Blocked<'_>]) -> Option<u32> {
    let reads = |thread: &&&Blocked<'_>| {
        let name = thread.classified.primitive.as_deref().unwrap_or_default();
        name.contains("read") || name.contains("rdlock") || name.contains("shared")
    };
    let mut readers = waiters.iter().filter(reads);
    match (readers.next(), readers.next(), waiters) {
        (Some(only), None, [_, _, ..]) | (None, _, [only]) => Some(only),
        _ => None,
    }
    .filter(|own| own.thread.points_behind)
    .map(|own| own.thread.tid)
}
