//! What blocked during the window, from the maps as they were read.

use leakscope_common::wait::{
    SEVERAL_OBJECTS, ThreadState, WAIT_BUCKETS, WaitTotals, WakeKey, WakeTotals, WakerKind, bucket_bound_ns,
    wait_entered,
};

use crate::stack::StackId;
use crate::wait::{FdTarget, Syscall, WaitSiteId};

/// Finished waits of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteWaits {
    /// Its key; `None` for waits whose site did not fit the map.
    pub id: Option<WaitSiteId>,
    pub stack: Option<StackId>,
    /// The system call, with the arguments of the first one; `None` if it was in none.
    pub syscall: Option<Syscall>,
    /// What the descriptor in that call's first argument was, if that decides and there was one.
    pub fd: Option<FdTarget>,
    /// Whether they waited on several things, which are not told apart.
    pub several: bool,
    /// Waits that ended.
    pub waits: u64,
    /// Their time, ns.
    pub wait_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
    /// How many took at most so long: upper bound in ns and count, ascending, without empty ones.
    pub histogram: Vec<(u64, u64)>,
}

/// What ended waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WakerId {
    /// A stack of the target; `None` if it did not fit the map.
    Thread(Option<StackId>),
    /// Another process, by its name.
    OtherProcess(String),
    /// A timer, a device or a kernel thread.
    TimerOrInterrupt,
}

/// Wait time of one site that was ended by one waker, or in which it held what was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wakes {
    /// Who ended it.
    pub waker: WakerId,
    /// Where was waited.
    pub site: Option<WaitSiteId>,
    /// Waits that it ended; 0 if it only held.
    pub wakes: u64,
    /// Their time, ns.
    pub wait_ns: u64,
    /// Its part of waits at the site, ns: all parts add up to the time of the waits that somebody ended.
    pub held_ns: u64,
}

/// A thread that is blocked as the maps are read, and began to block in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenWait {
    /// The thread.
    pub tid: u32,
    /// When it began, CLOCK_MONOTONIC in ns.
    pub since_ns: u64,
}

/// A single long wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongWait {
    /// The thread.
    pub tid: u32,
    /// Where.
    pub site: Option<WaitSiteId>,
    /// When it began, CLOCK_MONOTONIC in ns.
    pub since_ns: u64,
    /// How long it took, ns.
    pub wait_ns: u64,
}

/// What happened in the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitsSnapshot {
    /// Finished waits by site.
    pub sites: Vec<SiteWaits>,
    /// Who ended them.
    pub wakes: Vec<Wakes>,
    /// What is under way.
    pub open: Vec<OpenWait>,
    /// The longest single waits over `--min-wait`, longest first.
    pub long: Vec<LongWait>,
}

/// The maps at one moment.
#[derive(Clone, Copy, Debug)]
pub struct WaitObservation<'a> {
    /// Threads that have blocked or were created.
    pub threads: &'a [(u32, ThreadState)],
    pub sites: &'a [(u64, WaitTotals)],
    /// Who ended them.
    pub wakes: &'a [(WakeKey, WakeTotals)],
}

/// Single waits that are kept; the longest.
const LONG_WAITS: usize = 1000;

/// Remembers what the maps do not hold.
#[derive(Debug, Default)]
pub struct WaitAggregate {
    long: Vec<LongWait>,
}

impl WaitAggregate {
    /// Takes a single long wait in.
    pub fn long_wait(&mut self, wait: LongWait) {
        self.long.push(wait);
        if self.long.len() >= 2 * LONG_WAITS {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        self.long.sort_by_key(|w| (std::cmp::Reverse(w.wait_ns), w.since_ns, w.tid));
        self.long.truncate(LONG_WAITS);
    }

    /// Takes stock.
    pub fn snapshot(&mut self, seen: WaitObservation<'_>) -> WaitsSnapshot {
        self.shorten();
        let mut snapshot = WaitsSnapshot { long: self.long.clone(), ..WaitsSnapshot::default() };
        for (id, totals) in seen.sites.iter().filter(|(_, t)| t.waits > 0) {
            let syscall = totals.syscall.checked_sub(1).and_then(|n| u32::try_from(n).ok());
            snapshot.sites.push(SiteWaits {
                id: site(*id),
                stack: stack(totals.stack),
                syscall: syscall.map(|number| Syscall { number, args: totals.args }),
                fd: FdTarget::of(&totals.descriptor),
                several: totals.object == SEVERAL_OBJECTS,
                waits: totals.waits,
                wait_ns: totals.wait_ns,
                max_ns: totals.max_ns,
                histogram: (0..)
                    .zip(totals.histogram)
                    .filter(|(_, count)| *count > 0)
                    .map(|(bucket, count)| (upper_ns(bucket, totals.max_ns), count))
                    .collect(),
            });
        }
        snapshot.sites.sort_by_key(|s| (std::cmp::Reverse(s.wait_ns), s.id));
        snapshot.wakes = seen.wakes.iter().filter_map(wakes).collect();
        snapshot.wakes.sort_by(|a, b| (b.wait_ns, &a.waker, a.site).cmp(&(a.wait_ns, &b.waker, b.site)));
        let open = seen.threads.iter().filter(|(_, t)| t.since_ns != 0 && t.entered == wait_entered::TRACED);
        snapshot.open = open.map(|(tid, t)| OpenWait { tid: *tid, since_ns: t.since_ns }).collect();
        snapshot.open.sort_by_key(|w| w.tid);
        snapshot
    }
}

/// No wait of a bucket took longer than this. The last bucket has no bound of its own; `max_ns` is the longest
/// wait of all.
fn upper_ns(bucket: u32, max_ns: u64) -> u64 {
    let bound = bucket_bound_ns(bucket);
    if bucket as usize == WAIT_BUCKETS - 1 { bound.max(max_ns) } else { bound }
}

fn stack(id: u64) -> Option<StackId> {
    (id != 0).then_some(StackId(id))
}

/// A wait site by its number on the kernel side.
pub(super) fn site(id: u64) -> Option<WaitSiteId> {
    (id != 0).then_some(WaitSiteId(id))
}

fn wakes((key, totals): &(WakeKey, WakeTotals)) -> Option<Wakes> {
    let waker = match key.kind {
        k if k == WakerKind::Thread as u64 => WakerId::Thread(stack(key.waker[0])),
        k if k == WakerKind::OtherProcess as u64 => {
            let bytes: Vec<u8> = key.waker.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            WakerId::OtherProcess(String::from_utf8_lossy(&bytes[..end]).into_owned())
        }
        k if k == WakerKind::TimerOrInterrupt as u64 => WakerId::TimerOrInterrupt,
        _ => return None,
    };
    let WakeTotals { wakes, wait_ns, held_ns } = *totals;
    Some(Wakes { waker, site: site(key.site), wakes, wait_ns, held_ns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakscope_common::wait::wait_bucket;

    fn seen<'a>(sites: &'a [(u64, WaitTotals)], threads: &'a [(u32, ThreadState)]) -> WaitObservation<'a> {
        WaitObservation { threads, sites, wakes: &[] }
    }

    #[test]
    fn sites_without_waits_are_left_out_and_others_ordered_by_time() {
        let mut busy = WaitTotals {
            waits: 2,
            wait_ns: 900,
            max_ns: 800,
            stack: 6,
            syscall: 203,
            object: SEVERAL_OBJECTS,
            ..WaitTotals::ZERO
        };
        busy.histogram[7] = 1;
        busy.histogram[10] = 1;
        let calm = WaitTotals { waits: 1, wait_ns: 5, ..WaitTotals::ZERO };
        let sites = [(0, calm), (7, busy), (9, WaitTotals::ZERO)];
        let snapshot = WaitAggregate::default().snapshot(seen(&sites, &[]));
        let found: Vec<_> = snapshot.sites.iter().map(|s| (s.id, s.stack, s.several)).collect();
        assert_eq!(found, [(Some(WaitSiteId(7)), Some(StackId(6)), true), (None, None, false)]);
        let first = &snapshot.sites[0];
        assert_eq!(first.syscall.map(|c| c.number), Some(202));
        assert_eq!(first.histogram, [(128, 1), (1024, 1)]);
    }

    #[test]
    fn the_last_bucket_reaches_to_the_longest_wait() {
        let days = 3 * 86_400_000_000_000;
        let mut long = WaitTotals { waits: 3, wait_ns: 2 * days, max_ns: days, ..WaitTotals::ZERO };
        assert_eq!(wait_bucket(days) as usize, WAIT_BUCKETS - 1);
        long.histogram[WAIT_BUCKETS - 2] = 1;
        long.histogram[WAIT_BUCKETS - 1] = 2;
        let snapshot = WaitAggregate::default().snapshot(seen(&[(7, long)], &[]));
        assert_eq!(snapshot.sites[0].histogram, [(1 << 46, 1), (days, 2)]);
        long.max_ns = 5;
        let snapshot = WaitAggregate::default().snapshot(seen(&[(7, long)], &[]));
        assert_eq!(snapshot.sites[0].histogram, [(1 << 46, 1), (1 << 47, 2)], "read while they changed");
    }

    #[test]
    fn only_waits_that_began_in_the_window_are_open() {
        let blocked = ThreadState { since_ns: 5, site: 7, ..ThreadState::ZERO };
        let threads = [(3, ThreadState::ZERO), (2, blocked), (1, ThreadState { entered: 1, ..blocked })];
        let snapshot = WaitAggregate::default().snapshot(seen(&[], &threads));
        assert_eq!(snapshot.open, [OpenWait { tid: 2, since_ns: 5 }]);
    }

    #[test]
    fn the_longest_waits_are_kept() {
        let mut aggregate = WaitAggregate::default();
        for n in 0..10_000 {
            aggregate.long_wait(LongWait { tid: 1, site: None, since_ns: n, wait_ns: n });
        }
        let snapshot = aggregate.snapshot(seen(&[], &[]));
        assert_eq!(snapshot.long.len(), LONG_WAITS);
        assert_eq!((snapshot.long[0].wait_ns, snapshot.long[999].wait_ns), (9999, 9000));
    }

    #[test]
    fn wakers_by_their_kind() {
        let mut comm = [0u8; 16];
        comm[..5].copy_from_slice(b"redis");
        let halves = [0, 8].map(|at| u64::from_ne_bytes(comm[at..at + 8].try_into().expect("8 bytes")));
        let key = |kind, waker| WakeKey { kind, waker, site: 7 };
        let totals = WakeTotals { wakes: 1, wait_ns: 10, held_ns: 10 };
        let all = [key(1, [5, 0]), key(2, halves), key(3, [0, 0]), key(9, [0, 0])].map(|k| (k, totals));
        let wakes = WaitAggregate::default()
            .snapshot(WaitObservation { threads: &[], sites: &[], wakes: &all })
            .wakes;
        let wakers: Vec<_> = wakes.into_iter().map(|w| w.waker).collect();
        let expected = [
            WakerId::Thread(Some(StackId(5))),
            WakerId::OtherProcess("redis".into()),
            WakerId::TimerOrInterrupt,
        ];
        assert_eq!(wakers, expected);
    }
}
