//! What a report says of waits of goroutines that have ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::section::json::with_stack;
use crate::section::model::{Stack, StackEnd};
use crate::section::shared::SharedFrames;

/// What a goroutine waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GoroutineWaitKind {
    ChanReceive,
    ChanSend,
    Select,
    /// `sync.Mutex`, `sync.RWMutex`, `sync.WaitGroup` or the lock of a file: the function that waits tells.
    Semaphore,
    /// `sync.Cond`
    Cond,
    /// What another version of leakscope says.
    #[serde(other)]
    Other,
}

impl GoroutineWaitKind {
    /// What tables call it.
    pub const fn shown(self) -> &'static str {
        match self {
            Self::ChanReceive => "chan receive",
            Self::ChanSend => "chan send",
            Self::Select => "select",
            Self::Semaphore => "lock",
            Self::Cond => "sync.Cond",
            Self::Other => "other",
        }
    }
}

/// Waits of goroutines that ended in the window, as Go's own block and mutex profiles count them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutineWaits {
    /// Whether every wait was counted that began and ended in the window.
    pub exact: bool,
    /// How they were had.
    pub method: String,
    /// Time in which every wait was counted.
    pub counted_ns: u64,
    /// Time of which only windows were looked at; what was seen there is scaled to all of it.
    pub sampled_ns: u64,
    /// The windows, and how long each took.
    pub windows: u64,
    pub window_ns: u64,
    /// Waits that took longer than a window can be a sample of, and are left out of all numbers; only those that a
    /// window saw.
    pub long_waits: u64,
    /// Waits that ended.
    pub waits: u64,
    /// How far that can be off, with a probability of 95 %; 0 where all were counted, null where it is not known.
    pub waits_error: Option<u64>,
    /// Their time, from where a goroutine parks until it is made ready.
    pub wait_ns: u64,
    /// How far that can be off.
    pub wait_ns_error: Option<u64>,
    /// Releases of locks that ended a wait.
    pub contentions: u64,
    /// How far that can be off.
    pub contentions_error: Option<u64>,
    /// What they are charged with: as Go's mutex profile does.
    pub contention_ns: u64,
    /// How far that can be off.
    pub contention_ns_error: Option<u64>,
    /// Where goroutines waited, most time first.
    pub sites: Vec<GoroutineWaitSite>,
    /// Who released the locks that were waited for, those charged with most time first.
    pub releases: Vec<GoroutineRelease>,
}

with_stack! {
    /// Waits of one stack.
    pub struct GoroutineWaitSite {
        /// Identifies the stack within this run.
        pub site_id: String,
        /// Place, from 1: by time waited.
        pub rank: u64,
        /// What they waited for.
        pub kind: GoroutineWaitKind,
        /// Waits that ended.
        pub waits: u64,
        /// How far that can be off, with a probability of 95 %; null where it is not known.
        pub waits_error: Option<u64>,
        /// Their time.
        pub wait_ns: u64,
        /// How far that can be off.
        pub wait_ns_error: Option<u64>,
        /// The longest that was seen.
        pub max_wait_ns: u64,
        /// Goroutines that wait still, of those that began since recording did; null in windows, which do not tell.
        pub waiting: Option<u64>,
        /// How long the one of them that waits longest has waited.
        pub longest_waiting_ns: Option<u64>,
        @
        /// The stack of who waited.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own.
            blame: Option<u64>,
            /// Frames, innermost first.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Why the stack ended.
            stack_end: Option<StackEnd>,
        },
    }
}

with_stack! {
    /// Releases of locks that ended waits, of one stack.
    pub struct GoroutineRelease {
        /// Identifies the stack within this run.
        pub site_id: String,
        /// Place, from 1: by time charged.
        pub rank: u64,
        /// Releases that ended a wait.
        pub contentions: u64,
        /// How far that can be off, with a probability of 95 %; null where it is not known.
        pub contentions_error: Option<u64>,
        /// What they are charged with: the time that others waited for the lock. Before Go 1.22 that of the one that was
        /// waiting longest, since then that of all.
        pub wait_ns: u64,
        /// How far that can be off.
        pub wait_ns_error: Option<u64>,
        @
        /// The stack of who released it.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own.
            blame: Option<u64>,
            /// Frames, innermost first.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Why the stack ended.
            stack_end: Option<StackEnd>,
        },
    }
}

crate::section::site::sites!(GoroutineWaitSite, GoroutineRelease);
