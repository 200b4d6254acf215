//! Freezes and reads the maps of the account.

use aya::maps::PerCpuArray;
use leakscope_common::config::RunState;
use leakscope_common::counter::COUNTERS;
use leakscope_common::heap::{Inflight, LiveBlock, SiteTotals};
use leakscope_common::wait::{
    CreationTotals, FUTEX, ThreadState, WaitStack, WaitTotals, WakeKey, WakeTotals, wait_entered, wait_site,
};

use super::object::Object;
use super::{BpfError, chain, sys};
use crate::stack::StackId;
use crate::wait::{Syscall, Thread};

/// The maps as they were read.
#[derive(Clone, Debug, Default)]
pub struct RawAccount {
    /// Live blocks by address.
    pub live: Vec<(u64, LiveBlock)>,
    /// Totals by site.
    pub sites: Vec<(u64, SiteTotals)>,
    /// Pending allocator calls by thread.
    pub inflight: Vec<(u32, Inflight)>,
    /// Threads that have blocked or were created.
    pub threads: Vec<(u32, ThreadState)>,
    /// Waits by site.
    pub wait_sites: Vec<(u64, WaitTotals)>,
    /// Who ended them.
    pub wakes: Vec<(WakeKey, WakeTotals)>,
    /// Threads by creating stack.
    pub creations: Vec<(u64, CreationTotals)>,
    /// Counters by number, summed over CPUs.
    pub counters: Vec<u64>,
    /// Times the kernel skipped a program.
    pub recursion_misses: u64,
}

impl Object {
    /// Stops recording and waits until no program changes the account any more.
    pub fn freeze(&mut self) -> Result<(), BpfError> {
        self.set_run_state(RunState::Frozen)?;
        self.wait_for_programs()
    }

    /// Reads the account.
    pub fn read_account(&mut self) -> Result<RawAccount, BpfError> {
        let failed = |error| BpfError::Map { what: "read the account", error };
        Ok(RawAccount {
            live: sys::read_all(self.map_fd("LIVE")?).map_err(failed)?,
            sites: sys::read_all(self.map_fd("SITES")?).map_err(failed)?,
            inflight: sys::read_all(self.map_fd("INFLIGHT")?).map_err(failed)?,
            threads: sys::read_all(self.map_fd("THREADS")?).map_err(failed)?,
            wait_sites: sys::read_all(self.map_fd("WAIT_SITES")?).map_err(failed)?,
            wakes: sys::read_all(self.map_fd("WAKES")?).map_err(failed)?,
            creations: sys::read_all(self.map_fd("CREATIONS")?).map_err(failed)?,
            counters: self.counters()?,
            recursion_misses: self.recursion_misses(),
        })
    }

    /// Enters a thread that was blocked at `stack` before recording began, so that the end of its wait is seen.
    /// Its wait counts from `since_ns` on. Userspace knows the stack: its frames need not be sent.
    pub fn enter_wait(
        &mut self,
        thread: &Thread,
        stack: StackId,
        switches: u64,
        since_ns: u64,
    ) -> Result<(), BpfError> {
        let syscall = wire_syscall(thread.syscall);
        let args = thread.syscall.map_or([0; 6], |call| call.args);
        let object = if syscall == FUTEX + 1 { args[0] } else { thread.descriptor.operations };
        let site = wait_site(stack.0, syscall, object);
        let of_site = WaitTotals {
            stack: stack.0,
            syscall,
            object,
            args,
            descriptor: thread.descriptor,
            ..WaitTotals::ZERO
        };
        self.insert("WAIT_STACKS", stack.0, WaitStack { sent: 1, objects: 0 })?;
        self.insert("WAIT_SITES", site, of_site)?;
        let state = ThreadState {
            since_ns,
            site,
            switches,
            entered: wait_entered::BY_USERSPACE,
            syscall,
            ..ThreadState::ZERO
        };
        self.insert("THREADS", thread.tid, state)
    }

    /// Takes back what [`Object::enter_wait`] entered.
    pub fn leave_wait(&mut self, tid: u32) -> Result<(), BpfError> {
        self.remove::<_, ThreadState>("THREADS", tid)
    }

    /// The counters by number, summed over CPUs.
    pub fn counters(&mut self) -> Result<Vec<u64>, BpfError> {
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.map_mut("COUNTERS")?).map_err(|_| BpfError::Missing("COUNTERS"))?;
        (0..COUNTERS)
            .map(|i| {
                map.get(&i, 0).map(|values| values.iter().sum()).map_err(|e| BpfError::Map {
                    what: "read the counters",
                    error: std::io::Error::other(chain(&e)),
                })
            })
            .collect()
    }
}

/// A system call as the maps hold it: 1 + its number; 0: none.
fn wire_syscall(call: Option<Syscall>) -> u64 {
    call.map_or(0, |call| u64::from(call.number) + 1)
}
