//! What holds the heap from outside of it: package variables, frames of goroutines, the runtime, objects that are
//! finalized.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::paths::{PathId, SOMEWHERE};
use super::variables::{LeafType, Variable, VariableKind, is_of_runtime};
use super::walk::{Found, Stop, Walk};
use crate::runtime::go::bytes::u64_at;
use crate::runtime::go::frames::{CodeAddress, Frames};
use crate::runtime::go::goroutine::GoFrame;
use crate::runtime::go::leaked::goroutines::{Goroutines, Seen};
use crate::runtime::go::leaked::roots::{self, Note};
use crate::runtime::go::leaked::stack_maps::{FrameEnd, Stack, StackMaps};
use crate::runtime::go::leaked::stacks::in_use;
use crate::runtime::go::memory::Piece;

/// Bytes of variables and of stacks that are read at once.
const AT_ONCE: usize = 8 << 20;
/// Most places in code that are told apart as holders.
const MOST_FRAMES: usize = 1 << 16;

/// What kind of holder it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HolderKind {
    /// A variable of a package.
    Variable,
    /// A function on goroutines' stacks.
    Frame,
    /// A variable of the runtime.
    Runtime,
    /// A pool of what is to be used again.
    Pool,
    /// A finalizer, a cleanup or a weak pointer.
    Special,
}

/// Somebody who holds objects.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub kind: HolderKind,
    pub path: PathId,
    /// The number of the variable.
    pub variable: Option<usize>,
    /// The frame, and on how many goroutines' stacks it holds something.
    pub frame: Option<GoFrame>,
    pub goroutines: u64,
}

/// All of them, and what is needed to name their parts.
#[derive(Debug, Default)]
pub(super) struct Holders {
    pub all: Vec<Holder>,
    pub variables: Vec<Variable>,
    by_frame: HashMap<(String, String, u32), usize>,
    /// The goroutine that was counted last for each.
    counted: Vec<Option<u64>>,
}

impl Holders {
    pub(super) fn of(variables: Vec<Variable>) -> Self {
        Self { variables, ..Self::default() }
    }

    fn add(&mut self, walk: &mut Walk<'_>, kind: HolderKind) -> usize {
        let path = walk.paths.holder(self.all.len() as u32);
        self.all.push(Holder { kind, path, variable: None, frame: None, goroutines: 0 });
        self.counted.push(None);
        self.all.len() - 1
    }

    /// Follows what package variables of a kind hold.
    pub(super) fn variables(&mut self, walk: &mut Walk<'_>, kind: VariableKind) -> Result<(), Stop> {
        let wanted: Vec<usize> =
            (0..self.variables.len()).filter(|at| self.variables[*at].kind() == kind).collect();
        let mut rest = &wanted[..];
        while !rest.is_empty() {
            walk.in_time()?;
            let mut bytes = 0;
            let size = |at: &usize| (self.variables[*at].size as usize).min(AT_ONCE);
            let fit = rest.iter().take_while(|at| {
                bytes += size(at);
                bytes <= AT_ONCE
            });
            let (now, later) = rest.split_at(fit.count().max(1));
            rest = later;
            let pieces: Vec<Piece> = now.iter().map(|at| (self.variables[*at].address, size(at))).collect();
            let read = walk.program.memory().read_many(&pieces);
            for (n, at) in now.iter().enumerate() {
                match read.get(n) {
                    Some(bytes) => self.variable(walk, *at, bytes),
                    None => walk.unread_bytes = walk.unread_bytes.saturating_add(pieces[n].1 as u64),
                }
            }
        }
        walk.catch_up()
    }

    fn variable(&mut self, walk: &mut Walk<'_>, at: usize, bytes: &[u8]) {
        let typed = !self.variables[at].leaves.is_empty();
        let leads = |word: &[u8; 8]| {
            let word = u64::from_le_bytes(*word);
            walk.areas.is_close(word) || typed && walk.is_unnamed_static(word)
        };
        if !bytes.as_chunks::<8>().0.iter().any(leads) {
            return;
        }
        let kind =
            if self.variables[at].is_of_runtime() { HolderKind::Runtime } else { HolderKind::Variable };
        let holder = self.add(walk, kind);
        self.all[holder].variable = Some(at);
        let path = self.all[holder].path;
        let mut whole = false;
        for leaf in &self.variables[at].leaves {
            let Some(part) = bytes.get(leaf.offset as usize..) else { continue };
            let word = |at: usize| u64_at(part, at).unwrap_or(0);
            let three = |at: usize| [word(at), word(at + 8), word(at + 16)];
            let step = leaf.offset as u32;
            match leaf.of {
                LeafType::Slot(what) => walk.visit(Found { path, step }, what, three(0)),
                LeafType::Value(id) => {
                    let flat = walk.types.flat(id);
                    whole |= flat.whole && flat.size >= bytes.len() as u64;
                    for slot in &flat.slots {
                        let step = step.saturating_add(slot.step);
                        walk.visit(Found { path, step }, slot.what, three(slot.offset as usize));
                    }
                }
            }
        }
        if !whole {
            walk.words(path, bytes, 0, true);
        }
    }

    /// Follows the words between variables that nothing names.
    pub(super) fn unnamed(&mut self, walk: &mut Walk<'_>) -> Result<(), Stop> {
        let ranges: Vec<(u64, u64)> =
            walk.program.parts.iter().flat_map(|part| part.pointer_variables()).collect();
        let holder = self.add(walk, HolderKind::Runtime);
        let path = self.all[holder].path;
        for (low, high) in ranges {
            let mut at = low;
            while at < high {
                walk.in_time()?;
                let length = (high - at).min(AT_ONCE as u64);
                if let Some(bytes) = walk.program.memory().bytes(at, length as usize) {
                    // What variables lead to is charged to them already.
                    walk.words(path, &bytes, 0, false);
                }
                at += length;
            }
        }
        walk.settle()
    }

    /// Follows what pools keep at these addresses.
    pub(super) fn pools(&mut self, walk: &mut Walk<'_>, kept: &[u64]) -> Result<(), Stop> {
        let holder = self.add(walk, HolderKind::Pool);
        let found = Found { path: self.all[holder].path, step: SOMEWHERE };
        kept.iter().for_each(|at| walk.untyped(found, *at));
        walk.settle()
    }

    /// Follows what is on the stacks of goroutines.
    pub(super) fn stacks(&mut self, walk: &mut Walk<'_>, frames: &mut Frames) -> Result<u64, Stop> {
        let Some(goroutines) = Goroutines::read(walk.program) else { return Ok(0) };
        let alive: Vec<Seen> = goroutines.all.iter().filter(|seen| !seen.is_dead()).copied().collect();
        let (mut maps, mut rest, mut number) = (StackMaps::default(), &alive[..], 0);
        while !rest.is_empty() {
            walk.in_time()?;
            let mut bytes = 0;
            let piece = |seen: &Seen| {
                let (at, length) = in_use(seen);
                (at, length.min(AT_ONCE))
            };
            let fit = rest.iter().take_while(|seen| {
                bytes += piece(seen).1;
                bytes <= AT_ONCE
            });
            let (now, later) = rest.split_at(fit.count().max(1));
            rest = later;
            let size = walk.program.layout.size;
            let both = |seen: &Seen| [piece(seen), (seen.address, size)];
            let pieces: Vec<Piece> = now.iter().flat_map(both).collect();
            let read = walk.program.memory().read_many(&pieces);
            for (n, seen) in now.iter().enumerate() {
                number += 1;
                if let (Some(stack), Some(g)) = (read.get(2 * n), read.get(2 * n + 1)) {
                    self.stack(walk, (&mut maps, frames), (seen, pieces[2 * n].0, stack, g), number);
                }
            }
        }
        walk.catch_up()?;
        Ok(alive.len() as u64)
    }

    fn stack(
        &mut self,
        walk: &mut Walk<'_>,
        (maps, frames): (&mut StackMaps, &mut Frames),
        (seen, from, bytes, g): (&Seen, u64, &[u8], &[u8]),
        number: u64,
    ) {
        let (sp, pc) = seen.scheduling.resumes();
        let parked = seen.is_parked() && !seen.scheduling.is_in_syscall();
        let mut words: Vec<(u64, u64)> = Vec::new();
        let mut ends: Vec<FrameEnd> = Vec::new();
        if !seen.scheduling.is_running() {
            let stack = Stack { pc, sp, bounds: seen.scheduling.stack(), bytes, g };
            ends =
                maps.reach(walk.program, stack, &mut |at, word| words.push((at, word))).unwrap_or_default();
        }
        if !parked || ends.is_empty() {
            let all = bytes.as_chunks::<8>().0.iter().enumerate();
            words = all.map(|(n, word)| (from + 8 * n as u64, u64::from_le_bytes(*word))).collect();
        }
        // By the maps of a stack, a word may be a pointer to what has come since.
        let precise = parked && !ends.is_empty();
        words.retain(|(_, word)| walk.areas.find(*word).is_some() || precise && walk.areas.is_close(*word));
        let start = u64_at(g, walk.program.layout.start).unwrap_or(0);
        for (at, word) in words {
            let frame = ends.iter().position(|(end, _)| at < *end).unwrap_or(ends.len());
            let Some(holder) = self.frame(walk, frames, ends.get(frame..).unwrap_or_default(), start) else {
                return;
            };
            if self.counted[holder] != Some(number) {
                self.counted[holder] = Some(number);
                self.all[holder].goroutines += 1;
            }
            walk.untyped(Found { path: self.all[holder].path, step: SOMEWHERE }, word);
        }
    }

    /// The holder that a frame is: the first function of the program's own from there on, or the one that the
    /// goroutine began with.
    fn frame(
        &mut self,
        walk: &mut Walk<'_>,
        frames: &mut Frames,
        ends: &[FrameEnd],
        start: u64,
    ) -> Option<usize> {
        let mut first = None;
        for (_, pc) in ends {
            let Some(place) = frames.place(walk.program, CodeAddress { pc: *pc, exact: false }) else {
                continue;
            };
            let own = place.frames().find(|frame| !is_of_runtime(&frame.function));
            if let Some(own) = own {
                return self.of_frame(walk, own);
            }
            first = first.or_else(|| place.frames().next().cloned());
        }
        let began = || frames.innermost(walk.program, CodeAddress { pc: start, exact: true });
        let frame = first.or_else(began)?;
        self.of_frame(walk, &frame)
    }

    fn of_frame(&mut self, walk: &mut Walk<'_>, frame: &GoFrame) -> Option<usize> {
        let key = (frame.function.to_string(), frame.file.to_string(), frame.line);
        if let Some(known) = self.by_frame.get(&key) {
            return Some(*known);
        }
        if self.by_frame.len() >= MOST_FRAMES {
            return None;
        }
        let holder = self.add(walk, HolderKind::Frame);
        self.all[holder].frame = Some(frame.clone());
        self.by_frame.insert(key, holder);
        Some(holder)
    }

    /// Follows objects with finalizers and the like. Hands out the profiler's notes: the object's address, and that of
    /// the place that allocated it.
    pub(super) fn specials(
        &mut self,
        walk: &mut Walk<'_>,
        sampled: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Stop> {
        let holder = self.add(walk, HolderKind::Special);
        let found = Found { path: self.all[holder].path, step: SOMEWHERE };
        let noted = walk.areas.all().iter().filter(|area| area.specials != 0);
        let spans = noted.map(|area| (area.start, area.specials)).collect();
        let mut words = Vec::new();
        roots::notes(walk.program, spans, &mut |note: &Note<'_>| {
            if note.of_profile {
                sampled(note.object, u64_at(note.body, 0).unwrap_or(0));
            } else {
                words.push(note.object);
                words.extend(note.body.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)));
            }
        });
        for block in roots::blocks(walk.program, &|address| walk.areas.find(address).is_some()) {
            words.extend(block.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)));
        }
        for word in words {
            walk.untyped(found, word);
        }
        walk.settle()
    }
}
