//! Known stacks: what a walk found, remembered with every word of the stack that it read.
//!
//! A walk is a function of the registers it starts from, the unwind table, and the words that it reads.
//! So where all of them are as they were, the stack is the same, and need not be walked again: a thread
//! that blocks or allocates in a loop costs one comparison of a few words. Only stacks that lie within
//! the window are remembered, and only once their frames were sent, because a known stack has none at
//! hand.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use leakscope_common::unwind::{Regs, WINDOW_BYTES};

use super::Scratch;
use crate::shared::{Value, word};

/// Most words of a remembered stack.
pub(super) const WORDS: usize = 48;
/// Entries a CPU; a power of two.
const ENTRIES: u32 = 256;
/// A count of words that says: not to be remembered.
pub(super) const TOO_MANY: u64 = u64::MAX;

#[map]
static KNOWN_STACKS: PerCpuArray<Entry> = PerCpuArray::with_max_entries(ENTRIES, 0);

/// An entry. The flag lies beside the stack, so that a reference to the one is none to the other.
#[repr(C)]
struct Entry {
    /// 1 while a program reads or writes the stack: another one may preempt it on this CPU.
    busy: u64,
    stack: KnownStack,
}

/// A remembered stack.
#[repr(C)]
struct KnownStack {
    regs: Regs,
    /// What the stack was taken for, and the generation of the table.
    key: u64,
    id: u64,
    end: u64,
    frame_pointer_frames: u64,
    count: u64,
    at: [u16; WORDS],
    values: [u64; WORDS],
}

/// What a stack is taken for: each purpose has a map of its own that says whether its frames were sent.
#[repr(u64)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Heap = 1,
    Wait = 2,
    Waker = 3,
    Creation = 4,
    Goroutine = 5,
}

#[inline(always)]
fn key(s: &Scratch) -> u64 {
    (s.table >> 32) << 8 | s.purpose
}

#[inline(always)]
fn entry(s: &Scratch) -> Option<Value<Entry>> {
    let mixed = (s.from.sp ^ s.from.ip.rotate_left(20) ^ s.purpose).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Value::of_cpu(&KNOWN_STACKS, (mixed >> 32) as u32 & (ENTRIES - 1))
}

/// Whether the stack that begins with `s.from` is known; then its identity and end are in the slot. The
/// window was read.
#[inline(always)]
pub(super) fn find(s: &mut Scratch) -> bool {
    if s.window_at == 0 {
        return false;
    }
    let Some(entry) = entry(s) else { return false };
    let busy = word!(entry, busy);
    if busy.swap(1) != 0 {
        return false;
    }
    // SAFETY: a map value is valid while the program runs. It is this CPU's, and until the flag, which is no
    // part of the stack, is taken back, what preempts this program leaves it alone.
    let known = unsafe { &(*entry.pointer()).stack };
    let same = known.regs.ip == s.from.ip
        && known.regs.sp == s.from.sp
        && known.regs.bp == s.from.bp
        && known.key == key(s)
        && same_words(known, s);
    if same {
        s.known = known.id;
        s.walk.end = known.end;
        s.walk.frame_pointer_frames = known.frame_pointer_frames;
        // At a function's entry the return address is the first word.
        s.record.frames[1] = s.window[0];
    }
    busy.swap(0);
    same
}

#[inline(always)]
fn same_words(known: &KnownStack, s: &Scratch) -> bool {
    let mut i = 0;
    while i < WORDS {
        if i as u64 >= known.count {
            break;
        }
        if s.window[known.at[i] as usize & (WINDOW_BYTES / 8 - 1)] != known.values[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Remembers the stack in the slot, whose frames were sent.
#[inline(always)]
pub(super) fn remember(s: &mut Scratch, id: u64) {
    if s.known != 0 || s.words > WORDS as u64 {
        return;
    }
    let Some(entry) = entry(s) else { return };
    let busy = word!(entry, busy);
    if busy.swap(1) != 0 {
        return;
    }
    // SAFETY: as in `find`.
    let known = unsafe { &mut (*entry.pointer()).stack };
    known.regs = s.from;
    known.key = key(s);
    known.id = id;
    known.end = s.walk.end;
    known.frame_pointer_frames = s.walk.frame_pointer_frames;
    known.count = s.words;
    let mut i = 0;
    while i < WORDS {
        // Read anew, so that the compiler keeps the check of the constant bound: before Linux 6.8 the
        // verifier does not follow a constant below a variable.
        // SAFETY: a member of the scratch that we hold alone.
        if i as u64 >= unsafe { (&raw const s.words).read_volatile() } {
            break;
        }
        known.at[i] = s.words_at[i];
        known.values[i] = s.words_read[i];
        i += 1;
    }
    busy.swap(0);
}

/// Notes a word that the walk has read from the window.
#[inline(always)]
pub(super) fn note(s: &mut Scratch, at: usize, value: u64) {
    let i = s.words as usize;
    if i < WORDS {
        s.words_at[i] = at as u16;
        s.words_read[i] = value;
        s.words += 1;
    } else {
        s.words = TOO_MANY;
    }
}
