//! What a report says of goroutines.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::section::json::with_stack;
use crate::section::model::{Frame, Stack, StackEnd};
use crate::section::shared::SharedFrames;

/// The goroutines of a Go program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Goroutines {
    /// Whether none was missed and every stack could be read.
    pub exact: bool,
    /// How they were had.
    pub method: String,
    /// Goroutines, those of the runtime apart: as Go's own profile counts.
    pub total: u64,
    /// The runtime's own.
    pub system: u64,
    /// Those that are known to be stuck: nothing can wake them.
    #[serde(default)]
    pub stuck: u64,
    /// Those that can never run again: nothing that can still run reaches what they wait for. A lower bound; null
    /// where that was not found out.
    #[serde(default)]
    pub leaked: Option<u64>,
    /// Bytes of the Go heap that they alone reach, an estimate of the last look; null where that was not found out.
    #[serde(default)]
    pub leaked_heap_bytes: Option<u64>,
    /// Why `leaked` is null.
    #[serde(default)]
    pub leaked_unknown: Option<String>,
    /// Change of `total` since the look before; null in the first one.
    pub growth: Option<i64>,
    /// Change of `total` since the first look; null in that one.
    pub growth_since_first: Option<i64>,
    /// Time since the first look.
    pub since_first_ns: Option<u64>,
    /// Time since the look before.
    pub since_previous_ns: Option<u64>,
    /// Goroutines that had to be read again because they changed meanwhile.
    pub retried: u64,
    /// Places, whatever goroutines do there: those that pile up first, most growth first.
    #[serde(default)]
    pub places: Vec<GoroutinePlace>,
    /// Sites, ranked: those that pile up first, idle ones and the runtime's own last.
    pub sites: Vec<GoroutineSite>,
    /// Goroutines that began and ended while leakscope watched, by the `go` statement that created them,
    /// those with most growth first; null where that was not traced.
    pub creations: Option<Vec<GoroutineCreation>>,
    /// Locks that goroutines wait for, those with most of them first. Of versions of Go whose layout is not known,
    /// there are none.
    #[serde(default)]
    pub locks: Vec<GoroutineLock>,
    /// Circles of goroutines that wait for each other's locks, or for a lock of their own.
    #[serde(default)]
    pub deadlocks: Vec<GoroutineDeadlock>,
}

/// Goroutines at one function that have one creator, whatever they do there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutinePlace {
    /// Place, from 1.
    pub rank: u64,
    /// Goroutines.
    pub count: u64,
    /// Change of their number since the first look, those included whose sites are gone; where beginnings and ends
    /// were traced, no more than these tell. Null in the first look.
    pub growth_since_first: Option<i64>,
    /// Whether they pile up.
    pub piling_up: bool,
    /// Goroutines that the `go` statement created while leakscope watched, those at other functions included; null
    /// where that was not traced.
    pub created: Option<u64>,
    /// Goroutines of the statement that ended meanwhile.
    pub exited: Option<u64>,
    /// The frame to blame of the most of them. Others may be at other lines of the function.
    pub frame: Option<Frame>,
    /// The `go` statement that created them.
    pub created_by: Option<Frame>,
    /// Their first function.
    pub start_function: Option<String>,
    /// What they do, most first.
    pub doing: Vec<GoroutineDoing>,
    /// The `site_id` of their sites.
    pub site_ids: Vec<String>,
}

/// What some of the goroutines of a place do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutineDoing {
    /// Their state, as in sites.
    pub state: String,
    /// Why they wait.
    pub wait_reason: Option<String>,
    /// How many.
    pub count: u64,
}

/// A goroutine and a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutineParty {
    /// Its number.
    pub goroutine_id: u64,
    /// What it does: the `place_id` of its site.
    pub place_id: String,
    /// The function that unlocks the lock as it returns; null where the goroutine does not hold it.
    pub unlocks_in: Option<String>,
}

/// A lock that goroutines wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutineLock {
    /// Where it lies, in hex.
    pub address: String,
    /// `sync.Mutex` or `sync.RWMutex`.
    pub kind: String,
    /// Goroutines that wait for it.
    pub waiters: u64,
    /// Where most of them wait.
    pub places: Vec<GoroutineLockPlace>,
    /// Who holds it, as far as that shows: a function that it is in has deferred the call that unlocks it.
    pub holders: Vec<GoroutineParty>,
}

/// Goroutines that wait for a lock in the same place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutineLockPlace {
    /// The `place_id` of their site.
    pub place_id: String,
    /// How many.
    pub count: u64,
}

/// Goroutines of which each waits for the lock that the next one holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutineDeadlock {
    /// They, with the function of the next one (of the first one, for the last) that unlocks what they wait for.
    pub goroutines: Vec<GoroutineParty>,
    /// Deadlocks in the same places.
    pub count: u64,
}

with_stack! {
    /// Goroutines of a `go` statement, counted as they came and went.
    pub struct GoroutineCreation {
        /// Place, from 1: by growth.
        pub rank: u64,
        /// Goroutines that it created.
        pub created: u64,
        /// Goroutines of it that ended, those included that were there before.
        pub exited: u64,
        /// `created` less `exited`.
        pub growth: i64,
        @
        /// The statement.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own.
            blame: Option<u64>,
            /// The statement, and what it was inlined into.
            #[serde(alias = "stack")]
            frames: SharedFrames,
        },
    }
}

with_stack! {
    /// Goroutines that do the same in the same place.
    pub struct GoroutineSite {
        /// Identifies stack, state, wait reason, creator and labels by what they say: the same in other runs.
        pub site_id: String,
        /// The same without the labels: one for all sites that differ in these alone.
        #[serde(default)]
        pub place_id: String,
        /// Place, from 1.
        pub rank: u64,
        /// Goroutines.
        pub count: u64,
        /// Change of `count` since the look before; null in the first one.
        pub growth: Option<i64>,
        /// Change of `count` since the first look; null in that one.
        pub growth_since_first: Option<i64>,
        /// Change, since the first look, of all goroutines with this `place_id`, those included whose sites are
        /// gone; null in that one.
        #[serde(default)]
        pub place_growth_since_first: Option<i64>,
        /// Change, since the first look, of all goroutines in the function to blame that have this creator, whatever
        /// they do; null in that one.
        #[serde(default)]
        pub spot_growth_since_first: Option<i64>,
        /// Change, since the first look, of all goroutines that this creator has made; where beginnings and ends were
        /// traced, no more than these tell. Null in that look.
        #[serde(default)]
        pub creator_growth_since_first: Option<i64>,
        /// Whether they pile up: they grew enough since the first look, and so did all of their creator.
        pub piling_up: bool,
        /// What they do, as Go's stack dumps say it: `runnable`, `running`, `syscall`, `waiting`, `preempted`
        /// or `leaked`.
        pub state: String,
        /// Why they wait, in the program's own words: `chan receive`.
        pub wait_reason: Option<String>,
        /// How long the one that waits longest has waited.
        pub longest_blocked_ns: Option<u64>,
        /// Whether `longest_blocked_ns` is only a lower bound: the age of a note that the garbage collector made.
        pub blocked_at_least: bool,
        /// Whether they began to wait after the last garbage collection, so that no time is known.
        pub since_last_gc: bool,
        /// How many of them are known to be stuck: nothing can wake them.
        #[serde(default)]
        pub stuck: u64,
        /// What shows that.
        #[serde(default)]
        pub stuck_rule: Option<String>,
        /// How many of them can never run again, as was shown by what other goroutines reach.
        #[serde(default)]
        pub leaked: u64,
        /// What can wake them, where the runtime's memory tells: `ticker` or `timer`, perhaps beside other
        /// channels, or `nothing`.
        #[serde(default)]
        pub woken_by: Option<String>,
        /// Whether this looks like waiting for work, not like being stuck.
        pub idle: bool,
        /// The rule that says so.
        pub idle_rule: Option<String>,
        /// Whether they are the runtime's own, which Go's profiles leave out.
        pub system: bool,
        @
        /// The stack.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own; null if there is none.
            blame: Option<u64>,
            /// Frames, innermost first.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Why the stack ended: `root`, or what cut it short.
            stack_end: StackEnd,
        },
        /// The `go` statement that created them.
        pub created_by: Option<Frame>,
        /// Their first function.
        pub start_function: Option<String>,
        /// Labels (`runtime/pprof.Do`) that they all have; null if they have none, or differ (`label_sets`).
        pub labels: Option<BTreeMap<String, String>>,
        /// Distinct sets of labels among them: more than one where a stack has very many.
        pub label_sets: u64,
        /// The lowest of their numbers, at most five.
        pub goroutine_ids: Vec<u64>,
        /// How many are bound to their threads (`runtime.LockOSThread`).
        pub locked_to_thread: u64,
        /// Threads that they run or make system calls on, at most five.
        pub tids: Vec<u32>,
    }
}

crate::section::site::sites!(GoroutineSite);
