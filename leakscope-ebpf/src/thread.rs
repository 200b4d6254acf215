//! Threads of the target: who created them, and their end.

use aya_ebpf::programs::BtfTracePointContext;
use leakscope_common::config::state;
use leakscope_common::counter::Loss;
use leakscope_common::event::Kind;
use leakscope_common::wait::{CreationTotals, wait_entered};

use crate::known::Purpose;
use crate::maps::{self, CREATIONS, TARGET, THREADS};
use crate::stack::{self, Claimed};
use crate::task::{self, offset};
use crate::{emit, unwind, wait};

/// What a new site starts with.
static NEW_CREATION: CreationTotals = CreationTotals { created: 0, exited: 0, sent: 0 };

/// `sched_process_fork(parent, child)`: reports new threads of the target, counts processes.
#[inline(always)]
pub(crate) fn start(ctx: &BtfTracePointContext) {
    if !task::in_target() {
        return;
    }
    let (parent, child): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    if task::field::<u32>(child, offset!(task_tgid)) != TARGET.load() {
        // A process. The probes of multi links stay in a copy of the memory.
        let memory = |task| task::field::<u64>(task, offset!(task_mm));
        let shared = memory(parent) == memory(child);
        maps::add_to_slot(if shared { state::SHARED } else { state::FORKED });
        return;
    }
    emit::thread(Kind::ThreadStart);
    if !maps::recording() {
        return;
    }
    let site = creation_site();
    let Some(totals) = CREATIONS.get_ptr_mut(&site) else { return };
    let Some(thread) = wait::state_of(child, Loss::CreatedThreadsFull) else { return };
    thread.since_ns = 0;
    thread.created_by = site;
    // SAFETY: a map value, added to atomically.
    unsafe { maps::add(&raw mut (*totals).created, 1) };
}

/// The site of the current thread's stack; 0, which always exists, where the map is full.
#[inline(always)]
fn creation_site() -> u64 {
    let Some(mut scratch) = Claimed::claim(Loss::OtherScratchBusy) else { return 0 };
    let regs = wait::user_regs();
    stack::take(&mut scratch, wait::unwind_from(regs), regs, Purpose::Creation, 0);
    let s = scratch.get();
    let id = unwind::identity(s);
    let new: &CreationTotals = &NEW_CREATION;
    let Some(totals) = maps::entry(&CREATIONS, id, new) else {
        maps::lose(Loss::CreationsFull);
        return 0;
    };
    // SAFETY: a map value.
    unsafe { stack::send_once(s, id, &raw mut (*totals).sent) };
    id
}

/// The thread `tid` of the target ends.
#[inline(always)]
pub(crate) fn end(tid: u32) {
    let Some(thread) = THREADS.get_ptr_mut(&tid) else { return };
    // SAFETY: a map value; the thread itself ends here, and nobody else writes this member.
    let created_by = unsafe { (*thread).created_by };
    // SAFETY: as above; the thread runs, so it is not blocked.
    if unsafe { (*thread).since_ns != 0 && (*thread).entered == wait_entered::TRACED } {
        maps::lose(Loss::WaitEndMissed);
    }
    if created_by != 0
        && maps::recording()
        && let Some(totals) = CREATIONS.get_ptr_mut(&created_by)
    {
        // SAFETY: a map value.
        unsafe { maps::add(&raw mut (*totals).exited, 1) };
    }
    let _ = THREADS.remove(&tid);
}
