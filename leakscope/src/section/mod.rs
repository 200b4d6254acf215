//! The sections of a report, and what they are made of: stacks, frames, findings.

pub mod by;
pub mod finding;
pub mod focus;
pub mod frame;
pub mod go_frames;
pub mod goroutines;
pub(crate) mod group;
pub(crate) mod growth;
pub mod heap;
pub(crate) mod json;
pub mod label;
pub mod model;
pub mod site;
pub mod stack;
pub mod threads;
pub mod waits;
