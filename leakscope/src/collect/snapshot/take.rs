//! Takes a snapshot of the threads.

use std::collections::{HashMap, HashSet};

use leakscope_common::unwind::{BREAKPOINT, MappingEntry};
use leakscope_common::wait::{PF_EXITING, TASK_RETURNS, TaskRecord, task_record};

use super::Snapshot;
use super::clock::Clocks;
use super::memory::{Memory, StackMemory};
use super::peers;
use crate::bpf::BpfError;
use crate::bpf::object::Object;
use crate::collect::{Scene, SourceError};
use crate::process::{AddressSpace, MappingKind, Process};
use crate::stack::{RawStack, StackId};
use crate::unwind::{PendingReturns, UnwindTable, Walked, walk};
use crate::wait::{
    FUTEX_MEMORY, FUTEX_MEMORY_BEFORE, FutexMemory, Syscall, TaskState, Thread, ThreadSnapshot, syscalls,
};

/// Words of a stack in which pointers to futexes are looked for: 64 KiB.
const SCANNED_WORDS: usize = 8192;
/// How often threads that have moved are looked at again.
const ROUNDS: usize = 4;

/// The iterator over tasks on the kernel side.
pub const ITERATOR: &str = "thread_snapshot";

/// The target's address space as the walk needs it.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    /// The process, or the thread through which it is reached.
    pid: u32,
    /// Its mappings.
    space: &'a AddressSpace,
    /// The same for the walk.
    mappings: &'a [MappingEntry],
    /// Unwind rows.
    table: &'a UnwindTable,
}

/// Takes a snapshot of the target's threads. Stacks go to the scene's.
pub fn take(scene: &mut Scene<'_>) -> Result<Snapshot, SourceError> {
    take_and(scene, |_, _| ())
}

/// The same for a report, with what threads wait for and who is at the other end.
pub fn take_with_peers(scene: &mut Scene<'_>) -> Result<Snapshot, SourceError> {
    take_and(scene, peers::add)
}

fn take_and(
    scene: &mut Scene<'_>,
    look_further: fn(&mut ThreadSnapshot, &Process),
) -> Result<Snapshot, SourceError> {
    let Scene { process, space, .. } = *scene;
    let snapshot: Snapshot = scene.source.get("thread snapshot", |live| {
        let mappings = live.unwinding.mappings(space);
        let view = View { pid: process.through, space, mappings: &mappings, table: live.unwinding.table() };
        let mut snapshot = read(&mut live.object, view)?;
        look_further(&mut snapshot.threads, process);
        Ok(snapshot)
    })?;
    for stack in &snapshot.stacks {
        scene.stacks.insert(stack, |address| space.locate(address));
    }
    Ok(snapshot)
}

fn read(object: &mut Object, view: View<'_>) -> Result<Snapshot, BpfError> {
    let mut looker = Looker::new(view);
    let mut records = pass(object)?;
    let first: HashSet<u32> = records.iter().map(|r| r.tid).collect();
    let mut settled: HashMap<u32, (TaskRecord, Looked)> = HashMap::new();
    for _ in 0..ROUNDS {
        let futexes = || records.iter().filter_map(futex);
        looker.futexes = futexes().map(aside).chain(futexes().map(|word| (word, word))).collect();
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

    let mut snapshot = Snapshot::default();
    let last: HashSet<u32> = records.iter().map(|r| r.tid).collect();
    snapshot.threads.vanished = first.symmetric_difference(&last).count() as u64;
    snapshot.threads.at_ns = records.iter().map(|r| r.at_ns).max().unwrap_or(0);
    for record in &records {
        let looked = settled.remove(&record.tid).filter(|(before, _)| unchanged(before, record));
        let looked = looked.map(|(_, looked)| looked);
        snapshot.threads.unsettled += u64::from(blocked(record) && looked.is_none());
        snapshot.switches.insert(record.tid, record.switches);
        let thread = thread(record, looked, &clocks, &mut snapshot);
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

/// What was seen of a blocked thread.
#[derive(Clone, Debug)]
struct Looked {
    stack: Walked,
    futex: Option<FutexMemory>,
    points_to: Vec<u64>,
}

/// Looks at one thread after the other.
struct Looker<'a> {
    view: View<'a>,
    memory: Memory,
    trampoline: Option<(u64, u64)>,
    buffer: Vec<u8>,
    /// Futexes that any thread waits on, by the addresses that stand for them.
    futexes: HashMap<u64, u64>,
}

impl<'a> Looker<'a> {
    fn new(view: View<'a>) -> Self {
        let is_trampoline =
            |kind: &MappingKind| matches!(kind, MappingKind::Special(name) if name == "[uprobes]");
        let trampoline = view.space.mappings().iter().find(|m| is_trampoline(&m.mapping.kind));
        Self {
            view,
            memory: Memory::of(view.pid),
            trampoline: trampoline.map(|m| (m.mapping.start, m.mapping.end)),
            buffer: Vec::new(),
            futexes: HashMap::new(),
        }
    }

    fn look(&mut self, record: &TaskRecord) -> Looked {
        let mut memory = StackMemory::new(&self.memory, record.registers(), std::mem::take(&mut self.buffer));
        let count = (record.return_count as usize).min(TASK_RETURNS);
        let returns = PendingReturns { replaced: &record.returns[..count], trampoline: self.trampoline };
        let mut from = record.regs;
        let mut before = [0];
        let at = from.ip.wrapping_sub(1);
        if syscall(record).is_none() && self.memory.read(at, &mut before) == 1 && before[0] == BREAKPOINT {
            // In the breakpoint of a probe: the instruction under it has not run yet.
            from.ip = at;
        }
        let stack = walk(from, self.view.mappings, self.view.table, &mut memory, returns);
        let mut points_to: Vec<u64> = if self.futexes.is_empty() {
            Vec::new()
        } else {
            memory
                .words_below(stack.top)
                .take(SCANNED_WORDS)
                .filter_map(|word| self.futexes.get(&word).copied())
                .collect()
        };
        points_to.sort_unstable();
        points_to.dedup();
        self.buffer = memory.into_buffer();
        Looked { stack, futex: self.futex(record), points_to }
    }

    fn futex(&self, record: &TaskRecord) -> Option<FutexMemory> {
        let address = futex(record)?;
        let mut bytes = [0; FUTEX_MEMORY];
        let before = address.checked_sub(FUTEX_MEMORY_BEFORE as u64)?;
        let read = self.memory.read(before, &mut bytes);
        if read > FUTEX_MEMORY_BEFORE {
            return Some(FutexMemory { address, bytes, known: 0..read });
        }
        // What lies before the word may be another mapping, or none.
        let read = self.memory.read(address, &mut bytes[FUTEX_MEMORY_BEFORE..]);
        Some(FutexMemory { address, bytes, known: FUTEX_MEMORY_BEFORE..FUTEX_MEMORY_BEFORE + read })
    }
}

/// A second address that stands for a futex. Writers of a Rust `RwLock` wait on its second word, while
/// guards point to the first (library/std/src/sys/sync/rwlock/futex.rs: `state`, `writer_notify`).
fn aside(word: u64) -> (u64, u64) {
    (word.wrapping_sub(4), word)
}

/// The futex that a thread waits on.
fn futex(record: &TaskRecord) -> Option<u64> {
    syscalls::facts(&syscall(record)?).futex.map(|futex| futex.word)
}

fn syscall(record: &TaskRecord) -> Option<Syscall> {
    let number = u32::try_from(record.orig_rax).ok()?;
    Some(Syscall { number, args: record.args })
}

/// Whether the thread waits for something, and does not run on meanwhile.
fn blocked(record: &TaskRecord) -> bool {
    record.on_cpu == 0 && !matches!(state(record), TaskState::Running | TaskState::Dead)
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
fn state(record: &TaskRecord) -> TaskState {
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

fn thread(record: &TaskRecord, looked: Option<Looked>, clocks: &Clocks, snapshot: &mut Snapshot) -> Thread {
    let is_blocked = blocked(record);
    let end = record.comm.iter().position(|&b| b == 0).unwrap_or(record.comm.len());
    let (stack, futex, points_to) = match looked {
        Some(Looked { stack: Walked { frames, end, hash, .. }, futex, points_to }) => {
            let id = StackId(hash);
            snapshot.add_stack(RawStack { id, frames, end });
            (Some(id), futex, points_to)
        }
        None => (None, None, Vec::new()),
    };
    let since = clocks.blocked_ns(record, snapshot.threads.at_ns);
    Thread {
        tid: record.tid,
        ns_tid: record.ns_tid,
        name: String::from_utf8_lossy(&record.comm[..end]).into_owned(),
        state: state(record),
        syscall: syscall(record).filter(|_| is_blocked),
        blocked_ns: is_blocked.then(|| since.unwrap_or(0)),
        blocked_at_least: is_blocked && since.is_none(),
        stack,
        futex,
        descriptor: record.descriptor,
        points_to,
        peer: None,
    }
}
