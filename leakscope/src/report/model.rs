//! The shape of a report, which is also its JSON (schema `leakscope.report/1`).
//!
//! snake_case; bytes and nanoseconds are integers with `_bytes` and `_ns`; times are RFC 3339;
//! addresses are hex strings; what is absent is null, never 0. Within /1 fields are only added.
//! The JSON Schema in `leakscope/schema/report.schema.json` is generated from these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::runtime::RuntimeName;

mod go;
mod waits;

use crate::section::json::with_stack;

pub use crate::section::frame::{Address, Frame};
pub use crate::section::stack::{Cut, Stack, StackEnd};
pub use crate::wait::WaitKind;
pub use go::{GoProgram, GoSizeClass, GoroutineCreation, GoroutineSite, Goroutines};
pub use waits::{
    Deadlock, DeadlockThread, LongWait, OwnerState, Since, ThreadSite, Threads, WaitLock, WaitSite,
    WaitThread, Waits, Waker, WakerKind,
};

/// The value of [`Report::schema`].
pub const SCHEMA: &str = "leakscope.report/1";

/// One report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// What was beside it in a saved file and could not be read. Not in the JSON; the findings tell it.
    #[serde(skip)]
    pub unread: Vec<String>,
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
    /// GNU build ID of the program.
    #[serde(default)]
    pub build_id: Option<String>,
    /// Command line.
    pub cmdline: Vec<String>,
    /// The language's runtime, by the name that `top` gives it, too; those of newer versions of leakscope may be
    /// others.
    pub runtime: RuntimeName,
    /// Version of the runtime, where it has one.
    pub runtime_version: Option<String>,
    /// Container ID (12 digits), where the process runs in one.
    pub container: Option<String>,
    /// What a Go program says of how it was built.
    pub go: Option<GoProgram>,
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

with_stack! {
    /// A distinct stack that allocated.
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
        @
        /// The stack.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own; null if there is none.
            blame: Option<u64>,
            /// Frames, innermost first.
            frames: Vec<Frame>,
            /// Why the stack ended: `root`, or what cut it short; null if its frames never arrived.
            stack_end: Option<StackEnd>,
        },
    }
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
