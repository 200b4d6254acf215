//! The shape of a report, which is also its JSON (schema `leakscope.report/1`).
//!
//! snake_case; bytes and nanoseconds are integers with `_bytes` and `_ns`; times are RFC 3339;
//! addresses are hex strings; what is absent is null, never 0. Within /1 fields are only added.
//! The JSON Schema in `leakscope/schema/report.schema.json` is generated from these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::wait::WaitKind;

/// The value of [`Report::schema`].
pub const SCHEMA: &str = "leakscope.report/1";

/// One report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always `leakscope.report/1`.
    pub schema: String,
    /// Version of the leakscope that wrote it.
    pub leakscope_version: String,
    /// The traced process.
    pub target: Target,
    /// When it was watched.
    pub window: Window,
    /// Its memory as the kernel counts it.
    pub memory: Memory,
    /// The answer in short.
    pub summary: Summary,
    /// The account of the heap.
    pub heap: Option<Heap>,
    /// Blocked threads.
    pub waits: Option<Waits>,
    /// Goroutines; null where the target is no Go program, or they could not be read (a finding says why).
    pub goroutines: Option<Goroutines>,
    /// Threads that came and went.
    pub threads: Option<Threads>,
    /// What was lost, by name; empty if nothing was.
    pub losses: BTreeMap<String, u64>,
    /// What tracing cost.
    pub overhead: Overhead,
}

/// The traced process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Process ID.
    pub pid: u32,
    /// Short name.
    pub comm: String,
    /// Path of the program, as the target names it.
    pub exe: Option<String>,
    /// Command line.
    pub cmdline: Vec<String>,
    /// `native` or `go`.
    pub runtime: String,
    /// Version of the runtime, where it has one.
    pub runtime_version: Option<String>,
    /// Container ID (12 digits), where the process runs in one.
    pub container: Option<String>,
    /// What a Go program says of how it was built.
    pub go: Option<GoProgram>,
}

/// What a Go program says of how it was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoProgram {
    /// Path of its main module.
    pub main_module: Option<String>,
    /// Settings of the build, such as `CGO_ENABLED` and `-trimpath`.
    pub settings: BTreeMap<String, String>,
}

/// The time of observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// When every probe was active.
    pub started_at: String,
    /// How long the account covers.
    pub duration_ns: u64,
    /// Why it ended; null in a report of a window that goes on (`--interval`).
    pub ended_by: Option<EndedBy>,
}

/// Why the observation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// `--duration` was over.
    Duration,
    /// A signal to leakscope.
    Interrupt,
    /// The target ended.
    TargetExit,
    /// The target replaced its program.
    Exec,
}

/// Resident memory against what was traced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Resident set at the start.
    pub rss_start_bytes: Option<u64>,
    /// Resident set at the end (the last one seen, if the target has ended).
    pub rss_end_bytes: Option<u64>,
    /// Why the resident set grew much more than the traced heap, where it did.
    pub untraced_reason: Option<String>,
}

/// The answer in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// One sentence.
    pub headline: String,
    /// Further sentences, most important first.
    pub findings: Vec<String>,
}

/// The account of the heap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heap {
    /// Whether the numbers of all sources are exact.
    pub exact: bool,
    /// Where the numbers come from.
    pub sources: Vec<Source>,
    /// Sums over all sites.
    pub totals: Totals,
    /// Sites, ranked.
    pub sites: Vec<Site>,
    /// Bytes in objects in use on a Go program's heap, garbage that no collection has found included.
    pub go_in_use_bytes: Option<u64>,
    /// What a Go program's heap holds by size of objects, most bytes first.
    pub go_size_classes: Option<Vec<GoSizeClass>>,
    /// How far the Go sites' sum and what is in use agree.
    pub go_agreement: Option<String>,
}

/// What the objects of one size take on a Go program's heap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoSizeClass {
    /// Size of an object; null for the large ones, which have spans of their own.
    pub size_bytes: Option<u64>,
    /// Whether they hold pointers.
    pub scan: bool,
    /// Spans of this class.
    pub spans: u64,
    /// Objects in use.
    pub objects: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Where numbers come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// `malloc`: the allocator's functions; `go`: the Go runtime.
    pub name: String,
    /// Whether every event was counted.
    pub exact: bool,
    /// How they were had.
    pub method: String,
    /// Bound of the error, where one is known.
    pub error_bytes: Option<u64>,
}

/// Sums over all sites, since recording began (or since what the source's method says).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Bytes requested in blocks that are live.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_objects: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Blocks allocated.
    pub alloc_objects: u64,
    /// Blocks freed that had been allocated since recording began.
    pub free_objects: u64,
    /// Frees of blocks that were not in the account, mostly from before.
    pub unknown_frees: u64,
    /// Change of `live_bytes` since the report before (or since recording began).
    pub growth_bytes: i64,
}

/// A distinct stack that allocated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Site {
    /// Identifies the stack within this run.
    pub site_id: String,
    /// Place in the order asked for, from 1.
    pub rank: u64,
    /// Name of the source.
    pub source: String,
    /// Bytes requested in live blocks.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_objects: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Blocks allocated.
    pub alloc_objects: u64,
    /// Change of `live_bytes` since the report before.
    pub growth_bytes: i64,
    /// Age of the oldest live block.
    pub oldest_age_ns: Option<u64>,
    /// Age of the youngest live block.
    pub youngest_age_ns: Option<u64>,
    /// Lower end of the interval that `live_bytes` lies in, where it is an estimate.
    pub live_bytes_low: Option<u64>,
    /// Upper end of it.
    pub live_bytes_high: Option<u64>,
    /// Objects that were looked at for the estimate.
    pub samples: Option<u64>,
    /// Index into `frames` of the first frame that is the user's own; null if there is none.
    pub blame: Option<u64>,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
    /// Why the stack ended: `root`, or what cut it short; null if its frames never arrived.
    pub stack_end: Option<String>,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// Address in the target (of callers: the return address).
    pub address: String,
    /// File that the code is in.
    pub module: Option<String>,
    /// Its build ID.
    pub build_id: Option<String>,
    /// Virtual address within that file: what addr2line takes.
    pub offset: Option<String>,
    /// Function.
    pub function: Option<String>,
    /// Bytes from the function's start.
    pub function_offset: Option<u64>,
    /// Source file.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
    /// Line that the function begins at, where Go's own tables tell (Go 1.20 and newer).
    pub function_line: Option<u32>,
    /// Whether it was inlined into the next frame.
    pub inlined: bool,
    /// Why there is no function.
    pub why_unknown: Option<String>,
}

/// Blocked threads: those that are, and what has blocked during the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waits {
    /// Whether every wait of the window was counted, and every thread of the census has its stack.
    pub exact: bool,
    /// How the numbers were had.
    pub method: String,
    /// Threads of the process at the end of the window.
    pub threads: u64,
    /// Of these, blocked ones.
    pub blocked_now: u64,
    /// Of the blocked ones, those that kept changing while they were looked at and have no stack.
    pub unsettled: u64,
    /// Threads that began or ended while the process was looked at, as far as that was seen.
    pub vanished: u64,
    /// Sites, ranked: deadlocks first, idle ones last.
    pub sites: Vec<WaitSite>,
    /// Cycles of threads that wait for each other.
    pub deadlocks: Vec<Deadlock>,
    /// Stacks that ended waits, by the wait time that they ended; empty for `dump`.
    pub wakers: Vec<Waker>,
    /// The longest single waits that ended in the window, at least `--min-wait` long; empty without it.
    pub long_waits: Vec<LongWait>,
}

/// A distinct stack that blocked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitSite {
    /// Identifies the stack within this run.
    pub site_id: String,
    /// Place, from 1.
    pub rank: u64,
    /// What is waited for.
    pub kind: WaitKind,
    /// The system call; null where the thread was in none (a page fault).
    pub operation: Option<String>,
    /// The function of a library or runtime that tells the kind, such as `pthread_mutex_lock`.
    pub primitive: Option<String>,
    /// Whether this looks like waiting for work, not like being stuck.
    pub idle: bool,
    /// The rule that says so.
    pub idle_rule: Option<String>,
    /// Threads blocked here at the end of the window.
    pub blocked_now: u64,
    /// How long the one that waits longest has been blocked.
    pub longest_blocked_ns: Option<u64>,
    /// Waits that ended in the window; null for `dump`.
    pub waits: Option<u64>,
    /// Their time.
    pub wait_ns: Option<u64>,
    /// The longest of them.
    pub max_wait_ns: Option<u64>,
    /// How many took at most so long: pairs of upper bound in ns and count, without empty ones. What lies
    /// above 2^47 ns (39 h) is one class; its bound is the longest of these waits.
    pub histogram: Vec<(u64, u64)>,
    /// Index into `frames` of the first frame that is the user's own; null if there is none.
    pub blame: Option<u64>,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
    /// Why the stack ended: `root`, or what cut it short; null if its frames never arrived.
    pub stack_end: Option<String>,
    /// The threads blocked here, longest first.
    pub threads: Vec<WaitThread>,
    /// The locks that they wait for.
    pub locks: Vec<WaitLock>,
}

/// A blocked thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitThread {
    /// Thread ID.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// How long it has been blocked.
    pub blocked_ns: Option<u64>,
    /// Whether `blocked_ns` is only a lower bound.
    pub at_least: bool,
    /// Where `blocked_ns` comes from.
    pub since: Since,
    /// Address of the lock that it waits for, if it waits for one.
    pub lock: Option<String>,
}

/// Where a time of blocking comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// It blocked before the attach: the kernel's note of when the thread last ran.
    BeforeAttach,
    /// Its start was traced.
    Traced,
}

/// A lock that threads wait for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitLock {
    /// Its address in the target.
    pub address: String,
    /// Threads of this site that wait for it.
    pub waiters: u64,
    /// The thread that holds it.
    pub owner_tid: Option<u32>,
    /// Its name.
    pub owner_name: Option<String>,
    /// What the owner does: its kind of wait, or `running`.
    pub owner_state: Option<String>,
    /// Where the owner is, if it is blocked itself, innermost frame first. Of a site with very many
    /// locks only the most wanted ones have this: the others' owners are in the sites' lists of threads.
    pub owner_frames: Option<Vec<Frame>>,
    /// Index into `owner_frames` of the first frame that is the user's own.
    pub owner_blame: Option<u64>,
    /// True if the owner was inferred, not read from the lock: see `owner_method`.
    pub owner_inferred: bool,
    /// How the owner was found.
    pub owner_method: Option<String>,
    /// Why the owner is not known.
    pub owner_unknown: Option<String>,
}

/// Threads that wait for each other in a circle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deadlock {
    /// The threads; each waits for a lock that the next one holds, the last one for the first's.
    pub cycle: Vec<DeadlockThread>,
    /// False if an owner in it was inferred and not read from the lock.
    pub certain: bool,
    /// Further threads that wait, directly or not, for a thread of the cycle.
    pub also_blocked: u64,
}

/// A thread in a deadlock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadlockThread {
    /// Thread ID.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Address of the lock that it waits for.
    pub waits_for: String,
    /// The thread that holds that lock.
    pub held_by: u32,
    /// Addresses of the locks that it is known to hold.
    pub holds: Vec<String>,
    /// How long it has been blocked.
    pub blocked_ns: Option<u64>,
    /// The site where it is blocked: its stack.
    pub site_id: String,
}

/// A stack that ended waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waker {
    /// Identifies the waker within this run.
    pub waker_id: String,
    /// Place, from 1: by the wait time that was not idle.
    pub rank: u64,
    /// Wait time that it ended.
    pub wait_ns: u64,
    /// Part of it that was waited at idle sites.
    pub idle_wait_ns: u64,
    /// Waits that it ended.
    pub wakes: u64,
    /// What it is.
    pub by: WakerKind,
    /// Name of the other process.
    pub comm: Option<String>,
    /// Sites whose waits it ended, most wait time first.
    pub sites: Vec<String>,
    /// Index into `frames` of the first frame that is the user's own.
    pub blame: Option<u64>,
    /// Frames, innermost first; empty if it is no thread of the target.
    pub frames: Vec<Frame>,
    /// Why the stack ended.
    pub stack_end: Option<String>,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WakerKind {
    /// A thread of the target.
    Thread,
    /// A thread of another process.
    OtherProcess,
    /// A timer, a device or a kernel thread.
    TimerOrInterrupt,
}

/// A single wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LongWait {
    /// The thread.
    pub tid: u32,
    /// The site.
    pub site_id: String,
    /// When it began, from the start of the window.
    pub start_ns: u64,
    /// How long it took.
    pub wait_ns: u64,
}

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
    /// Sites, ranked: those that pile up first, idle ones and the runtime's own last.
    pub sites: Vec<GoroutineSite>,
    /// Goroutines that began and ended while leakscope watched, by the `go` statement that created them,
    /// those with most growth first; null where that was not traced.
    pub creations: Option<Vec<GoroutineCreation>>,
}

/// Goroutines of a `go` statement, counted as they came and went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutineCreation {
    /// Place, from 1: by growth.
    pub rank: u64,
    /// Goroutines that it created.
    pub created: u64,
    /// Goroutines of it that ended, those included that were there before.
    pub exited: u64,
    /// `created` less `exited`.
    pub growth: i64,
    /// Index into `frames` of the first frame that is the user's own.
    pub blame: Option<u64>,
    /// The statement, and what it was inlined into.
    pub frames: Vec<Frame>,
}

/// Goroutines that do the same in the same place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutineSite {
    /// Identifies stack, state, wait reason, creator and labels by what they say: the same in other runs.
    pub site_id: String,
    /// Place, from 1.
    pub rank: u64,
    /// Goroutines.
    pub count: u64,
    /// Change of `count` since the look before; null in the first one.
    pub growth: Option<i64>,
    /// Change of `count` since the first look; null in that one.
    pub growth_since_first: Option<i64>,
    /// Whether they pile up: they grew enough since the first look.
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
    /// Whether this looks like waiting for work, not like being stuck.
    pub idle: bool,
    /// The rule that says so.
    pub idle_rule: Option<String>,
    /// Whether they are the runtime's own, which Go's profiles leave out.
    pub system: bool,
    /// Index into `frames` of the first frame that is the user's own; null if there is none.
    pub blame: Option<u64>,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
    /// Why the stack ended: `root`, or what cut it short.
    pub stack_end: String,
    /// The `go` statement that created them.
    pub created_by: Option<Frame>,
    /// Their first function.
    pub start_function: Option<String>,
    /// Labels (`runtime/pprof.Do`) that they all have; null if they have none.
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

/// Threads created by one stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadSite {
    /// Identifies the stack within this run.
    pub site_id: String,
    /// Place, from 1: by threads alive.
    pub rank: u64,
    /// Threads that it created in the window.
    pub created: u64,
    /// Of these, ended ones.
    pub exited: u64,
    /// Of these, living ones.
    pub alive: u64,
    /// Change of `alive` since the report before (or since recording began).
    pub growth: i64,
    /// Index into `frames` of the first frame that is the user's own.
    pub blame: Option<u64>,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
    /// Why the stack ended.
    pub stack_end: Option<String>,
}

/// Threads during the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Threads {
    /// Threads that began.
    pub created: u64,
    /// Threads that ended.
    pub exited: u64,
    /// Threads at the end; null if the target is gone.
    pub alive: Option<u64>,
    /// Change of the number of threads over the window: `created` less `exited`.
    pub growth: i64,
    /// Where they were created, most living ones first.
    pub sites: Vec<ThreadSite>,
}

/// What tracing cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overhead {
    /// Hits of all probes.
    pub probe_hits: u64,
    /// CPU time of leakscope itself.
    pub leakscope_cpu_ns: u64,
    /// CPU time added to the target: an estimate.
    pub estimated_target_cpu_ns: u64,
    /// How that was estimated.
    pub method: String,
    /// Stacks taken.
    pub stacks: u64,
    /// Of these, stacks that reached the root.
    pub stacks_root: u64,
    /// Kernel memory of the maps and leakscope's own resident memory.
    pub leakscope_memory_bytes: Option<u64>,
}

/// The JSON Schema of a report, as text.
pub fn json_schema() -> String {
    let schema = schemars::schema_for!(Report);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_in_the_repository_is_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/report.schema.json");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(kept, super::json_schema(), "run `cargo xtask schema` and commit {path}");
    }
}
