//! All tables that stacks are judged by.

use super::idle::{IdleRule, WORKERS};
use super::primitives::{Library, Primitives};
use crate::symbol::Owners;

/// Whose code a frame is, which functions wait, and which of them wait for work. Made once: of the tables of
/// libraries, which stand here, and of those of the runtimes ([`crate::runtime::rules`]).
#[derive(Debug)]
pub struct Rules {
    /// Who owns which code.
    pub owners: Owners,
    /// Functions that wait.
    pub primitives: Primitives,
    /// Loops of workers.
    pub workers: Vec<IdleRule>,
}

impl Rules {
    /// The tables of libraries, with those of runtimes.
    pub fn with(
        owners: Owners,
        primitives: impl IntoIterator<Item = &'static Library>,
        workers: impl IntoIterator<Item = IdleRule>,
    ) -> Self {
        Self {
            owners,
            primitives: Primitives::with(primitives),
            workers: WORKERS.iter().copied().chain(workers).collect(),
        }
    }
}
