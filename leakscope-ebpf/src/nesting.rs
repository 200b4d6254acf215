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

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::heap::{INFLIGHT_DEPTH, Inflight, PendingCall, THROWS};
use leakscope_common::unwind::StackEnd;

use crate::heap::call;
use crate::maps::{self, LIVE};
use crate::stack::{Scratch, Watched};

/// Least that the kernel puts on the stack for a signal: the red zone, `rt_sigframe` (440 bytes) and the state
/// of the floating-point unit (512 bytes; arch/x86/include/asm/sigframe.h, uapi/asm/sigcontext.h).
const SMALLEST_SIGNAL_FRAME: u64 = 128 + 440 + 512;

/// Who has made an allocator call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The allocator itself, inside the innermost pending call.
    PendingCall,
    /// The program, or a signal handler of it.
    Program,
}

/// Has the walk look out for the pending calls; how many they are.
#[inline(always)]
pub(crate) fn look_out(inflight: &mut Inflight, s: &mut Scratch) -> u64 {
    if inflight.depth == 0 {
        return 0;
    }
    let mut i = 0;
    while i < INFLIGHT_DEPTH {
        let pending = &inflight.calls[i];
        s.watched[i] = Watched { cfa: pending.cfa, return_address: pending.return_address };
        i += 1;
    }
    inflight.depth
}

/// Drops the pending calls that are no longer under way, and tells who makes the current one. Its stack was
/// walked.
#[inline(always)]
pub(crate) fn settle(inflight: &mut Inflight, s: &Scratch) -> Caller {
    let mut round = 0;
    while round < INFLIGHT_DEPTH {
        let depth = inflight.depth;
        if depth == 0 || s.crossed == depth {
            break;
        }
        let innermost = call(inflight, depth.wrapping_sub(1));
        if s.crossed == 0 && may_be_under_way(innermost, s) {
            break;
        }
        drop_call(innermost);
        inflight.depth = depth.wrapping_sub(1);
        round += 1;
    }
    if inflight.depth == 0 {
        return Caller::Program;
    }
    if s.crossed != 0 {
        return if s.from_handler != 0 { Caller::Program } else { Caller::PendingCall };
    }
    if s.signalled != 0 {
        return Caller::Program;
    }
    let innermost = call(inflight, inflight.depth.wrapping_sub(1));
    if innermost.cfa.wrapping_sub(s.proven_sp) >= SMALLEST_SIGNAL_FRAME {
        maps::lose(Loss::NestingUnsure);
    }
    Caller::PendingCall
}

/// Whether a call that the walk has not crossed may be under way.
#[inline(always)]
fn may_be_under_way(call: &PendingCall, s: &Scratch) -> bool {
    let reached_root = s.end == StackEnd::Root as u64 && s.frame_pointer_frames == 0;
    if reached_root || call.cfa <= s.proven_sp {
        return false;
    }
    let (mut word, at) = (0u64, call.cfa.wrapping_sub(8));
    // SAFETY: the helper checks the user's address.
    let read = unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, at as *const _) };
    // A return probe has put its trampoline in the place.
    read == 0 && word != 0 && (word == call.return_address || word == s.trampoline)
}

/// None of the pending calls will return.
#[inline(always)]
pub(crate) fn abandon(inflight: &mut Inflight) {
    let mut round = 0;
    while round < INFLIGHT_DEPTH as u64 {
        if round < inflight.depth {
            drop_call(call(inflight, round));
        }
        round += 1;
    }
    inflight.depth = 0;
}

/// A pending call that will not return. The block it wanted to move stays as it was.
#[inline(always)]
pub(crate) fn drop_call(call: &mut PendingCall) {
    if call.function & THROWS != 0 {
        maps::tally(Tally::CallUnwound);
    } else {
        maps::lose(Loss::CallAbandoned);
    }
    restore(call);
}

/// Puts the block back that a reallocation has taken out of the account.
#[inline(always)]
pub(crate) fn restore(call: &mut PendingCall) {
    if call.old.at_ns != 0 {
        if LIVE.insert(&call.old_address, &call.old, BPF_ANY as u64).is_err() {
            maps::lose(Loss::LiveFull);
        }
        call.old.at_ns = 0;
    }
}
