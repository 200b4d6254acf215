//! Blocked threads, as the report shows them.

use super::model::Frame;
use crate::ledger::waits::WaitsSnapshot;
use crate::stack::StackId;
use crate::wait::Census;

/// What the section on waits is made from.
#[derive(Clone, Copy, Debug)]
pub struct WaitInputs<'a> {
    /// The threads at the end of the window; `None` if the target is gone.
    pub census: Option<&'a Census>,
    /// What happened in the window; `None` where nothing was traced (`dump`).
    pub window: Option<&'a WaitsSnapshot>,
    /// When the window began, CLOCK_MONOTONIC in ns.
    pub started_ns: u64,
    /// When the snapshot was taken.
    pub at_ns: u64,
    /// Whether nothing was lost that would make the numbers wrong.
    pub nothing_lost: bool,
    /// Processors of the machine: pools of workers are about as large.
    pub processors: usize,
}

/// A stack with names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedStack {
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
    /// Index of the first frame that is the user's own.
    pub blame: Option<u64>,
    /// Why there are no more: `root`, or what cut it short.
    pub end: String,
}

/// Finds the names of a stack; `None` if its frames never arrived.
pub type NameStack<'a> = dyn FnMut(StackId) -> Option<NamedStack> + 'a;
