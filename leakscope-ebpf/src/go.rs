//! Go programs: goroutines by the statement that created them, and samples of the heap.
//!
//! The probes stand in functions of the runtime, where arguments are in the registers of Go's own
//! calling convention (`src/cmd/compile/abi-internal.md`): rax, rbx, rcx…; r14 is the goroutine.

use core::ptr::read_volatile;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_F_USER_STACK;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_get_stackid, bpf_probe_read_user};
use aya_ebpf::programs::ProbeContext;
use leakscope_common::counter::Loss;
use leakscope_common::go::{
    BEFORE_GROWTH, BIT_BYTES, GoPlaces, GoSample, GoroutineTotals, SPAN_BYTES, SPAN_IN_RBX,
};

use crate::maps::{self, GO_CREATIONS, GO_PLACES, GO_SAMPLES, GO_STACKS};

/// Carry and zero flag: with either set, `jbe` jumps.
const BELOW_OR_EQUAL: u64 = 1 << 0 | 1 << 6;
/// `BPF_RB_NO_WAKEUP`: the ring buffer of samples is polled.
const NO_WAKEUP: u64 = 1;
/// What a statement starts with.
static NO_GOROUTINES: GoroutineTotals = GoroutineTotals { created: 0, exited: 0 };

#[inline(always)]
fn cookie(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context is the one the kernel gave us.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn places() -> Option<&'static GoPlaces> {
    // SAFETY: a map value that userspace writes before the probes are attached.
    GO_PLACES.get_ptr(0).map(|p| unsafe { &*p })
}

/// Reads a word of the target; 0 where that fails.
#[inline(always)]
fn word(address: u64) -> u64 {
    let mut word = 0u64;
    // SAFETY: the helper checks the address, and fills the word with zeros where it cannot be read.
    unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, address as *const _) };
    word
}

/// Whether the stack is about to be moved: the function will begin once more.
#[inline(always)]
fn begins_again(cookie: u64, flags: u64) -> bool {
    cookie & BEFORE_GROWTH != 0 && flags & BELOW_OR_EQUAL != 0
}

#[inline(always)]
fn totals(at: u64) -> Option<*mut GoroutineTotals> {
    let new: &GoroutineTotals = &NO_GOROUTINES;
    let found = maps::entry(&GO_CREATIONS, at, new);
    if found.is_none() {
        maps::lose(Loss::GoCreationsFull);
    }
    found
}

/// `newproc1(fn, callergp, callerpc, …)`
#[inline(always)]
pub(crate) fn created(ctx: &ProbeContext) {
    // SAFETY: the context of a uprobe is the registers of the thread, valid while we run.
    let regs = unsafe { &*ctx.regs };
    if !maps::recording() || begins_again(cookie(ctx), regs.eflags) {
        return;
    }
    if let Some(totals) = totals(regs.rcx) {
        // SAFETY: a map value, added to atomically.
        unsafe { maps::add(&raw mut (*totals).created, 1) };
    }
}

/// `goexit0(gp)`
#[inline(always)]
pub(crate) fn exited(ctx: &ProbeContext) {
    // SAFETY: as above.
    let regs = unsafe { &*ctx.regs };
    if !maps::recording() || begins_again(cookie(ctx), regs.eflags) {
        return;
    }
    let Some(places) = places() else { return };
    let at = word(regs.rax.wrapping_add(places.g_created_at as u64));
    if let Some(totals) = totals(at) {
        // SAFETY: as above.
        unsafe { maps::add(&raw mut (*totals).exited, 1) };
    }
}

/// A span was taken from the heap, and its first object is about to be chosen.
#[inline(always)]
pub(crate) fn allocated(ctx: &ProbeContext) {
    if !maps::recording() {
        return;
    }
    let Some(places) = places() else { return };
    // SAFETY: as above.
    let regs = unsafe { &*ctx.regs };
    // Both are read, so that a value is chosen, not an address: the verifier allows no computed access.
    // SAFETY: members of the context.
    let (rax, rbx) = unsafe { (read_volatile(&raw const regs.rax), read_volatile(&raw const regs.rbx)) };
    let span = if cookie(ctx) & SPAN_IN_RBX != 0 { rbx } else { rax };
    let map = (&raw const GO_STACKS).cast_mut().cast();
    // SAFETY: the context is the kernel's, the map one of stacks.
    let stack = unsafe { bpf_get_stackid(ctx.as_ptr(), map, BPF_F_USER_STACK as u64) };
    if stack < 0 {
        maps::lose(Loss::GoStackLost);
    }
    let m = word(regs.r14.wrapping_add(places.g_m as u64));
    let p = word(m.wrapping_add(places.m_p as u64));
    let generation = word(places.sweep_generation) as u32;
    let marking = if places.marking == 0 { 0 } else { word(places.marking) as u8 as u32 };
    let size = places.span_size;
    if size as usize > SPAN_BYTES {
        return;
    }
    let Some(mut record) = GO_SAMPLES.reserve::<GoSample>(0) else {
        maps::lose(Loss::GoSampleLost);
        return;
    };
    let sample: *mut GoSample = record.as_mut_ptr();
    let elements = word(span.wrapping_add(places.span_elements as u64)) as u16 as u64;
    let bits = word(span.wrapping_add(places.span_alloc_bits as u64));
    // Whole words, as the runtime allots them.
    let mut bit_bytes = elements.div_ceil(64) * 8;
    if bit_bytes > BIT_BYTES as u64 {
        bit_bytes = BIT_BYTES as u64;
    }
    // SAFETY: the record is ours until it is submitted; the helper checks the address, and fills what it
    // cannot read with zeros. What a smaller description leaves is never looked at.
    unsafe {
        (*sample).span = span;
        (*sample).p = p;
        (*sample).stack = stack;
        (*sample).generation = generation;
        (*sample).marking = marking;
        bpf_probe_read_user((&raw mut (*sample).bytes).cast(), size, span as *const _);
        let read = bpf_probe_read_user((&raw mut (*sample).bits).cast(), bit_bytes as u32, bits as *const _);
        (*sample).bits_read = if read == 0 { bit_bytes } else { 0 };
    }
    record.submit(NO_WAKEUP);
}
