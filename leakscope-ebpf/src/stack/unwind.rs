//! Walks the user stack by the uploaded rows.

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use core::ffi::{c_long, c_void};
use leakscope_common::config::state;
use leakscope_common::unwind::{MAX_FRAMES, ReadWord, StackEnd, WINDOW_BYTES, cfa, hash_frame, step};

use super::rows::{Uploaded, row_of};
use super::{Claimed, SCRATCH, Scratch, known};
use crate::shared::{Value, Word, word};
use crate::task::{self, Returns};

/// Where a walk begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At a function's entry, where the stack pointer is still that of its first instruction: its
    /// caller needs no row.
    Entry,
    /// Anywhere in a function.
    Anywhere,
}

/// Reads the stack from `s.regs` on into the window, and notes the table in use.
#[inline(always)]
pub(super) fn read_window(s: &mut Scratch) {
    s.table = crate::state::slot(state::TABLE);
    s.window_at = 0;
    let at = s.regs.sp & !7;
    fill(s, at);
}

/// Fills the window from `at` on; whether that could be read.
#[inline(always)]
fn fill(s: &mut Scratch, at: u64) -> bool {
    let window = (&raw mut s.window).cast();
    // SAFETY: the helper checks the user's address, and writes to the window, which has that size and is part
    // of the scratch that we hold alone.
    let read = unsafe { bpf_probe_read_user(window, WINDOW_BYTES as u32, at as *const c_void) } == 0;
    if read {
        s.window_at = at;
    }
    read
}

/// Unwinds from where the slot's registers are until the stack ends; the window was read.
#[inline(always)]
pub(super) fn walk(claimed: &mut Claimed, start: Start) {
    if let Err(end) = begin(claimed.get(), start) {
        claimed.get().walk.end = end as u64;
        return;
    }
    let mut context = claimed.index;
    // SAFETY: `frame` matches the callback's signature, and `context` outlives the call. The callback takes a
    // reference to the scratch of its own; there is none here, and nobody else gets one from `claimed`, which
    // we borrow.
    unsafe {
        bpf_loop(MAX_FRAMES as u32, frame as *const () as *mut c_void, (&raw mut context).cast(), 0);
    }
}

/// Readies a walk, and leaves a function's entry, whose caller needs no row.
#[inline(always)]
fn begin(s: &mut Scratch, start: Start) -> Result<(), StackEnd> {
    s.hash = 0;
    s.depth = 0;
    s.walk.frame_pointer_frames = 0;
    s.walk.proven_sp = s.regs.sp;
    s.walk.end = StackEnd::Truncated as u64;
    s.returns = Returns::pending();
    s.walk.trampoline = s.returns.trampoline;
    if start == Start::Anywhere {
        return Ok(());
    }
    record_frame(s);
    let at = s.regs.sp;
    s.regs.ip = Window(s).word(at).ok_or(StackEnd::ReadFault)?;
    s.regs.sp = at.wrapping_add(8);
    s.regs.exact = 0;
    see_through(s)
}

/// One frame; returns 1 to stop. Static and not inlined, as `bpf_loop` needs it.
#[inline(never)]
unsafe extern "C" fn frame(_: u32, context: *mut c_void) -> c_long {
    // SAFETY: `walk` passes a pointer to its slot index, which lives until the loop is over and is only read.
    let index = unsafe { *context.cast::<u32>() };
    let Some(slot) = Value::of_cpu(&SCRATCH, index) else { return 1 };
    // SAFETY: the slot was claimed by the program that called `walk`, which has no reference to the scratch
    // meanwhile and borrows the claim; the hidden word lies beside the scratch.
    let s = unsafe { &mut (*slot.pointer()).scratch };
    match next(s, word!(slot, hidden)) {
        Ok(()) => 0,
        Err(end) => {
            s.walk.end = end as u64;
            1
        }
    }
}

#[inline(always)]
fn next(s: &mut Scratch, hidden: Word) -> Result<(), StackEnd> {
    let depth = s.depth;
    if depth >= MAX_FRAMES as u64 {
        return Err(StackEnd::Truncated);
    }
    record_frame(s);
    let row = row_of(s, hidden, s.regs.lookup_ip())?;
    if row.cfa_kind() == cfa::NO_INFO {
        s.walk.frame_pointer_frames += 1;
    }
    if row.cfa_kind() == cfa::SIGNAL {
        s.walk.signalled = 1;
    }
    let mut regs = s.regs;
    let stepped = step(&mut regs, row, &Uploaded(hidden), &mut Window(s));
    s.regs = regs;
    see_through(s)?;
    stepped
}

/// Adds the current frame to the record.
#[inline(always)]
fn record_frame(s: &mut Scratch) {
    let ip = s.regs.ip;
    s.record.frames[(s.depth & 127) as usize] = ip | ((s.regs.exact != 0) as u64) << 63;
    s.depth += 1;
    s.hash = hash_frame(s.hash, ip);
}

/// After a step: replaces the return probes' trampoline by what it stands for, and notices a frame that is
/// looked out for.
#[inline(always)]
fn see_through(s: &mut Scratch) -> Result<(), StackEnd> {
    if s.returns.trampoline != 0 && s.regs.ip == s.returns.trampoline {
        let at = s.regs.sp.wrapping_sub(8);
        s.words = known::TOO_MANY;
        (s.regs.ip, s.returns.instance) = s.returns.original(at)?;
    }
    if s.watch != 0 {
        s.walk.reach(&s.watched, s.watch, s.regs.sp, s.regs.ip);
    }
    Ok(())
}

/// Reads words through the window, which moves along with the walk.
struct Window<'a>(&'a mut Scratch);

impl ReadWord for Window<'_> {
    #[inline(always)]
    fn word(&mut self, addr: u64) -> Option<u64> {
        let s = &mut *self.0;
        if addr & 7 == 0 {
            let distance = addr.wrapping_sub(s.window_at);
            if s.window_at != 0 && distance < WINDOW_BYTES as u64 {
                let at = (distance >> 3) as usize & (WINDOW_BYTES / 8 - 1);
                let word = s.window[at];
                known::note(s, at, word);
                return Some(word);
            }
            s.words = known::TOO_MANY;
            if fill(s, addr) {
                return Some(s.window[0]);
            }
            s.window_at = 0;
        }
        s.words = known::TOO_MANY;
        task::user_word(addr)
    }

    #[inline(always)]
    fn goroutine(&mut self, id: u64, created_at: u64) {
        let s = &mut *self.0;
        // The innermost one called this C.
        if s.goroutine == 0 {
            (s.goroutine, s.created_at) = (id, created_at);
        }
        // What is remembered of a stack does not tell whose it is.
        s.words = known::TOO_MANY;
    }

    #[inline(always)]
    fn register(&mut self, number: u8) -> Option<u64> {
        let s = &mut *self.0;
        // What is remembered of a stack is compared by its words and its three registers.
        s.words = known::TOO_MANY;
        Some(s.registers[(number & 15) as usize])
    }
}
