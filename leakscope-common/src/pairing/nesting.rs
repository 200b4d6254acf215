//! Allocator calls inside others: which pending calls of a thread are still under way.
//!
//! A pending call is under way as long as its frame is on the stack. Two sources tell:
//!
//! - The unwound stack. Where it passes through the frame (the CFA and the return address), the call is under
//!   way; where rows alone lead past the CFA or to the thread's first function, it was left by longjmp or an
//!   exception. A step by frame pointer may skip frames, so it proves nothing.
//! - The CFA, where the stack ends below it (code without unwind rows). The frames above the stack pointer are
//!   under way unless they were left, and then what a call puts there has mostly been overwritten: the
//!   return address must still be in its place.
//!
//! A signal handler may allocate while it interrupts a pending call; that call is its own. The stack passes
//! through the kernel's signal frame then. Where it ends below the pending call, a handler is ruled out if
//! there is no room for such a frame; else the call is left to the pending one and counted as unsure.

use super::Account;
use super::calls::{call, drop_call};
use crate::counter::Loss;
use crate::heap::{INFLIGHT_DEPTH, Inflight, PendingCall};
use crate::unwind::StackEnd;

/// Least that the kernel puts on the stack for a signal: the red zone, `rt_sigframe` (440 bytes) and the state
/// of the floating-point unit (512 bytes; arch/x86/include/asm/sigframe.h, uapi/asm/sigcontext.h).
pub(super) const SMALLEST_SIGNAL_FRAME: u64 = 128 + 440 + 512;

/// Identifies a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Frame {
    /// Its canonical frame address.
    pub cfa: u64,
    pub return_address: u64,
}

/// What a walk of the stack tells of the pending calls.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Walk {
    /// Which of the frames that were looked out for it has crossed first, counted from 1; 0: none.
    pub crossed: u64,
    /// 1 once it has passed a signal frame.
    pub signalled: u64,
    /// 1 if that was below the frame that was crossed: the call comes from a signal handler.
    pub from_handler: u64,
    /// The stack pointer of the outermost frame that was reached by rows alone.
    pub proven_sp: u64,
    /// Why it ended; a number of [`StackEnd`].
    pub end: u64,
    /// Frames found by frame pointer.
    pub frame_pointer_frames: u64,
    /// Address of the return probes' trampoline; 0: no return is pending.
    pub trampoline: u64,
}

impl Walk {
    /// The walk comes to a caller, whose stack pointer is `sp` once the call at `ip` has returned. Notes the
    /// first of the `count` frames looked out for.
    #[inline(always)]
    pub fn reach(&mut self, frames: &[Frame; INFLIGHT_DEPTH], count: u64, sp: u64, ip: u64) {
        if self.frame_pointer_frames == 0 {
            self.proven_sp = sp;
        }
        let mut i = 0;
        while i < INFLIGHT_DEPTH {
            let watched = frames[i];
            if (i as u64) < count && self.crossed == 0 && sp == watched.cfa && ip == watched.return_address {
                self.crossed = i as u64 + 1;
                self.from_handler = self.signalled;
            }
            i += 1;
        }
    }
}

/// Who has made an allocator call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// The allocator itself, inside the innermost pending call.
    PendingCall,
    /// The program, or a signal handler of it.
    Program,
}

/// Drops the pending calls that are no longer under way, and tells who makes the current one. Its stack was
/// walked.
#[inline(always)]
pub(super) fn settle(account: &mut impl Account, calls: &mut Inflight, walk: &Walk) -> Caller {
    let mut round = 0;
    while round < INFLIGHT_DEPTH {
        let depth = calls.depth;
        if depth == 0 || walk.crossed == depth {
            break;
        }
        let innermost = call(calls, depth.wrapping_sub(1));
        if walk.crossed == 0 && may_be_under_way(account, innermost, walk) {
            break;
        }
        drop_call(account, innermost);
        calls.depth = depth.wrapping_sub(1);
        round += 1;
    }
    if calls.depth == 0 {
        return Caller::Program;
    }
    if walk.crossed != 0 {
        return if walk.from_handler != 0 { Caller::Program } else { Caller::PendingCall };
    }
    if walk.signalled != 0 {
        return Caller::Program;
    }
    let innermost = call(calls, calls.depth.wrapping_sub(1));
    if innermost.cfa.wrapping_sub(walk.proven_sp) >= SMALLEST_SIGNAL_FRAME {
        account.lose(Loss::NestingUnsure);
    }
    Caller::PendingCall
}

/// Whether a call that the walk has not crossed may be under way.
#[inline(always)]
fn may_be_under_way(account: &mut impl Account, call: &PendingCall, walk: &Walk) -> bool {
    let reached_root = walk.end == StackEnd::Root as u64 && walk.frame_pointer_frames == 0;
    if reached_root || call.cfa <= walk.proven_sp {
        return false;
    }
    let word = account.word(call.cfa.wrapping_sub(8)).unwrap_or(0);
    // A return probe has put its trampoline in the place.
    word != 0 && (word == call.return_address || word == walk.trampoline)
}
