//! The BPF programs of leakscope.
//!
//! Entry points are here; a module for each feature holds its maps and what its programs do. Modules import only
//! from lines above their own, and those on one line not from each other:
//!
//! ```text
//! atomic                        the atomic operations of BPF
//! shared                        map values as words that other CPUs may touch
//! counters   state              what was lost and seen; what to trace, and whether to
//! task       events   links     tasks through BTF offsets; the ring buffer; perf links and multi links
//! stack                         takes a stack: scratch, rows, unwinding, stacks just seen
//! heap   waits   snapshot        live blocks; waits and wakers; all threads at one moment
//! go   go_waits                 Go's goroutines and heap; waits of goroutines
//! threads                       who creates threads; their end, for `heap` and `waits`, too
//! ```
//!
//! What allocator calls do to the account is [`leakscope_common::pairing`], and a step of the walk
//! [`leakscope_common::unwind`]: both are tested on the host.
//!
//! Uprobe programs run with migration off but may be preempted by another thread's probe on the same CPU. So even
//! what is per CPU is shared, unless a flag or the thread's ID as its key tells whose it is: it is reached by raw
//! pointers and atomic additions ([`shared`]), and each `&mut` says why nobody else has the value.
#![no_std]
#![no_main]
#![allow(unreachable_pub, reason = "aya's attribute macros repeat the visibility of an item")]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod atomic;
mod counters;
mod events;
mod go;
mod go_waits;
mod heap;
mod links;
mod shared;
mod snapshot;
mod stack;
mod state;
mod task;
mod threads;
mod waits;

use aya_ebpf::macros::{btf_tracepoint, uprobe, uretprobe};
use aya_ebpf::programs::{BtfTracePointContext, ProbeContext, RetProbeContext};
use aya_log_ebpf::debug;

/// Declares probes: each as a program for perf links, and as one for multi links, which the kernel tells
/// apart as it loads them. The number is that of its marks in a handover.
macro_rules! probes {
    ($($number:literal: $attribute:ident($context:ty) $perf:ident, $multi:ident => $body:expr;)*) => { $(
        #[$attribute]
        pub fn $perf(ctx: $context) -> u32 {
            links::on_the_own_stack(&ctx, &links::NOWHERE);
            if links::perf_counts($number) {
                $body(&ctx);
            }
            0
        }

        #[$attribute(multi)]
        pub fn $multi(ctx: $context) -> u32 {
            links::on_the_own_stack(&ctx, &links::NOWHERE_MULTI);
            if links::multi_counts($number) {
                $body(&ctx);
            }
            0
        }
    )* };
}

probes! {
    // Entry of a function that returns or resizes a block, its return, and a `ret` of one where a return
    // probe would break exceptions.
    0: uprobe(ProbeContext) alloc_entry, alloc_entry_m => heap::alloc_entry;
    1: uretprobe(RetProbeContext) alloc_return, alloc_return_m => alloc_return_probe;
    2: uprobe(ProbeContext) alloc_ret_instruction, alloc_ret_instruction_m => alloc_ret_probe;
    // Entry of a function that frees a block.
    3: uprobe(ProbeContext) free_entry, free_entry_m => heap::free_entry;
    // The dynamic linker has changed the list of libraries (`_dl_debug_state`).
    4: uprobe(ProbeContext) libraries_changed, libraries_changed_m => libraries_change;
    // A goroutine is created (`runtime.newproc1`), ends (`runtime.goexit0`); a span was taken from the Go
    // heap for an object; a small object is about to be allocated.
    5: uprobe(ProbeContext) go_created, go_created_m => go::created;
    6: uprobe(ProbeContext) go_exited, go_exited_m => goroutine_exit;
    7: uprobe(ProbeContext) go_allocated, go_allocated_m => go::allocated;
    8: uprobe(ProbeContext) go_sampled, go_sampled_m => go::sampled;
    // A goroutine goes for a semaphore, is about to park, or is made ready.
    9: uprobe(ProbeContext) go_waits, go_waits_m => go_waits::seen;
}

#[inline(always)]
fn alloc_return_probe(ctx: &RetProbeContext) {
    // SAFETY: the context of a return probe is the registers of the thread, which stay while the program runs; the
    // kernel writes them only before and after it.
    let regs = unsafe { &*ctx.regs };
    heap::alloc_return(heap::cookie(ctx), regs);
}

#[inline(always)]
fn alloc_ret_probe(ctx: &ProbeContext) {
    // SAFETY: as in `alloc_return_probe`.
    let regs = unsafe { &*ctx.regs };
    heap::alloc_return_at_instruction(heap::cookie(ctx), regs);
}

#[inline(always)]
fn goroutine_exit(ctx: &ProbeContext) {
    go::exited(ctx);
    go_waits::exited(ctx);
}

#[inline(always)]
fn libraries_change(ctx: &ProbeContext) {
    debug!(ctx, "the list of libraries changes");
    events::mappings_changed();
}

/// A thread begins.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn thread_start(ctx: BtfTracePointContext) -> i32 {
    threads::start(&ctx);
    0
}

/// A thread ends.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn thread_exit(_ctx: BtfTracePointContext) -> i32 {
    threads::exit();
    0
}

/// A process replaced its program.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn exec(ctx: BtfTracePointContext) -> i32 {
    threads::exec(&ctx);
    0
}

/// The CPU goes from one thread to another.
#[btf_tracepoint(function = "sched_switch")]
pub fn thread_switch(ctx: BtfTracePointContext) -> i32 {
    waits::switch(&ctx);
    0
}

/// A thread is about to be woken.
#[btf_tracepoint(function = "sched_waking")]
pub fn thread_waking(ctx: BtfTracePointContext) -> i32 {
    waits::waking(&ctx);
    0
}

/// A thread of the machine, as the task iterator comes past it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub fn thread_snapshot(ctx: *mut core::ffi::c_void) -> i32 {
    // SAFETY: the kernel calls iterators with this context, which it leaves alone for the whole step.
    unsafe { snapshot::record(ctx.cast_const().cast()) };
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: nothing here panics, and the verifier rejects a loop without an end.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
