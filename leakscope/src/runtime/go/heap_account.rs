//! What a Go program's heap holds, by allocation site, as it was learnt at one moment.

use serde::{Deserialize, Serialize};

use super::goroutine::GoFrame;

/// [`GoHeap::method`] of the runtime's own memory profile: what it counts did not begin with the window.
pub const PROFILE_METHOD: &str = "the Go runtime's own memory profile, scaled up from its samples; it counts since \
                                  the program began, not since leakscope came, and calls live what the last \
                                  finished garbage collection left";
/// The same where leakscope samples objects itself.
pub const SAMPLED_METHOD: &str = "objects were sampled in short windows, scaled up by the spans that the Go runtime took \
                                  for their sizes, and looked for after each garbage collection; it counts since \
                                  leakscope came";

/// Whether a method of these counts what was allocated since leakscope came, and nothing of before.
pub fn is_since_attach(method: &str) -> bool {
    method.starts_with(SAMPLED_METHOD)
}

/// Live objects of one stack that allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GoHeapSite {
    /// Bytes in live objects.
    pub live_bytes: u64,
    pub live_objects: u64,
    pub alloc_bytes: u64,
    pub alloc_objects: u64,
    /// Bounds of `live_bytes`, lower first; `None` where they are not known or the number is exact.
    pub live_bytes_bounds: Option<(u64, u64)>,
    /// Objects that were looked at for the estimate.
    pub samples: Option<u64>,
    /// The stack, innermost frame first.
    pub frames: Vec<GoFrame>,
}

/// What the objects of one size take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeClass {
    /// Size of an object; `None` for the large ones, which have spans of their own.
    pub size_bytes: Option<u64>,
    /// Whether they hold pointers.
    pub scan: bool,
    /// Spans of this class.
    pub spans: u64,
    /// Objects in use.
    pub objects: u64,
    pub bytes: u64,
}

/// The heap of a Go program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoHeap {
    /// Whether the numbers of the sites are exact.
    pub exact: bool,
    /// How they were had.
    pub method: String,
    /// Bound of the error of all sites' sum.
    pub error_bytes: Option<u64>,
    pub sites: Vec<GoHeapSite>,
    /// What the heap holds by size, which is exact.
    pub totals_by_class: Vec<SizeClass>,
    /// Bytes in objects in use, dead ones that no collection has found yet included.
    pub heap_in_use_bytes: u64,
    /// Of these, those on heaps of other runtimes of the process, which are not sampled as this one is.
    #[serde(default)]
    pub unsampled_bytes: u64,
    /// How far the sites' sum and `heap_in_use_bytes` agree, in words.
    pub agreement: Option<String>,
}
