//! The section on threads: who created them.

pub mod build;
pub(crate) mod group;
pub mod model;
pub(crate) mod select;
