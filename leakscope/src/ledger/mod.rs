//! The account as plain state machines: no I/O, no clock, nothing of the kernel's.

pub mod go_heap;
pub mod goroutines;
pub mod heap;
pub mod losses;
mod text_id;
pub mod waits;

pub use go_heap::{GoHeapLedger, GoHeapSnapshot};
pub use goroutines::{GoroutineLedger, GoroutineSnapshot};
pub use heap::{HeapLedger, HeapSnapshot, Observation, SiteSnapshot, Sort};
