//! Waits, from the scheduler: a thread of the target blocks as it is switched out, what wakes it is
//! noted, and the wait ends as it is switched in.
//!
//! These programs run for every context switch and wake-up of the machine, so what is not the
//! target's leaves first, by one load. They run with interrupts off: a switch cannot be seen twice, and
//! nothing here is preempted. Only the thread's own switches write its state; its waker writes the
//! waker's fields while it is blocked.

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_probe_read_user, bpf_task_pt_regs,
};
use aya_ebpf::programs::BtfTracePointContext;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::unwind::{BREAKPOINT, Regs};
use leakscope_common::wait::{
    CLOCK_NANOSLEEP, NANOSLEEP, OBJECTS_A_STACK, PF_EXITING, PF_KTHREAD, SEVERAL_OBJECTS, SIGNALLING,
    TASK_DEAD, TS_COMPAT, ThreadState, WAIT_BUCKETS, WAKING, WaitStack, WaitTotals, WakeKey, WakeTotals,
    WakerKind, wait_bucket, wait_entered, wait_site,
};

use crate::descriptor::Object;
use crate::known::Purpose;
use crate::maps::{self, MIN_WAIT, TARGET, THREADS, WAIT_SITES, WAIT_STACKS, WAKER_STACKS, WAKES};
use crate::stack::{self, Claimed};
use crate::task::{self, offset};
use crate::{atomic, emit, unwind};

/// What new entries start with: too large for the BPF stack.
static NEW_SITE: WaitTotals = WaitTotals::ZERO;
static NEW_STACK: WaitStack = WaitStack::ZERO;
static NEW_THREAD: ThreadState = ThreadState::ZERO;
static NEW_WAKES: WakeTotals = WakeTotals { wakes: 0, wait_ns: 0 };

/// The user registers of the current thread.
#[inline(always)]
pub(crate) fn user_regs() -> &'static pt_regs {
    // SAFETY: the current task is valid while the program runs, and so are its registers.
    unsafe { &*(bpf_task_pt_regs(bpf_get_current_task_btf()) as *const pt_regs) }
}

/// Where unwinding begins for a thread that is in the kernel.
#[inline(always)]
pub(crate) fn unwind_from(regs: &pt_regs) -> Regs {
    let mut ip = regs.rip;
    if (regs.orig_rax as i64) < 0 {
        // Not in a system call. If that was the breakpoint of a probe, the instruction under it has
        // not run yet.
        let (mut before, at) = (0u8, ip.wrapping_sub(1));
        // SAFETY: the helper checks the user's address; one byte.
        let read = unsafe { bpf_probe_read_user((&raw mut before).cast(), 1, at as *const _) };
        if read == 0 && before == BREAKPOINT {
            ip = at;
        }
    }
    Regs { ip, sp: regs.rsp, bp: regs.rbp, exact: 1 }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// What is known of a thread, made if nothing is; counts `loss` where the map is full.
#[inline(always)]
pub(crate) fn state_of(task: *const u8, loss: Loss) -> Option<&'static mut ThreadState> {
    let new: &ThreadState = &NEW_THREAD;
    let found = maps::entry(&THREADS, task::field::<u32>(task, offset!(task_pid)), new);
    if found.is_none() {
        maps::lose(loss);
    }
    // SAFETY: a map value. Only the thread's own switches write it; what wakes or creates it writes
    // members of its own, and wakers of one task take turns (`pi_lock`).
    found.map(|thread| unsafe { &mut *thread })
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
        unblock(next);
    }
}

/// The current thread leaves the CPU; if it is not to run on, it has blocked.
#[inline(always)]
fn block(task: *const u8, state: u32) {
    let flags: u32 = task::field(task, offset!(task_flags));
    if state == 0 || state & TASK_DEAD != 0 || flags & PF_EXITING != 0 || !maps::recording() {
        return;
    }
    let Some(thread) = state_of(task, Loss::WaitThreadsFull) else { return };
    // The count of voluntary switches includes this one: what lies between two of them was not seen.
    let voluntary: u64 = task::field(task, offset!(task_nvcsw));
    if thread.since_ns != 0 {
        maps::lose(Loss::WaitEndMissed);
    } else if thread.voluntary != 0 && voluntary > thread.voluntary.wrapping_add(1) {
        maps::lose_some(Loss::WaitEndMissed, voluntary.wrapping_sub(thread.voluntary).wrapping_sub(1));
    }
    thread.voluntary = voluntary;
    // A waker is left as it is: another CPU may have begun to wake the thread before it got here. If it
    // is of a block that did not come about, the true one will overwrite it.
    thread.entered = wait_entered::BLOCKING;
    let regs = user_regs();
    thread.syscall = call_of(regs);
    // SAFETY: a member of a map value.
    unsafe { core::ptr::write_volatile(&raw mut thread.since_ns, now()) };
    let Some(mut scratch) = Claimed::claim(Loss::WaitScratchBusy) else {
        thread.since_ns = 0;
        return;
    };
    stack::take(&mut scratch, unwind_from(regs), regs, Purpose::Wait, 0);
    thread.site = site(&mut scratch, task, regs, thread.syscall);
    thread.switches = task::switches(task);
    thread.entered = wait_entered::TRACED;
}

/// 1 + the number of the system call that the thread is in; 0: none.
#[inline(always)]
fn call_of(regs: &pt_regs) -> u64 {
    let number = regs.orig_rax;
    if (number as i64) < 0 { 0 } else { number.wrapping_add(1) }
}

/// The wait site of the stack in the slot and of what `task`, the current one, waits on in `syscall`: creates
/// it, and sends the frames of a stack on first sight. 0, the site without a stack, where a map is full.
#[inline(always)]
fn site(claimed: &mut Claimed, task: *const u8, regs: &pt_regs, syscall: u64) -> u64 {
    let s = claimed.get();
    let stack = unwind::identity(s);
    let new: &WaitStack = &NEW_STACK;
    let Some(of_stack) = maps::entry(&WAIT_STACKS, stack, new) else {
        maps::lose(Loss::WaitSitesFull);
        return 0;
    };
    // SAFETY: a map value.
    unsafe { stack::send_once(s, stack, &raw mut (*of_stack).sent) };
    let on = Object::of(task, syscall, regs.rdi);
    let id = wait_site(stack, syscall, on.number);
    if WAIT_SITES.get_ptr(&id).is_some() {
        return id;
    }
    // SAFETY: a map value; a count that two threads raise at once may be one short, which does no harm.
    let many = on.number != 0 && unsafe { (*of_stack).objects } >= OBJECTS_A_STACK;
    let number = if many { SEVERAL_OBJECTS } else { on.number };
    let id = wait_site(stack, syscall, number);
    let new: &WaitTotals = &NEW_SITE;
    let Some(made) = maps::entry(&WAIT_SITES, id, new) else {
        maps::lose(Loss::WaitSitesFull);
        return 0;
    };
    // SAFETY: map values; two threads that come first at once write what either of them may.
    unsafe {
        if (*made).stack == 0 {
            if number != 0 {
                maps::add(&raw mut (*of_stack).objects, 1);
            }
            (*made).syscall = syscall;
            (*made).object = number;
            (*made).args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
            if !many {
                on.describe(&mut (*made).descriptor);
            }
            (*made).stack = stack;
        }
    }
    id
}

/// A thread of the target gets the CPU: if it was blocked, its wait is over.
#[inline(always)]
fn unblock(task: *const u8) {
    let tid: u32 = task::field(task, offset!(task_pid));
    let Some(thread) = THREADS.get_ptr_mut(&tid) else { return };
    // SAFETY: a map value; see `block`.
    let thread = unsafe { &mut *thread };
    if !maps::recording() {
        // What is open as the account is frozen stays open.
        return;
    }
    let (since, waker_kind) = (thread.since_ns, thread.waker_kind);
    thread.since_ns = 0;
    thread.waker_kind = 0;
    if since == 0 {
        return;
    }
    if thread.switches != task::switches(task) {
        // It has run since, and was switched out unseen: how long this wait took is not known.
        maps::lose(Loss::WaitEndMissed);
        return;
    }
    let wait_ns = now().wrapping_sub(since);
    maps::tally(Tally::Waits);
    let new: &WaitTotals = &NEW_SITE;
    let Some(totals) = maps::entry(&WAIT_SITES, thread.site, new) else {
        maps::lose(Loss::WaitSitesFull);
        return;
    };
    // SAFETY: a map value; the members are added to atomically.
    unsafe {
        maps::add(&raw mut (*totals).waits, 1);
        maps::add(&raw mut (*totals).wait_ns, wait_ns);
        atomic::raise(&raw mut (*totals).max_ns, wait_ns);
        let bucket = wait_bucket(wait_ns) as usize;
        if bucket < WAIT_BUCKETS {
            maps::add(&raw mut (*totals).histogram[bucket], 1);
        }
    }
    let shortest = MIN_WAIT.load();
    if shortest != 0 && wait_ns >= shortest {
        emit::wait(tid, thread.site, since, wait_ns);
    }
    if waker_kind == 0 {
        maps::lose(Loss::WakerMissed);
        return;
    }
    let key = WakeKey { kind: waker_kind, waker: thread.waker, site: thread.site };
    let new: &WakeTotals = &NEW_WAKES;
    let Some(wakes) = maps::entry(&WAKES, key, new) else {
        maps::lose(Loss::WakesFull);
        return;
    };
    // SAFETY: as above.
    unsafe {
        maps::add(&raw mut (*wakes).wakes, 1);
        maps::add(&raw mut (*wakes).wait_ns, wait_ns);
    }
}

/// `sched_waking(task)`: notes who wakes a thread of the target that has blocked, or is about to: this may
/// come before the switch on another CPU is seen. The kernel calls it once a wait, so the last one counts.
#[inline(always)]
pub(crate) fn waking(ctx: &BtfTracePointContext) {
    let task: *const u8 = ctx.arg(0);
    if task::field::<u32>(task, offset!(task_tgid)) != TARGET.load() || !maps::recording() {
        return;
    }
    if task::field::<u32>(task, offset!(task_flags)) & PF_EXITING != 0 {
        // Its entry is gone already.
        return;
    }
    let Some(thread) = state_of(task, Loss::WaitThreadsFull) else { return };
    maps::tally(Tally::Wakes);
    let kind = waker_kind(thread.syscall);
    thread.waker = [0; 2];
    match kind {
        WakerKind::TimerOrInterrupt => {}
        WakerKind::OtherProcess => {
            // SAFETY: the waker's 16 bytes.
            unsafe { bpf_get_current_comm((&raw mut thread.waker).cast(), 16) };
        }
        WakerKind::Thread => thread.waker[0] = waker_stack(),
    }
    thread.waker_kind = kind as u64;
}

/// Who the current thread is, as a waker of a thread that waits in `syscall` (1 + its number).
///
/// In an interrupt the current thread is whoever was interrupted. Where it runs in user space its saved
/// registers tell; in a system call only which one: in one that wakes nobody, it was an interrupt. One of the
/// 32-bit table counts as one that wakes.
#[inline(always)]
fn waker_kind(syscall: u64) -> WakerKind {
    // SAFETY: takes no arguments.
    let current = unsafe { bpf_get_current_task_btf() } as *const u8;
    let flags: u32 = task::field(current, offset!(task_flags));
    if flags & PF_KTHREAD != 0 {
        return WakerKind::TimerOrInterrupt;
    }
    let number = user_regs().orig_rax;
    let sleeps = syscall == NANOSLEEP + 1 || syscall == CLOCK_NANOSLEEP + 1;
    let (waking, signalling) = (WAKING, SIGNALLING);
    if number >= 512 {
        return WakerKind::TimerOrInterrupt;
    }
    let word = (number >> 6) as usize & 7;
    let wakes = if sleeps { signalling[word] } else { waking[word] };
    if wakes >> (number & 63) & 1 == 0 && !in_32_bit_call(current) {
        return WakerKind::TimerOrInterrupt;
    }
    if task::field::<u32>(current, offset!(task_tgid)) == TARGET.load() {
        WakerKind::Thread
    } else if sleeps && flags & PF_EXITING != 0 && !is_child(current) {
        // Its end signals nobody but its parent, and takes long enough for many a timer to fire.
        WakerKind::TimerOrInterrupt
    } else {
        WakerKind::OtherProcess
    }
}

/// Whether the target is the parent of the current thread's process.
#[inline(always)]
fn is_child(current: *const u8) -> bool {
    let parent = task::kernel_word((current as u64).wrapping_add(offset!(task_real_parent) as u64));
    task::kernel_word(parent.wrapping_add(offset!(task_tgid) as u64)) as u32 == TARGET.load()
}

/// Whether the current thread is in a system call whose number is of the 32-bit table: it may be any.
#[inline(always)]
fn in_32_bit_call(current: *const u8) -> bool {
    offset!(task_status) != 0 && task::field::<u32>(current, offset!(task_status)) & TS_COMPAT != 0
}

/// The current thread's stack, as a waker's; 0 where it cannot be taken.
#[inline(always)]
fn waker_stack() -> u64 {
    let Some(mut scratch) = Claimed::claim(Loss::OtherScratchBusy) else { return 0 };
    let regs = user_regs();
    stack::take(&mut scratch, unwind_from(regs), regs, Purpose::Waker, 0);
    let s = scratch.get();
    let id = unwind::identity(s);
    let Some(sent) = maps::entry(&WAKER_STACKS, id, &0) else {
        maps::lose(Loss::WakerStacksFull);
        return id;
    };
    // SAFETY: a map value.
    unsafe { stack::send_once(s, id, sent) };
    id
}
