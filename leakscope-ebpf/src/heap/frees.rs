//! The latest free of each thread.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use leakscope_common::pairing::LastFree;

use crate::shared::{Value, word};
use crate::task;

/// Threads that are told apart: those whose IDs differ in the low bits. A power of two.
const THREADS: u32 = 4096;

#[map]
static LAST_FREES: Array<Noted> = Array::with_max_entries(THREADS, 0);

/// What a thread has noted.
#[repr(C)]
struct Noted {
    free: LastFree,
    /// The thread, mixed with all of that: so what is another one's, or half of another one's, does not match.
    check: u64,
}

#[inline(always)]
fn check(tid: u32, free: LastFree) -> u64 {
    tid as u64 ^ free.address.rotate_left(16) ^ free.probed.rotate_left(32) ^ free.sp.rotate_left(48)
}

/// Notes the current thread's; returns what it noted before, or zeros.
#[inline(always)]
pub(super) fn note(free: LastFree) -> LastFree {
    let tid = task::current_tid();
    let none = LastFree { address: 0, probed: 0, sp: 0 };
    let Some(noted) = Value::at(&LAST_FREES, tid & (THREADS - 1)) else { return none };
    let (address, probed, sp) =
        (word!(noted, free.address), word!(noted, free.probed), word!(noted, free.sp));
    let checked = word!(noted, check);
    let before = LastFree { address: address.load(), probed: probed.load(), sp: sp.load() };
    let known = checked.load() == check(tid, before);
    address.store(free.address);
    probed.store(free.probed);
    sp.store(free.sp);
    checked.store(check(tid, free));
    if known { before } else { none }
}
