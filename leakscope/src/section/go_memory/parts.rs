//! The parts that resident memory falls into.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::GoMemory;

/// A part of the memory of a Go program. They do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Objects on the heap.
    Objects,
    /// Room between them.
    Room,
    /// Spans without objects.
    Idle,
    /// Stacks of goroutines.
    Stacks,
    /// The runtime's own.
    Own,
    /// What is not the runtime's.
    Outside,
}

impl Part {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Objects, Self::Room, Self::Idle, Self::Stacks, Self::Own, Self::Outside];

    /// What it takes; `None` where that is not known.
    pub const fn of(self, memory: &GoMemory) -> Option<u64> {
        match self {
            Self::Objects => Some(memory.heap_objects_bytes),
            Self::Room => Some(memory.heap_room_bytes),
            Self::Idle => Some(memory.heap_idle_bytes),
            Self::Stacks => Some(memory.stack_bytes),
            Self::Own => Some(memory.own_bytes),
            Self::Outside => memory.outside_bytes,
        }
    }
}
