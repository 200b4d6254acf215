//! Go programs: goroutines by the statement that created them, and samples of the heap.
//!
//! The probes stand in functions of the runtime, where arguments are in the registers of Go's own
//! calling convention (`src/cmd/compile/abi-internal.md`): rax, rbx, rcx…; r14 is the goroutine.

use core::ptr::read_volatile;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_F_USER_STACK};
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_prandom_u32, bpf_get_stackid, bpf_probe_read_user,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf, StackTrace};
use aya_ebpf::programs::ProbeContext;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::go::{
    BEFORE_GROWTH, BIT_BYTES, GoPlaces, GoSample, GoroutineTotals, HEADER, OBJECT_TAKEN, SIZE_STEPS,
    SPAN_BYTES, SPAN_IN_RBX, SPAN_TAKEN, TINY, TINY_CLASS, TYPE_POINTERS, size_classes, window,
};

use crate::counters::{lose, tally};
use crate::shared::{Value, word};
use crate::state::recording;
use crate::task::user_word;

/// Where things lie in a Go target.
#[map]
static GO_PLACES: Array<GoPlaces> = Array::with_max_entries(1, 0);
/// Goroutines by `go` statement.
#[map]
static GO_CREATIONS: HashMap<u64, GoroutineTotals> = HashMap::with_max_entries(8192, BPF_F_NO_PREALLOC);
/// Samples of the Go heap.
#[map]
static GO_SAMPLES: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
static GO_STACKS: StackTrace = StackTrace::with_max_entries(1, 0);
/// The windows in which objects are sampled; see [`window`].
#[map]
static GO_WINDOW: Array<u64> = Array::with_max_entries(window::SLOTS, 0);
/// Size classes by size.
static CLASSES: [u8; SIZE_STEPS] = size_classes();

/// Carry and zero flag: with either set, `jbe` jumps.
const BELOW_OR_EQUAL: u64 = 1 << 0 | 1 << 6;
/// Of spans of a class that windows have seen, one in so many is told with its stack: a burst between windows may be of
/// others.
const ONE_IN: u32 = 8;
/// `BPF_RB_NO_WAKEUP`: the ring buffer of samples is polled.
const NO_WAKEUP: u64 = 1;
/// What a statement starts with.
static NO_GOROUTINES: GoroutineTotals = GoroutineTotals { created: 0, exited: 0 };

#[inline(always)]
pub(crate) fn cookie(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context is the one the kernel gave us, valid while the program runs; the helper only reads it.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn places() -> Option<&'static GoPlaces> {
    // SAFETY: a map value is valid while the program runs. Userspace writes it before the probes are attached,
    // and nobody after that: it may be shared.
    GO_PLACES.get_ptr(0).map(|p| unsafe { &*p })
}

/// Reads a word of the target; 0 where that fails.
#[inline(always)]
pub(crate) fn target_word(address: u64) -> u64 {
    user_word(address).unwrap_or(0)
}

/// Whether the stack is about to be moved: the function will begin once more.
#[inline(always)]
pub(crate) fn begins_again(cookie: u64, flags: u64) -> bool {
    cookie & BEFORE_GROWTH != 0 && flags & BELOW_OR_EQUAL != 0
}

#[inline(always)]
fn totals(at: u64) -> Option<Value<GoroutineTotals>> {
    let new: &GoroutineTotals = &NO_GOROUTINES;
    let found = Value::entry(&GO_CREATIONS, &at, new);
    if found.is_none() {
        lose(Loss::GoCreationsFull);
    }
    found
}

/// `newproc1(fn, callergp, callerpc, …)`
#[inline(always)]
pub(crate) fn created(ctx: &ProbeContext) {
    // SAFETY: the context of a uprobe is the registers of the thread, which stay while the program runs; the
    // kernel writes them only before and after it.
    let regs = unsafe { &*ctx.regs };
    if !recording() || begins_again(cookie(ctx), regs.eflags) {
        return;
    }
    if let Some(totals) = totals(regs.rcx) {
        word!(totals, created).add(1);
    }
}

/// `goexit0(gp)`
#[inline(always)]
pub(crate) fn exited(ctx: &ProbeContext) {
    // SAFETY: as in `created`.
    let regs = unsafe { &*ctx.regs };
    if !recording() || begins_again(cookie(ctx), regs.eflags) {
        return;
    }
    let Some(places) = places() else { return };
    let at = target_word(regs.rax.wrapping_add(places.g_created_at as u64));
    if let Some(totals) = totals(at) {
        word!(totals, exited).add(1);
    }
}

/// A span was taken from the heap, and its first object is about to be chosen.
#[inline(always)]
pub(crate) fn allocated(ctx: &ProbeContext) {
    if !recording() {
        return;
    }
    let Some(places) = places() else { return };
    tally(Tally::GoHeapHits);
    // SAFETY: as in `created`.
    let regs = unsafe { &*ctx.regs };
    // Both are read, so that a value is chosen, not an address: the verifier allows no computed access.
    // SAFETY: members of the registers, as in `created`.
    let (rax, rbx) = unsafe { (read_volatile(&raw const regs.rax), read_volatile(&raw const regs.rbx)) };
    let span = if cookie(ctx) & SPAN_IN_RBX != 0 { rbx } else { rax };
    let class = target_word(span.wrapping_add(places.span_class as u64)) as u8 as u32;
    let seen = window_slot(window::SEEN + (class >> 6)) >> (class & 63) & 1 != 0;
    let p = current_p(places, regs.r14);
    // SAFETY: the helper has no arguments.
    let drawn = || unsafe { bpf_get_prandom_u32() } % ONE_IN == 0;
    let taken = Taken { event: SPAN_TAKEN, class, span, p, caller: 0, with_stack: !seen || drawn() };
    send(ctx, places, &taken, window_slot(window::PHASE));
}

/// A small object is about to be allocated: `mallocgc(size, typ, …)` or one of the functions for a kind or size of
/// objects, with the same arguments.
#[inline(always)]
pub(crate) fn sampled(ctx: &ProbeContext) {
    // SAFETY: as in `created`.
    let regs = unsafe { &*ctx.regs };
    if !recording() || begins_again(cookie(ctx), regs.eflags) {
        return;
    }
    let Some(places) = places() else { return };
    tally(Tally::GoHeapHits);
    window_add(window::HITS);
    let mut phase = window_slot(window::PHASE);
    if phase & 1 == 0 {
        let next = window_slot(window::NEXT);
        if next <= phase || window_slot(window::HITS) < window_slot(window::FROM) {
            return;
        }
        enter(next);
        phase = next;
    }
    let p = current_p(places, regs.r14);
    let cache = target_word(p.wrapping_add(places.p_cache as u64));
    let Some(class) = span_class(places, cache, regs.rax, regs.rbx) else { return };
    let at = places.cache_alloc as u64 + 8 * class;
    let span = target_word(cache.wrapping_add(at));
    let caller = target_word(regs.rsp);
    let taken = Taken { event: OBJECT_TAKEN, class: class as u32, span, p, caller, with_stack: true };
    window_add(window::TAKEN);
    let last = window_slot(window::TAKEN) >= window_slot(window::LIMIT);
    send(ctx, places, &taken, phase);
    if last {
        enter(phase + 1);
    }
}

/// Enters a phase, unless a later one has begun.
#[inline(always)]
fn enter(phase: u64) {
    if let Some(slot) = Value::at(&GO_WINDOW, window::PHASE) {
        slot.word().raise(phase);
    }
}

/// The span class that an object of so many bytes comes from (`mallocgc` in `runtime/malloc.go`); `None` if it takes
/// none from a span: it has a span of its own, or shares a block with other tiny ones.
#[inline(always)]
fn span_class(places: &GoPlaces, cache: u64, size: u64, kind: u64) -> Option<u64> {
    if size == 0 || size > places.largest_small as u64 {
        return None;
    }
    let no_pointers = kind == 0 || target_word(kind.wrapping_add(TYPE_POINTERS)) == 0;
    if no_pointers && size < TINY {
        let tiny = cache.wrapping_add(places.cache_tiny as u64);
        let used = target_word(tiny.wrapping_add(8));
        let align = if size & 7 == 0 {
            7
        } else if size & 3 == 0 {
            3
        } else {
            !size & 1
        };
        let begins = used.wrapping_add(align) & !align;
        let fits = begins.wrapping_add(size) <= TINY && target_word(tiny) != 0;
        return if fits { None } else { Some(TINY_CLASS) };
    }
    let header = if !no_pointers && size > places.largest_without_header as u64 { HEADER } else { 0 };
    let step = (size + header).div_ceil(8) as usize;
    if step >= SIZE_STEPS {
        return None;
    }
    // SAFETY: the index was checked; the table is read volatile, so that it stays one.
    let class = unsafe { read_volatile(CLASSES.as_ptr().add(step)) };
    Some((class as u64) << 1 | no_pointers as u64)
}

#[inline(always)]
fn current_p(places: &GoPlaces, g: u64) -> u64 {
    let m = target_word(g.wrapping_add(places.g_m as u64));
    target_word(m.wrapping_add(places.m_p as u64))
}

#[inline(always)]
fn window_slot(slot: u32) -> u64 {
    Value::at(&GO_WINDOW, slot).map_or(0, |slot| slot.word().load())
}

#[inline(always)]
fn window_add(slot: u32) {
    if let Some(slot) = Value::at(&GO_WINDOW, slot) {
        slot.word().add(1);
    }
}

/// What is taken, and by whom.
struct Taken {
    event: u32,
    class: u32,
    span: u64,
    p: u64,
    caller: u64,
    with_stack: bool,
}

/// The number of the current stack; negative if it could not be taken.
#[inline(always)]
fn stack_of(ctx: &ProbeContext) -> i64 {
    let map = (&raw const GO_STACKS).cast_mut().cast();
    // SAFETY: the context is the kernel's and valid while the program runs, the map its object, which our static
    // only names.
    let stack = unsafe { bpf_get_stackid(ctx.as_ptr(), map, BPF_F_USER_STACK as u64) };
    tally(Tally::GoHeapStacks);
    if stack < 0 {
        lose(Loss::GoStackLost);
    }
    stack
}

/// Sends it with its stack, and with what the span looks like.
#[inline(always)]
fn send(ctx: &ProbeContext, places: &GoPlaces, taken: &Taken, phase: u64) {
    let stack = if taken.with_stack { stack_of(ctx) } else { -1 };
    let generation = target_word(places.sweep_generation) as u32;
    let marking = if places.marking == 0 { 0 } else { target_word(places.marking) as u8 as u32 };
    let size = places.span_size;
    if size as usize > SPAN_BYTES {
        return;
    }
    let Some(mut record) = GO_SAMPLES.reserve::<GoSample>(0) else {
        lose(Loss::GoSampleLost);
        return;
    };
    let sample: *mut GoSample = record.as_mut_ptr();
    let elements = target_word(taken.span.wrapping_add(places.span_elements as u64)) as u16 as u64;
    let bits = target_word(taken.span.wrapping_add(places.span_alloc_bits as u64));
    // Whole words, as the runtime allots them.
    let mut bit_bytes = elements.div_ceil(64) * 8;
    if bit_bytes > BIT_BYTES as u64 {
        bit_bytes = BIT_BYTES as u64;
    }
    // SAFETY: the record is ours alone until it is submitted; the helper checks the address, and fills what it
    // cannot read with zeros. What a smaller description leaves is never looked at.
    unsafe {
        (*sample).span = taken.span;
        (*sample).p = taken.p;
        (*sample).stack = stack;
        (*sample).generation = generation;
        (*sample).marking = marking;
        (*sample).event = taken.event;
        (*sample).class = taken.class;
        (*sample).phase = phase;
        (*sample).caller = taken.caller;
        bpf_probe_read_user((&raw mut (*sample).bytes).cast(), size, taken.span as *const _);
        let read = bpf_probe_read_user((&raw mut (*sample).bits).cast(), bit_bytes as u32, bits as *const _);
        (*sample).bits_read = if read == 0 { bit_bytes } else { 0 };
    }
    record.submit(NO_WAKEUP);
}
