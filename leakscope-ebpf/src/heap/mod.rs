//! The account of live blocks: reads what the probes of the allocator see, and has
//! [`leakscope_common::pairing`] book it.

mod account;
mod calls;
mod frees;
mod live;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_ktime_get_ns};
use aya_ebpf::programs::ProbeContext;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::pairing::{self, Call, Frame, Free};
use leakscope_common::probe::Cookie;
use leakscope_common::unwind::Regs;

use crate::counters::{lose, tally};
use crate::stack::{self, Claimed, Purpose};
use crate::state::recording;
use crate::task;
use account::Maps;
use calls::Calls;

/// What the probe was told about its function.
#[inline(always)]
pub(crate) fn cookie(ctx: &impl EbpfContext) -> Cookie {
    // SAFETY: the context is the one the kernel gave us, valid while the program runs; the helper only reads it.
    Cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) })
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Entry of a function that returns or resizes a block.
#[inline(always)]
pub(crate) fn alloc_entry(ctx: &ProbeContext) {
    if !recording() {
        return;
    }
    tally(Tally::AllocEntries);
    let cookie = cookie(ctx);
    // SAFETY: the context of a uprobe is the registers of the thread, which stay while the program runs; the
    // kernel writes them only before and after it.
    let regs = unsafe { &*ctx.regs };
    let Some(mut calls) = Calls::room() else {
        lose(Loss::InflightFull);
        return;
    };
    let calls = calls.get();
    let cfa = regs.rsp.wrapping_add(8);
    pairing::again(&mut Maps, calls, cookie.function(), cfa);
    let Some(mut scratch) = Claimed::claim(Loss::ScratchBusy) else { return };
    let from = Regs { ip: regs.rip, sp: regs.rsp, bp: regs.rbp, exact: 1 };
    let pending = pairing::look_out(calls, &mut scratch.get().watched);
    stack::take(&mut scratch, from, regs, Purpose::Heap, pending);
    if !pairing::admit(&mut Maps, calls, &scratch.get().walk) {
        return;
    }
    let site = account::site(scratch.get());
    let frame = Frame { cfa, return_address: scratch.get().return_address() };
    drop(scratch);
    let call = Call { cookie, frame, site, at_ns: now() };
    pairing::begin(&mut Maps, calls, call, &task::registers(regs));
}

/// The current thread ends.
#[inline(always)]
pub(crate) fn end_thread() {
    let Some(mut calls) = Calls::noted() else { return };
    if recording() {
        pairing::ended(&mut Maps, calls.get());
        calls.forget();
    }
}

/// Return of a function that returns or resizes a block, seen by a return probe.
#[inline(always)]
pub(crate) fn alloc_return(cookie: Cookie, regs: &pt_regs) {
    returned(cookie, regs, regs.rsp);
}

/// The same at a `ret` instruction, which has yet to take the return address off the stack.
#[inline(always)]
pub(crate) fn alloc_return_at_instruction(cookie: Cookie, regs: &pt_regs) {
    if recording() {
        tally(Tally::RetInstructions);
        returned(cookie, regs, regs.rsp.wrapping_add(8));
    }
}

/// A return; `cfa` is the stack pointer after it.
#[inline(always)]
fn returned(cookie: Cookie, regs: &pt_regs, cfa: u64) {
    if !recording() {
        return;
    }
    tally(Tally::AllocReturns);
    let mut calls = Calls::noted();
    let calls = calls.as_mut().map(Calls::get);
    pairing::returned(&mut Maps, calls, cookie.function(), cfa, regs.rax);
}

/// Entry of a function that frees a block.
#[inline(always)]
pub(crate) fn free_entry(ctx: &ProbeContext) {
    if !recording() {
        return;
    }
    // SAFETY: as in `alloc_entry`.
    let regs = unsafe { &*ctx.regs };
    let cookie = cookie(ctx);
    let address = task::registers(regs)[cookie.pointer() as usize & 15];
    pairing::freed(&mut Maps, Free { cookie, address, probed: regs.rip, sp: regs.rsp });
}
