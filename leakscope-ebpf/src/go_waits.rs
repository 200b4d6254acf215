//! Waits of goroutines, as Go's own block and mutex profiles count them (`runtime/mprof.go`, `runtime/sema.go`).
//!
//! A wait begins where a function that waits calls `gopark`, and ends as the goroutine is made ready; time until it runs
//! does not count. Which waits are meant is known by where the probes stand: in the functions of channels,
//! of semaphores and of `sync.Cond`; sleep and network have calls of their own. A semaphore is that of a lock or of a
//! `sync.WaitGroup`, or the runtime's own: that is known by the arguments of `semacquire1`.
//!
//! The runtime holds a lock as a goroutine parks, so two never write the state of one at the same time. Semaphores may
//! be written by two CPUs at once: their words are right each, and what comes of it is at most a wait that is charged
//! to the release before.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, pt_regs};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use aya_ebpf::programs::ProbeContext;
use leakscope_common::counter::{Loss, Tally};
use leakscope_common::go_wait::{
    GoSemaphore, GoWait, GoWaitTotals, IN_BLOCK_PROFILE, IN_MUTEX_PROFILE, cookie, kind, longest, slot,
    stands_for, state,
};
use leakscope_common::unwind::Regs;

use crate::counters::{lose, tally};
use crate::go::{self, begins_again, target_word};
use crate::shared::{Value, word};
use crate::stack::{self, Claimed, Purpose};
use crate::state::recording;

/// Where things lie in the target, and whether to record.
#[map]
static GO_WAIT_STATE: Array<u64> = Array::with_max_entries(slot::SLOTS, 0);
/// Goroutines that wait, or have waited.
#[map]
static GO_WAITS: HashMap<u64, GoWait> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
/// Semaphores that goroutines wait for.
#[map]
static GO_SEMAPHORES: HashMap<u64, GoSemaphore> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
/// What is added up, by stack.
#[map]
static GO_WAIT_SITES: HashMap<u64, GoWaitTotals> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// What new entries start with.
static NO_WAIT: GoWait = GoWait { state: 0, since_ns: 0, begun_ns: 0, semaphore: 0, site: 0 };
static NO_QUEUE: GoSemaphore = GoSemaphore { phase: 0, queued: 0, head_ns: 0, tail_ns: 0, waiters: 0 };
static NO_TOTALS: GoWaitTotals = GoWaitTotals {
    kind: 0,
    sent: 0,
    waits: 0,
    wait_ns: 0,
    max_ns: 0,
    scaled_waits: 0,
    scaled_ns: 0,
    long_waits: 0,
};

#[inline(always)]
fn setting(slot: u32) -> u64 {
    Value::at(&GO_WAIT_STATE, slot).map_or(0, |slot| slot.word().load())
}

/// A register, as a value: the verifier takes no address in the context for a key.
#[inline(always)]
fn register(register: &u64) -> u64 {
    // SAFETY: a reference is valid; the value is read as it is.
    unsafe { core::ptr::read_volatile(register) }
}

/// What a hit leaves to be done once the stack is taken.
struct Event {
    /// The kind of what the stack is charged with.
    kind: u64,
    /// Where the stack begins.
    from: Regs,
    /// The goroutine that parks; otherwise a lock is released.
    parked: Option<Value<GoWait>>,
    /// What a release is charged with, and the wait that it ends.
    charge: u64,
    wait_ns: u64,
}

/// A goroutine waits, or does so no longer.
#[inline(always)]
pub(crate) fn seen(ctx: &ProbeContext) {
    // SAFETY: the context of a uprobe is the registers of the thread, which stay while the program runs; the
    // kernel writes them only before and after it.
    let regs = unsafe { &*ctx.regs };
    let cookie = go::cookie(ctx);
    if !recording() || begins_again(cookie, regs.eflags) {
        return;
    }
    tally(Tally::GoWaitHits);
    if let Some(hits) = Value::at(&GO_WAIT_STATE, slot::HITS) {
        hits.word().add(1);
    }
    let phase = setting(slot::PHASE);
    if phase & 1 == 0 {
        return;
    }
    // SAFETY: takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let length = setting(slot::LENGTH);
    if length != 0 && now.wrapping_sub(setting(slot::OPENED)) > length {
        return;
    }
    let phase = phase << state::PHASE;
    let event = cookie & cookie::EVENT;
    let next = if event == cookie::BEGINS {
        begins(regs, now, phase);
        None
    } else if event == cookie::PARKS {
        parks(regs, now, phase, cookie >> cookie::KIND & state::KIND)
    } else {
        readied(regs, now, phase, cookie >> cookie::KIND & state::KIND)
    };
    if let Some(event) = next {
        charge(regs, &event);
    }
}

/// A goroutine ends: nothing need be known of it any more.
#[inline(always)]
pub(crate) fn exited(ctx: &ProbeContext) {
    // SAFETY: as in `seen`.
    let regs = unsafe { &*ctx.regs };
    if recording() && !begins_again(go::cookie(ctx), regs.eflags) {
        let goroutine = register(&regs.rax);
        let _ = GO_WAITS.remove(&goroutine);
    }
}

/// Whether what is noted is of this phase.
#[inline(always)]
fn is_of(noted: u64, phase: u64) -> bool {
    noted >> state::PHASE == phase >> state::PHASE
}

/// A goroutine is about to be noted anew: if it was still waiting, as far as was seen, its end was missed.
#[inline(always)]
fn end_missed(wait: Value<GoWait>, phase: u64) {
    let noted = word!(wait, state).load();
    if noted & state::PARKED != 0 && is_of(noted, phase) {
        lose(Loss::GoWaitEndMissed);
        if noted & state::LOCK != 0
            && let Some(semaphore) = Value::find(&GO_SEMAPHORES, &word!(wait, semaphore).load())
            && word!(semaphore, queued).load() != 0
        {
            word!(semaphore, queued).add(u64::MAX);
        }
    }
}

/// `semacquire1(addr, lifo, profile, …)`
#[inline(always)]
fn begins(regs: &pt_regs, now: u64, phase: u64) {
    let goroutine = register(&regs.r14);
    if regs.rcx & IN_BLOCK_PROFILE == 0 {
        if let Some(wait) = Value::find(&GO_WAITS, &goroutine) {
            end_missed(wait, phase);
            word!(wait, state).store(0);
        }
        return;
    }
    let new: &GoWait = &NO_WAIT;
    let Some(wait) = Value::entry(&GO_WAITS, &goroutine, new) else {
        lose(Loss::GoWaitsFull);
        return;
    };
    end_missed(wait, phase);
    let first = if regs.rbx & 0xff != 0 { state::FIRST } else { 0 };
    let lock = if regs.rcx & IN_MUTEX_PROFILE != 0 { state::LOCK } else { 0 };
    word!(wait, since_ns).store(now);
    word!(wait, begun_ns).store(now);
    word!(wait, semaphore).store(regs.rax);
    word!(wait, site).store(0);
    word!(wait, state).store(kind::SEMAPHORE | state::BEGUN | first | lock | phase);
}

/// The current goroutine is about to call `gopark`.
#[inline(always)]
fn parks(regs: &pt_regs, now: u64, phase: u64, of: u64) -> Option<Event> {
    let goroutine = register(&regs.r14);
    let wait = if of == kind::SEMAPHORE {
        let wait = Value::find(&GO_WAITS, &goroutine)?;
        let noted = word!(wait, state).load();
        if noted & state::BEGUN == 0 || !is_of(noted, phase) {
            return None;
        }
        if noted & state::LOCK != 0 {
            queue(wait, noted & state::FIRST != 0, phase);
        }
        word!(wait, state).store(noted | state::PARKED);
        if noted & state::COUNTED != 0 {
            // It was woken, and another one was faster: the wait goes on.
            return None;
        }
        wait
    } else {
        let new: &GoWait = &NO_WAIT;
        let Some(wait) = Value::entry(&GO_WAITS, &goroutine, new) else {
            lose(Loss::GoWaitsFull);
            return None;
        };
        end_missed(wait, phase);
        word!(wait, since_ns).store(now);
        word!(wait, site).store(0);
        word!(wait, state).store(of | state::PARKED | phase);
        wait
    };
    let from = Regs { ip: regs.rip, sp: regs.rsp, bp: regs.rbp, exact: 1 };
    Some(Event { kind: of, from, parked: Some(wait), charge: 0, wait_ns: 0 })
}

/// Joins the queue of a semaphore, as `semaRoot.queue` does.
#[inline(always)]
fn queue(wait: Value<GoWait>, first: bool, phase: u64) {
    let begun = word!(wait, begun_ns).load();
    let new: &GoSemaphore = &NO_QUEUE;
    let Some(semaphore) = Value::entry(&GO_SEMAPHORES, &word!(wait, semaphore).load(), new) else {
        lose(Loss::GoWaitsFull);
        return;
    };
    let queued = word!(semaphore, queued);
    if queued.load() == 0 || word!(semaphore, phase).load() != phase {
        word!(semaphore, phase).store(phase);
        queued.store(0);
        word!(semaphore, head_ns).store(begun);
        word!(semaphore, tail_ns).store(begun);
        word!(semaphore, waiters).store(0);
    } else {
        word!(semaphore, waiters).add(1);
        if !first {
            word!(semaphore, tail_ns).store(begun);
        }
    }
    queued.add(1);
}

/// The first one leaves the queue of a semaphore (`semaRoot.dequeue`). What its release is charged with; `wait_ns`
/// where the queue is not known.
#[inline(always)]
fn dequeue(address: u64, now: u64, wait_ns: u64, phase: u64) -> u64 {
    let Some(semaphore) = Value::find(&GO_SEMAPHORES, &address) else { return wait_ns };
    let (queued, waiters) = (word!(semaphore, queued), word!(semaphore, waiters));
    let seen = GoSemaphore {
        phase: word!(semaphore, phase).load(),
        queued: queued.load(),
        head_ns: word!(semaphore, head_ns).load(),
        tail_ns: word!(semaphore, tail_ns).load(),
        waiters: waiters.load(),
    };
    if seen.queued == 0 || seen.phase != phase {
        return wait_ns;
    }
    if seen.queued == 1 {
        let _ = GO_SEMAPHORES.remove(&address);
    } else {
        word!(semaphore, head_ns).store(now);
        word!(semaphore, tail_ns).store(now);
        waiters.store(seen.left());
        queued.add(u64::MAX);
    }
    seen.charge(now, setting(slot::CHARGES_ALL) != 0)
}

/// The current thread is about to make a goroutine ready.
#[inline(always)]
fn readied(regs: &pt_regs, now: u64, phase: u64, how: u64) -> Option<Event> {
    let (rax, rbx) = (register(&regs.rax), register(&regs.rbx));
    let goroutine = if how == cookie::IN_RAX {
        rax
    } else {
        let base = if how == cookie::SUDOG_IN_RBX { rbx } else { rax };
        let offset = if how == cookie::CLOSURE_IN_RAX { 8 } else { 0 };
        target_word(base.wrapping_add(offset))
    };
    let wait = Value::find(&GO_WAITS, &goroutine)?;
    let noted = word!(wait, state).load();
    if noted & state::PARKED == 0 || !is_of(noted, phase) {
        return None;
    }
    let wait_ns = now.wrapping_sub(word!(wait, since_ns).load());
    let counts = (noted & state::COUNTED == 0) as u64;
    word!(wait, since_ns).store(now);
    let begun = noted & state::BEGUN != 0;
    word!(wait, state).store(if begun { noted & !state::PARKED | state::COUNTED } else { 0 });
    if let Some(totals) = totals(word!(wait, site).load(), noted & state::KIND) {
        add(totals, counts, wait_ns, wait_ns);
    }
    if noted & state::LOCK == 0 {
        return None;
    }
    let charge = dequeue(word!(wait, semaphore).load(), now, wait_ns, phase);
    let m = target_word(regs.r14.wrapping_add(setting(slot::G_M)));
    let releaser = target_word(m.wrapping_add(setting(slot::M_CURG)));
    let from = if releaser == regs.r14 {
        Regs { ip: regs.rip, sp: regs.rsp, bp: regs.rbp, exact: 1 }
    } else {
        // It has left its own stack for that of the scheduler (`systemstack`).
        let at = |slot| target_word(releaser.wrapping_add(setting(slot)));
        Regs { ip: at(slot::SCHED_PC), sp: at(slot::SCHED_SP), bp: at(slot::SCHED_BP), exact: 1 }
    };
    Some(Event { kind: kind::UNLOCK, from, parked: None, charge, wait_ns })
}

/// What is added up of a stack, made if it is missing.
#[inline(always)]
fn totals(site: u64, of: u64) -> Option<Value<GoWaitTotals>> {
    let new: &GoWaitTotals = &NO_TOTALS;
    let Some(totals) = Value::entry(&GO_WAIT_SITES, &site, new) else {
        lose(Loss::GoWaitsFull);
        return None;
    };
    word!(totals, kind).store(of);
    Some(totals)
}

/// Adds a wait of so many ns, which counts as `counts` and is charged with `charge`.
#[inline(always)]
fn add(totals: Value<GoWaitTotals>, counts: u64, charge: u64, wait_ns: u64) {
    word!(totals, waits).add(counts);
    word!(totals, wait_ns).add(charge);
    word!(totals, max_ns).raise(charge);
    let length = setting(slot::LENGTH);
    if length == 0 {
        return;
    }
    if wait_ns > longest(length) {
        word!(totals, long_waits).add(counts);
        return;
    }
    let parts = stands_for(wait_ns, length);
    word!(totals, scaled_waits).add(parts.wrapping_mul(counts));
    word!(totals, scaled_ns).add(charge.wrapping_mul(parts) >> 10);
}

/// Takes the stack, and charges it.
#[inline(always)]
fn charge(regs: &pt_regs, event: &Event) {
    let mut site = 0;
    if let Some(mut scratch) = Claimed::claim(Loss::GoWaitStackLost) {
        stack::take(&mut scratch, event.from, regs, Purpose::Goroutine, 0);
        let s = scratch.get();
        let id = s.identity();
        if let Some(totals) = totals(id, event.kind) {
            site = id;
            s.send_once(id, word!(totals, sent));
        }
    }
    if let Some(wait) = event.parked {
        word!(wait, site).store(site);
    } else if let Some(totals) = totals(site, event.kind) {
        add(totals, 1, event.charge, event.wait_ns);
    }
}
