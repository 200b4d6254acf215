//! How long a thread has been blocked, whoever came first.
//!
//! `task_struct.se.exec_start` is the CPU's `clock_task` at the moment when the thread last ran
//! (kernel/sched/fair.c, `update_curr`; the other scheduling classes set it, too). That clock differs from CPU
//! to CPU by as much as seconds, so it is read *now* on the CPU where the thread last ran: a thread of ours
//! goes there, and its own `exec_start` is that clock's time. The clock leaves out the time that the
//! CPU spent in interrupts or for other guests, so the result errs low by that share.
//!
//! The kernel sets it to 0 for a thread that it moves to another CPU after it blocked
//! (`migrate_task_rq_fair`; since Linux 6.12 a thread stays in a CPU's queue for a while). Then
//! `sched_info.last_arrival` tells when it last got a CPU (kernel/sched/stats.h, `sched_info_arrive`), and the
//! run times how long it ran from then on. That is `clock`, in which nothing is left out and which is the same
//! on all CPUs but for a tick (kernel/sched/clock.c), so where the thread ran need not be known.

use std::collections::HashMap;

use leakscope_common::wait::{TaskRecord, task_record};

use crate::bpf::BpfError;
use crate::bpf::object::Object;

/// `clock_task` of a CPU and CLOCK_MONOTONIC, ns, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    clock_task_ns: u64,
    at_ns: u64,
}

/// The clocks of CPUs.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    by_cpu: HashMap<u32, Reading>,
    /// `clock`, which all CPUs share, and CLOCK_MONOTONIC, ns, at one moment.
    shared: Option<(u64, u64)>,
}

impl Clocks {
    /// Reads the clocks of `cpus`. Those where we may not run are missing.
    pub fn read(object: &mut Object, cpus: &[u32]) -> Result<Self, BpfError> {
        // A thread of its own: where it may run is its own affair and ends with it, and it has just got
        // a CPU. One CPU after the other, so that one descriptor is open at a time.
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().spawn_scoped(scope, || Self::read_here(object, cpus));
            reader.ok().and_then(|thread| thread.join().ok()).unwrap_or_else(|| Ok(Self::default()))
        })
    }

    fn read_here(object: &mut Object, cpus: &[u32]) -> Result<Self, BpfError> {
        let mut clocks = Self::default();
        for &cpu in cpus {
            let pass = object.pass::<TaskRecord>(super::ITERATOR)?;
            if run_on(cpu).is_none() {
                continue;
            }
            // The record of the thread that calls, which comes first: the CPU that it runs on, and that CPU's
            // clock now.
            if let Ok(record) = pass.first()
                && record.kind == task_record::READER
            {
                clocks.note(cpu, &record);
            }
        }
        Ok(clocks)
    }

    /// Takes in what a thread of ours reads of itself as it is on `cpu`.
    fn note(&mut self, cpu: u32, reader: &TaskRecord) {
        if reader.cpu == cpu {
            let reading = Reading { clock_task_ns: reader.exec_start_ns, at_ns: reader.at_ns };
            self.by_cpu.insert(cpu, reading);
        }
        // The one that had got its CPU the shortest time ago is the nearest to now.
        let ahead = |(clock, at): (u64, u64)| at.cast_signed().wrapping_sub(clock.cast_signed());
        let here = (reader.arrival_ns, reader.at_ns);
        if reader.arrival_ns != 0 && self.shared.is_none_or(|known| ahead(here) < ahead(known)) {
            self.shared = Some(here);
        }
    }

    /// How long before `at_ns` (CLOCK_MONOTONIC) a thread last ran. `None` where that is not known: where
    /// its CPU's clock could not be read, or the kernel has taken the time away and keeps no other.
    pub fn blocked_ns(&self, thread: &TaskRecord, at_ns: u64) -> Option<u64> {
        let (clock, reading, last_ran) = if thread.exec_start_ns == 0 {
            let (clock, reading) = self.shared.filter(|_| thread.arrival_ns != 0)?;
            (clock, reading, thread.arrival_ns.checked_add(thread.ran_ns)?)
        } else {
            let reading = self.by_cpu.get(&thread.cpu)?;
            (reading.clock_task_ns, reading.at_ns, thread.exec_start_ns)
        };
        let at_reading = clock.checked_sub(last_ran)?;
        Some(at_reading.saturating_add(at_ns).saturating_sub(reading))
    }
}

/// Moves the calling thread to `cpu`, and has the scheduler note that it runs there now.
fn run_on(cpu: u32) -> Option<()> {
    const WORDS: usize = 1024;
    let mut mask = [0u64; WORDS];
    *mask.get_mut(cpu as usize / 64)? |= 1 << (cpu % 64);
    // SAFETY: the mask has the size that is told, and the kernel takes masks of any size.
    let moved = unsafe {
        libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&mask), mask.as_ptr()) == 0
            && libc::sched_yield() == 0
    };
    moved.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(cpu: u32, exec_start_ns: u64, arrival_ns: u64, at_ns: u64) -> TaskRecord {
        TaskRecord { cpu, exec_start_ns, arrival_ns, ran_ns: 50, at_ns, ..TaskRecord::ZERO }
    }

    #[test]
    fn each_cpu_has_its_own_clock() {
        let mut clocks = Clocks::default();
        clocks.note(0, &record(0, 1_000, 5_000, 100_000));
        clocks.note(1, &record(1, 700_000, 5_010, 100_100));
        // The scheduler had not moved us.
        clocks.note(2, &record(1, 700_000, 5_010, 100_100));
        assert_eq!(clocks.blocked_ns(&record(0, 400, 1, 0), 100_200), Some(800));
        assert_eq!(clocks.blocked_ns(&record(1, 600_000, 1, 0), 100_100), Some(100_000));
        assert_eq!(clocks.blocked_ns(&record(2, 400, 1, 0), 100_000), None);
        // It ran after the reading.
        assert_eq!(clocks.blocked_ns(&record(0, 1_001, 1, 0), 100_000), None);
    }

    #[test]
    fn the_time_that_the_kernel_took_away() {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.blocked_ns(&record(0, 0, 3_000, 0), 100_000), None);
        clocks.note(0, &record(0, 9, 5_000, 100_000));
        // We had been on this CPU for 900 ns.
        clocks.note(1, &record(1, 9, 5_100, 101_000));
        assert_eq!(clocks.blocked_ns(&record(7, 0, 3_000, 0), 100_000), Some(1_950));
        assert_eq!(clocks.blocked_ns(&record(7, 0, 3_000, 0), 200_000), Some(101_950));
        for unknown in [0, 6_000, u64::MAX] {
            assert_eq!(clocks.blocked_ns(&record(7, 0, unknown, 0), 100_000), None);
        }
    }

    #[test]
    fn without_the_scheduler_s_account_it_is_not_known() {
        let mut clocks = Clocks::default();
        clocks.note(0, &record(0, 9, 0, 100_000));
        assert_eq!(clocks.blocked_ns(&record(0, 0, 0, 0), 100_000), None);
    }
}
