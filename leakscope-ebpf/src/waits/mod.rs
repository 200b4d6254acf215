//! Waits, from the scheduler: a thread of the target blocks as it is switched out, what wakes it is
//! noted, and the wait ends as it is switched in.
//!
//! These programs run for every context switch and wake-up of the machine, so what is not the
//! target's leaves first, by one load. They run with interrupts off: a switch cannot be seen twice, and
//! nothing here is preempted. Only the thread's own switches write its state; its waker writes the
//! waker's fields while it is blocked. Both may do so at the same time, on two CPUs, so states and totals are
//! reached word by word.

mod holders;
mod site;
mod waker;

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::BtfTracePointContext;
use leakscope_common::counter::Loss;
use leakscope_common::wait::{FUTEX, PF_EXITING, TASK_DEAD, ThreadState, wait_entered};

use crate::counters::{lose, lose_some};
use crate::shared::{Value, word};
use crate::stack::{self, Claimed, Purpose};
use crate::state::{TARGET, recording};
use crate::task::{self, offset};

pub(crate) use waker::waking;

/// Threads that have blocked, or were created while recording.
#[map]
static THREADS: HashMap<u32, ThreadState> = HashMap::with_max_entries(1, 0);

/// What a thread starts with: too large for the BPF stack.
static NEW_THREAD: ThreadState = ThreadState::ZERO;

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// What is known of a thread, made if nothing is; counts `loss` where the map is full.
#[inline(always)]
fn state_of(task: *const u8, loss: Loss) -> Option<Value<ThreadState>> {
    let new: &ThreadState = &NEW_THREAD;
    let found = Value::entry(&THREADS, &task::field::<u32>(task, offset!(task_pid)), new);
    if found.is_none() {
        lose(loss);
    }
    found
}

/// Notes who has created a thread; whether there was room.
#[inline(always)]
pub(crate) fn created(task: *const u8, site: u64) -> bool {
    let Some(thread) = state_of(task, Loss::CreatedThreadsFull) else { return false };
    word!(thread, since_ns).store(0);
    word!(thread, created_by).store(site);
    true
}

/// The thread `tid` of the target, the current one, ends. Returns who has created it; 0: it was there before.
#[inline(always)]
pub(crate) fn ended(tid: u32) -> u64 {
    let Some(thread) = Value::find(&THREADS, &tid) else { return 0 };
    // It runs, so it is not blocked.
    if word!(thread, since_ns).load() != 0 && word!(thread, entered).load() == wait_entered::TRACED {
        lose(Loss::WaitEndMissed);
    }
    let created_by = word!(thread, created_by).load();
    let _ = THREADS.remove(&tid);
    created_by
}

/// `sched_switch(preempt, prev, next, prev_state)`; the state came with Linux 5.18.
#[inline(always)]
pub(crate) fn switch(ctx: &BtfTracePointContext) {
    let previous: *const u8 = ctx.arg(1);
    let next: *const u8 = ctx.arg(2);
    let target = TARGET.load();
    if task::field::<u32>(previous, offset!(task_tgid)) == target {
        let preempted: u64 = ctx.arg(0);
        // The state that it leaves with. Its own member may have changed since: another CPU can wake a
        // thread that is still on its way out.
        let state: u64 = ctx.arg(3);
        if preempted & 1 == 0 {
            block(previous, state as u32);
        }
    }
    if task::field::<u32>(next, offset!(task_tgid)) == target {
        site::unblock(next);
    }
}

/// The current thread leaves the CPU; if it is not to run on, it has blocked.
#[inline(always)]
fn block(task: *const u8, state: u32) {
    let flags: u32 = task::field(task, offset!(task_flags));
    if state == 0 || state & TASK_DEAD != 0 || flags & PF_EXITING != 0 || !recording() {
        return;
    }
    let Some(thread) = state_of(task, Loss::WaitThreadsFull) else { return };
    // The count of voluntary switches includes this one: what lies between two of them was not seen.
    let voluntary: u64 = task::field(task, offset!(task_nvcsw));
    let before = word!(thread, voluntary).load();
    if word!(thread, since_ns).load() != 0 {
        lose(Loss::WaitEndMissed);
    } else if before != 0 && voluntary > before.wrapping_add(1) {
        lose_some(Loss::WaitEndMissed, voluntary.wrapping_sub(before).wrapping_sub(1));
    }
    word!(thread, voluntary).store(voluntary);
    // A waker is left as it is: another CPU may have begun to wake the thread before it got here. If it
    // is of a block that did not come about, the true one will overwrite it.
    word!(thread, entered).store(wait_entered::BLOCKING);
    let regs = task::user_regs();
    let syscall = call_of(regs);
    word!(thread, syscall).store(syscall);
    word!(thread, futex).store(if syscall == FUTEX + 1 { regs.rdi } else { 0 });
    word!(thread, since_ns).store(now());
    let Some(mut scratch) = Claimed::claim(Loss::WaitScratchBusy) else {
        word!(thread, since_ns).store(0);
        return;
    };
    stack::take(&mut scratch, stack::innermost(regs), regs, Purpose::Wait, 0);
    word!(thread, site).store(site::of(scratch.get(), task, regs, syscall));
    word!(thread, switches).store(task::switches(task));
    word!(thread, entered).store(wait_entered::TRACED);
}

/// 1 + the number of the system call that the thread is in; 0: none.
#[inline(always)]
fn call_of(regs: &pt_regs) -> u64 {
    let number = regs.orig_rax;
    if (number as i64) < 0 { 0 } else { number.wrapping_add(1) }
}
