//! The census: all threads of the target with their state, stack, and how long each has been blocked,
//! taken without stopping anything.
//!
//! The kernel's task iterator gives registers and scheduler state of every thread; stacks are read with
//! process_vm_readv and walked over our own unwind rows; then the iterator runs again, and a thread is
//! accepted only where its registers and its count of context switches did not change in between
//! ([`take()`]). [`clock`] tells how long a thread has been blocked, [`memory`] reads the target.

pub mod clock;
pub mod memory;
mod take;

pub use take::{Taken, View, living, take};
