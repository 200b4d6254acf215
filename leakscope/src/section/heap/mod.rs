//! The section on the heap: what holds the memory.

pub mod answer;
pub mod build;
pub mod go;
pub(crate) mod group;
pub mod model;
pub(crate) mod select;
pub mod words;

/// The name of the source that the allocator's functions are.
pub(crate) const MALLOC: &str = "malloc";
/// The name of the source that the Go runtime is.
pub(crate) const GO: &str = "go";
