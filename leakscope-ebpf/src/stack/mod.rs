//! Takes a stack, and remembers what was taken.
//!
//! [`take`] walks the user stack of the current thread ([`unwind`]) by the uploaded rows ([`rows`]), unless it is
//! one of those just seen ([`known`]). Uprobe programs run with migration off but may be preempted by another
//! thread's probe on the same CPU: so each claims one of several scratch slots of the CPU.

mod files;
mod known;
mod rows;
mod unwind;

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::event::StackRecord;
use leakscope_common::heap::INFLIGHT_DEPTH;
use leakscope_common::pairing::{Frame, Walk};
use leakscope_common::unwind::{BREAKPOINT, Regs, WINDOW_BYTES, stack_identity};

use crate::shared::{Value, Word, word};
use crate::task::Returns;
use crate::{counters, events, task};
pub(crate) use known::Purpose;
use unwind::Start;

/// Scratch slots a CPU.
const SCRATCH_SLOTS: u32 = 4;

#[map]
static SCRATCH: PerCpuArray<Slot> = PerCpuArray::with_max_entries(SCRATCH_SLOTS, 0);

/// A scratch slot. What lies beside the scratch is reached by raw pointers alone.
#[repr(C)]
struct Slot {
    /// 1 while a program uses the slot.
    busy: u64,
    /// A word to hide values from the verifier in.
    hidden: u64,
    scratch: Scratch,
}

/// Working space of one unwind: too large for the BPF stack.
#[repr(C)]
pub(crate) struct Scratch {
    /// A copy of the target's stack from `window_at` on.
    window: [u64; WINDOW_BYTES / 8],
    /// Address of the window; 0: nothing read yet.
    window_at: u64,
    /// Where the walk is.
    regs: Regs,
    /// Hash of the frames so far.
    hash: u64,
    /// Frames so far.
    depth: u64,
    /// Mapping that held the last frame.
    mapping: u64,
    /// Generation and size of the mapping table.
    table: u64,
    /// Return probes that are pending where the walk is, or further out.
    returns: Returns,
    /// Frames to look out for, outermost first.
    pub(crate) watched: [Frame; INFLIGHT_DEPTH],
    /// How many they are.
    watch: u64,
    /// What the walk tells.
    pub(crate) walk: Walk,
    /// The registers of the innermost frame, by the numbers that x86-64 encodes them with. Not filled in at
    /// a function's entry, whose caller needs no row.
    registers: [u64; 16],
    /// Where the walk began.
    from: Regs,
    /// A number of `Purpose`.
    purpose: u64,
    /// Number of the goroutine whose stack the walk came to; 0 without one.
    pub(crate) goroutine: u64,
    /// Address behind the `go` statement that created it; 0 if there is none.
    created_at: u64,
    /// Identity of the stack, if it was known and not walked; else 0.
    known: u64,
    /// Words that the walk has read; `known::TOO_MANY` if the stack is not to be remembered.
    words: u64,
    /// Where in the window.
    words_at: [u16; known::WORDS],
    /// What they were.
    words_read: [u64; known::WORDS],
    /// The frames, ready to be sent.
    record: StackRecord,
}

impl Scratch {
    /// Identifies the stack: its frames and how it ended.
    #[inline(always)]
    pub(crate) fn identity(&self) -> u64 {
        if self.known != 0 { self.known } else { stack_identity(self.hash, self.walk.end, self.statement()) }
    }

    /// The `go` statement that tells sites of the heap apart; other stacks are what they are, whoever's goroutine it is.
    #[inline(always)]
    fn statement(&self) -> u64 {
        if self.purpose == Purpose::Heap as u64 { self.created_at } else { 0 }
    }

    /// The return address of the innermost frame, of a stack that was taken at a function's entry.
    #[inline(always)]
    pub(crate) fn return_address(&self) -> u64 {
        self.record.frames[1]
    }

    /// Sends the frames of the stack unless `sent` says that it was done, and remembers the stack once it was.
    /// `sent` is a word of the purpose that the stack was taken for; it only ever goes from 0 to 1, and
    /// sending twice is harmless.
    #[inline(always)]
    pub(crate) fn send_once(&mut self, id: u64, sent: Word) {
        if sent.load() == 0 {
            let end = (self.walk.end, self.statement());
            if !events::stack(&mut self.record, id, self.depth, end) {
                return;
            }
            sent.store(1);
        }
        known::remember(self, id);
    }
}

/// A claimed scratch slot, released on drop.
pub(crate) struct Claimed {
    /// The slot's index.
    index: u32,
    slot: Value<Slot>,
}

impl Claimed {
    /// Claims a free slot of this CPU; counts `loss` where there is none.
    #[inline(always)]
    pub(crate) fn claim(loss: Loss) -> Option<Self> {
        let mut index = 0;
        while index < SCRATCH_SLOTS {
            let slot = Value::of_cpu(&SCRATCH, index)?;
            if word!(slot, busy).swap(1) == 0 {
                return Some(Self { index, slot });
            }
            index += 1;
        }
        counters::lose(loss);
        None
    }

    /// The slot's scratch.
    #[inline(always)]
    pub(crate) fn get(&mut self) -> &mut Scratch {
        // SAFETY: a map value is valid while the program runs. The flag, which is no part of the scratch, gives
        // it to this program alone until drop; of this program's references it is the only one, as it borrows
        // `self`, and the callback of a walk has its own only while `walk` has none.
        unsafe { &mut (*self.slot.pointer()).scratch }
    }
}

impl Drop for Claimed {
    #[inline(always)]
    fn drop(&mut self) {
        word!(self.slot, busy).swap(0);
    }
}

/// Takes the stack that begins at `regs`, which are part of `all`, into the slot. `watch` frames in the
/// slot are looked out for.
#[inline(always)]
pub(crate) fn take(claimed: &mut Claimed, regs: Regs, all: &pt_regs, purpose: Purpose, watch: u64) {
    if !prepare(claimed.get(), regs, purpose, watch) {
        let start = if purpose == Purpose::Heap { Start::Entry } else { Start::Anywhere };
        if start == Start::Anywhere {
            claimed.get().registers = task::registers(all);
        }
        unwind::walk(claimed, start);
    }
    let walk = &claimed.get().walk;
    counters::tally_end(walk.end);
    if walk.frame_pointer_frames != 0 {
        counters::tally(Tally::FramePointerStacks);
    }
}

/// Readies the slot for a walk; whether none is needed, because the stack is known.
#[inline(always)]
fn prepare(s: &mut Scratch, regs: Regs, purpose: Purpose, watch: u64) -> bool {
    s.regs = regs;
    s.from = regs;
    s.purpose = purpose as u64;
    s.known = 0;
    s.watch = watch;
    s.walk.crossed = 0;
    s.walk.signalled = 0;
    s.walk.from_handler = 0;
    s.goroutine = 0;
    s.created_at = 0;
    unwind::read_window(s);
    // A frame that is looked out for is part of what a walk tells, but not of what is remembered.
    s.words = if watch == 0 { 0 } else { known::TOO_MANY };
    watch == 0 && known::find(s)
}

/// Where unwinding begins for the current thread, which is in the kernel and has these registers in user space.
#[inline(always)]
pub(crate) fn innermost(regs: &pt_regs) -> Regs {
    let mut ip = regs.rip;
    if (regs.orig_rax as i64) < 0 {
        // Not in a system call. If that was the breakpoint of a probe, the instruction under it has
        // not run yet.
        let (mut before, at) = (0u8, ip.wrapping_sub(1));
        // SAFETY: the helper checks the user's address, and writes one byte to a variable that only we know.
        let read = unsafe { bpf_probe_read_user((&raw mut before).cast(), 1, at as *const _) };
        if read == 0 && before == BREAKPOINT {
            ip = at;
        }
    }
    Regs { ip, sp: regs.rsp, bp: regs.rbp, exact: 1 }
}
