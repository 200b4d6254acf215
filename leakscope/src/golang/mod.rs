//! Go programs, read from outside: nothing is stopped, written or injected.
//!
//! [`census`] holds what is learnt about goroutines: plain data, which `report` takes.

pub mod census;
