//! What the sections of a report are made of: stacks and their frames.

pub mod by;
pub mod frame;
pub(crate) mod json;
pub mod label;
pub mod stack;
