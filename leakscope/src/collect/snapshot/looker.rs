//! Looks at one thread after the other: its stack, the memory of the lock that it waits for, and whose locks its
//! stack points to.

use std::collections::HashMap;
use std::time::Duration;

use leakscope_common::unwind::{BREAKPOINT, MappingEntry};
use leakscope_common::wait::{TASK_RETURNS, TaskRecord};

use super::memory::{Memory, StackMemory};
use super::running::{self, Sample};
use super::take::{blocked, syscall};
use crate::process::{AddressSpace, MappingKind};
use crate::unwind::{PendingReturns, UnwindTable, Walked, walk};
use crate::wait::limit::{Clock, Limit, timespec_ns};
use crate::wait::{FUTEX_MEMORY, FUTEX_MEMORY_BEFORE, FutexMemory, Pointer, TaskState, syscalls};

/// Words of a stack in which pointers to futexes are looked for: 64 KiB.
const SCANNED_WORDS: usize = 8192;
/// Running threads that are sampled, at most.
const MOST_SAMPLED: usize = 64;
/// How long samples are waited for: a few turns of the scheduler.
const PATIENCE: Duration = Duration::from_millis(50);
/// The registers that a function leaves as its caller had them, by their numbers: rbx, rbp, r12 to r15 (System V
/// psABI, 3.2.1).
const KEPT: [usize; 6] = [3, 5, 12, 13, 14, 15];

/// The target's address space as the walk needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// The process, or the thread through which it is reached.
    pub(super) pid: u32,
    /// Its first thread.
    pub(super) main: u32,
    /// Its mappings.
    pub(super) space: &'a AddressSpace,
    /// The same for the walk.
    pub(super) mappings: &'a [MappingEntry],
    /// Unwind rows.
    pub(super) table: &'a UnwindTable,
}

/// What was seen of a thread.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) stack: Walked,
    pub(super) futex: Option<FutexMemory>,
    pub(super) points_to: Vec<Pointer>,
    pub(super) points_behind: bool,
    /// Its stack pointer.
    pub(super) sp: u64,
    pub(super) limit: Option<Span>,
}

/// How long a call waits at most.
#[derive(Clone, Copy, Debug)]
pub(super) enum Span {
    /// From its begin.
    Whole(u64),
    /// From now.
    Left(u64),
}

impl Span {
    /// From its begin, in ns, if it has been blocked for so long.
    pub(super) fn ns(self, blocked_ns: u64) -> Option<u64> {
        match self {
            Self::Whole(ns) => Some(ns),
            Self::Left(ns) => ns.checked_add(blocked_ns),
        }
    }
}

/// Looks at threads.
pub(super) struct Looker<'a> {
    view: View<'a>,
    memory: Memory,
    trampoline: Option<(u64, u64)>,
    buffer: Vec<u8>,
    /// Futexes that any thread waits on, by the addresses that stand for them.
    futexes: HashMap<u64, u64>,
}

impl<'a> Looker<'a> {
    pub(super) fn new(view: View<'a>) -> Self {
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

    /// Takes note of the futexes that are waited for.
    pub(super) fn wanted(&mut self, records: &[TaskRecord]) {
        let futexes = || records.iter().filter_map(futex);
        self.futexes = futexes().map(aside).chain(futexes().map(|word| (word, word))).collect();
    }

    /// Looks at a blocked thread.
    pub(super) fn look(&mut self, record: &TaskRecord) -> Looked {
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
        let points_to = pointers(&self.futexes, &memory, &stack, &record.registers());
        let points_behind = futex(record).is_some_and(|word| points_behind(word, &memory, &stack));
        self.buffer = memory.into_buffer();
        Looked {
            stack,
            futex: self.futex(record),
            points_to,
            points_behind,
            sp: record.regs.sp,
            limit: self.limit(record),
        }
    }

    /// Samples the threads that run, as far as they go on running. By thread ID.
    pub(super) fn look_at_running(&mut self, records: &[TaskRecord]) -> HashMap<u32, Looked> {
        let runs =
            |record: &&TaskRecord| !blocked(record) && super::take::state(record) == TaskState::Running;
        let tids: Vec<u32> =
            records.iter().filter(runs).map(|record| record.tid).take(MOST_SAMPLED).collect();
        let samples = running::sample(&tids, PATIENCE);
        samples.into_iter().map(|(tid, sample)| (tid, self.look_at_sample(sample))).collect()
    }

    fn look_at_sample(&mut self, sample: Sample) -> Looked {
        let sp = sample.regs.sp;
        let mut memory = StackMemory::of_copy(&self.memory, sample.registers, sample.stack);
        let returns = PendingReturns { replaced: &[], trampoline: self.trampoline };
        let stack = walk(sample.regs, self.view.mappings, self.view.table, &mut memory, returns);
        let points_to = pointers(&self.futexes, &memory, &stack, &sample.registers);
        Looked { stack, futex: None, points_to, points_behind: false, sp, limit: None }
    }

    /// The word, and what lies around it as far as it is mapped: a lock may lie at the edge of a mapping.
    fn futex(&self, record: &TaskRecord) -> Option<FutexMemory> {
        let address = futex(record)?;
        let mut bytes = [0; FUTEX_MEMORY];
        let after = self.memory.read(address, &mut bytes[FUTEX_MEMORY_BEFORE..]);
        let end = FUTEX_MEMORY_BEFORE + after;
        let before = address.checked_sub(FUTEX_MEMORY_BEFORE as u64);
        let read = before.map_or(0, |before| self.memory.read(before, &mut bytes[..FUTEX_MEMORY_BEFORE]));
        let start = if read == FUTEX_MEMORY_BEFORE { 0 } else { FUTEX_MEMORY_BEFORE };
        Some(FutexMemory { address, bytes, known: start..end })
    }

    fn limit(&self, record: &TaskRecord) -> Option<Span> {
        match Limit::of(&syscall(record)?)? {
            Limit::Ns(ns) => Some(Span::Whole(ns)),
            Limit::At { address, until } => {
                let mut bytes = [0; 16];
                let whole = self.memory.read(address, &mut bytes) == bytes.len();
                let ns = timespec_ns(bytes).filter(|_| whole)?;
                let Some(clock) = until else { return Some(Span::Whole(ns)) };
                let now = rustix::time::clock_gettime(match clock {
                    Clock::Monotonic => rustix::time::ClockId::Monotonic,
                    Clock::Realtime => rustix::time::ClockId::Realtime,
                });
                let [seconds, now_ns] = [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).ok());
                let now = seconds?.checked_mul(1_000_000_000)?.checked_add(now_ns?)?;
                Some(Span::Left(ns.saturating_sub(now)))
            }
        }
    }
}

/// The words of a live stack, and the registers, that point to futexes.
fn pointers(
    futexes: &HashMap<u64, u64>,
    memory: &StackMemory<'_>,
    stack: &Walked,
    registers: &[u64; 16],
) -> Vec<Pointer> {
    if futexes.is_empty() {
        return Vec::new();
    }
    let words = memory.words_below(stack.top()).take(SCANNED_WORDS);
    let on_stack = words.filter_map(|(address, word)| {
        Some(Pointer { futex: *futexes.get(&word)?, frame: Some(stack.frame_of(address)) })
    });
    let kept = KEPT
        .iter()
        .filter_map(|&number| Some(Pointer { futex: *futexes.get(&registers[number])?, frame: None }));
    let mut all: Vec<Pointer> = on_stack.chain(kept).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether a stack points to what a Rust `RwLock` guards: a read guard has such a pointer (`RwLockReadGuard.data`,
/// library/std/src/sync/poison/rwlock.rs), and who only wants the lock has none yet. The data lies behind `state`,
/// `writer_notify` and a flag: at 12 bytes from the one, at 8 from the other, or a little later.
fn points_behind(futex: u64, memory: &StackMemory<'_>, stack: &Walked) -> bool {
    const BEHIND: std::ops::RangeInclusive<u64> = 8..=40;
    let mut words = memory.words_below(stack.top()).take(SCANNED_WORDS);
    words.any(|(_, word)| word.checked_sub(futex).is_some_and(|offset| BEHIND.contains(&offset)))
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
