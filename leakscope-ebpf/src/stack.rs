//! Takes a stack, and finds the site of an allocator call.

use aya_ebpf::bindings::pt_regs;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::event::StackRecord;
use leakscope_common::heap::{INFLIGHT_DEPTH, SiteTotals};
use leakscope_common::unwind::{Regs, WINDOW_BYTES};

use crate::known::{self, Purpose};
use crate::maps::{self, SCRATCH, SCRATCH_SLOTS, SITES};
use crate::unwind::Start;
use crate::{atomic, emit, unwind};

/// What a site starts with.
static NEW_SITE: SiteTotals = SiteTotals::ZERO;

/// A frame to look out for.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Watched {
    /// Its canonical frame address.
    pub(crate) cfa: u64,
    /// Its return address.
    pub(crate) return_address: u64,
}

/// Working space of one unwind: too large for the BPF stack.
#[repr(C)]
pub(crate) struct Scratch {
    /// 1 while a program uses the slot.
    busy: u64,
    /// A copy of the target's stack from `window_at` on.
    pub(crate) window: [u64; WINDOW_BYTES / 8],
    /// Address of the window; 0: nothing read yet.
    pub(crate) window_at: u64,
    /// Where the walk is.
    pub(crate) regs: Regs,
    /// Hash of the frames so far.
    pub(crate) hash: u64,
    /// Frames so far.
    pub(crate) depth: u64,
    /// Why the walk ended; a number of `StackEnd`.
    pub(crate) end: u64,
    /// Frames found by frame pointer.
    pub(crate) frame_pointer_frames: u64,
    /// A word to hide values from the verifier in.
    pub(crate) hidden: u64,
    /// Mapping that held the last frame.
    pub(crate) mapping: u64,
    /// Generation and size of the mapping table.
    pub(crate) table: u64,
    /// Address of the return probes' trampoline; 0: no return is pending.
    pub(crate) trampoline: u64,
    /// The next pending return (`struct return_instance`).
    pub(crate) return_instance: u64,
    /// Frames to look out for, outermost first.
    pub(crate) watched: [Watched; INFLIGHT_DEPTH],
    /// How many they are.
    pub(crate) watch: u64,
    /// Which of them the walk has crossed first, counted from 1; 0: none.
    pub(crate) crossed: u64,
    /// 1 once the walk has passed a signal frame.
    pub(crate) signalled: u64,
    /// 1 if that was below the frame that was crossed: the call comes from a signal handler.
    pub(crate) from_handler: u64,
    /// The stack pointer of the outermost frame that was reached by rows alone.
    pub(crate) proven_sp: u64,
    /// The registers of the innermost frame, by the numbers that x86-64 encodes them with. Not filled in at
    /// a function's entry, whose caller needs no row.
    pub(crate) registers: [u64; 16],
    /// Where the walk began.
    pub(crate) from: Regs,
    /// A number of `Purpose`.
    pub(crate) purpose: u64,
    /// Identity of the stack, if it was known and not walked; else 0.
    pub(crate) known: u64,
    /// Words that the walk has read; `known::TOO_MANY` if the stack is not to be remembered.
    pub(crate) words: u64,
    /// Where in the window.
    pub(crate) words_at: [u16; known::WORDS],
    /// What they were.
    pub(crate) words_read: [u64; known::WORDS],
    /// The frames, ready to be sent.
    pub(crate) record: StackRecord,
}

/// A claimed scratch slot, released on drop.
pub(crate) struct Claimed {
    /// The slot's index.
    pub(crate) index: u32,
    pointer: *mut Scratch,
}

impl Claimed {
    /// Claims a free slot of this CPU; counts `loss` where there is none.
    #[inline(always)]
    pub(crate) fn claim(loss: Loss) -> Option<Self> {
        let mut index = 0;
        while index < SCRATCH_SLOTS {
            let pointer = SCRATCH.get_ptr_mut(index)?;
            // SAFETY: `busy` is an aligned u64 inside a map value.
            if unsafe { atomic::swap(&raw mut (*pointer).busy, 1) } == 0 {
                return Some(Self { index, pointer });
            }
            index += 1;
        }
        maps::lose(loss);
        None
    }

    /// The slot.
    #[inline(always)]
    pub(crate) fn get(&mut self) -> &mut Scratch {
        // SAFETY: the flag gives this program the slot alone until drop.
        unsafe { &mut *self.pointer }
    }
}

impl Drop for Claimed {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: as in `claim`.
        unsafe { atomic::swap(&raw mut (*self.pointer).busy, 0) };
    }
}

/// Takes the stack that begins at `regs`, which are part of `all`, into the slot. `watch` frames in the
/// slot are looked out for.
#[inline(always)]
pub(crate) fn take(claimed: &mut Claimed, regs: Regs, all: &pt_regs, purpose: Purpose, watch: u64) {
    let index = claimed.index;
    let s = claimed.get();
    s.regs = regs;
    s.from = regs;
    s.purpose = purpose as u64;
    s.known = 0;
    s.watch = watch;
    s.crossed = 0;
    s.signalled = 0;
    s.from_handler = 0;
    unwind::read_window(s);
    // A frame that is looked out for is part of what a walk tells, but not of what is remembered.
    s.words = if watch == 0 { 0 } else { known::TOO_MANY };
    if watch != 0 || !known::find(s) {
        let start = if purpose == Purpose::Heap { Start::Entry } else { Start::Anywhere };
        if start == Start::Anywhere {
            s.registers = registers(all);
        }
        unwind::walk(s, index, start);
    }
    maps::bump(Tally::StackEnd0 as u32 + (s.end as u32 & 15));
    if s.frame_pointer_frames != 0 {
        maps::tally(Tally::FramePointerStacks);
    }
}

/// The general registers by the numbers that x86-64 encodes them with. rsp is 0: it holds no argument, and
/// a walk has it elsewhere.
#[inline(always)]
pub(crate) fn registers(regs: &pt_regs) -> [u64; 16] {
    [
        regs.rax, regs.rcx, regs.rdx, regs.rbx, 0, regs.rbp, regs.rsi, regs.rdi, regs.r8, regs.r9, regs.r10,
        regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
    ]
}

/// The site of the stack in the slot: creates it and sends its frames on first sight.
///
/// Returns 0, the site without a stack, where the map of sites is full.
#[inline(always)]
pub(crate) fn site(claimed: &mut Claimed) -> u64 {
    let s = claimed.get();
    let id = unwind::identity(s);
    let new: &SiteTotals = &NEW_SITE;
    let Some(totals) = maps::entry(&SITES, id, new) else {
        maps::lose(Loss::SitesFull);
        return 0;
    };
    // SAFETY: a map value.
    unsafe { send_once(s, id, &raw mut (*totals).sent) };
    id
}

/// Sends the frames of the stack in the slot unless `sent` says that it was done, and remembers the stack
/// once it was.
///
/// # Safety
/// `sent` points to a map value of the purpose that the stack was taken for. It only ever goes from 0 to
/// 1, and sending twice is harmless.
#[inline(always)]
pub(crate) unsafe fn send_once(s: &mut Scratch, id: u64, sent: *mut u64) {
    // SAFETY: the caller's promise.
    unsafe {
        if *sent == 0 && emit::stack(s, id) {
            *sent = 1;
        }
        if *sent != 0 {
            known::remember(s, id);
        }
    }
}
