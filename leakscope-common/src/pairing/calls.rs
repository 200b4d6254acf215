//! The pending calls of a thread: noted on entry, found again on return, dropped where they never return.

use super::nesting::{Caller, Frame, Walk, settle};
use super::{Account, Arguments, booking};
use crate::counter::{Loss, Tally};
use crate::heap::{INFLIGHT_DEPTH, Inflight, PendingCall, THROWS};
use crate::probe::{Cookie, Effect};

/// A call that is entered.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// What its probe was told about the function.
    pub cookie: Cookie,
    /// Where its frame is and where it returns to.
    pub frame: Frame,
    /// The site of its stack.
    pub site: u64,
    /// When, ns; never 0.
    pub at_ns: u64,
}

/// The pending call at an index, which is masked: the verifier sees that it is in bounds.
#[inline(always)]
pub(super) fn call(calls: &mut Inflight, index: u64) -> &mut PendingCall {
    &mut calls.calls[index as usize & (INFLIGHT_DEPTH - 1)]
}

/// The pending call of a function whose frame is at `cfa`.
#[inline(always)]
fn position(calls: &mut Inflight, function: u16, cfa: u64) -> Option<u64> {
    let mut index = 0;
    while index < INFLIGHT_DEPTH as u64 {
        let depth = calls.depth;
        let pending = call(calls, index);
        if index < depth && pending.cfa == cfa && pending.function >> 32 == function as u64 {
            return Some(index);
        }
        index += 1;
    }
    None
}

/// A call is entered. A pending one of the same function in the same frame has never returned: it is dropped,
/// and what was called inside it, too.
#[inline(always)]
pub fn again(account: &mut impl Account, calls: &mut Inflight, function: u16, cfa: u64) {
    if calls.depth != 0
        && let Some(index) = position(calls, function, cfa)
    {
        drop_from(account, calls, index);
    }
}

/// Has the walk look out for the frames of the pending calls; how many they are.
#[inline(always)]
pub fn look_out(calls: &Inflight, frames: &mut [Frame; INFLIGHT_DEPTH]) -> u64 {
    if calls.depth == 0 {
        return 0;
    }
    let mut i = 0;
    while i < INFLIGHT_DEPTH {
        let pending = &calls.calls[i];
        frames[i] = Frame { cfa: pending.cfa, return_address: pending.return_address };
        i += 1;
    }
    calls.depth
}

/// Whether the call that was entered is to be noted, after its stack was walked: not one that the allocator
/// makes inside a pending call, and not one too many. Pending calls that are no longer under way are dropped.
#[inline(always)]
pub fn admit(account: &mut impl Account, calls: &mut Inflight, walk: &Walk) -> bool {
    if calls.depth != 0 && settle(account, calls, walk) == Caller::PendingCall {
        account.tally(Tally::NestedCalls);
        return false;
    }
    if calls.depth >= INFLIGHT_DEPTH as u64 {
        account.lose(Loss::InflightFull);
        return false;
    }
    true
}

/// Notes a call that was admitted. A block that it reallocates leaves the account at once: its address may be
/// handed out again before the call returns.
#[inline(always)]
pub fn begin(account: &mut impl Account, calls: &mut Inflight, new: Call, registers: &[u64; 16]) {
    let slot = call(calls, calls.depth);
    slot.cfa = new.frame.cfa;
    slot.return_address = new.frame.return_address;
    slot.site = new.site;
    slot.at_ns = new.at_ns;
    let cookie = new.cookie;
    let throws = if cookie.may_throw() { THROWS } else { 0 };
    slot.function = (cookie.function() as u64) << 32 | throws | cookie.effect() as u64;
    let arguments = Arguments::read(cookie, registers);
    slot.size = arguments.size;
    slot.old_address = arguments.pointer;
    slot.out = arguments.out;
    slot.old.at_ns = 0;
    if (cookie.effect() == Effect::Reallocate as u8 || cookie.effect() == Effect::ReallocateOrFree as u8)
        && slot.old_address != 0
        && let Some(old) = booking::take(account, slot.old_address)
    {
        slot.old = old;
    }
    calls.depth += 1;
}

/// A function returns; `cfa` is the stack pointer after it, `calls` are what its thread has noted. Books the
/// outcome of the call that it belongs to.
#[inline(always)]
pub fn returned(
    account: &mut impl Account,
    calls: Option<&mut Inflight>,
    function: u16,
    cfa: u64,
    result: u64,
) {
    let Some(calls) = calls else {
        account.tally(Tally::EarlyReturns);
        return;
    };
    let Some(index) = position(calls, function, cfa) else {
        if calls.depth == 0 {
            account.tally(Tally::EarlyReturns);
        }
        return;
    };
    drop_from(account, calls, index.wrapping_add(1));
    calls.depth = index;
    booking::finish(account, call(calls, index), result);
}

/// The thread ends: none of its pending calls will return.
#[inline(always)]
pub fn ended(account: &mut impl Account, calls: &mut Inflight) {
    drop_from(account, calls, 0);
}

/// Drops the pending calls from an index on, the innermost first.
#[inline(always)]
fn drop_from(account: &mut impl Account, calls: &mut Inflight, index: u64) {
    let mut round = 0;
    while round < INFLIGHT_DEPTH {
        let depth = calls.depth;
        if depth <= index {
            break;
        }
        let innermost = depth.wrapping_sub(1);
        drop_call(account, call(calls, innermost));
        calls.depth = innermost;
        round += 1;
    }
}

/// A pending call that will not return. The block that it was to move stays as it was.
#[inline(always)]
pub(super) fn drop_call(account: &mut impl Account, call: &mut PendingCall) {
    if call.function & THROWS != 0 {
        account.tally(Tally::CallUnwound);
    } else {
        account.lose(Loss::CallAbandoned);
    }
    booking::restore(account, call);
}
