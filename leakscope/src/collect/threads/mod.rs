//! Threads that begin and end, and the stacks that create them.
//!
//! The kernel side sends an event for each, and adds up by creating stack (`CREATIONS`); `THREADS` remembers which
//! stack created a thread that lives.

use std::collections::HashMap;
use std::ops::Range;

use leakscope_common::event::{Kind, ThreadEvent};
use leakscope_common::wait::CreationTotals;

use super::{Collected, Collector, Moment, Scene, Source, SourceError};
use crate::bpf::BpfError;
use crate::bpf::events::Record;
use crate::bpf::maps::MapSize;
use crate::bpf::object::{Load, Object, Tracepoint};
use crate::process::{AddressSpace, inspect};
use crate::stack::StackId;

/// Fewest threads that the map holds; more for a target that has more.
const MIN_THREADS: u32 = 1 << 14;
/// Most of them.
const MAX_THREADS: u32 = 1 << 20;
/// Stacks that create threads.
const CREATIONS: u32 = 1 << 12;

/// Threads created by one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creation {
    /// The stack; `None` if it did not fit the map.
    pub stack: Option<StackId>,
    /// Threads created in the window.
    pub created: u64,
    /// Of these, ended ones.
    pub exited: u64,
    /// Change of the living ones since the snapshot before.
    pub growth: i64,
}

/// What the section on threads is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadAccount {
    /// Threads that began in the window.
    pub created: u64,
    /// Threads that ended in it.
    pub exited: u64,
    /// Threads that live; `None` once the target is gone.
    pub alive: Option<u64>,
    /// Threads by creating stack.
    pub creations: Vec<Creation>,
}

/// The collector.
#[derive(Debug)]
pub struct Threads {
    pid: Option<u32>,
    room: u32,
    totals: Vec<(u64, CreationTotals)>,
    alive: Option<u64>,
    alive_before: HashMap<u64, u64>,
    account: ThreadAccount,
}

impl Threads {
    /// For a process that has so many threads.
    pub fn new(threads: u64) -> Self {
        let room = u32::try_from(threads.saturating_mul(2)).unwrap_or(u32::MAX);
        Self {
            pid: None,
            room: room.clamp(MIN_THREADS, MAX_THREADS),
            totals: Vec::new(),
            alive: None,
            alive_before: HashMap::new(),
            account: ThreadAccount::default(),
        }
    }

    fn settle_creations(&mut self, totals: &[(u64, CreationTotals)]) {
        let creations = &mut self.account.creations;
        creations.clear();
        for (id, totals) in totals.iter().filter(|(_, t)| t.created > 0) {
            let alive = totals.created.saturating_sub(totals.exited);
            let before = self.alive_before.insert(*id, alive).unwrap_or(0);
            creations.push(Creation {
                stack: (*id != 0).then_some(StackId(*id)),
                created: totals.created,
                exited: totals.exited,
                growth: alive.cast_signed().wrapping_sub(before.cast_signed()),
            });
        }
        creations.sort_by_key(|c| {
            (std::cmp::Reverse(c.created.saturating_sub(c.exited)), std::cmp::Reverse(c.created), c.stack)
        });
    }
}

impl Collector for Threads {
    fn load(&self) -> Load {
        let tracepoint = |program, event| Tracepoint { program, event };
        Load {
            maps: vec![
                MapSize { name: "THREADS", entries: self.room },
                MapSize { name: "CREATIONS", entries: CREATIONS },
            ],
            tracepoints: vec![
                tracepoint("thread_start", "sched_process_fork"),
                tracepoint("thread_exit", "sched_process_exit"),
            ],
            ..Load::default()
        }
    }

    fn loaded(&mut self, object: &mut Object, _space: &AddressSpace) -> Result<(), BpfError> {
        // The stack that takes what has no room at its own.
        object.insert("CREATIONS", 0u64, CreationTotals::default())
    }

    fn started(&mut self, scene: &mut Scene<'_>) -> Result<(), SourceError> {
        self.pid = Some(scene.process.pid);
        Ok(())
    }

    fn takes(&self) -> &'static [Kind] {
        &[Kind::ThreadStart, Kind::ThreadExit]
    }

    fn event(&mut self, record: &Record, window: &Range<u64>) {
        let Some(event) = record.as_value::<ThreadEvent>() else { return };
        let count = u64::from(window.contains(&event.at_ns));
        if record.is(Kind::ThreadStart) {
            self.account.created += count;
        } else {
            self.account.exited += count;
        }
    }

    fn read(&mut self, source: &mut Source) -> Result<(), SourceError> {
        self.totals = source.rows("CREATIONS")?;
        let pid = self.pid;
        self.alive = source.get("threads", |_| Ok(pid.and_then(inspect::thread_count)))?;
        Ok(())
    }

    fn settle(&mut self, moment: &Moment<'_>) {
        let totals = std::mem::take(&mut self.totals);
        self.settle_creations(&totals);
        self.account.alive = self.alive.filter(|_| !moment.gone);
    }

    fn give<'a>(&'a self, to: &mut Collected<'a>) {
        to.threads = Some(&self.account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_of_threads_is_since_the_snapshot_before() {
        let mut threads = Threads::new(1);
        let mut observe = |created, exited| {
            let totals = CreationTotals { created, exited, sent: 1 };
            threads.settle_creations(&[(4, totals)]);
            threads.account.creations[0].growth
        };
        assert_eq!(observe(10, 4), 6);
        assert_eq!(observe(12, 9), -3);
    }
}
