//! Where facts about a process come from, one folder each.

pub mod heap;
pub mod snapshot;
pub mod waits;
