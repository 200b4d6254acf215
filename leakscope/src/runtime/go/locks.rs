//! Locks that goroutines wait for, who holds them, and circles of these.

use std::collections::HashMap;
use std::sync::Arc;

use super::bytes::{u32_at, u64_at};
use super::defers::{self, DeferSlots, PendingUnlock};
use super::frames::{CodeAddress, Frames};
use super::goroutine::{GoFrame, GoStackEnd, GoState, GoroutineSnapshot, Holder, WantedLock};
use super::lock_circles::{self, Wait};
use super::memory::Piece;
use super::parked::{NoteLayout, Parked, choose};
use super::program::Program;
use super::scheduling::Scheduling;

/// Words of a stack in which the note of a goroutine that waits for a semaphore is looked for: the frame of
/// `runtime.semacquire1` is among its innermost ones.
const WORDS: usize = 64;
/// Goroutines of a stack in which it is looked for.
const TRIES: usize = 4;
/// Most goroutines whose deferred calls are looked at.
const MOST_HOLDERS: usize = 1 << 15;
/// How long a circle must stay as it is.
const STAYS: std::time::Duration = std::time::Duration::from_millis(50);

/// What a goroutine wants of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Mutex,
    Read,
    Write,
}

/// Stacks that were walked, with their index in the snapshot.
pub(super) type Stacks = HashMap<(Vec<CodeAddress>, GoStackEnd), usize>;

/// What a stack wants, and how far its semaphore lies from the start of the lock (`sync/mutex.go`,
/// `sync/rwmutex.go`: `w Mutex{state, sema}`, `writerSem`, `readerSem`).
fn wanted(frames: &[GoFrame]) -> Option<(Want, u64)> {
    let mut functions = frames.iter().map(|frame| &*frame.function);
    let first = functions.find(|f| !is_semaphore(f))?;
    match first {
        "sync.(*RWMutex).RLock" | "sync.(*RWMutex).rLockSlow" => Some((Want::Read, 12)),
        "sync.(*RWMutex).Lock" => Some((Want::Write, 8)),
        f if is_mutex_lock(f) => {
            let caller = functions.find(|f| !is_mutex_lock(f));
            let write = caller == Some("sync.(*RWMutex).Lock");
            Some((if write { Want::Write } else { Want::Mutex }, 4))
        }
        _ => None,
    }
}

fn is_semaphore(function: &str) -> bool {
    function.starts_with("runtime.")
        || function.starts_with("sync.runtime_Semacquire")
        || function.starts_with("internal/sync.runtime_Semacquire")
}

fn is_mutex_lock(function: &str) -> bool {
    let function = function.strip_prefix("internal/").unwrap_or(function);
    matches!(function, "sync.(*Mutex).Lock" | "sync.(*Mutex).lockSlow")
}

/// The frame that calls the lock's function.
fn caller(frames: &[GoFrame]) -> Option<&GoFrame> {
    let own = |f: &str| is_semaphore(f) || is_mutex_lock(f) || f.starts_with("sync.(*RWMutex).");
    frames.iter().find(|frame| !own(&frame.function))
}

/// Adds the locks that goroutines wait for, and marks those that can never have them.
pub(super) fn tell(
    program: &Program,
    frames: &mut Frames,
    stacks: &Stacks,
    parked: &[Parked],
    snapshot: &mut GoroutineSnapshot,
) {
    let Some(notes) = NoteLayout::of(program) else { return };
    let wants: Vec<Option<(Want, u64)>> = snapshot.stacks.iter().map(|stack| wanted(&stack.frames)).collect();
    let waits = waits(program, &notes, parked, snapshot, &wants);
    if waits.is_empty() {
        return;
    }
    add_locks(snapshot, &waits);
    let unlocks = pending_unlocks(program, frames, stacks, parked, snapshot);
    let held = add_holders(snapshot, &waits, &unlocks);
    let circles = lock_circles::find(&waits, &held);
    if circles.is_empty() {
        return;
    }
    // A function that gives up a lock and takes it again looks the same, for a moment.
    let members: Vec<usize> = circles.iter().flatten().map(|link| link.goroutine).collect();
    let again = |waits: &[Wait]| tickets(program, &notes, parked, waits, &members);
    let before = again(&waits);
    std::thread::sleep(STAYS);
    if before.iter().all(Option::is_some) && stay(program, parked, &members) && again(&waits) == before {
        for goroutine in lock_circles::behind(&waits, &held, &members) {
            if let Some(goroutine) = snapshot.goroutines.get_mut(goroutine) {
                goroutine.deadlocked = true;
            }
        }
        snapshot.circles = circles;
    }
}

/// What tells the notes of these from later ones: the semaphore, and a number that the first one of each
/// semaphore has by chance (`runtime/sema.go`).
fn tickets(
    program: &Program,
    notes: &NoteLayout,
    parked: &[Parked],
    waits: &[Wait],
    members: &[usize],
) -> Vec<Option<(u64, Option<u32>)>> {
    let of: HashMap<usize, u64> = waits.iter().map(|wait| (wait.goroutine, wait.note)).collect();
    let note = |i: &usize| (of.get(i).copied().unwrap_or(0), notes.size);
    let pieces: Vec<Piece> = members.iter().map(note).collect();
    let read = program.memory().read_many(&pieces);
    let ticket = |(at, i): (usize, &usize)| {
        let note = read.get(at)?;
        Some((semaphore(notes, note, parked[*i].address)?, u32_at(note, notes.ticket)))
    };
    members.iter().enumerate().map(ticket).collect()
}

/// Who waits for which lock.
fn waits(
    program: &Program,
    notes: &NoteLayout,
    parked: &[Parked],
    snapshot: &GoroutineSnapshot,
    wants: &[Option<(Want, u64)>],
) -> Vec<Wait> {
    let want = |i: usize| wants.get(snapshot.goroutines[i].stack).copied().flatten();
    let is_wanted = |i: usize| {
        matches!(snapshot.goroutines[i].state, GoState::Waiting | GoState::Leaked)
            && want(i).is_some()
            && parked.get(i).is_some_and(|p| p.scheduling.is_parked())
    };
    let chosen = choose(snapshot, is_wanted);
    let found = note_places(program, notes, parked, snapshot, &chosen);
    let read: Vec<Piece> = found.iter().map(|(_, note)| (*note, notes.size)).collect();
    let read = program.memory().read_many(&read);
    let mut locks: HashMap<u64, usize> = HashMap::new();
    let mut waits = Vec::new();
    for (at, (i, note_at)) in found.iter().enumerate() {
        let semaphore = read.get(at).and_then(|note| semaphore(notes, note, parked[*i].address));
        let (Some(semaphore), Some((want, offset))) = (semaphore, want(*i)) else { continue };
        let Some(address) = semaphore.checked_sub(offset) else { continue };
        let new = locks.len();
        let lock = *locks.entry(address).or_insert(new);
        let announced = want == Want::Write && offset == 8;
        waits.push(Wait { goroutine: *i, lock, address, note: *note_at, want, announced });
    }
    waits
}

/// The semaphore that a goroutine's note is of.
fn semaphore(notes: &NoteLayout, note: &[u8], goroutine: u64) -> Option<u64> {
    let own = u64_at(note, notes.g)? == goroutine && u64_at(note, notes.channel)? == 0;
    u64_at(note, notes.elem).filter(|elem| own && *elem != 0)
}

/// The notes of goroutines that wait for semaphores: `g.waiting` since Go 1.26; before, it is on their stacks, and
/// mostly at the same place in all of a stack.
fn note_places(
    program: &Program,
    notes: &NoteLayout,
    parked: &[Parked],
    snapshot: &GoroutineSnapshot,
    chosen: &[usize],
) -> Vec<(usize, u64)> {
    let (noted, mut rest): (Vec<usize>, Vec<usize>) =
        chosen.iter().copied().partition(|i| parked[*i].waiting != 0);
    let mut found: Vec<(usize, u64)> = noted.into_iter().map(|i| (i, parked[i].waiting)).collect();
    for _ in 0..TRIES {
        let mut places: HashMap<usize, Option<u64>> = HashMap::new();
        for i in &rest {
            let stack = snapshot.goroutines[*i].stack;
            places.entry(stack).or_insert_with(|| look_for_note(program, notes, &parked[*i]));
        }
        let at = |i: &usize| {
            let place = places.get(&snapshot.goroutines[*i].stack).copied().flatten()?;
            Some((*i, parked[*i].scheduling.resumes().0.checked_add(place)?))
        };
        let at: Vec<(usize, u64)> = rest.iter().filter_map(at).collect();
        let pieces: Vec<Piece> = at.iter().map(|(_, word)| (*word, 8)).collect();
        let words = program.memory().read_many(&pieces);
        let word = |i| words.get(i).and_then(|word| u64_at(word, 0)).unwrap_or(0);
        let pieces: Vec<Piece> = (0..at.len()).map(|i| (word(i), notes.size)).collect();
        let read = program.memory().read_many(&pieces);
        rest.clear();
        for (n, (i, _)) in at.into_iter().enumerate() {
            match read.get(n).and_then(|note| semaphore(notes, note, parked[i].address)) {
                Some(_) => found.push((i, word(n))),
                None => rest.push(i),
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    found
}

/// How far from its stack pointer a goroutine keeps the address of its note.
fn look_for_note(program: &Program, notes: &NoteLayout, parked: &Parked) -> Option<u64> {
    let (low, high) = parked.scheduling.stack();
    let sp = parked.scheduling.resumes().0;
    let length = (high.checked_sub(sp)? as usize).min(8 * WORDS) & !7;
    let stack = program.memory().bytes(sp, length)?;
    let candidate = |at: usize| {
        let word = u64_at(&stack, at)?;
        let plausible = word > 0xfff && word % 8 == 0 && !(low..high).contains(&word);
        (plausible && word != parked.address).then_some((at, word))
    };
    let candidates: Vec<(usize, u64)> = (0..length).step_by(8).filter_map(candidate).collect();
    let pieces: Vec<Piece> = candidates.iter().map(|(_, word)| (*word, notes.size)).collect();
    let read = program.memory().read_many(&pieces);
    let is_note = |at: usize| read.get(at).and_then(|note| semaphore(notes, note, parked.address)).is_some();
    let found = candidates.iter().enumerate().find(|(at, _)| is_note(*at));
    found.map(|(_, (offset, _))| *offset as u64)
}

fn add_locks(snapshot: &mut GoroutineSnapshot, waits: &[Wait]) {
    for wait in waits {
        if snapshot.locks.len() == wait.lock {
            snapshot.locks.push(WantedLock {
                address: wait.address,
                read_write: false,
                waiters: Vec::new(),
                holders: Vec::new(),
            });
        }
        if let Some(lock) = snapshot.locks.get_mut(wait.lock) {
            lock.read_write |= wait.want != Want::Mutex;
            lock.waiters.push(wait.goroutine);
        }
    }
}

/// All deferred unlocks of goroutines that do not run.
fn pending_unlocks(
    program: &Program,
    frames: &mut Frames,
    stacks: &Stacks,
    parked: &[Parked],
    snapshot: &GoroutineSnapshot,
) -> Vec<PendingUnlock> {
    let mut slots: HashMap<usize, Vec<DeferSlots>> = HashMap::new();
    for ((addresses, end), index) in stacks {
        // `sync.Cond.Wait` gives up the lock that it is called with.
        let gives_up = |frame: &GoFrame| &*frame.function == "sync.(*Cond).Wait";
        let whole = matches!(end, GoStackEnd::Root | GoStackEnd::TooDeep);
        let waits = snapshot.stacks.get(*index).is_some_and(|stack| stack.frames.iter().any(gives_up));
        let found = if whole && !waits { defers::slots(program, frames, addresses) } else { Vec::new() };
        if !found.is_empty() {
            slots.insert(*index, found);
        }
    }
    let mut looked_at = Vec::new();
    for (i, (goroutine, parked)) in snapshot.goroutines.iter().zip(parked).enumerate() {
        if looked_at.len() >= MOST_HOLDERS {
            break;
        }
        let sp = parked.scheduling.resumes().0;
        let own = slots.get(&goroutine.stack).into_iter().flatten();
        looked_at.extend(own.map(|slots| (i, sp, slots)));
    }
    defers::pending(program, frames, &looked_at)
}

/// A lock that a goroutine holds, by its index.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub goroutine: usize,
    pub lock: usize,
    pub reads: bool,
    pub function: Arc<str>,
}

fn add_holders(snapshot: &mut GoroutineSnapshot, waits: &[Wait], unlocks: &[PendingUnlock]) -> Vec<Held> {
    let locks: HashMap<u64, usize> = waits.iter().map(|wait| (wait.address, wait.lock)).collect();
    let waiting: HashMap<usize, &Wait> = waits.iter().map(|wait| (wait.goroutine, wait)).collect();
    let mut held: Vec<Held> = Vec::new();
    for unlock in unlocks {
        let addresses = std::iter::once(unlock.captured).chain(unlock.named.iter().copied());
        let Some(lock) = addresses.filter_map(|address| locks.get(&address).copied()).next() else {
            continue;
        };
        // A function may defer the unlock before it locks.
        let stack = snapshot.goroutines.get(unlock.goroutine).and_then(|g| snapshot.stacks.get(g.stack));
        let before = waiting.get(&unlock.goroutine).is_some_and(|wait| {
            let caller = stack.and_then(|stack| caller(&stack.frames));
            let same = caller.is_none_or(|frame| frame.address == unlock.address && !frame.inlined);
            wait.lock == lock && same && (wait.want == Want::Read) == unlock.reads
        });
        if before {
            continue;
        }
        held.push(Held {
            goroutine: unlock.goroutine,
            lock,
            reads: unlock.reads,
            function: Arc::clone(&unlock.function),
        });
        if let Some(lock) = snapshot.locks.get_mut(lock) {
            lock.read_write |= unlock.reads;
            lock.holders.push(Holder { goroutine: unlock.goroutine, function: Arc::clone(&unlock.function) });
        }
    }
    held
}

/// Whether all of these go on where they did.
fn stay(program: &Program, parked: &[Parked], members: &[usize]) -> bool {
    let layout = program.layout;
    let pieces: Vec<Piece> = members.iter().map(|i| (parked[*i].address, layout.size)).collect();
    let again = program.memory().read_many(&pieces);
    let same = |(at, i): (usize, &usize)| {
        again.get(at).and_then(|g| Scheduling::read(&layout, g)) == Some(parked[*i].scheduling)
    };
    members.iter().enumerate().all(same)
}
