//! The report: `model` is its shape (and its JSON), `build` makes one from what was observed, with
//! `heap`, `waits` and `goroutines` for these sections, `names` resolves frames, `headline`,
//! `wait_headline` and `goroutine_headline` find the sentences that answer the questions.

pub mod build;
pub(crate) mod go_frames;
pub mod go_heap;
mod goroutine_headline;
mod goroutine_idle;
pub(crate) mod goroutines;
pub mod headline;
pub mod heap;
pub mod model;
pub mod names;
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
