//! The report: `model` is its shape (and its JSON), `build` makes one from what was observed, with
//! `heap`, `waits` and `goroutines` for these sections, `names` resolves frames, `headline`,
//! `wait_headline` and `goroutine_headline` find the sentences that answer the questions. Of saved reports,
//! `read` takes them in, `series` names those of a directory, `select` leaves a part of one, `group` adds up sites.

pub mod build;
pub(crate) mod go_frames;
pub mod go_heap;
pub(crate) mod goroutine_headline;
mod goroutine_idle;
pub(crate) mod goroutines;
pub mod group;
pub mod headline;
pub mod heap;
pub mod model;
pub mod names;
pub mod read;
pub mod recorded_names;
pub mod select;
pub mod series;
pub mod wait_headline;
pub mod waits;

pub use model::Report;

use crate::stack::StackId;

/// The name of the source that the allocator's functions are.
const MALLOC: &str = "malloc";
/// The name of the source that the Go runtime is.
const GO: &str = "go";

/// A stack's name in the report; zeros for what has none.
fn site_id(stack: Option<StackId>) -> String {
    format!("{:016x}", stack.map_or(0, |s| s.0))
}

/// Numbers sites anew, from 1.
pub(crate) fn rank<S>(sites: &mut [S], mut set: impl FnMut(&mut S, u64)) {
    for (site, rank) in sites.iter_mut().zip(1..) {
        set(site, rank);
    }
}
