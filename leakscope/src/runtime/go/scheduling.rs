//! What the scheduler knows of a goroutine.

use super::allgs::{LARGEST_STACK, SCAN};
use super::bytes::{u32_at, u64_at};
use super::goroutine::GoState;
use super::offsets::GLayout;

/// What a goroutine was found to do: the members that must not change while its stack is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scheduling {
    pub(super) id: u64,
    pub(super) status: u32,
    pub(super) low: u64,
    pub(super) high: u64,
    sched_sp: u64,
    sched_pc: u64,
    syscall_sp: u64,
    syscall_pc: u64,
}

impl Scheduling {
    pub(super) fn read(layout: &GLayout, g: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(g, layout.id)?,
            status: u32_at(g, layout.status)? & !SCAN,
            low: u64_at(g, layout.stack_low)?,
            high: u64_at(g, layout.stack_high)?,
            sched_sp: u64_at(g, layout.sched_sp)?,
            sched_pc: u64_at(g, layout.sched_pc)?,
            syscall_sp: u64_at(g, layout.syscall_sp)?,
            syscall_pc: u64_at(g, layout.syscall_pc)?,
        })
    }

    /// `_G…` of `runtime/runtime2.go`; `None`: it is none (idle, dead), or on its way.
    pub(super) fn state(&self) -> Option<GoState> {
        match self.status {
            1 => Some(GoState::Runnable),
            2 => Some(GoState::Running),
            3 => Some(GoState::Syscall),
            // 8: its stack is being moved; it is tried again.
            4 | 8 => Some(GoState::Waiting),
            9 => Some(GoState::Preempted),
            10 => Some(GoState::Leaked),
            _ => None,
        }
    }

    /// Its number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// One of the `_G…` constants of `runtime/runtime2.go`.
    pub(super) fn status(&self) -> u32 {
        self.status
    }

    pub(super) fn is_running(&self) -> bool {
        self.status == 2
    }

    /// Whether it is in a system call, or in C.
    pub(super) fn is_in_syscall(&self) -> bool {
        self.syscall_sp != 0
    }

    /// Whether it waits in the runtime, and its stack stays where it is.
    pub(super) fn is_parked(&self) -> bool {
        self.status == 4 && self.has_stack()
    }

    /// First address of its stack, and the one after its last.
    pub(super) fn stack(&self) -> (u64, u64) {
        (self.low, self.high)
    }

    /// Stack pointer and address where it goes on.
    pub(super) fn resumes(&self) -> (u64, u64) {
        if self.syscall_sp != 0 { (self.syscall_sp, self.syscall_pc) } else { (self.sched_sp, self.sched_pc) }
    }

    pub(super) fn has_stack(&self) -> bool {
        let (sp, _) = self.resumes();
        self.low < self.high && self.high - self.low <= LARGEST_STACK && self.low <= sp && sp < self.high
    }
}
