//! Goroutines and the Go heap as they are added up and compared with what was seen before: no I/O.

pub mod goroutines;
pub mod heap;
mod text_id;

pub use goroutines::{GoroutineAggregate, GoroutineSnapshot};
pub use heap::{GoHeapAggregate, GoHeapSnapshot};
