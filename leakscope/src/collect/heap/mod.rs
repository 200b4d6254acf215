//! Allocations, as the probes on the allocator's functions count them.

pub mod aggregate;

pub use aggregate::{HeapAggregate, HeapSnapshot, Observation, SiteSnapshot, Sort};
