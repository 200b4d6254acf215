//! Goroutines by the statement that created them, as they were counted while attached.

use super::frames::{CodeAddress, Frames};
use super::goroutine::GoFrame;
use super::program::Program;
use leakscope_common::go::GoroutineTotals;
use serde::{Deserialize, Serialize};

/// Goroutines of one `go` statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoCreation {
    /// Where the statement goes on, in the target; 0: not known.
    pub address: u64,
    /// Created since recording began.
    pub created: u64,
    /// Ended since, those from before included.
    pub exited: u64,
    /// The statement, innermost frame first: what was inlined into each other.
    pub frames: Vec<GoFrame>,
}

/// Names the statements; those that created most come first.
pub fn named(program: &Program, frames: &mut Frames, totals: &[(u64, GoroutineTotals)]) -> Vec<GoCreation> {
    let name = |(address, totals): &(u64, GoroutineTotals)| GoCreation {
        address: *address,
        created: totals.created,
        exited: totals.exited,
        frames: frames.stack(program, &[CodeAddress { pc: *address, exact: false }]),
    };
    let mut named: Vec<GoCreation> = totals.iter().map(name).collect();
    named.sort_unstable_by_key(|c| (std::cmp::Reverse((c.created, c.exited)), c.address));
    named
}
