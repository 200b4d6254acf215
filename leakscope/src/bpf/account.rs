//! Freezes and reads the maps of the account.

use aya::maps::PerCpuArray;
use leakscope_common::config::RunState;
use leakscope_common::counter::COUNTERS;
use leakscope_common::descriptor::Descriptor;
use leakscope_common::heap::{Inflight, LiveBlock, SiteTotals};
use leakscope_common::wait::{
    CreationTotals, FUTEX, SEVERAL_OBJECTS, ThreadState, WaitStack, WaitTotals, WakeKey, WakeTotals,
    wait_entered, wait_site,
};

use super::entered::EnteredSites;
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

    /// Enters threads that had blocked before recording began, with their stacks and context switches, so that
    /// the ends of their waits are seen. These count from `since_ns` on. Userspace knows the stacks: their
    /// frames need not be sent.
    pub fn enter_waits(
        &mut self,
        blocked: &[(&Thread, StackId, u64)],
        since_ns: u64,
    ) -> Result<(), BpfError> {
        let mut entered = EnteredSites::default();
        let waits = blocked.iter().map(|&(thread, stack, switches)| {
            let syscall = wire_syscall(thread.syscall);
            let args = thread.syscall.map_or([0; 6], |call| call.args);
            let object = if syscall == FUTEX + 1 { args[0] } else { thread.descriptor.operations };
            let (object, is_new) = entered.enter(stack.0, syscall, object);
            let descriptor = if object == SEVERAL_OBJECTS { Descriptor::ZERO } else { thread.descriptor };
            let site = wait_site(stack.0, syscall, object);
            let totals = WaitTotals { stack: stack.0, syscall, object, args, descriptor, ..WaitTotals::ZERO };
            let state = ThreadState {
                since_ns,
                site,
                switches,
                entered: wait_entered::BY_USERSPACE,
                syscall,
                ..ThreadState::ZERO
            };
            (thread.tid, state, is_new.then_some(totals))
        });
        let waits: Vec<(u32, ThreadState, Option<WaitTotals>)> = waits.collect();
        for (stack, objects) in entered.stacks() {
            self.insert("WAIT_STACKS", stack, WaitStack { sent: 1, objects })?;
        }
        for (tid, state, totals) in waits {
            if let Some(totals) = totals {
                self.insert("WAIT_SITES", state.site, totals)?;
            }
            self.insert("THREADS", tid, state)?;
        }
        Ok(())
    }

    /// Takes back what [`Object::enter_waits`] entered of a thread.
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
