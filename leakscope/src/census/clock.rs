//! How long a thread has been blocked, whoever came first.
//!
//! `task_struct.se.exec_start` is the CPU's `clock_task` at the moment when the thread last ran
//! (kernel/sched/fair.c, `update_curr`; the other scheduling classes set it, too). That clock differs from CPU
//! to CPU by as much as seconds, so it is read *now* on the CPU where the thread last ran: a thread of ours
//! goes there, and its own `exec_start` is that clock's time. The clock leaves out the time that the
//! CPU spent in interrupts or for other guests, so the result errs low by that share.

use std::collections::HashMap;

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
}

impl Clocks {
    /// Reads the clocks of `cpus`. Those where we may not run are missing.
    pub fn read(object: &mut Object, cpus: &[u32]) -> Result<Self, BpfError> {
        // A thread of its own: where it may run is its own affair and ends with it. One CPU after the
        // other, so that one descriptor is open at a time.
        let by_cpu = std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().spawn_scoped(scope, || readings(object, cpus));
            reader.ok().and_then(|thread| thread.join().ok()).unwrap_or_else(|| Ok(HashMap::new()))
        })?;
        Ok(Self { by_cpu })
    }

    /// How long before `at_ns` (CLOCK_MONOTONIC) a thread last ran, whose `exec_start` on `cpu` is
    /// `exec_start_ns`. `None` where that CPU's clock could not be read, and where the time is 0: the kernel
    /// takes it away from a thread that it moves to another CPU after it blocked (kernel/sched/fair.c,
    /// `migrate_task_rq_fair`; since Linux 6.12 a thread stays in a CPU's queue for a while).
    pub fn blocked_ns(&self, cpu: u32, exec_start_ns: u64, at_ns: u64) -> Option<u64> {
        if exec_start_ns == 0 {
            return None;
        }
        let reading = self.by_cpu.get(&cpu)?;
        let at_reading = reading.clock_task_ns.checked_sub(exec_start_ns)?;
        Some(at_reading.saturating_add(at_ns).saturating_sub(reading.at_ns))
    }
}

fn readings(object: &mut Object, cpus: &[u32]) -> Result<HashMap<u32, Reading>, BpfError> {
    let mut by_cpu = HashMap::new();
    for &cpu in cpus {
        let pass = object.census_pass()?;
        if run_on(cpu).is_none() {
            continue;
        }
        if let Ok(record) = pass.reader()
            && record.cpu == cpu
        {
            by_cpu.insert(cpu, Reading { clock_task_ns: record.exec_start_ns, at_ns: record.at_ns });
        }
    }
    Ok(by_cpu)
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
