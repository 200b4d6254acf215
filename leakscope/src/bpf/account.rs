//! Freezes and reads the maps of the account.

use aya::maps::{HashMap, PerCpuArray};
use leakscope_common::config::RunState;
use leakscope_common::counter::COUNTERS;
use leakscope_common::heap::{Inflight, LiveBlock, SiteTotals};
use leakscope_common::wait::{CreationTotals, ThreadState, WaitTotals, WakeKey, WakeTotals, wait_entered};

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

    /// The system call of a wait site, and its arguments, as it was first seen; `None` if there is no such
    /// site.
    pub fn wait_site(&mut self, id: u64) -> Option<Syscall> {
        let map: HashMap<_, u64, WaitTotals> = HashMap::try_from(self.map_mut("WAIT_SITES").ok()?).ok()?;
        let totals = map.get(&id, 0).ok()?;
        Some(Syscall { number: u32::try_from(totals.syscall.checked_sub(1)?).ok()?, args: totals.args })
    }

    /// Enters a site whose stack userspace knows already: its frames need not be sent.
    pub fn enter_wait_site(&mut self, site: StackId, call: Option<Syscall>) -> Result<(), BpfError> {
        let (syscall, args) = (wire_syscall(call), call.map_or([0; 6], |call| call.args));
        self.insert("WAIT_SITES", site.0, WaitTotals { sent: 1, syscall, args, ..WaitTotals::ZERO })
    }

    /// Enters a thread that was blocked before recording began, so that the end of its wait at an entered
    /// site is seen. Its wait counts from `since_ns` on.
    pub fn enter_wait(
        &mut self,
        thread: &Thread,
        site: StackId,
        switches: u64,
        since_ns: u64,
    ) -> Result<(), BpfError> {
        let state = ThreadState {
            since_ns,
            site: site.0,
            switches,
            entered: wait_entered::BY_USERSPACE,
            syscall: wire_syscall(thread.syscall),
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
