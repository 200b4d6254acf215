//! What the outcome of a call does to the account.

use super::arguments::OVERFLOW;
use super::{Account, Charge, Inserted, Removed};
use crate::counter::{Loss, Tally};
use crate::heap::{LiveBlock, PendingCall};
use crate::probe::{Cookie, Effect};

/// Books the outcome of a call.
#[inline(always)]
pub(super) fn finish(account: &mut impl Account, call: &mut PendingCall, result: u64) {
    let effect = call.function as u8;
    if effect == Effect::Allocate as u8 {
        allocated(account, call, result);
    } else if effect == Effect::AllocateOut as u8 {
        if result as u32 != 0 {
            account.tally(Tally::FailedCalls);
        } else if let Some(block) = account.word(call.out) {
            allocated(account, call, block);
        } else {
            account.lose(Loss::OutUnreadable);
        }
    } else if effect == Effect::Reallocate as u8 || effect == Effect::ReallocateOrFree as u8 {
        reallocated(account, call, result, effect);
    } else if effect == Effect::ResizeInPlace as u8 {
        if result >= call.size {
            let most = call.size.saturating_add(call.out);
            resized(account, call, if result < most { result } else { most });
        }
    } else if effect == Effect::Expand as u8 && result != 0 {
        resized(account, call, call.size);
    }
}

/// A new block, if there is one.
#[inline(always)]
fn allocated(account: &mut impl Account, call: &mut PendingCall, address: u64) {
    if address == 0 {
        account.tally(Tally::FailedCalls);
        return;
    }
    if call.size == OVERFLOW {
        account.lose(Loss::SizeOverflow);
        call.size = 0;
    }
    let block = LiveBlock { size: call.size, site: call.site, at_ns: call.at_ns };
    let mut inserted = account.insert(address, &block);
    if inserted == Inserted::Occupied {
        account.lose(Loss::FreeMissed);
        if let Some(stale) = take(account, address) {
            account.charge(stale.site, Charge::Freed(stale.size));
        }
        inserted = account.insert(address, &block);
    }
    if inserted == Inserted::Done {
        account.charge(call.site, Charge::Allocated(call.size));
    } else {
        not_recorded(account, inserted);
    }
}

/// A block that is not in the account, and why.
#[inline(always)]
fn not_recorded(account: &mut impl Account, inserted: Inserted) {
    account.lose(if inserted == Inserted::NoMemory { Loss::LiveNoMemory } else { Loss::LiveFull });
}

#[inline(always)]
fn reallocated(account: &mut impl Account, call: &mut PendingCall, result: u64, effect: u8) {
    let failed = result == 0 && call.size != 0;
    if failed && effect == Effect::Reallocate as u8 {
        account.tally(Tally::FailedCalls);
        restore(account, call);
        return;
    }
    if call.old.at_ns != 0 {
        account.charge(call.old.site, Charge::Freed(call.old.size));
        account.tally(Tally::FreedObjects);
        // It is the call's from now on, but what it holds is as old as before.
        call.at_ns = call.old.at_ns;
    } else if call.old_address != 0 {
        account.tally(Tally::UnknownFrees);
    }
    if result != 0 {
        allocated(account, call, result);
    } else if failed {
        account.tally(Tally::FailedCalls);
    }
}

/// A block that keeps its address and its site, with another size.
#[inline(always)]
fn resized(account: &mut impl Account, call: &PendingCall, size: u64) {
    let Some(block) = account.resize(call.old_address, size) else { return };
    let charge = if size > block.before {
        Charge::Grown(size - block.before)
    } else {
        Charge::Shrunk(block.before - size)
    };
    account.charge(block.site, charge);
}

/// A call of a function that frees a block.
#[derive(Clone, Copy, Debug)]
pub struct Free {
    /// What its probe was told about the function.
    pub cookie: Cookie,
    /// The block.
    pub address: u64,
    /// Address of the probed instruction.
    pub probed: u64,
    /// The stack pointer there, where the return address lies.
    pub sp: u64,
}

/// Most bytes that a function has put on the stack before its probe and takes back before it jumps to the one that
/// does its work: the six registers that it has to preserve, and two words.
pub(super) const TAKEN_BACK: u64 = 64;

/// The latest call of a freeing function by a thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LastFree {
    /// The block.
    pub address: u64,
    /// Address of the probed instruction.
    pub probed: u64,
    /// The stack pointer there.
    pub sp: u64,
}

impl LastFree {
    /// Whether that call makes the next one of its thread: `operator delete` hands a block to `free`, and the
    /// `free` of a wrapper to that of the C library. They are one free. It is another function, and the stack has not
    /// been left meanwhile.
    #[inline(always)]
    fn makes(self, next: Self) -> bool {
        self.address == next.address
            && self.probed != next.probed
            && next.sp <= self.sp.wrapping_add(TAKEN_BACK)
    }
}

/// A block is freed.
#[inline(always)]
pub fn freed(account: &mut impl Account, free: Free) {
    account.tally(Tally::Frees);
    if free.address == 0 {
        return;
    }
    let this = LastFree { address: free.address, probed: free.probed, sp: free.sp };
    let before = account.free_before(this);
    if let Some(block) = take(account, free.address) {
        account.charge(block.site, Charge::Freed(block.size));
        account.tally(Tally::FreedObjects);
        return;
    }
    // An allocator that frees the old block inside a reallocation: the outer call books it.
    if !before.makes(this) && account.pending() == 0 {
        let tally = unknown(account, free);
        account.tally(tally);
    }
}

/// What a free is of a block that is not in the account: the program's, or one of its C library's own.
#[inline(always)]
fn unknown(account: &mut impl Account, free: Free) -> Tally {
    if !free.cookie.has_flushes() {
        return Tally::UnknownFrees;
    }
    let Some(return_address) = account.word(free.sp) else { return Tally::UnknownFrees };
    if free.cookie.is_flush(free.probed, return_address) {
        Tally::CacheFlushes
    } else if account.in_linker(return_address) {
        Tally::LinkerFrees
    } else {
        Tally::UnknownFrees
    }
}

/// Takes a block out of the account.
#[inline(always)]
pub(super) fn take(account: &mut impl Account, address: u64) -> Option<LiveBlock> {
    let block = account.block(address)?;
    match account.remove(address) {
        Removed::Done => Some(block),
        // Another thread was faster: a double free, which is the program's own affair.
        Removed::Gone => None,
        Removed::Failed => {
            account.lose(Loss::FreeFailed);
            None
        }
    }
}

/// Puts the block back that a reallocation has taken out of the account.
#[inline(always)]
pub(super) fn restore(account: &mut impl Account, call: &mut PendingCall) {
    if call.old.at_ns != 0 {
        // Whatever is there by now is not it.
        let _ = account.remove(call.old_address);
        let inserted = account.insert(call.old_address, &call.old);
        if inserted != Inserted::Done {
            not_recorded(account, inserted);
        }
        call.old.at_ns = 0;
    }
}
