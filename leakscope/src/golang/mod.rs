//! Go programs, read from outside: nothing is stopped, written or injected.
//!
//! [`census`] holds what is learnt about goroutines, [`heap_account`] what is learnt about the heap:
//! plain data, which `report` takes.

pub mod census;
pub mod heap_account;
