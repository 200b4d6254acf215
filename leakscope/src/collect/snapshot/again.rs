//! Threads that come back to the same place again and again.
//!
//! A wait with a time limit is often one of many: a Java monitor, Python's GIL and many loops look for themselves
//! each few ms whether they may go on, and wait again. Such a thread has been where it is since it first came there.
//! From outside it is known by two looks: the same registers in the same call, no more wake-ups in between than its
//! limit explains, and next to no CPU time.

use std::collections::BTreeMap;

use leakscope_common::unwind::Regs;
use leakscope_common::wait::TaskRecord;
use serde::{Deserialize, Serialize};

use crate::wait::{Again, Thread};

/// Where a thread is, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    start_ns: u64,
    ip: u64,
    sp: u64,
    call: u64,
    /// What it waits on: the call's first argument.
    on: u64,
    /// Context switches so far.
    pub(super) switches: u64,
    cpu_ns: u64,
}

/// CPU time that one look at a condition takes at most.
const LOOK_NS: u64 = 200_000;

impl Place {
    pub(super) fn of(record: &TaskRecord) -> Self {
        let Regs { ip, sp, .. } = record.regs;
        Self {
            start_ns: record.start_ns,
            ip,
            sp,
            call: record.orig_rax,
            on: record.args[0],
            switches: record.switches,
            cpu_ns: record.cpu_ns,
        }
    }

    fn same(&self, other: &Self) -> bool {
        let key = |place: &Self| (place.start_ns, place.ip, place.sp, place.call, place.on);
        key(self) == key(other)
    }

    /// Whether a thread that waits for `period_ns` at most has done nothing else for `elapsed_ns`.
    fn came_back(&self, now: &Self, elapsed_ns: u64, period_ns: u64) -> bool {
        /// The first ones are often shorter, and another thread may have woken it for nothing.
        const MORE_WAKES: u64 = 4;
        let wakes = now.switches.saturating_sub(self.switches);
        let by_timer = elapsed_ns / period_ns.max(1);
        let cpu_ns = now.cpu_ns.saturating_sub(self.cpu_ns);
        wakes <= by_timer.saturating_add(by_timer / 2).saturating_add(MORE_WAKES)
            && cpu_ns <= wakes.saturating_mul(LOOK_NS)
    }
}

/// Where the threads were at an earlier moment, and since when they have been there.
#[derive(Debug, Default)]
pub struct Earlier {
    at_ns: u64,
    places: BTreeMap<u32, (Place, u64)>,
}

impl Earlier {
    /// Takes the threads of a later moment in. Who has not left his place since has been there since an earlier
    /// look; `threads` are told.
    pub(super) fn renew(&mut self, at_ns: u64, places: &BTreeMap<u32, Place>, threads: &mut [Thread]) {
        let elapsed_ns = at_ns.saturating_sub(self.at_ns);
        let mut since = BTreeMap::new();
        for thread in threads.iter_mut().filter(|thread| thread.blocked_ns.is_some()) {
            let Some(now) = places.get(&thread.tid) else { continue };
            let known = self.places.get(&thread.tid).filter(|(before, _)| before.same(now));
            let stayed = known.filter(|(before, _)| before.switches == now.switches);
            let came_back = known.filter(|(before, _)| {
                thread.limit_ns.is_some_and(|period| before.came_back(now, elapsed_ns, period))
            });
            let Some((_, first_ns)) = stayed.or(came_back) else { continue };
            since.insert(thread.tid, *first_ns);
            let for_ns = at_ns.saturating_sub(*first_ns);
            if stayed.is_some() && thread.blocked_at_least {
                thread.blocked_ns = Some(for_ns);
            }
            // One that has not been woken since may still have come back before.
            if let Some(period_ns) = thread.limit_ns.filter(|_| thread.blocked_ns < Some(for_ns)) {
                thread.again = Some(Again { period_ns, for_ns });
            }
        }
        let place = |(tid, place): (&u32, &Place)| (*tid, (*place, since.get(tid).copied().unwrap_or(at_ns)));
        *self = Self { at_ns, places: places.iter().map(place).collect() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::tests::thread;

    const MS: u64 = 1_000_000;

    fn place(switches: u64, cpu_ns: u64) -> Place {
        Place { start_ns: 1, ip: 2, sp: 3, call: 202, on: 4, switches, cpu_ns }
    }

    /// What is told of a thread that waits for 50 ms at most, after looks at these ms at these places.
    fn told(looks: &[(u64, Place)]) -> Option<u64> {
        let mut earlier = Earlier::default();
        let mut told = None;
        for (ms, place) in looks {
            let limit_ns = Some(50 * MS);
            let mut threads = [Thread { blocked_ns: Some(MS), limit_ns, ..thread(7) }];
            earlier.renew(ms * MS, &BTreeMap::from([(7, *place)]), &mut threads);
            told = threads[0].again.map(|again| again.for_ns / MS);
        }
        told
    }

    #[test]
    fn who_comes_back_has_been_there() {
        assert_eq!(told(&[(0, place(10, 0)), (200, place(14, 40_000))]), Some(200));
        assert_eq!(told(&[(0, place(10, 0)), (200, place(14, 40_000)), (400, place(18, 80_000))]), Some(400));
    }

    #[test]
    fn who_works_in_between_has_not() {
        assert_eq!(told(&[(0, place(10, 0)), (200, place(14, 2 * MS))]), None, "CPU time");
        assert_eq!(told(&[(0, place(10, 0)), (200, place(90, 40_000))]), None, "wake-ups");
        let elsewhere = Place { sp: 9, ..place(14, 40_000) };
        assert_eq!(told(&[(0, place(10, 0)), (200, elsewhere)]), None);
        let other = Place { start_ns: 9, ..place(14, 40_000) };
        assert_eq!(told(&[(0, place(10, 0)), (200, other)]), None, "another thread with its number");
        let worked = [(0, place(10, 0)), (200, place(14, 2 * MS)), (400, place(18, 2 * MS))];
        assert_eq!(told(&worked), Some(200), "since the second look");
    }
}
