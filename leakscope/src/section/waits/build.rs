//! Blocked threads, as the report shows them: those that are blocked now (from a snapshot) and what
//! has blocked in the window, by site.

mod book;
mod holders;
mod lock_holders;
mod sites;
mod suspects;
mod wakers;

use std::collections::HashMap;

use self::book::Book;
use self::holders::Holders;
use self::sites::Sites;
use crate::collect::waits::WaitAccount;
use crate::collect::waits::aggregate::WaitsSnapshot;
use crate::section::made::{Facts, Made};
use crate::section::model::{Address, Deadlock, DeadlockThread, LongWait, RunningThread, Waits};
use crate::section::site::{NameStack, site_id};
use crate::wait::deadlock::Edge;
use crate::wait::{Thread, ThreadSnapshot};

/// What the section on waits is made from.
#[derive(Clone, Copy, Debug)]
pub struct WaitInputs<'a> {
    /// The threads at the end of the window; `None` if the target is gone.
    pub snapshot: Option<&'a ThreadSnapshot>,
    /// What happened in the window; `None` where nothing was traced (`dump`).
    pub window: Option<&'a WaitsSnapshot>,
    /// When the window began, CLOCK_MONOTONIC in ns.
    pub started_ns: u64,
    /// When the snapshot was taken.
    pub at_ns: u64,
    /// Whether the account stands still.
    pub ended: bool,
    /// Whether nothing was lost that would make the numbers wrong.
    pub nothing_lost: bool,
}

impl<'a> WaitInputs<'a> {
    fn of(account: &'a WaitAccount, nothing_lost: bool) -> Self {
        Self {
            snapshot: account.threads.as_ref(),
            window: account.window.as_ref(),
            started_ns: account.started_ns,
            at_ns: account.at_ns,
            ended: account.ended,
            nothing_lost,
        }
    }
}

impl Made for Waits {
    fn make(facts: &mut Facts<'_, '_>) -> Option<Self> {
        let inputs = WaitInputs::of(facts.collected.waits?, facts.whole("waits"));
        let mut waits = build(&inputs, facts.name);
        if let Some(caveat) = facts.caveat() {
            waits.exact = false;
            waits.method = caveat.to_owned();
        }
        Some(waits)
    }

    fn missing_stacks(&self) -> u64 {
        self.sites.iter().filter(|site| site.stack.end.is_none()).count() as u64
    }
}

/// Makes the section on waits. `name` is asked once for each stack.
pub fn build(inputs: &WaitInputs<'_>, name: &mut NameStack<'_>) -> Waits {
    let nothing = ThreadSnapshot::default();
    let snapshot = inputs.snapshot.unwrap_or(&nothing);
    let mut book = Book::new(name);
    let blocked = sites::blocked(inputs, snapshot, &mut book);
    let holders = Holders::new(snapshot, &blocked, &mut book);
    let sites = sites::sites(inputs, snapshot, &blocked, &holders, &mut book);
    let wakers = inputs.window.map(|w| wakers::wakers(&w.wakes, &sites, &mut book)).unwrap_or_default();
    let lock_holders =
        inputs.window.map(|w| lock_holders::lock_holders(&w.wakes, &sites, &mut book)).unwrap_or_default();
    let long_waits = inputs.window.map(|w| long_waits(w, &sites, inputs.started_ns)).unwrap_or_default();
    let seen = snapshot.unsettled == 0 && blocked.iter().all(|b| b.thread.stack.is_some());
    let mut waits = Waits {
        exact: inputs.ended && inputs.nothing_lost && seen,
        method: method(inputs).to_owned(),
        threads: snapshot.threads.len() as u64,
        blocked_now: blocked.len() as u64,
        stuck_now: 0,
        longest_stuck_ns: None,
        unknown_now: 0,
        longest_unknown_ns: None,
        unsettled: snapshot.unsettled,
        vanished: snapshot.vanished,
        deadlocks: circles(true, &blocked, &holders),
        mutual_waits: circles(false, &blocked, &holders),
        running: running(snapshot, &mut book),
        sites: sites.sites,
        wakers,
        lock_holders,
        long_waits,
    };
    waits.count_stuck();
    waits
}

fn method(inputs: &WaitInputs<'_>) -> &'static str {
    if inputs.window.is_none() {
        "every thread was looked at without stopping it; how long it is blocked is since it last ran"
    } else if !inputs.nothing_lost {
        "waits were counted as the scheduler switched, but some were lost: see the losses"
    } else if !inputs.ended {
        "every wait is counted as the scheduler switches; the numbers were read while the target ran, so they can be \
         off by the waits of that moment"
    } else {
        "every wait was counted as the scheduler switched; who blocked before the attach is timed since it last ran"
    }
}

/// The circles of threads that wait for each other: those that do not end by themselves, or those that do.
fn circles(endless: bool, blocked: &[sites::Blocked<'_>], holders: &Holders) -> Vec<Deadlock> {
    let by_tid: HashMap<u32, &sites::Blocked<'_>> = blocked.iter().map(|b| (b.thread.tid, b)).collect();
    let thread = |edge: &Edge| {
        let waiter = by_tid.get(&edge.tid);
        DeadlockThread {
            tid: edge.tid,
            name: waiter.map(|b| b.thread.name.clone()).unwrap_or_default(),
            waits_for: Address(edge.lock),
            held_by: edge.owner,
            holds: holders.held_by(edge.tid).map(Address).collect(),
            blocked_ns: waiter.map(|b| b.blocked_ns),
            limit_ns: waiter.and_then(|b| b.thread.limit_ns).filter(|_| edge.timed),
            site_id: waiter.map_or_else(|| site_id(None), |b| b.key.id()),
        }
    };
    let these = holders.cycles().iter().filter(|cycle| cycle.endless() == endless);
    these
        .map(|cycle| Deadlock {
            cycle: cycle.edges.iter().map(thread).collect(),
            certain: cycle.certain(),
            also_blocked: cycle.also_blocked,
        })
        .collect()
}

/// Where running threads were found.
fn running(snapshot: &ThreadSnapshot, book: &mut Book<'_, '_>) -> Vec<RunningThread> {
    let running = snapshot.threads.iter().filter(|thread| thread.blocked_ns.is_none());
    let told = |thread: &Thread| RunningThread {
        tid: thread.tid,
        name: thread.name.clone(),
        sampled: thread.stack.is_some(),
        stack: book.get(thread.stack).charged(None),
    };
    running.map(told).collect()
}

fn long_waits(window: &WaitsSnapshot, sites: &Sites, started_ns: u64) -> Vec<LongWait> {
    window
        .long
        .iter()
        .map(|long| LongWait {
            tid: long.tid,
            site_id: sites.id(long.site),
            start_ns: long.since_ns.saturating_sub(started_ns),
            wait_ns: long.wait_ns,
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
