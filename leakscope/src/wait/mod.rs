//! What blocked threads wait for: kinds, locks, idle waits, deadlocks. Pure: no I/O and no clock.
//!
//! A [`ThreadSnapshot`] is what `crate::collect::snapshot` saw of all threads at one moment. [`classify()`] says what a
//! thread waits for, by tables of system calls ([`syscalls`]) and of functions ([`primitives`]), and by
//! what its descriptor is ([`FdTarget`]);
//! [`locks`] finds the lock and its holder in the target's memory, [`owners`] infers a holder that the
//! lock does not name; [`idle`] knows the waits that are no trouble, [`deadlock`] finds cycles.
//! The tables here are of libraries and servers; with those of the runtimes they are the [`Rules`].

pub mod classify;
pub mod deadlock;
pub mod fd_target;
pub mod idle;
pub mod kind;
pub mod limit;
pub mod locks;
pub mod names;
pub mod owners;
// Tables are laid out by hand: one argument a line would make them five times as long.
#[rustfmt::skip]
mod primitive_tables;
pub mod primitives;
mod rules;
#[rustfmt::skip]
mod syscall_names;
pub mod syscalls;
pub mod verdict;
mod workers;

pub use classify::classify;
pub use fd_target::FdTarget;
pub use kind::WaitKind;
pub use rules::Rules;

use std::ops::Range;

use leakscope_common::descriptor::Descriptor;
use serde::{Deserialize, Deserializer, Serialize};

use crate::peers::{Others, Peer};
use crate::stack::StackId;

/// All threads of a process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadSnapshot {
    /// When it was taken, CLOCK_MONOTONIC in ns.
    pub at_ns: u64,
    /// The threads, by ID.
    pub threads: Vec<Thread>,
    /// Blocked threads whose state changed each time they were looked at: they have no stack.
    pub unsettled: u64,
    /// Threads that began or ended while the snapshot was taken, as far as that was seen.
    pub vanished: u64,
    /// What is known of IDs in the kept memory of futexes that none of these threads has.
    #[serde(default, skip_serializing_if = "Others::is_empty")]
    pub others: Others,
}

/// What the scheduler says about a thread (`task_struct.__state`; include/linux/sched.h of Linux 6.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskState {
    /// Runs, or could run.
    Running,
    /// Waits and can be woken by a signal.
    Interruptible,
    /// Waits for the disk or for the kernel; signals do not wake it.
    Uninterruptible,
    /// Stopped by a signal.
    Stopped,
    /// Stopped by a debugger.
    Traced,
    /// Has ended.
    Dead,
    /// Something else: the kernel's number.
    Other(u32),
}

/// Key of a wait site on the kernel side: a stack, a system call and what it waits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaitSiteId(pub u64);

/// A system call that a thread is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syscall {
    /// Its number (x86-64).
    pub number: u32,
    /// rdi, rsi, rdx, r10, r8, r9.
    pub args: [u64; 6],
}

/// A thread of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its ID in our PID namespace.
    pub tid: u32,
    /// Its ID in its own PID namespace: what the C library stores as a lock's owner.
    pub ns_tid: u32,
    pub name: String,
    /// Whether it is the process' first one.
    pub main: bool,
    pub state: TaskState,
    /// The system call it is in; `None` in user code, or if an exception or interrupt took it away.
    pub syscall: Option<Syscall>,
    /// How long it has been blocked, ns; `None` if it is not.
    pub blocked_ns: Option<u64>,
    /// Whether it was blocked for at least so long, because the true start is not known.
    pub blocked_at_least: bool,
    /// Where it waits again and again, each time for a short while.
    pub again: Option<Again>,
    /// How long its system call waits at most, ns; `None` if it has no limit, or none that could be read.
    pub limit_ns: Option<u64>,
    /// Its user stack: as it is blocked, or as a sample found it running; `None` if it could not be had.
    pub stack: Option<StackId>,
    /// Memory around the futex that it waits on.
    pub futex: Option<FutexMemory>,
    /// What the descriptor of its system call is, if that decides what it waits for.
    #[serde(with = "fd_target::recorded")]
    pub descriptor: Descriptor,
    /// What of its live stack and of its registers points to futexes that any thread of this snapshot waits on.
    pub points_to: Vec<Pointer>,
    /// Whether its stack points into what lies behind the futex that it waits on: to what the lock guards.
    #[serde(default)]
    pub points_behind: bool,
    /// The addresses from its stack pointer to the outermost frame that was reached.
    pub live: Range<u64>,
    /// What its system call waits for, and who is at the other end; `None` if that was not looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
}

/// Waits with no longer limit may be renewed: HotSpot's monitors take up to a second (`RecheckInterval` in
/// share/runtime/objectMonitor.cpp of OpenJDK 17), Python's GIL takes 5 ms (Python/ceval_gil.h of 3.11).
pub const AGAIN_NS: u64 = 1_000_000_000;

/// A wait that a timer ends, and that the thread begins anew without having done anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// How long each wait takes at most.
    pub period_ns: u64,
    /// How long it has been seen to do so.
    pub for_ns: u64,
}

/// A word that points to a futex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pointer {
    /// Address of the futex.
    pub futex: u64,
    /// The frame of the stack, as unwound, that the word is in; `None` if it is in a register that calls keep.
    pub frame: Option<u32>,
}

/// Bytes of memory that are kept around a futex word.
pub const FUTEX_MEMORY: usize = 64;
/// How many of them lie before the word.
pub const FUTEX_MEMORY_BEFORE: usize = 16;

/// Memory around the futex that a thread waits on, read while it was blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FutexMemory {
    /// Address of the futex word.
    pub address: u64,
    /// The bytes from `address - FUTEX_MEMORY_BEFORE` on.
    #[serde(with = "crate::recording::hex")]
    pub bytes: [u8; FUTEX_MEMORY],
    /// Which of them were read: a lock may lie at the edge of what is mapped.
    #[serde(deserialize_with = "within_futex_memory")]
    pub known: Range<usize>,
}

/// A recording may tell of more bytes than there are.
fn within_futex_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Range<usize>, D::Error> {
    let Range::<usize> { start, end } = Range::deserialize(deserializer)?;
    Ok(start.min(FUTEX_MEMORY)..end.min(FUTEX_MEMORY))
}

impl FutexMemory {
    /// Memory that was read as a whole.
    pub fn whole(address: u64, bytes: [u8; FUTEX_MEMORY]) -> Self {
        Self { address, bytes, known: 0..FUTEX_MEMORY }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Descriptor, TaskState, Thread};

    /// A blocked thread.
    pub(crate) fn thread(tid: u32) -> Thread {
        Thread {
            tid,
            ns_tid: tid,
            name: format!("t{tid}"),
            main: false,
            state: TaskState::Interruptible,
            syscall: None,
            blocked_ns: Some(1_000_000_000),
            blocked_at_least: false,
            again: None,
            limit_ns: None,
            stack: None,
            futex: None,
            descriptor: Descriptor::ZERO,
            points_to: Vec::new(),
            points_behind: false,
            live: 0..0,
            peer: None,
        }
    }
}
