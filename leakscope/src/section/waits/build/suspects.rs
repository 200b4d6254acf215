//! Threads, as far as they may hold a lock that does not tell.

use std::collections::HashSet;
use std::ops::Range;

use super::book::{Book, Entry};
use super::sites::Blocked;
use crate::section::label::line_first;
use crate::section::model::StackEnd;
use crate::symbol::FrameOwner;
use crate::wait::owners::Suspect;
use crate::wait::primitives::Mark;
use crate::wait::{Pointer, Thread, ThreadSnapshot, WaitKind};

/// All threads.
pub(super) fn suspects(
    snapshot: &ThreadSnapshot,
    blocked: &[Blocked<'_>],
    book: &mut Book<'_, '_>,
) -> Vec<Suspect> {
    let join = |thread: &&Blocked<'_>| thread.classified.kind == WaitKind::Join;
    let joins: HashSet<u32> = blocked.iter().filter(join).map(|thread| thread.thread.tid).collect();
    let suspect = |thread: &Thread| Suspect {
        joins: joins.contains(&thread.tid),
        ..suspect(thread, &book.get(thread.stack))
    };
    snapshot.threads.iter().map(suspect).collect()
}

fn suspect(thread: &Thread, entry: &Entry) -> Suspect {
    let runs = thread.blocked_ns.is_none();
    Suspect {
        tid: thread.tid,
        whole: entry.stack.end == Some(StackEnd::Root),
        runs: runs.then(|| running(thread, entry)),
        points_to: thread.points_to.iter().map(|at| (at.futex, may_hold(*at, entry))).collect(),
        live: thread.live.clone(),
        initialises: initialises(&entry.marks),
        joins: false,
    }
}

/// Who runs, and where a sample found it.
fn running(thread: &Thread, entry: &Entry) -> String {
    let place = entry.stack.blamed().and_then(line_first);
    let place = place.map(|place| format!(", sampled at {place}")).unwrap_or_default();
    format!("thread {} \"{}\"{place}", thread.tid, thread.name)
}

/// Whether a pointer lies where a guard may: in a frame of the program's, or in what the function called by one has
/// saved of it.
fn may_hold(pointer: Pointer, entry: &Entry) -> bool {
    let Some(frame) = pointer.frame else { return entry.marks.iter().any(Mark::is_user) };
    let own = |frame: u32| {
        let named = named(entry, frame);
        entry.marks.get(named).is_some_and(|marks| marks.iter().any(Mark::is_user))
    };
    own(frame) || own(frame.saturating_add(1))
}

/// The named frames of a frame as it was unwound: those that are inlined into it, and itself.
fn named(entry: &Entry, frame: u32) -> Range<usize> {
    let mut ends = entry.stack.frames.iter().zip(1..).filter(|(frame, _)| !frame.inlined).map(|(_, end)| end);
    let frame = frame as usize;
    let begin = if frame == 0 { Some(0) } else { ends.nth(frame - 1) };
    match (begin, ends.next()) {
        (Some(begin), Some(end)) => begin..end,
        _ => 0..0,
    }
}

/// Whether a stack shows an initialisation that runs: the program's code is called by a function that initialises
/// something once.
fn initialises(marks: &[Mark]) -> bool {
    let Some(code) = marks.iter().position(Mark::is_user) else { return false };
    marks[code..].iter().any(Mark::is_once)
}

/// Whether a thread waits for a lock of the allocator that it holds itself: a signal has interrupted the allocator,
/// and the handler calls it again. Between the two lies code of the program, and the kernel has called that: the
/// function around it is the C library's, which leads back from a signal.
pub(super) fn interrupted(blocked: &Blocked<'_>, entry: &Entry) -> bool {
    let marks = &entry.marks;
    let allocates = |mark: &Mark| mark.owner == FrameOwner::Allocator;
    let Some(inner) = marks.iter().position(allocates) else { return false };
    let Some(handler) = marks[inner..].iter().position(Mark::is_user).map(|at| inner + at) else {
        return false;
    };
    let Some(around) = marks[handler..].iter().position(|mark| !mark.is_user()).map(|at| handler + at) else {
        return false;
    };
    let returns = marks[around].c_library.is_some();
    let outer = marks[around + 1..].iter().take_while(|mark| !mark.is_user()).any(allocates);
    blocked.classified.kind == WaitKind::Mutex && returns && outer
}
