//! Threads of the target: who created them, and their end; and the end of the process or of its program.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::debug;
use leakscope_common::config::state;
use leakscope_common::counter::Loss;
use leakscope_common::event::Kind;
use leakscope_common::wait::CreationTotals;

use crate::counters::lose;
use crate::shared::{Value, word};
use crate::stack::{self, Claimed, Purpose};
use crate::state::{TARGET, recording};
use crate::task::{self, offset};
use crate::{events, heap, state as run, waits};

#[map]
static CREATIONS: HashMap<u64, CreationTotals> = HashMap::with_max_entries(1, 0);

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
        run::count(if shared { state::SHARED } else { state::FORKED });
        return;
    }
    events::thread(Kind::ThreadStart);
    if !recording() {
        return;
    }
    let site = creation_site();
    let Some(totals) = Value::find(&CREATIONS, &site) else { return };
    if waits::created(child, site) {
        word!(totals, created).add(1);
    }
}

/// The site of the current thread's stack; 0, which always exists, where the map is full.
#[inline(always)]
fn creation_site() -> u64 {
    let Some(mut scratch) = Claimed::claim(Loss::OtherScratchBusy) else { return 0 };
    let regs = task::user_regs();
    stack::take(&mut scratch, stack::innermost(regs), regs, Purpose::Creation, 0);
    let s = scratch.get();
    let id = s.identity();
    let new: &CreationTotals = &NEW_CREATION;
    let Some(totals) = Value::entry(&CREATIONS, &id, new) else {
        lose(Loss::CreationsFull);
        return 0;
    };
    s.send_once(id, word!(totals, sent));
    id
}

/// `sched_process_exit`: the current thread ends; its pending allocator calls with it.
#[inline(always)]
pub(crate) fn exit() {
    // Whatever its process: a vfork child allocates in the target's memory under a process ID of its
    // own.
    heap::end_thread();
    if !task::in_target() {
        return;
    }
    events::thread(Kind::ThreadExit);
    let id = bpf_get_current_pid_tgid();
    let created_by = waits::ended(id as u32);
    if created_by != 0
        && recording()
        && let Some(totals) = Value::find(&CREATIONS, &created_by)
    {
        word!(totals, exited).add(1);
    }
    if id as u32 == (id >> 32) as u32 {
        // The kernel finds the probes' address space through the main thread: without it they stop.
        run::freeze();
        events::thread(Kind::LeaderExit);
    }
}

/// `sched_process_exec`: if the target runs another program from now on, the account stands still
/// before that program's first instruction.
#[inline(always)]
pub(crate) fn exec(ctx: &BtfTracePointContext) {
    if !task::in_target() {
        return;
    }
    run::freeze();
    run::note_exec();
    debug!(ctx, "the target replaced its program");
    events::thread(Kind::Exec);
}
