//! The shape of a difference, which is also its JSON (schema `leakscope.diff/1`).
//!
//! The rules are those of a report: snake_case; bytes and nanoseconds are integers with `_bytes` and `_ns`;
//! what is absent is null, never 0. `growth_…` is new less old. Within /1 fields are only added. The JSON
//! Schema in `leakscope/schema/diff.schema.json` is generated from these types.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::section::json::with_stack;

pub use crate::report::model::{Frame, Stack, StackEnd, Summary, WaitKind};

/// The value of [`Diff::schema`].
pub const SCHEMA: &str = "leakscope.diff/1";

/// What changed from one report to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// Always `leakscope.diff/1`.
    pub schema: String,
    /// Version of the leakscope that wrote it.
    pub leakscope_version: String,
    /// The report that is compared with.
    pub old: Side,
    /// The report that is compared.
    pub new: Side,
    /// What makes the two hard to compare; empty if nothing does.
    pub notes: Vec<String>,
    /// The answer in short.
    pub summary: Summary,
    /// Memory as the kernel counts it.
    pub memory: Option<MemoryDiff>,
    /// The heap; null unless both reports have it.
    pub heap: Option<HeapDiff>,
    /// Blocked threads; null unless both reports have them.
    pub waits: Option<WaitsDiff>,
    /// Goroutines; null unless both reports have them.
    pub goroutines: Option<GoroutinesDiff>,
    /// How many threads there are; null unless both reports know.
    pub threads: Option<ThreadsDiff>,
}

/// One of the two reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Process ID.
    pub pid: u32,
    /// Short name of the process.
    pub comm: String,
    /// Path of the program.
    pub exe: Option<String>,
    /// When the window began.
    pub started_at: String,
    /// How long the window is; 0 of a `dump`.
    pub duration_ns: u64,
    /// Whether nothing was lost and all that is compared is exact.
    pub exact: bool,
}

/// Resident sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryDiff {
    /// At the end of the old report's window.
    pub old_rss_bytes: u64,
    /// At the end of the new report's window.
    pub new_rss_bytes: u64,
    /// New less old.
    pub growth_bytes: i64,
}

/// What happened to a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only the new report has it.
    New,
    /// It has grown.
    Grown,
    /// It is as it was.
    Same,
    /// It has shrunk.
    Shrunk,
    /// Only the old report has it.
    Gone,
}

/// The heap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapDiff {
    /// Whether both accounts are exact.
    pub exact: bool,
    /// Sums over all sites.
    pub totals: HeapTotals,
    /// Sites, most growth first.
    pub sites: Vec<HeapSite>,
}

/// Sums over all sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeapTotals {
    /// Live bytes in the old report.
    pub old_live_bytes: u64,
    /// Live bytes in the new report.
    pub new_live_bytes: u64,
    /// Change of live bytes.
    pub growth_bytes: i64,
    /// Live blocks in the old report.
    pub old_live_objects: u64,
    /// Live blocks in the new report.
    pub new_live_objects: u64,
    /// Change of live blocks.
    pub growth_objects: i64,
    /// Bytes allocated in the old report's window.
    pub old_alloc_bytes: u64,
    /// Bytes allocated in the new report's window.
    pub new_alloc_bytes: u64,
    /// Blocks allocated in the old report's window.
    pub old_alloc_objects: u64,
    /// Blocks allocated in the new report's window.
    pub new_alloc_objects: u64,
}

with_stack! {
    /// A stack that allocated, in both reports or in one.
    pub struct HeapSite {
        /// Place, from 1: by growth.
        pub rank: u64,
        /// What happened to it.
        pub change: Change,
        /// Name of the source.
        pub source: String,
        /// Live bytes in the old report.
        pub old_live_bytes: u64,
        /// Live bytes in the new report.
        pub new_live_bytes: u64,
        /// Change of live bytes.
        pub growth_bytes: i64,
        /// Live blocks in the old report.
        pub old_live_objects: u64,
        /// Live blocks in the new report.
        pub new_live_objects: u64,
        /// Change of live blocks.
        pub growth_objects: i64,
        /// Bytes allocated in the old report's window.
        pub old_alloc_bytes: u64,
        /// Bytes allocated in the new report's window.
        pub new_alloc_bytes: u64,
        /// Blocks allocated in the old report's window.
        pub old_alloc_objects: u64,
        /// Blocks allocated in the new report's window.
        pub new_alloc_objects: u64,
        /// Stacks of the old report that are this one in another build or run.
        pub old_stacks: u64,
        /// The same of the new report.
        pub new_stacks: u64,
        @
        /// The stack.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own; null if there is none.
            blame: Option<u64>,
            /// Frames of the new report, or of the old one if it is gone, innermost first.
            frames: Vec<Frame>,
            /// Why the stack ended: `root`, or what cut it short.
            stack_end: Option<StackEnd>,
        },
    }
}

/// Blocked threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitsDiff {
    /// Whether both accounts are exact.
    pub exact: bool,
    /// Blocked threads in the old report.
    pub old_blocked: u64,
    /// Blocked threads in the new report.
    pub new_blocked: u64,
    /// Change of the number of blocked threads.
    pub growth_blocked: i64,
    /// Change of the number of blocked threads that are not idle.
    pub growth_stuck: i64,
    /// Deadlocks in the old report.
    pub old_deadlocks: u64,
    /// Deadlocks in the new report.
    pub new_deadlocks: u64,
    /// Sites, most growth first, idle ones last.
    pub sites: Vec<WaitSiteDiff>,
}

with_stack! {
    /// A stack that blocked, in both reports or in one.
    pub struct WaitSiteDiff {
        /// Place, from 1.
        pub rank: u64,
        /// What happened to it.
        pub change: Change,
        /// What is waited for.
        pub kind: WaitKind,
        /// The function of a library or runtime that tells the kind.
        pub primitive: Option<String>,
        /// Whether this looks like waiting for work, not like being stuck.
        pub idle: bool,
        /// Threads blocked here in the old report.
        pub old_blocked: u64,
        /// Threads blocked here in the new report.
        pub new_blocked: u64,
        /// Change of their number.
        pub growth_blocked: i64,
        /// Waits that ended in the old report's window; null of a `dump`.
        pub old_waits: Option<u64>,
        /// Waits that ended in the new report's window; null of a `dump`.
        pub new_waits: Option<u64>,
        /// Time of the old report's waits.
        pub old_wait_ns: Option<u64>,
        /// Time of the new report's waits.
        pub new_wait_ns: Option<u64>,
        /// Change of that time, from or to 0 where a report lacks the site; null unless both reports know times.
        pub growth_wait_ns: Option<i64>,
        /// How long the one that waits longest has been blocked in the new report.
        pub longest_blocked_ns: Option<u64>,
        @
        /// The stack.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own; null if there is none.
            blame: Option<u64>,
            /// Frames of the new report, or of the old one if it is gone, innermost first.
            frames: Vec<Frame>,
            /// Why the stack ended: `root`, or what cut it short.
            stack_end: Option<StackEnd>,
        },
    }
}

/// Goroutines, those of the runtime apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutinesDiff {
    /// Whether both reports have all of them.
    pub exact: bool,
    /// How many the old report has.
    pub old_total: u64,
    /// How many the new report has.
    pub new_total: u64,
    /// Change of their number.
    pub growth: i64,
    /// Sites, most growth first, idle ones and the runtime's own last.
    pub sites: Vec<GoroutineSiteDiff>,
}

with_stack! {
    /// Goroutines in the same place, in both reports or in one.
    pub struct GoroutineSiteDiff {
        /// Place, from 1.
        pub rank: u64,
        /// What happened to it.
        pub change: Change,
        /// Goroutines in the old report.
        pub old_count: u64,
        /// Goroutines in the new report.
        pub new_count: u64,
        /// Change of their number.
        pub growth: i64,
        /// What they do.
        pub state: String,
        /// Why they wait.
        pub wait_reason: Option<String>,
        /// Whether this looks like waiting for work, not like being stuck.
        pub idle: bool,
        /// Whether they are the runtime's own.
        pub system: bool,
        /// The `go` statement that created them.
        pub created_by: Option<Frame>,
        @
        /// The stack.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own; null if there is none.
            blame: Option<u64>,
            /// Frames of the new report, or of the old one if they are gone, innermost first.
            frames: Vec<Frame>,
            /// Why the stack ended: `root`, or what cut it short.
            stack_end: StackEnd,
        },
    }
}

/// How many threads there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadsDiff {
    /// In the old report.
    pub old_alive: u64,
    /// In the new report.
    pub new_alive: u64,
    /// New less old.
    pub growth: i64,
}

crate::section::site::ranked!(HeapSite, WaitSiteDiff, GoroutineSiteDiff);

/// The JSON Schema of a difference, as text.
pub fn json_schema() -> String {
    let schema = schemars::schema_for!(Diff);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_in_the_repository_is_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/diff.schema.json");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(kept, super::json_schema(), "run `cargo xtask schema` and commit {path}");
    }
}
