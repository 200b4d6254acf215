//! What a report says of the heap.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::callers::Caller;
pub use super::place::Place;
use crate::section::frame::Frame;
use crate::section::json::with_stack;
use crate::section::model::{Stack, StackEnd};
use crate::section::shared::SharedFrames;

/// The account of the heap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heap {
    /// Whether the numbers of all sources are exact.
    pub exact: bool,
    /// Where the numbers come from.
    pub sources: Vec<Source>,
    /// Sums over all sites.
    pub totals: Totals,
    /// Where in the code it is from, ranked: what the tables show. Reports of older versions have none; they are made of
    /// the sites.
    #[serde(default)]
    pub places: Vec<Place>,
    /// Where no place holds three tenths: the callers below which most was allocated.
    #[serde(default)]
    pub callers: Vec<Caller>,
    /// Sites, ranked: the distinct stacks.
    pub sites: Vec<Site>,
    /// Functions that allocate on their callers' behalf, found by what they do: sites are charged to the callers.
    #[serde(default)]
    pub wrappers: Vec<String>,
    /// Bytes in objects in use on a Go program's heap, garbage that no collection has found included.
    pub go_in_use_bytes: Option<u64>,
    /// Of these, bytes on the heaps of Go runtimes that were not sampled while another one's was; null where there are
    /// none.
    #[serde(default)]
    pub go_unsampled_bytes: Option<u64>,
    /// What a Go program's heap holds by size of objects, most bytes first.
    pub go_size_classes: Option<Vec<GoSizeClass>>,
    /// Allocations that could not be recorded: what is live is at least what is told.
    #[serde(default)]
    pub lost_allocations: u64,
    /// Frees that were not seen, or could not be recorded: so many blocks may be told as live that are not.
    #[serde(default)]
    pub lost_frees: u64,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Bytes requested in blocks that are live; of older blocks only what they have grown by.
    pub live_bytes: u64,
    /// Live blocks; of older ones only those that have grown.
    pub live_objects: u64,
    /// Live blocks that are older than the recording, and were reallocated since.
    #[serde(default)]
    pub older_blocks: u64,
    /// What these held as they were first seen, or the least since.
    #[serde(default)]
    pub older_bytes: u64,
    /// Bytes allocated. A reallocation is an allocation of the new size and a free of the old block.
    pub alloc_bytes: u64,
    /// Blocks allocated, with those that were only reallocated.
    pub alloc_objects: u64,
    /// Blocks freed that had been allocated or reallocated since recording began.
    pub free_objects: u64,
    /// Frees of blocks that were not in the account, mostly from before. Of a block that is reallocated, nothing is
    /// freed: it is an older one from then on.
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
        /// What the stack is charged to, in words: function, file and line, as far as they are known.
        #[serde(default)]
        pub label: Arc<str>,
        /// Rank of the place that it belongs to.
        #[serde(default)]
        pub place: u64,
        /// Name of the source.
        pub source: String,
        /// Bytes requested in live blocks; of older blocks only what they have grown by.
        pub live_bytes: u64,
        /// Live blocks; of older ones only those that have grown.
        pub live_objects: u64,
        /// Live blocks that are older than the recording, and were reallocated here last.
        #[serde(default)]
        pub older_blocks: u64,
        /// What these held as they were first seen, or the least since.
        #[serde(default)]
        pub older_bytes: u64,
        /// Bytes allocated.
        pub alloc_bytes: u64,
        /// Blocks allocated.
        pub alloc_objects: u64,
        /// Change of `live_bytes` since the report before.
        pub growth_bytes: i64,
        /// Age of the oldest live block. One that was reallocated is as old as its first allocation that was seen; of
        /// one that is older than the recording, the age is not known, and that of the recording is taken.
        pub oldest_age_ns: Option<u64>,
        /// Age of the youngest live block.
        pub youngest_age_ns: Option<u64>,
        /// Lower end of the interval that `live_bytes` lies in, where it is an estimate.
        pub live_bytes_low: Option<u64>,
        /// Upper end of it.
        pub live_bytes_high: Option<u64>,
        /// Objects that were looked at for the estimate.
        pub samples: Option<u64>,
        /// Number of the goroutine that called the C code here; null if several did, or none.
        #[serde(default)]
        pub goroutine: Option<u64>,
        @
        /// The stack.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own; null if there is none.
            blame: Option<u64>,
            /// Frames, innermost first.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Why the stack ended: `root`, or what cut it short; null if its frames never arrived.
            stack_end: Option<StackEnd>,
            /// The `go` statement that created the goroutines which called the C code here; null for Go's `main`
            /// goroutine, and where none did or it is not known.
            #[serde(default)]
            created_by: Option<Arc<Frame>>,
        },
    }
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

crate::section::site::sites!(Site);
