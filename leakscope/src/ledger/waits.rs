//! What blocked during the window, from the maps as they were read.

use crate::stack::StackId;
use crate::wait::Syscall;

/// Finished waits of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteWaits {
    /// Its stack; `None` for waits whose site did not fit the map.
    pub stack: Option<StackId>,
    /// The system call of the first one; `None` if it was in none.
    pub syscall: Option<Syscall>,
    /// What the descriptor in that call's first argument was, where it takes one and it could be told.
    pub fd: Option<String>,
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

/// Wait time of one site that was ended by one waker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wakes {
    /// Who ended it.
    pub waker: WakerId,
    /// Where was waited.
    pub site: Option<StackId>,
    /// Waits.
    pub wakes: u64,
    /// Their time, ns.
    pub wait_ns: u64,
}

/// A thread that is blocked as the maps are read, and began to block in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenWait {
    /// The thread.
    pub tid: u32,
    /// Where.
    pub site: Option<StackId>,
    /// When it began, CLOCK_MONOTONIC in ns.
    pub since_ns: u64,
}

/// A single long wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongWait {
    /// The thread.
    pub tid: u32,
    /// Where.
    pub site: Option<StackId>,
    /// When it began, CLOCK_MONOTONIC in ns.
    pub since_ns: u64,
    /// How long it took, ns.
    pub wait_ns: u64,
}

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
    /// Threads by creating stack.
    pub creations: Vec<Creation>,
}
