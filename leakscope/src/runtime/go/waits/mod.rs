//! Waits of goroutines that have ended, as Go's own block and mutex profiles count them.
//!
//! [`places`] finds where the probes stand, [`follow`] lets them stand for as long as that is affordable and in windows
//! of time otherwise, and [`account`] adds up what was counted and estimates the rest.

pub mod account;
pub mod follow;
pub mod places;

use serde::{Deserialize, Serialize};

/// Waits of goroutines since recording began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GoWaits {
    /// Time in which every wait was counted, ns.
    pub counted_ns: u64,
    /// Time of which windows are a sample, ns.
    pub sampled_ns: u64,
    /// The windows, and how long each took, ns.
    pub windows: u64,
    pub window_ns: u64,
    /// Waits in windows that took too long to be taken for a sample.
    pub long_waits: u64,
    /// All waits, and all releases of locks that ended one; of no stack.
    pub all_waits: GoWaitSite,
    pub all_releases: GoWaitSite,
    /// By the stack of who waited.
    pub waits: Vec<GoWaitSite>,
    /// By the stack of who released the lock that was waited for.
    pub releases: Vec<GoWaitSite>,
}

/// Waits that are charged to one stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GoWaitSite {
    /// Hash of the stack; 0: it could not be taken.
    pub stack: u64,
    /// One of [`leakscope_common::go_wait::kind`].
    pub kind: u64,
    /// Waits that ended.
    pub waits: u64,
    /// Their time; of a release: the time that it is charged with.
    pub wait_ns: u64,
    /// How far `waits` and `wait_ns` can be off, with a probability of 95 %; `None` where two windows do not tell.
    pub waits_error: Option<u64>,
    pub wait_ns_error: Option<u64>,
    /// The longest that was seen, ns.
    pub max_ns: u64,
    /// Goroutines that wait still, and for how long the longest.
    pub waiting: u64,
    pub longest_waiting_ns: u64,
}
