//! The screens of `leakscope top`.
//!
//! State and drawing are apart: [`app`] holds what is shown and is fed with snapshots, reports and keys, with
//! no terminal and no clock; [`draw`] turns it into cells. [`run`] is the loop around both, `feeds` the
//! threads that sample and trace, so that the screen never waits for either; `terminal` takes the terminal
//! and gives it back, whatever happens.
//!
//! Colours are those that the usual kinds of colour blindness can tell apart (cyan, yellow, bold, dim), and
//! nothing is told by colour alone.

pub mod app;
pub mod draw;
mod feeds;
pub mod list;
pub mod process;
mod run;
#[cfg(test)]
mod samples;
mod terminal;

pub use run::{ScreenConfig, run};
