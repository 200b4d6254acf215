//! The section on waits: what is stuck.

pub mod answer;
pub mod build;
pub(crate) mod group;
pub mod model;
pub(crate) mod select;
pub mod words;
