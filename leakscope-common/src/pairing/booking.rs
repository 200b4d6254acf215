//! What the outcome of a call does to the account.

use super::arguments::OVERFLOW;
use super::{Account, Charge, Inserted, Removed};
use crate::counter::{Loss, Tally};
use crate::heap::{LiveBlock, PendingCall};
use crate::probe::{Cookie, Effect};

/// The base of a block that is seen for the first time: all that it holds was there before.
const ALL: u64 = u64::MAX;

/// A block that a call has given, or has shown.
#[derive(Clone, Copy)]
struct Given {
    /// 0: there is none.
    address: u64,
    /// [`LiveBlock::base`], as far as its size goes.
    base: u64,
}

impl Given {
    const NONE: Self = Self { address: 0, base: 0 };
}

/// Books the outcome of a call.
#[inline(always)]
pub(super) fn finish(account: &mut impl Account, call: &mut PendingCall, result: u64) {
    let given = outcome(account, call, result);
    if given.address != 0 {
        add(account, call, given);
    }
}

/// What a call has given. What it did to the block that it was given itself is booked.
#[inline(always)]
fn outcome(account: &mut impl Account, call: &mut PendingCall, result: u64) -> Given {
    let effect = call.function as u8;
    if effect == Effect::Allocate as u8 {
        allocated(account, result)
    } else if effect == Effect::AllocateOut as u8 {
        if result as u32 != 0 {
            account.tally(Tally::FailedCalls);
            Given::NONE
        } else if let Some(block) = account.word(call.out) {
            allocated(account, block)
        } else {
            account.lose(Loss::OutUnreadable);
            Given::NONE
        }
    } else if effect == Effect::Reallocate as u8 || effect == Effect::ReallocateOrFree as u8 {
        reallocated(account, call, result, effect)
    } else if effect == Effect::ResizeInPlace as u8 && result >= call.size {
        let most = call.size.saturating_add(call.out);
        resized(account, call, if result < most { result } else { most })
    } else if effect == Effect::Expand as u8 && result != 0 {
        resized(account, call, call.size)
    } else {
        Given::NONE
    }
}

/// A new block, if there is one.
#[inline(always)]
fn allocated(account: &mut impl Account, address: u64) -> Given {
    if address == 0 {
        account.tally(Tally::FailedCalls);
    }
    Given { address, base: 0 }
}

/// Adds a block to the account.
#[inline(always)]
fn add(account: &mut impl Account, call: &mut PendingCall, Given { address, base }: Given) {
    if call.size == OVERFLOW {
        account.lose(Loss::SizeOverflow);
        call.size = 0;
    }
    let base = if base < call.size { base } else { call.size };
    let block = LiveBlock { size: call.size, site: call.site, at_ns: call.at_ns, base };
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

/// A block that is the call's from now on, though what it holds is as old as before. One that is not in the account
/// was allocated before anybody watched, or its allocation was lost: it lives on as one from before. Only where no
/// block comes of it, it is freed.
#[inline(always)]
fn reallocated(account: &mut impl Account, call: &mut PendingCall, result: u64, effect: u8) -> Given {
    let failed = result == 0 && call.size != 0;
    if failed {
        account.tally(Tally::FailedCalls);
        if effect == Effect::Reallocate as u8 {
            restore(account, call);
            return Given::NONE;
        }
    }
    let mut base = 0;
    if call.old.at_ns != 0 {
        account.charge(call.old.site, Charge::Freed(call.old.size));
        account.tally(Tally::FreedObjects);
        call.at_ns = call.old.at_ns;
        base = call.old.base;
    } else if call.old_address != 0 {
        base = ALL;
        if result == 0 {
            account.tally(Tally::UnknownFrees);
        }
    }
    Given { address: result, base }
}

/// A block that keeps its address and its site, with another size. One that is not in the account is one from before.
#[inline(always)]
fn resized(account: &mut impl Account, call: &mut PendingCall, size: u64) -> Given {
    let Some(block) = account.resize(call.old_address, size) else {
        call.size = size;
        return Given { address: call.old_address, base: ALL };
    };
    let charge = if size > block.before {
        Charge::Grown(size - block.before)
    } else {
        Charge::Shrunk(block.before - size)
    };
    account.charge(block.site, charge);
    Given::NONE
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
