//! What the collector begins at, besides stacks (`runtime/mgcmark.go`, `markroot`).

use std::collections::HashSet;

use super::objects::Objects;
use crate::runtime::go::bytes::{u16_at, u64_at};
use crate::runtime::go::code::references;
use crate::runtime::go::memory::Piece;
use crate::runtime::go::program::Program;

/// Bytes of variables read at once.
const AT_ONCE: usize = 16 << 20;
/// Most notes of objects that are followed, and of one object after the other.
const MOST_SPECIALS: usize = 1 << 24;
/// Bytes of a note of an object (`runtime/mheap.go`, `special` and what begins with one).
const SPECIAL: usize = 56;
const SHORT_SPECIAL: usize = 24;
/// The first version whose notes have an offset of 64 bits.
const FIRST_WIDE: u32 = 24;
/// Bytes of a block of finalizers that are to run (`runtime/mfinal.go`, `finBlockSize`); those of cleanups have fewer.
const BLOCK: usize = 4096;
const MOST_BLOCKS: usize = 1 << 14;

/// Reaches what variables point to; whether all could be read.
pub(super) fn variables(program: &Program, objects: &mut Objects) -> bool {
    let ranges = program.parts.iter().flat_map(|part| part.pointer_variables());
    let mut all = true;
    for (low, high) in ranges {
        let mut at = low;
        while at < high {
            let length = (high - at).min(AT_ONCE as u64);
            match program.memory().bytes(at, length as usize) {
                Some(bytes) => objects.reach_all(&bytes),
                None => all = false,
            }
            at += length;
        }
    }
    all
}

/// The kind of the profiler's notes (`runtime/mheap.go`, `_KindSpecialProfile`): they keep nothing.
fn kind_of_profile(minor: u32) -> u8 {
    match minor {
        0..=22 => 2,
        23 | 24 => 3,
        _ => 4,
    }
}

/// A note of an object.
pub(in super::super) struct Note<'a> {
    /// Address of the object.
    pub object: u64,
    /// Whether it is the profiler's, which keeps nothing.
    pub of_profile: bool,
    /// What it leads to, besides.
    pub body: &'a [u8],
}

/// A list of notes that is followed.
struct Followed {
    /// First address of the span whose notes they are.
    span: u64,
    /// The note that is read next.
    next: u64,
    /// A note from before: a list that meets it again goes in a circle.
    met: u64,
}

/// Reads the notes of all objects of these spans: first address, and first note. Returns whether all could be read;
/// a list that goes in a circle cannot.
pub(in super::super) fn notes(
    program: &Program,
    spans: Vec<(u64, u64)>,
    each: &mut dyn FnMut(&Note<'_>),
) -> bool {
    let lists = spans.into_iter().map(|(span, next)| Followed { span, next, met: 0 });
    let (mut todo, mut left): (Vec<Followed>, usize) = (lists.collect(), MOST_SPECIALS);
    let mut round = 0usize;
    while !todo.is_empty() {
        let pieces: Vec<Piece> = todo.iter().map(|list| (list.next, SPECIAL)).collect();
        let read = program.memory().read_many(&pieces);
        round += 1;
        for (at, list) in todo.iter_mut().enumerate() {
            // The last one may lie at the end of what is mapped.
            let short = || program.memory().bytes(list.next, SHORT_SPECIAL);
            let Some(bytes) = read.get(at).map(<[u8]>::to_vec).or_else(short) else { return false };
            let Some(special) = Special::read(program.minor, &bytes) else { return false };
            each(&Note {
                object: list.span.wrapping_add(special.offset),
                of_profile: special.kind == kind_of_profile(program.minor),
                body: bytes.get(special.body..).unwrap_or_default(),
            });
            // Brent's way: what is remembered is ever farther on, so it lies in the circle at last.
            if round.is_power_of_two() {
                list.met = list.next;
            }
            if special.next == list.met {
                return false;
            }
            list.next = special.next;
        }
        left = left.saturating_sub(todo.len());
        if left == 0 {
            return false;
        }
        todo.retain(|list| list.next != 0);
    }
    true
}

/// Reaches objects with a finalizer, a weak pointer or a cleanup, and what these lead to: more than the collector
/// does, as they may be about to run. Returns whether all could be read.
pub(super) fn specials(program: &Program, objects: &mut Objects) -> bool {
    let areas = objects.areas().iter().filter(|area| area.specials != 0);
    let spans = areas.map(|area| (area.start, area.specials)).collect();
    notes(program, spans, &mut |note| {
        if !note.of_profile {
            objects.reach(note.object);
            objects.reach_all(note.body);
        }
    })
}

struct Special {
    next: u64,
    /// Of the object in its span.
    offset: u64,
    kind: u8,
    /// Where what is special begins.
    body: usize,
}

impl Special {
    fn read(minor: u32, bytes: &[u8]) -> Option<Self> {
        let next = u64_at(bytes, 0)?;
        Some(if minor >= FIRST_WIDE {
            Self { next, offset: u64_at(bytes, 8)?, kind: *bytes.get(16)?, body: 24 }
        } else {
            Self { next, offset: u16_at(bytes, 8)?.into(), kind: *bytes.get(10)?, body: 16 }
        })
    }
}

/// Reaches what finalizers and cleanups lead to that are to run.
pub(super) fn queues(program: &Program, objects: &mut Objects) {
    let blocks = blocks(program, &|address| objects.find(address).is_some());
    blocks.iter().for_each(|block| objects.reach_all(block));
}

/// The blocks of finalizers and cleanups that are to run: they are lists outside the heap, and the collector's own
/// function refers to the first of each.
pub(in super::super) fn blocks(program: &Program, is_object: &dyn Fn(u64) -> bool) -> Vec<Vec<u8>> {
    let Some(part) = program.parts.first() else { return Vec::new() };
    let memory = program.memory();
    let variables = references(program, "runtime.markroot").into_iter().filter(|at| part.is_variable(*at));
    let mut todo: Vec<u64> = variables.filter_map(|at| memory.u64(at)).collect();
    let (mut met, mut blocks): (HashSet<u64>, Vec<Vec<u8>>) = (HashSet::new(), Vec::new());
    while let Some(block) = todo.pop() {
        let is_block = block >= 0x1000 && block % 8 == 0 && !is_object(block) && is_outside(program, block);
        if !is_block || met.len() >= MOST_BLOCKS || !met.insert(block) {
            continue;
        }
        let Some(bytes) = memory.bytes(block, BLOCK).or_else(|| memory.bytes(block, BLOCK / 8)) else {
            continue;
        };
        // `finBlock.alllink`; `cleanupBlockHeader.alllink` behind an `lfnode` of two words.
        todo.extend([0, 16].into_iter().filter_map(|at| u64_at(&bytes, at)));
        blocks.push(bytes);
    }
    blocks
}

/// Whether an address lies in no part of the program itself.
fn is_outside(program: &Program, address: u64) -> bool {
    program.parts.iter().all(|part| !part.is_variable(address)) && program.part_of(address).is_none()
}
