//! The report: `model` is its shape (and its JSON), `build` makes one from what was observed, with
//! `heap` and `waits` for these sections, `names` resolves frames, `headline` and `wait_headline` find
//! the sentences that answer the questions.

pub mod build;
pub mod headline;
pub mod heap;
pub mod model;
pub mod names;
pub mod wait_headline;
pub mod waits;

pub use model::Report;

use crate::stack::StackId;

/// A stack's name in the report; zeros for what has none.
fn site_id(stack: Option<StackId>) -> String {
    format!("{:016x}", stack.map_or(0, |s| s.0))
}
