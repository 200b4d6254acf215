//! The section on goroutines: what they are stuck in.

pub(crate) mod answer;
pub(crate) mod build;
pub(crate) mod group;
mod idle;
pub mod model;
pub(crate) mod select;
pub mod words;
