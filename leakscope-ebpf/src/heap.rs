//! The account of live blocks.
//!
//! A block is charged to the outermost allocator call of its thread: what an allocator calls inside
//! itself (calloc → malloc, realloc → malloc and free) is left to the outer call. Whether a call is
//! inside another is told by the unwound stack, not by a counter: a pending call that the stack
//! does not pass through was left by longjmp or an exception and is dropped.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_NOEXIST, pt_regs};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::programs::ProbeContext;
use leakscope_common::config::state;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::heap::{INFLIGHT_DEPTH, Inflight, LiveBlock, PendingCall, SiteTotals, THROWS};
use leakscope_common::probe::{Cookie, Effect};
use leakscope_common::unwind::Regs;

use crate::known::Purpose;
use crate::maps::{self, INFLIGHT, LIVE, SITES};
use crate::nesting::{self, Caller};
use crate::stack::{self, Claimed};

/// -ENOENT
const ENOENT: i32 = -2;
/// -EEXIST
const EEXIST: i32 = -17;
/// The size of a call whose count times size overflows.
const OVERFLOW: u64 = u64::MAX;
/// What a new thread starts with: too large for the BPF stack.
static NO_CALLS: Inflight = Inflight::ZERO;

/// What the probe was told about its function.
#[inline(always)]
pub(crate) fn cookie(ctx: &impl EbpfContext) -> Cookie {
    // SAFETY: the context is the one the kernel gave us.
    Cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) })
}

/// The general registers by their x86-64 numbers, so that a probe's cookie can choose one: the
/// verifier allows no computed access to the context itself.
struct Registers([u64; 16]);

impl Registers {
    #[inline(always)]
    fn of(regs: &pt_regs) -> Self {
        Self(stack::registers(regs))
    }

    /// The register with this number; 0 for `NO_REGISTER`.
    #[inline(always)]
    fn get(&self, number: u8) -> u64 {
        self.0[number as usize & 15]
    }
}

#[inline(always)]
fn thread() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes no arguments.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub(crate) fn call(inflight: &mut Inflight, index: u64) -> &mut PendingCall {
    &mut inflight.calls[index as usize & (INFLIGHT_DEPTH - 1)]
}

/// The pending calls of the current thread, made on first use.
#[inline(always)]
fn pending() -> Option<&'static mut Inflight> {
    let tid = thread();
    let found = match INFLIGHT.get_ptr_mut(&tid) {
        Some(p) => Some(p),
        None => {
            let none: &Inflight = &NO_CALLS;
            let _ = INFLIGHT.insert(&tid, none, BPF_NOEXIST as u64);
            INFLIGHT.get_ptr_mut(&tid)
        }
    };
    // SAFETY: only the current thread uses its entry, and it is removed only as the thread ends.
    found.map(|p| unsafe { &mut *p })
}

/// Entry of a function that returns or resizes a block.
#[inline(always)]
pub(crate) fn alloc_entry(ctx: &ProbeContext) {
    if !maps::recording() {
        return;
    }
    maps::tally(Tally::AllocEntries);
    let cookie = cookie(ctx);
    // SAFETY: the context of a uprobe is the registers of the thread, valid while we run.
    let regs = unsafe { &*ctx.regs };
    let Some(inflight) = pending() else {
        maps::lose(Loss::InflightFull);
        return;
    };
    let cfa = regs.rsp.wrapping_add(8);
    if inflight.depth != 0 {
        let top = call(inflight, inflight.depth.wrapping_sub(1));
        if top.cfa == cfa && top.function >> 32 == cookie.function() as u64 {
            // The same call again: the earlier one never returned.
            nesting::drop_call(top);
            inflight.depth -= 1;
        }
    }
    let Some(mut scratch) = Claimed::claim(Loss::ScratchBusy) else { return };
    let from = Regs { ip: regs.rip, sp: regs.rsp, bp: regs.rbp, exact: 1 };
    let pending = nesting::look_out(inflight, scratch.get());
    stack::take(&mut scratch, from, regs, Purpose::Heap, pending);
    if inflight.depth != 0 && nesting::settle(inflight, scratch.get()) == Caller::PendingCall {
        maps::tally(Tally::NestedCalls);
        return;
    }
    if inflight.depth >= INFLIGHT_DEPTH as u64 {
        maps::lose(Loss::InflightFull);
        return;
    }
    let site = stack::site(&mut scratch);
    let return_address = scratch.get().record.frames[1];
    drop(scratch);
    let slot = call(inflight, inflight.depth);
    slot.cfa = cfa;
    slot.return_address = return_address;
    slot.site = site;
    slot.at_ns = now();
    let throws = if cookie.may_throw() { THROWS } else { 0 };
    slot.function = (cookie.function() as u64) << 32 | throws | cookie.effect() as u64;
    let values = Registers::of(regs);
    slot.size = size(&values, cookie);
    slot.old_address = values.get(cookie.pointer());
    slot.old.at_ns = 0;
    slot.out = if cookie.effect() == Effect::ResizeInPlace as u8 {
        values.get(cookie.extra())
    } else {
        values.get(cookie.out())
    };
    if (cookie.effect() == Effect::Reallocate as u8 || cookie.effect() == Effect::ReallocateOrFree as u8)
        && slot.old_address != 0
        && let Some(old) = take_live(slot.old_address)
    {
        // Out of the account at once: the address may be handed out again before this returns.
        slot.old = old;
    }
    inflight.depth += 1;
}

/// Bytes asked for.
#[inline(always)]
fn size(values: &Registers, cookie: Cookie) -> u64 {
    let size = values.get(cookie.size());
    if cookie.count() == leakscope_common::probe::NO_REGISTER {
        return size;
    }
    let count = values.get(cookie.count());
    if (size | count) >> 32 != 0 {
        // By halves: BPF has no 128-bit product.
        let (large, small) = if size > count { (size, count) } else { (count, size) };
        let low = (large & 0xffff_ffff).wrapping_mul(small & 0xffff_ffff) >> 32;
        if small >> 32 != 0 || (large >> 32).wrapping_mul(small).wrapping_add(low) >> 32 != 0 {
            return OVERFLOW;
        }
    }
    size.wrapping_mul(count)
}

/// The current thread ends.
#[inline(always)]
pub(crate) fn forget_thread(tid: u32) {
    let Some(p) = INFLIGHT.get_ptr_mut(&tid) else { return };
    // SAFETY: the thread itself runs this as it ends.
    let inflight = unsafe { &mut *p };
    if maps::recording() {
        nesting::abandon(inflight);
        let _ = INFLIGHT.remove(&tid);
    }
}

/// The same at a `ret` instruction, which has yet to take the return address off the stack.
#[inline(always)]
pub(crate) fn alloc_return_at_instruction(cookie: Cookie, regs: &pt_regs) {
    if maps::recording() {
        maps::tally(Tally::RetInstructions);
        alloc_return(cookie, regs, regs.rsp.wrapping_add(8));
    }
}

/// Return of a function that returns or resizes a block; `cfa` is the stack pointer after it.
#[inline(always)]
pub(crate) fn alloc_return(cookie: Cookie, regs: &pt_regs, cfa: u64) {
    if !maps::recording() {
        return;
    }
    maps::tally(Tally::AllocReturns);
    let Some(p) = INFLIGHT.get_ptr_mut(&thread()) else {
        maps::tally(Tally::EarlyReturns);
        return;
    };
    // SAFETY: only the current thread uses its entry.
    let inflight = unsafe { &mut *p };
    let function = cookie.function() as u64;
    let depth = inflight.depth;
    let mut index = INFLIGHT_DEPTH as u64;
    let mut round = 0;
    while round < INFLIGHT_DEPTH as u64 {
        let slot = call(inflight, round);
        if round < depth && slot.cfa == cfa && slot.function >> 32 == function {
            index = round;
            break;
        }
        round += 1;
    }
    if index == INFLIGHT_DEPTH as u64 {
        if depth == 0 {
            maps::tally(Tally::EarlyReturns);
        }
        return;
    }
    inflight.depth = index;
    finish(call(inflight, index), regs.rax);
}

/// Books the outcome of a call.
#[inline(always)]
fn finish(call: &mut PendingCall, result: u64) {
    let effect = call.function as u8;
    if effect == Effect::Allocate as u8 {
        allocated(call, result);
    } else if effect == Effect::AllocateOut as u8 {
        if result as u32 != 0 {
            maps::tally(Tally::FailedCalls);
            return;
        }
        let mut block = 0u64;
        // SAFETY: the helper checks the user's address.
        if unsafe { bpf_probe_read_user((&raw mut block).cast(), 8, call.out as *const _) } != 0 {
            maps::lose(Loss::OutUnreadable);
            return;
        }
        allocated(call, block);
    } else if effect == Effect::Reallocate as u8 || effect == Effect::ReallocateOrFree as u8 {
        reallocated(call, result, effect);
    } else if effect == Effect::ResizeInPlace as u8 {
        if result >= call.size {
            let most = call.size.saturating_add(call.out);
            resized(call, if result < most { result } else { most });
        }
    } else if effect == Effect::Expand as u8 && result != 0 {
        resized(call, call.size);
    }
}

/// A new block, if there is one.
#[inline(always)]
fn allocated(call: &mut PendingCall, address: u64) {
    if address == 0 {
        maps::tally(Tally::FailedCalls);
        return;
    }
    if call.size == OVERFLOW {
        maps::lose(Loss::SizeOverflow);
        call.size = 0;
    }
    let block = LiveBlock { size: call.size, site: call.site, at_ns: call.at_ns };
    let mut inserted = LIVE.insert(&address, &block, BPF_NOEXIST as u64);
    if inserted == Err(EEXIST) {
        maps::lose(Loss::FreeMissed);
        if let Some(stale) = take_live(address) {
            charge_free(stale);
        }
        inserted = LIVE.insert(&address, &block, BPF_NOEXIST as u64);
    }
    if inserted.is_err() {
        maps::lose(Loss::LiveFull);
        return;
    }
    if let Some(totals) = totals(call.site) {
        maps::add(&raw mut totals.alloc_objects, 1);
        maps::add(&raw mut totals.alloc_bytes, call.size);
    }
}

#[inline(always)]
fn reallocated(call: &mut PendingCall, result: u64, effect: u8) {
    let failed = result == 0 && call.size != 0;
    if failed && effect == Effect::Reallocate as u8 {
        maps::tally(Tally::FailedCalls);
        nesting::restore(call);
        return;
    }
    if call.old.at_ns != 0 {
        charge_free(call.old);
        maps::tally(Tally::FreedObjects);
    } else if call.old_address != 0 {
        maps::tally(Tally::UnknownFrees);
    }
    if result != 0 {
        allocated(call, result);
    } else if failed {
        maps::tally(Tally::FailedCalls);
    }
}

/// A block that keeps its address and its site, with another size.
#[inline(always)]
fn resized(call: &PendingCall, size: u64) {
    let Some(p) = LIVE.get_ptr_mut(&call.old_address) else { return };
    // SAFETY: a map value; the block is in the hands of the current thread.
    let block = unsafe { &mut *p };
    let before = block.size;
    block.size = size;
    if let Some(totals) = totals(block.site) {
        if size > before {
            maps::add(&raw mut totals.alloc_bytes, size - before);
        } else {
            maps::add(&raw mut totals.free_bytes, before - size);
        }
    }
}

/// Entry of a function that frees a block.
#[inline(always)]
pub(crate) fn free_entry(ctx: &ProbeContext) {
    if !maps::recording() {
        return;
    }
    // SAFETY: the context of a uprobe is the registers of the thread, valid while we run.
    let regs = unsafe { &*ctx.regs };
    let cookie = cookie(ctx);
    let address = Registers::of(regs).get(cookie.pointer());
    maps::tally(Tally::Frees);
    if address == 0 {
        return;
    }
    if let Some(block) = take_live(address) {
        charge_free(block);
        maps::tally(Tally::FreedObjects);
        return;
    }
    // An allocator that frees the old block inside a reallocation: the outer call books it.
    if let Some(p) = INFLIGHT.get_ptr_mut(&thread()) {
        // SAFETY: only the current thread uses its entry.
        if unsafe { (*p).depth } != 0 {
            return;
        }
    }
    maps::tally(unknown_free(cookie, regs));
}

/// What a free is of a block that is not in the account: the program's, or one of its C library's own.
#[inline(always)]
fn unknown_free(cookie: Cookie, regs: &pt_regs) -> Tally {
    if !cookie.has_flushes() {
        return Tally::UnknownFrees;
    }
    let mut return_address = 0u64;
    // SAFETY: the helper checks the user's address.
    let read = unsafe { bpf_probe_read_user((&raw mut return_address).cast(), 8, regs.rsp as *const _) };
    if read != 0 {
        Tally::UnknownFrees
    } else if cookie.is_flush(regs.rip, return_address) {
        Tally::CacheFlushes
    } else if return_address >= maps::slot(state::LINKER_START)
        && return_address < maps::slot(state::LINKER_END)
    {
        Tally::LinkerFrees
    } else {
        Tally::UnknownFrees
    }
}

/// Takes a block out of the account.
#[inline(always)]
fn take_live(address: u64) -> Option<LiveBlock> {
    let p = LIVE.get_ptr(&address)?;
    // SAFETY: a map value; the block is in the hands of the current thread.
    let block = unsafe { *p };
    match LIVE.remove(&address) {
        Ok(()) => return Some(block),
        // Another thread was faster: a double free, which is the program's own affair.
        Err(ENOENT) => {}
        Err(_) => maps::lose(Loss::FreeFailed),
    }
    None
}

#[inline(always)]
fn charge_free(block: LiveBlock) {
    if let Some(totals) = totals(block.site) {
        maps::add(&raw mut totals.free_objects, 1);
        maps::add(&raw mut totals.free_bytes, block.size);
    }
}

#[inline(always)]
fn totals(site: u64) -> Option<&'static mut SiteTotals> {
    // SAFETY: a map value; its members are only added to atomically.
    SITES.get_ptr_mut(&site).map(|p| unsafe { &mut *p })
}
