//! The report: `model` is its shape (and its JSON), `build` makes one from what was observed,
//! `names` resolves frames, `headline` finds the sentence that answers the question. `waits` and
//! `wait_headline` do so for blocked threads.

pub mod build;
pub mod headline;
pub mod model;
pub mod names;
pub mod wait_headline;
pub mod waits;

pub use model::Report;
