//! Compiled code of which no runtime is known: C, C++ and Rust, and whatever has no row of its own.

// Tables are laid out by hand: one entry a line would make them five times as long.
#[rustfmt::skip]
mod blame_tables;

use super::{Runtime, Signs};
use crate::symbol::BlameRules;

/// Any other program. It comes last, and every process is one if it is nothing else.
#[derive(Debug)]
pub struct Native;

impl Runtime for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn signs(&self) -> Signs {
        Signs::NONE
    }

    fn blame(&self) -> BlameRules {
        blame_tables::RULES
    }
}
