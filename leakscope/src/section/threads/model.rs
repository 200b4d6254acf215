//! What a report says of threads that came and went.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::section::json::with_stack;
use crate::section::model::{Stack, StackEnd};
use crate::section::shared::SharedFrames;

with_stack! {
    /// Threads created by one stack.
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
        @
        /// The stack.
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

crate::section::site::sites!(ThreadSite);
