//! Goroutines and the Go heap as they are added up and compared with what was seen before: no I/O.

pub mod goroutine_sites;
pub mod heap_sites;
pub mod locks;
mod text_id;

pub use goroutine_sites::{GoroutineAggregate, GoroutineSites};
pub use heap_sites::{GoHeapAggregate, GoHeapSnapshot};

fn difference(now: u64, before: u64) -> i64 {
    now.cast_signed().wrapping_sub(before.cast_signed())
}

/// The number of a site of one of several runtimes, which may have the same sites: made with the path of its file.
pub fn number_in(file: &str, number: u64) -> u64 {
    let mut id = text_id::TextId::new();
    id.text(file).number(number);
    id.finish()
}
