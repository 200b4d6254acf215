//! Where threads wait, and how long.

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::descriptor::Descriptor;
use leakscope_common::wait::{
    OBJECTS_A_STACK, SEVERAL_OBJECTS, WAIT_BUCKETS, WaitStack, WaitTotals, wait_bucket, wait_site,
};

use super::{THREADS, now, waker};
use crate::counters::{lose, tally};
use crate::events;
use crate::shared::{Value, word};
use crate::stack::Scratch;
use crate::state::{MIN_WAIT, recording};
use crate::task::{self, Object, offset};

#[map]
static WAIT_SITES: HashMap<u64, WaitTotals> = HashMap::with_max_entries(1, 0);
#[map]
static WAIT_STACKS: HashMap<u64, WaitStack> = HashMap::with_max_entries(1, 0);

/// What new entries start with: too large for the BPF stack.
static NEW_SITE: WaitTotals = WaitTotals::ZERO;
static NEW_STACK: WaitStack = WaitStack::ZERO;

/// The wait site of the stack in the slot and of what `task`, the current one, waits on in `syscall`: creates
/// it, and sends the frames of a stack on first sight. 0, the site without a stack, where a map is full.
#[inline(always)]
pub(super) fn of(s: &mut Scratch, task: *const u8, regs: &pt_regs, syscall: u64) -> u64 {
    let stack = s.identity();
    let new: &WaitStack = &NEW_STACK;
    let Some(of_stack) = Value::entry(&WAIT_STACKS, &stack, new) else {
        lose(Loss::WaitSitesFull);
        return 0;
    };
    s.send_once(stack, word!(of_stack, sent));
    let on = Object::of(task, syscall, regs.rdi);
    let id = wait_site(stack, syscall, on.number);
    if Value::find(&WAIT_SITES, &id).is_some() {
        return id;
    }
    // A count that two threads raise at once may be one short, which does no harm.
    let objects = word!(of_stack, objects);
    let many = on.number != 0 && objects.load() >= OBJECTS_A_STACK;
    let number = if many { SEVERAL_OBJECTS } else { on.number };
    let id = wait_site(stack, syscall, number);
    let new: &WaitTotals = &NEW_SITE;
    let Some(made) = Value::entry(&WAIT_SITES, &id, new) else {
        lose(Loss::WaitSitesFull);
        return 0;
    };
    // Two threads that come first at once write what either of them may.
    if word!(made, stack).load() == 0 {
        if number != 0 {
            objects.add(1);
        }
        let mut descriptor = Descriptor::ZERO;
        if !many {
            on.describe(&mut descriptor);
        }
        describe(made, syscall, number, regs, descriptor);
        word!(made, stack).store(stack);
    }
    id
}

/// Writes what a new site waits on.
#[inline(always)]
fn describe(made: Value<WaitTotals>, syscall: u64, number: u64, regs: &pt_regs, descriptor: Descriptor) {
    word!(made, syscall).store(syscall);
    word!(made, object).store(number);
    word!(made, args[0]).store(regs.rdi);
    word!(made, args[1]).store(regs.rsi);
    word!(made, args[2]).store(regs.rdx);
    word!(made, args[3]).store(regs.r10);
    word!(made, args[4]).store(regs.r8);
    word!(made, args[5]).store(regs.r9);
    let totals = made.pointer();
    // SAFETY: a member of a map value, which is valid while the program runs. Another CPU may write it
    // meanwhile, so it is a raw and volatile write.
    unsafe { core::ptr::write_volatile(&raw mut (*totals).descriptor, descriptor) };
}

/// A thread of the target gets the CPU: if it was blocked, its wait is over.
#[inline(always)]
pub(super) fn unblock(task: *const u8) {
    let tid: u32 = task::field(task, offset!(task_pid));
    let Some(thread) = Value::find(&THREADS, &tid) else { return };
    if !recording() {
        // What is open as the account is frozen stays open.
        return;
    }
    let (since, waker_kind) = (word!(thread, since_ns).load(), word!(thread, waker_kind).load());
    word!(thread, since_ns).store(0);
    word!(thread, waker_kind).store(0);
    if since == 0 {
        return;
    }
    if word!(thread, switches).load() != task::switches(task) {
        // It has run since, and was switched out unseen: how long this wait took is not known.
        lose(Loss::WaitEndMissed);
        return;
    }
    let wait_ns = now().wrapping_sub(since);
    tally(Tally::Waits);
    let site = word!(thread, site).load();
    let new: &WaitTotals = &NEW_SITE;
    let Some(totals) = Value::entry(&WAIT_SITES, &site, new) else {
        lose(Loss::WaitSitesFull);
        return;
    };
    word!(totals, waits).add(1);
    word!(totals, wait_ns).add(wait_ns);
    word!(totals, max_ns).raise(wait_ns);
    let bucket = wait_bucket(wait_ns) as usize;
    if bucket < WAIT_BUCKETS {
        word!(totals, histogram[bucket]).add(1);
    }
    let shortest = MIN_WAIT.load();
    if shortest != 0 && wait_ns >= shortest {
        events::wait(tid, site, since, wait_ns);
    }
    if waker_kind == 0 {
        lose(Loss::WakerMissed);
        return;
    }
    waker::charge(thread, waker_kind, site, since, wait_ns);
}
