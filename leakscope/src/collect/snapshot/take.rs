//! Takes a snapshot of the threads.

use std::collections::{HashMap, HashSet};

use leakscope_common::wait::{PF_EXITING, TaskRecord, task_record};

use super::again::Place;
use super::clock::Clocks;
use super::looker::{Looked, Looker, View};
use super::{Depth, Snapshot, peers};
use crate::bpf::BpfError;
use crate::bpf::object::Object;
use crate::collect::{Scene, SourceError};
use crate::stack::{RawStack, StackId};
use crate::wait::{Syscall, TaskState, Thread};

/// How often threads that have moved are looked at again.
const ROUNDS: usize = 4;

/// The iterator over tasks on the kernel side.
pub const ITERATOR: &str = "thread_snapshot";

/// Takes a snapshot of the target's threads. Stacks go to the scene's.
pub fn take(scene: &mut Scene<'_>, depth: Depth) -> Result<Snapshot, SourceError> {
    let Scene { process, space, .. } = *scene;
    let snapshot: Snapshot = scene.source.get("thread snapshot", |live| {
        let mappings = live.unwinding.mappings(space);
        let view = View {
            pid: process.through,
            main: process.pid,
            space,
            mappings: &mappings,
            table: live.unwinding.table(),
        };
        let mut snapshot = read(&mut live.object, view, depth)?;
        if depth == Depth::Report {
            peers::add(&mut snapshot.threads, process);
        }
        Ok(snapshot)
    })?;
    for stack in &snapshot.stacks {
        scene.stacks.insert(stack, |address| space.locate(address));
    }
    Ok(snapshot)
}

fn read(object: &mut Object, view: View<'_>, depth: Depth) -> Result<Snapshot, BpfError> {
    let mut looker = Looker::new(view);
    let mut records = pass(object)?;
    let first: HashSet<u32> = records.iter().map(|r| r.tid).collect();
    let mut settled: HashMap<u32, (TaskRecord, Looked)> = HashMap::new();
    for _ in 0..ROUNDS {
        looker.wanted(&records);
        let open = |r: &&TaskRecord| {
            blocked(r) && !settled.get(&r.tid).is_some_and(|(before, _)| unchanged(before, r))
        };
        let looked: Vec<(TaskRecord, Looked)> =
            records.iter().filter(open).map(|r| (*r, looker.look(r))).collect();
        if looked.is_empty() {
            break;
        }
        records = pass(object)?;
        let now: HashMap<u32, &TaskRecord> = records.iter().map(|r| (r.tid, r)).collect();
        let still = looked
            .into_iter()
            .filter(|(before, _)| now.get(&before.tid).is_some_and(|after| unchanged(before, after)));
        settled.extend(still.map(|(record, looked)| (record.tid, (record, looked))));
    }
    let mut cpus: Vec<u32> = records.iter().filter(|r| blocked(r)).map(|r| r.cpu).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let clocks = Clocks::read(object, &cpus)?;
    let mut running = match depth {
        Depth::Report => looker.look_at_running(&records),
        Depth::Blocked => HashMap::new(),
    };

    let mut snapshot = Snapshot::default();
    let last: HashSet<u32> = records.iter().map(|r| r.tid).collect();
    snapshot.threads.vanished = first.symmetric_difference(&last).count() as u64;
    snapshot.threads.at_ns = records.iter().map(|r| r.at_ns).max().unwrap_or(0);
    for record in &records {
        let looked = settled.remove(&record.tid).filter(|(before, _)| unchanged(before, record));
        let looked = looked.map(|(_, looked)| looked).or_else(|| running.remove(&record.tid));
        snapshot.threads.unsettled += u64::from(blocked(record) && looked.is_none());
        snapshot.places.insert(record.tid, Place::of(record));
        let thread = thread(record, looked, &clocks, view.main, &mut snapshot);
        snapshot.threads.threads.push(thread);
    }
    snapshot.threads.threads.sort_by_key(|t| t.tid);
    Ok(snapshot)
}

/// The IDs of the target's threads that have not begun to end.
pub fn living(object: &mut Object) -> Result<HashSet<u32>, BpfError> {
    Ok(pass(object)?.iter().map(|r| r.tid).collect())
}

/// The living threads of the target.
fn pass(object: &mut Object) -> Result<Vec<TaskRecord>, BpfError> {
    let records = object.pass::<TaskRecord>(ITERATOR)?.records();
    let mut records = records.map_err(|error| BpfError::Map { what: "list the threads", error })?;
    records
        .retain(|r| r.kind == task_record::TASK && r.flags & PF_EXITING == 0 && state(r) != TaskState::Dead);
    Ok(records)
}

/// Whether the thread waits for something, and does not run on meanwhile.
pub(super) fn blocked(record: &TaskRecord) -> bool {
    record.on_cpu == 0 && !matches!(state(record), TaskState::Running | TaskState::Dead)
}

/// The system call that a thread is in.
pub(super) fn syscall(record: &TaskRecord) -> Option<Syscall> {
    let number = u32::try_from(record.orig_rax).ok()?;
    Some(Syscall { number, args: record.args })
}

/// Whether a thread has not run between two passes.
fn unchanged(before: &TaskRecord, after: &TaskRecord) -> bool {
    blocked(before)
        && blocked(after)
        && before.start_ns == after.start_ns
        && before.switches == after.switches
        && before.regs == after.regs
        && before.orig_rax == after.orig_rax
}

/// `task_struct.__state` (include/linux/sched.h of Linux 6.18).
pub(super) fn state(record: &TaskRecord) -> TaskState {
    const INTERRUPTIBLE: u32 = 0x1;
    const UNINTERRUPTIBLE: u32 = 0x2;
    const STOPPED: u32 = 0x4;
    const TRACED: u32 = 0x8;
    const DEAD: u32 = 0x80;
    const WAKING: u32 = 0x200;
    const NEW: u32 = 0x800;
    match record.state {
        0 => TaskState::Running,
        s if s & (WAKING | NEW) != 0 => TaskState::Running,
        s if s & DEAD != 0 => TaskState::Dead,
        s if s & STOPPED != 0 => TaskState::Stopped,
        s if s & TRACED != 0 => TaskState::Traced,
        s if s & INTERRUPTIBLE != 0 => TaskState::Interruptible,
        s if s & UNINTERRUPTIBLE != 0 => TaskState::Uninterruptible,
        s => TaskState::Other(s),
    }
}

fn thread(
    record: &TaskRecord,
    looked: Option<Looked>,
    clocks: &Clocks,
    main: u32,
    snapshot: &mut Snapshot,
) -> Thread {
    let is_blocked = blocked(record);
    let end = record.comm.iter().position(|&b| b == 0).unwrap_or(record.comm.len());
    let since = clocks.blocked_ns(record, snapshot.threads.at_ns);
    let mut thread = Thread {
        tid: record.tid,
        ns_tid: record.ns_tid,
        name: String::from_utf8_lossy(&record.comm[..end]).into_owned(),
        main: record.tid == main,
        state: state(record),
        syscall: syscall(record).filter(|_| is_blocked),
        blocked_ns: is_blocked.then(|| since.unwrap_or(0)),
        blocked_at_least: is_blocked && since.is_none(),
        again: None,
        limit_ns: None,
        stack: None,
        futex: None,
        descriptor: record.descriptor,
        points_to: Vec::new(),
        points_behind: false,
        live: 0..0,
        peer: None,
    };
    if let Some(Looked { stack, futex, points_to, points_behind, sp, limit }) = looked {
        let id = StackId(stack.hash);
        thread.stack = Some(id);
        thread.live = sp..stack.top().max(sp);
        thread.points_to = points_to;
        thread.points_behind = points_behind;
        thread.futex = futex.filter(|_| is_blocked);
        thread.limit_ns = limit.and_then(|limit| limit.ns(thread.blocked_ns?));
        snapshot.add_stack(RawStack { id, frames: stack.frames, end: stack.end, created_at: 0 });
    }
    thread
}
