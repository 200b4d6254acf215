//! The sites of all sections added up by something shorter than their stacks.

pub use crate::section::by::By;

use super::Report;
use crate::section::{goroutines, heap, threads, waits};

/// Adds up the sites of all sections.
pub fn by(report: &mut Report, by: By) {
    if by == By::Site {
        return;
    }
    report.heap.iter_mut().for_each(|heap| heap::group::group(heap, by));
    report.waits.iter_mut().for_each(|waits| waits::group::group(waits, by));
    report.goroutines.iter_mut().for_each(|all| goroutines::group::group(all, by));
    report.threads.iter_mut().for_each(|threads| threads::group::group(threads, by));
}

#[cfg(test)]
mod tests;
