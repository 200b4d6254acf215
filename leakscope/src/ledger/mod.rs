//! The account as plain state machines: no I/O, no clock, nothing of the kernel's.

pub mod heap;
pub mod losses;
pub mod waits;

pub use heap::{HeapLedger, HeapSnapshot, Observation, SiteSnapshot, Sort};
