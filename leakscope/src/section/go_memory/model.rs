//! What a report says of the memory of the Go runtime.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parts::Part;

/// What the Go runtime accounts for: the numbers of the program's own `runtime.ReadMemStats`, in brackets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoMemory {
    /// Whether all numbers are of one moment, so that they add up.
    pub exact: bool,
    /// By how much they do not, because the program went on while they were read.
    pub off_by_bytes: u64,
    /// Why they are not of the end of the window; null if they are.
    pub old: Option<String>,
    /// Spans that hold objects (HeapInuse).
    pub heap_in_use_bytes: u64,
    /// Objects, with dead ones that were not swept (HeapAlloc, less what processors have taken and not told yet).
    pub heap_objects_bytes: u64,
    /// Room in these spans that no object takes.
    pub heap_room_bytes: u64,
    /// Spans that hold nothing, and that the system has not got back (HeapIdle less HeapReleased).
    pub heap_idle_bytes: u64,
    /// Spans that were given back to the system, and are not resident (HeapReleased).
    pub heap_released_bytes: u64,
    /// Stacks of goroutines (StackInuse).
    pub stack_bytes: u64,
    /// What the runtime takes for itself: the sum of the following.
    pub own_bytes: u64,
    /// Stacks of threads that the runtime made (StackSys less StackInuse).
    pub thread_stack_bytes: u64,
    /// Descriptions of spans (MSpanSys).
    pub mspan_bytes: u64,
    /// Caches of processors (MCacheSys).
    pub mcache_bytes: u64,
    /// The memory profile and others (BuckHashSys).
    pub profile_bytes: u64,
    /// What the collector needs (GCSys).
    pub gc_bytes: u64,
    /// Else (OtherSys).
    pub other_bytes: u64,
    /// Descriptions of spans in use (MSpanInuse).
    pub mspan_in_use_bytes: u64,
    /// Caches in use (MCacheInuse).
    pub mcache_in_use_bytes: u64,
    /// All but what was released: what the runtime itself holds against GOMEMLIMIT (Sys less HeapReleased).
    pub total_bytes: u64,
    /// About so much resident memory is neither the runtime's nor of a file: mapped by the program, of C, or global
    /// variables. Null where the resident memory is not known.
    pub outside_bytes: Option<u64>,
    /// The garbage collector.
    pub gc: GoCollector,
    /// How the parts have changed since the first look; null where there was one.
    pub growth: Option<Vec<PartGrowth>>,
}

/// How a part has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartGrowth {
    /// The part.
    pub part: Part,
    /// New less old.
    pub growth_bytes: i64,
}

/// The garbage collector of a Go program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoCollector {
    /// GOGC in percent; null: off.
    pub gogc: Option<u32>,
    /// GOMEMLIMIT; null: none.
    pub gomemlimit_bytes: Option<u64>,
    /// Size of the heap's objects at which the next collection is to end (NextGC); null: never.
    pub next_gc_bytes: Option<u64>,
    /// Whether GOMEMLIMIT says when that is, not GOGC.
    pub limit_governs: bool,
    /// What the last collection found live; null before the first one.
    pub live_after_gc_bytes: Option<u64>,
    /// Collections since the program began (NumGC).
    pub collections: u64,
    /// Of these, those that the program asked for (NumForcedGC).
    pub forced_collections: u64,
    /// Time since the last one; null before the first one.
    pub since_last_gc_ns: Option<u64>,
    /// Sum of pauses since the program began (PauseTotalNs).
    pub pause_ns: u64,
    /// Its part of the CPU time on all processors since the program began, from 0 to 1, as of the last collection
    /// (GCCPUFraction).
    pub cpu_fraction: f64,
    /// CPU time since the program began; null before the first collection, and up to Go 1.19.
    pub cpu: Option<GoCpu>,
    /// CPU time from the last collection before the window to the last one in it; null where there was none.
    pub cpu_in_window: Option<GoCpu>,
    /// Collections in the window; null of a look at one moment.
    pub collections_in_window: Option<u64>,
}

/// CPU time as the Go runtime measures it: by the clock, on processors that it may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoCpu {
    /// Of the collector, without what it did on processors that had nothing else to do.
    pub collector_ns: u64,
    /// Of all that had something to do.
    pub used_ns: u64,
    /// On all processors.
    pub all_ns: u64,
}
