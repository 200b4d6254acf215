//! Waits of threads, as the scheduler's events tell them.

pub mod aggregate;
