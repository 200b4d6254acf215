//! Who ends waits, and who held what was waited for.

use aya_ebpf::helpers::generated::bpf_get_current_comm;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::BtfTracePointContext;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::release::Release;
use leakscope_common::wait::{
    CLOCK_NANOSLEEP, FUTEX, NANOSLEEP, PF_EXITING, PF_KTHREAD, SIGNALLING, TS_COMPAT, ThreadState, WAKING,
    WakeKey, WakeTotals, WakerKind,
};

use super::holders;
use super::{now, state_of};
use crate::counters::{lose, tally};
use crate::shared::{Value, word};
use crate::stack::{self, Claimed, Purpose};
use crate::state::{TARGET, recording};
use crate::task::{self, offset};

#[map]
static WAKES: HashMap<WakeKey, WakeTotals> = HashMap::with_max_entries(1, 0);
/// Stacks of wakers: 1 once the frames were sent.
#[map]
static WAKER_STACKS: HashMap<u64, u64> = HashMap::with_max_entries(1, 0);

/// What a waker starts with at a site.
static NEW_WAKES: WakeTotals = WakeTotals { wakes: 0, wait_ns: 0, held_ns: 0 };

/// `sched_waking(task)`: notes who wakes a thread of the target that has blocked, or is about to: this may
/// come before the switch on another CPU is seen. The kernel calls it once a wait, so the last one counts.
#[inline(always)]
pub(crate) fn waking(ctx: &BtfTracePointContext) {
    let task: *const u8 = ctx.arg(0);
    if task::field::<u32>(task, offset!(task_tgid)) != TARGET.load() || !recording() {
        return;
    }
    if task::field::<u32>(task, offset!(task_flags)) & PF_EXITING != 0 {
        // Its entry is gone already.
        return;
    }
    let Some(thread) = state_of(task, Loss::WaitThreadsFull) else { return };
    tally(Tally::Wakes);
    let kind = waker_kind(word!(thread, syscall).load());
    word!(thread, waker[0]).store(0);
    word!(thread, waker[1]).store(0);
    word!(thread, released_ns).store(0);
    match kind {
        WakerKind::TimerOrInterrupt => {}
        WakerKind::OtherProcess => {
            let state = thread.pointer();
            // SAFETY: 16 bytes of a map value, which is valid while the program runs. The kernel writes them by
            // a raw pointer; wakers of one task take turns (`pi_lock`), and the thread reads words.
            unsafe { bpf_get_current_comm((&raw mut (*state).waker).cast(), 16) };
        }
        WakerKind::Thread => {
            let stack = waker_stack();
            word!(thread, waker[0]).store(stack);
            releases(thread, stack);
        }
    }
    word!(thread, waker_kind).store(kind as u64);
}

/// The current thread wakes `thread`: by releasing the futex that it waits for?
#[inline(always)]
fn releases(thread: Value<ThreadState>, stack: u64) {
    let regs = task::user_regs();
    if regs.orig_rax != FUTEX {
        return;
    }
    // 0: it is about to block, and what it blocked on before tells nothing.
    let since = word!(thread, since_ns).load();
    if since != 0 && word!(thread, futex).load() != regs.rdi {
        return;
    }
    let at_ns = now();
    holders::released(regs.rdi, Release { at_ns, stack }, since);
    word!(thread, released_ns).store(at_ns);
}

/// Who the current thread is, as a waker of a thread that waits in `syscall` (1 + its number).
///
/// In an interrupt the current thread is whoever was interrupted. Where it runs in user space its saved
/// registers tell; in a system call only which one: in one that wakes nobody, it was an interrupt. One of the
/// 32-bit table counts as one that wakes.
#[inline(always)]
fn waker_kind(syscall: u64) -> WakerKind {
    let current = task::current();
    let flags: u32 = task::field(current, offset!(task_flags));
    if flags & PF_KTHREAD != 0 {
        return WakerKind::TimerOrInterrupt;
    }
    let number = task::user_regs().orig_rax;
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
    let regs = task::user_regs();
    stack::take(&mut scratch, stack::innermost(regs), regs, Purpose::Waker, 0);
    let s = scratch.get();
    let id = s.identity();
    let Some(sent) = Value::entry(&WAKER_STACKS, &id, &0) else {
        lose(Loss::WakerStacksFull);
        return id;
    };
    s.send_once(id, sent.word());
    id
}

/// Charges a wait that has ended to who ended it, and to who held what it was for.
#[inline(always)]
pub(super) fn charge(thread: Value<ThreadState>, kind: u64, site: u64, since_ns: u64, wait_ns: u64) {
    let end_ns = since_ns.wrapping_add(wait_ns);
    let mut from_ns = since_ns;
    let futex = word!(thread, futex).load();
    if futex != 0 {
        let released_ns = word!(thread, released_ns).load();
        let until_ns = if released_ns == 0 { end_ns } else { released_ns };
        let held = |stack, ns| {
            let key = WakeKey { kind: WakerKind::Thread as u64, waker: [stack, 0], site };
            let found = entry(&key);
            if let Some(wakes) = found {
                word!(wakes, held_ns).add(ns);
            }
            found.is_some()
        };
        let split = holders::earlier(futex, since_ns, until_ns, released_ns != 0, held);
        from_ns = split.from_ns;
        if !split.whole {
            lose(Loss::HoldersMerged);
        }
    }
    let waker = [word!(thread, waker[0]).load(), word!(thread, waker[1]).load()];
    let Some(wakes) = entry(&WakeKey { kind, waker, site }) else {
        lose(Loss::WakesFull);
        return;
    };
    word!(wakes, wakes).add(1);
    word!(wakes, wait_ns).add(wait_ns);
    word!(wakes, held_ns).add(end_ns.wrapping_sub(from_ns));
}

/// What a waker is charged with at a site.
#[inline(always)]
fn entry(key: &WakeKey) -> Option<Value<WakeTotals>> {
    let new: &WakeTotals = &NEW_WAKES;
    Value::entry(&WAKES, key, new)
}
