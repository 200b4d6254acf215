//! Reads all goroutines while they run.
//!
//! A goroutine is read, then its stack, then the goroutine again: if it did not change in between, the
//! stack is that of the state; otherwise it is read once more, and at last counted as unsettled.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::allgs::{MOST, without_overlaps};
use super::bytes::u64_at;
use super::error::GoError;
use super::frames::{CodeAddress, Frames};
use super::goroutine::{Blocked, GoStack, GoStackEnd, GoState, Goroutine, GoroutineSnapshot, Wakes};
use super::leaked::Proof;
use super::memory::Piece;
use super::parked::{self, Parked};
use super::program::Program;
use super::scheduling::Scheduling;
use super::unwind::{self, Start};
use super::{labels, locks};
use crate::losses::{GO_DAMAGED, GO_LABELS, GO_UNSETTLED};

/// The main goroutine, as Go itself knows it (runtime/traceback.go, 1.19 to 1.27).
const MAIN: u64 = 1;

/// Goroutines read at once.
const AT_ONCE: usize = 8192;
/// Bytes of stacks read at once.
const STACKS_AT_ONCE: usize = 32 << 20;
/// Most bytes of one stack.
const STACK_BYTES: u64 = 256 << 10;
/// Most bytes of all of them, and most frames that are kept of them: of goroutines that lie, one stack may
/// be everybody's. The stacks of a million goroutines have about 2 GiB and 10 million frames at most.
const ALL_STACK_BYTES: usize = 16 << 30;
const ALL_FRAMES: usize = 1 << 23;
/// How often a goroutine that changes is read again.
const RETRIES: usize = 4;
/// Most distinct sets of labels.
const MOST_LABELS: usize = 1 << 14;
/// Most sets of labels that cannot be read before no more are tried.
const MOST_BAD_LABELS: u64 = 1 << 10;
/// Most bytes of all labels.
const ALL_LABEL_BYTES: usize = 1 << 26;
/// Share of goroutines that may fail a self-check because they change: one in so many.
const TOLERATED: u64 = 50;

/// Reads goroutines; keeps what it has learnt of the code.
#[derive(Debug, Default)]
pub struct GoroutineReader {
    frames: Frames,
    /// Who can never run again.
    proof: Option<Arc<Proof>>,
}

/// A snapshot that is being read, with what must be known of all goroutines together: stacks and labels that many
/// have, and what counts against a limit.
struct Reading<'a> {
    program: &'a Program,
    frames: &'a mut Frames,
    proof: Option<&'a Proof>,
    snapshot: GoroutineSnapshot,
    /// Where each goroutine of the snapshot was found.
    parked: Vec<Parked>,
    stacks: HashMap<(Vec<CodeAddress>, GoStackEnd), usize>,
    labels: HashMap<u64, Option<usize>>,
    threads: HashMap<u64, Option<u32>>,
    unsettled: u64,
    damaged: u64,
    /// Hashes of stacks that led nowhere when they were last read, by the address of their goroutines.
    astray: HashMap<u64, u64>,
    /// What was taken already of what there is a limit to.
    stack_bytes: usize,
    kept_frames: usize,
    label_bytes: usize,
    /// Where known sets of labels lie.
    label_sets: HashMap<BTreeMap<String, String>, usize>,
    labels_unread: u64,
    bad_labels: u64,
    /// Of blocked goroutines, how many do not name themselves in their saved registers.
    foreign: u64,
    blocked: u64,
}

impl GoroutineReader {
    /// What is known of the code.
    pub fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }

    /// From now on, goroutines that are found as this has found them can never run again.
    pub fn believe(&mut self, proof: Option<Arc<Proof>>) {
        self.proof = proof;
    }

    /// All goroutines. `now_ns` is CLOCK_MONOTONIC, which Go's own clock is.
    pub fn read(&mut self, program: &Program, now_ns: u64) -> Result<GoroutineSnapshot, GoError> {
        let memory = program.memory();
        let (start, length) = program.all_goroutines()?;
        // The length first: the list only grows, and what it was before stays valid.
        let length = memory.u64(length).ok_or(GoError::Gone)?;
        let start = memory.u64(start).ok_or(GoError::Gone)?;
        if length > MOST {
            return Err(GoError::TooMany(length, MOST));
        }
        let list = memory.bytes(start, 8 * length as usize).ok_or(GoError::Gone)?;
        let mut addresses: Vec<u64> =
            list.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        drop(list);
        let overlapping = without_overlaps(&mut addresses, program.layout.size as u64);
        let mut reading = Reading {
            program,
            frames: &mut self.frames,
            proof: self.proof.as_deref(),
            snapshot: GoroutineSnapshot { at_ns: now_ns, ..GoroutineSnapshot::default() },
            parked: Vec::new(),
            stacks: HashMap::new(),
            labels: HashMap::new(),
            threads: HashMap::new(),
            unsettled: 0,
            damaged: overlapping,
            astray: HashMap::new(),
            stack_bytes: 0,
            kept_frames: 0,
            label_sets: HashMap::new(),
            label_bytes: 0,
            labels_unread: 0,
            bad_labels: 0,
            foreign: 0,
            blocked: 0,
        };
        for chunk in addresses.chunks(AT_ONCE) {
            let mut todo = chunk.to_vec();
            reading.astray.clear();
            for attempt in 0..=RETRIES {
                todo = reading.read(&todo, attempt == RETRIES);
                reading.snapshot.retried += todo.len() as u64;
                if todo.is_empty() {
                    break;
                }
            }
        }
        parked::tell(program, &reading.parked, &mut reading.snapshot);
        locks::tell(program, reading.frames, &reading.stacks, &reading.parked, &mut reading.snapshot);
        reading.finish()
    }
}

impl Reading<'_> {
    /// Reads these goroutines; those that changed meanwhile are returned, unless this is the last time.
    fn read(&mut self, addresses: &[u64], last: bool) -> Vec<u64> {
        let (program, layout) = (self.program, self.program.layout);
        let pieces: Vec<Piece> = addresses.iter().map(|a| (*a, layout.size)).collect();
        let first = program.memory().read_many(&pieces);
        let mut alive = Vec::new();
        let mut again = Vec::new();
        for (i, address) in addresses.iter().enumerate() {
            let Some((g, scheduling)) = first.get(i).and_then(|g| Some((g, Scheduling::read(&layout, g)?)))
            else {
                self.damaged += 1;
                continue;
            };
            let Some(state) = scheduling.state() else { continue };
            if state == GoState::Running && !last {
                // It may park in a moment.
                again.push(*address);
                continue;
            }
            alive.push((*address, g, scheduling, state));
        }
        let mut rest = alive.as_slice();
        while !rest.is_empty() {
            // As many as the buffer for stacks holds.
            let mut bytes = 0;
            let fit = rest
                .iter()
                .take_while(|(_, _, scheduling, _)| {
                    bytes += stack_bytes(scheduling);
                    bytes <= STACKS_AT_ONCE
                })
                .count();
            let (now, later) = rest.split_at(fit.max(1));
            rest = later;
            self.read_stacks(now, last, &mut again);
        }
        again
    }

    fn read_stacks(
        &mut self,
        goroutines: &[(u64, &[u8], Scheduling, GoState)],
        last: bool,
        again: &mut Vec<u64>,
    ) {
        let (program, layout) = (self.program, self.program.layout);
        let mut left = ALL_STACK_BYTES.saturating_sub(self.stack_bytes);
        let piece = |scheduling: &Scheduling| {
            let size = stack_bytes(scheduling).min(left);
            left -= size;
            (scheduling.resumes().0, size)
        };
        let stacks: Vec<Piece> =
            goroutines.iter().map(|(_, _, scheduling, _)| scheduling).map(piece).collect();
        self.stack_bytes = ALL_STACK_BYTES - left;
        let stacks = program.memory().read_many(&stacks);
        let pieces: Vec<Piece> = goroutines.iter().map(|(address, ..)| (*address, layout.size)).collect();
        let second = program.memory().read_many(&pieces);
        for (i, (address, g, scheduling, state)) in goroutines.iter().enumerate() {
            if *state == GoState::Running {
                self.add(*address, g, scheduling, *state, (Vec::new(), GoStackEnd::Running));
                continue;
            }
            let same = second.get(i).and_then(|g| Scheduling::read(&layout, g)) == Some(*scheduling);
            let settled = same && scheduling.status != 8 && scheduling.has_stack();
            let stack = stacks.get(i).filter(|_| settled).map(|stack| {
                let at = CodeAddress { pc: scheduling.resumes().1, exact: false };
                let (addresses, end) = unwind::walk(program, self.frames, Start { at, stack });
                // What lies above was not read.
                let cut = end == GoStackEnd::Unreadable && stack.len() as u64 == STACK_BYTES;
                (addresses, if cut { GoStackEnd::TooDeep } else { end })
            });
            // Of a stack that leads nowhere each time, the same is read; one that changed meanwhile, though its
            // goroutine is as it was, was another one.
            let stays = |walked: &(Vec<CodeAddress>, GoStackEnd), astray: &mut HashMap<u64, u64>| {
                let hash = FixedState::default().hash_one(&walked.0);
                astray.insert(*address, hash) == Some(hash)
            };
            match stack {
                Some(walked)
                    if matches!(walked.1, GoStackEnd::Root | GoStackEnd::TooDeep)
                        || stays(&walked, &mut self.astray) && last =>
                {
                    self.add(*address, g, scheduling, *state, walked);
                }
                _ if !last => again.push(*address),
                _ => {
                    self.unsettled += 1;
                    self.add(*address, g, scheduling, *state, (Vec::new(), GoStackEnd::Unreadable));
                }
            }
        }
    }

    /// Adds a goroutine whose stack was walked (or, while it runs, was not).
    fn add(
        &mut self,
        address: u64,
        g: &[u8],
        scheduling: &Scheduling,
        state: GoState,
        walked: (Vec<CodeAddress>, GoStackEnd),
    ) {
        let (program, layout) = (self.program, self.program.layout);
        let word = |at| u64_at(g, at).unwrap_or(0);
        if matches!(state, GoState::Waiting | GoState::Leaked) {
            self.blocked += 1;
            self.foreign += u64::from(word(layout.sched_g) != address);
        }
        let waits = matches!(state, GoState::Waiting | GoState::Leaked);
        let reason = g.get(layout.wait_reason).copied().unwrap_or(0);
        let since = word(layout.wait_since);
        let start = word(layout.start);
        let start_function = program
            .function_at(start)
            .filter(|(_, f)| f.entry == start)
            .and_then(|_| self.frames.innermost(program, CodeAddress { pc: start, exact: true }))
            .map(|frame| frame.function);
        let created_at = word(layout.created_at);
        // The runtime itself creates the main goroutine.
        let created_by = (created_at != 0 && scheduling.id != MAIN)
            .then(|| self.frames.innermost(program, CodeAddress { pc: created_at, exact: false }))
            .flatten();
        let stack = self.stack(walked);
        let on_thread = matches!(state, GoState::Running | GoState::Syscall);
        let goroutine = Goroutine {
            id: scheduling.id,
            parent: layout.parent.map(word).filter(|id| *id != 0),
            state,
            wait_reason: waits.then(|| self.reason(reason)),
            blocked: match (waits, since) {
                (false, _) => Blocked::No,
                (true, 0) => Blocked::SinceLastGc,
                (true, since) => Blocked::AtLeast(self.snapshot.at_ns.saturating_sub(since)),
            },
            wakes: Wakes::Unknown,
            deadlocked: false,
            leaked: self.proof.is_some_and(|proof| proof.is_leaked(address, scheduling)),
            system: self.is_system(start_function.as_deref(), stack),
            stack,
            created_by,
            start_function,
            labels: self.labels(word(layout.labels)),
            locked_to_thread: word(layout.locked_m) != 0,
            tid: on_thread.then(|| self.thread(word(layout.m))).flatten(),
        };
        self.snapshot.goroutines.push(goroutine);
        let waiting = layout.waiting.map_or(0, word);
        self.parked.push(Parked { address, scheduling: *scheduling, waiting });
    }

    fn reason(&self, number: u8) -> Arc<str> {
        let known = self.program.wait_reasons().get(usize::from(number));
        known.cloned().unwrap_or_else(|| Arc::from(format!("wait reason {number}")))
    }

    fn stack(&mut self, walked: (Vec<CodeAddress>, GoStackEnd)) -> usize {
        if let Some(known) = self.stacks.get(&walked) {
            return *known;
        }
        let mut stack = GoStack { frames: self.frames.stack(self.program, &walked.0), end: walked.1 };
        if stack.frames.len() > unwind::DEEPEST {
            // Much was inlined.
            stack.frames.truncate(unwind::DEEPEST);
            stack.end = GoStackEnd::TooDeep;
        }
        if self.kept_frames + stack.frames.len() > ALL_FRAMES {
            self.unsettled += 1;
            if !walked.0.is_empty() {
                return self.stack((Vec::new(), GoStackEnd::Unreadable));
            }
            stack.frames.clear();
        }
        self.kept_frames += stack.frames.len();
        self.snapshot.stacks.push(stack);
        let index = self.snapshot.stacks.len() - 1;
        self.stacks.insert(walked, index);
        index
    }

    /// Whether it is one of the runtime's own (`runtime/traceback.go`, `isSystemGoroutine`).
    fn is_system(&self, start: Option<&str>, stack: usize) -> bool {
        match start {
            None | Some("runtime.main" | "runtime.corostart" | "runtime.handleAsyncEvent") => false,
            // Those that run finalizers and cleanups, while they run one: then there is code of the user's.
            Some(
                "runtime.runfinq"
                | "runtime.runFinalizers"
                | "runtime.runCleanups"
                | "runtime.(*cleanupQueue).runCleanups",
            ) => {
                let frames = self.snapshot.stacks.get(stack).map_or(&[][..], |s| &s.frames);
                frames.iter().all(|f| is_runtime(&f.function))
            }
            Some(start) => start.starts_with("runtime."),
        }
    }

    fn labels(&mut self, address: u64) -> Option<usize> {
        if address == 0 {
            return None;
        }
        if let Some(known) = self.labels.get(&address) {
            return *known;
        }
        let tried = self.bad_labels < MOST_BAD_LABELS;
        let index = match tried.then(|| labels::read(self.program, address)).flatten() {
            Some(labels) if labels.is_empty() => None,
            Some(labels) => self.label_set(labels),
            None => {
                self.labels_unread += 1;
                self.bad_labels += 1;
                None
            }
        };
        self.labels.insert(address, index);
        index
    }

    fn label_set(&mut self, labels: BTreeMap<String, String>) -> Option<usize> {
        if let Some(known) = self.label_sets.get(&labels) {
            return Some(*known);
        }
        let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        if self.snapshot.labels.len() >= MOST_LABELS || self.label_bytes + bytes > ALL_LABEL_BYTES {
            self.labels_unread += 1;
            return None;
        }
        self.label_bytes += bytes;
        let index = self.snapshot.labels.len();
        self.label_sets.insert(labels.clone(), index);
        self.snapshot.labels.push(labels);
        Some(index)
    }

    fn thread(&mut self, m: u64) -> Option<u32> {
        let at = m.checked_add(self.program.layout.m_thread as u64).filter(|_| m != 0)?;
        let memory = self.program.memory();
        *self.threads.entry(m).or_insert_with(|| u32::try_from(memory.u64(at)?).ok().filter(|tid| *tid != 0))
    }

    /// Where no goroutine has the time of a collection, there was none that noted it: the first one notes 0
    /// (`markroot` takes `work.tstart`, `runtime/mgcmark.go`, which is set at its end). The runtime's own goroutines
    /// are parked from the start, and have it after the second.
    fn forget_collections(&mut self) {
        let all = &mut self.snapshot.goroutines;
        if all.iter().any(|g| matches!(g.blocked, Blocked::AtLeast(_))) {
            return;
        }
        for goroutine in all.iter_mut().filter(|g| g.blocked == Blocked::SinceLastGc) {
            goroutine.blocked = Blocked::Unknown;
        }
    }

    /// Checks that what was read makes sense: a layout that is not the target's would show.
    fn finish(mut self) -> Result<GoroutineSnapshot, GoError> {
        self.forget_collections();
        let all = &self.snapshot.goroutines;
        let of = all.len() as u64;
        let check = |check, failed: u64, of: u64| {
            if failed * TOLERATED > of { Err(GoError::SelfCheck { check, failed, of }) } else { Ok(()) }
        };
        check("blocked goroutines name themselves in their saved registers", self.foreign, self.blocked)?;
        let mut ids: Vec<u64> = all.iter().map(|g| g.id).collect();
        ids.sort_unstable();
        let twice = ids.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        check(
            "every goroutine has a number of its own",
            twice + ids.iter().filter(|id| **id == 0).count() as u64,
            of,
        )?;
        // One that is lent to a thread of C's, for its calls, has none (`runtime/proc.go`, `oneNewExtraM`).
        let lent = |g: &Goroutine| g.locked_to_thread && g.created_by.is_none();
        let no_start = all.iter().filter(|g| g.start_function.is_none() && !lent(g)).count() as u64;
        check("goroutines start at the first instruction of a function", no_start, of)?;
        let reasons = self.program.wait_reasons().len();
        let odd = all
            .iter()
            .filter(|g| g.wait_reason.as_ref().is_some_and(|r| r.starts_with("wait reason ")))
            .count();
        check("reasons to wait are known ones", if reasons == 0 { 0 } else { odd as u64 }, of)?;
        let broken = all
            .iter()
            .filter(|g| self.snapshot.stacks.get(g.stack).is_none_or(|s| s.end == GoStackEnd::UnknownCode))
            .count() as u64;
        check("stacks lead to the goroutine's first function", broken, of)?;
        let losses =
            [(GO_UNSETTLED, self.unsettled), (GO_DAMAGED, self.damaged), (GO_LABELS, self.labels_unread)];
        self.snapshot.losses = losses.into_iter().filter(|(_, n)| *n > 0).collect();
        Ok(self.snapshot)
    }
}

fn stack_bytes(scheduling: &Scheduling) -> usize {
    if scheduling.has_stack() {
        (scheduling.high - scheduling.resumes().0).min(STACK_BYTES) as usize
    } else {
        0
    }
}

fn is_runtime(function: &str) -> bool {
    function.starts_with("runtime.")
        || function.starts_with("internal/runtime/")
        || function.starts_with("runtime/internal/")
}
