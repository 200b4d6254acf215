//! Batches of small objects: the spans that the Ps take, and how many objects come out of each.

use std::collections::HashMap;

use super::super::spans::Span;
use super::TakenSpan;
use super::mix::Site;

/// Most open batches; a P has one for each span class.
const MOST: usize = 1 << 16;

/// A span that a P has taken.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    span: u64,
    start: u64,
    /// Objects in the span as it was taken.
    before: u64,
    /// Objects that it had room for beside those.
    room: u64,
    /// Objects that were taken from it since.
    used: u64,
    /// It serves no objects any more.
    closed: bool,
    born: u32,
    /// The phase that it was taken in.
    pub(super) phase: u64,
    /// Who took the first object, where that is known.
    pub(super) first: Site,
}

impl Batch {
    /// Objects that have come out of it.
    pub(super) fn objects(&self) -> u64 {
        // Never seen before it was closed: it was open for a moment, and half of it is as good a guess
        // as any.
        if self.used > 0 { self.used } else { self.room.div_ceil(2) }
    }
}

/// The last batch of each P and span class.
#[derive(Debug, Default)]
pub(super) struct Batches(HashMap<(u64, u8), Batch>);

impl Batches {
    /// A span is taken; returns the batch before, which is closed.
    pub(super) fn take(&mut self, taken: &TakenSpan) -> Option<Batch> {
        let span = &taken.description;
        let batch = Batch {
            span: taken.span,
            start: span.start,
            before: span.alloc_count,
            room: span.elements.saturating_sub(span.alloc_count),
            used: 0,
            closed: false,
            born: taken.generation,
            phase: taken.phase,
            first: taken.site,
        };
        let key = (taken.p, span.class);
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            // More than any machine has Ps for: lies.
            self.0.clear();
        }
        let mut before = self.0.insert(key, batch)?;
        // Within one generation another one is taken only because this one is full.
        if before.born == taken.generation {
            before.used = before.room;
        }
        Some(before)
    }

    /// Those that may still serve objects, and the addresses of their spans' descriptions.
    pub(super) fn open(&self) -> Vec<((u64, u8), u64)> {
        self.0.iter().filter(|(_, batch)| !batch.closed).map(|(key, batch)| (*key, batch.span)).collect()
    }

    /// How the span of an open batch looks now.
    pub(super) fn seen_open(&mut self, key: (u64, u8), span: &Span) {
        let Some(batch) = self.0.get_mut(&key) else { return };
        // Cached: 3 more than the generation, or 1 more if another has begun since.
        let cached = span.sweep_generation == batch.born.wrapping_add(3);
        if cached && span.start == batch.start && span.alloc_count >= batch.before {
            batch.used = (span.alloc_count - batch.before).clamp(1, batch.room);
        }
    }

    /// Those that were taken before this generation serve objects no more.
    pub(super) fn at_generation(&mut self, generation: u32) {
        for batch in self.0.values_mut() {
            let passed = generation.wrapping_sub(batch.born);
            batch.closed |= passed > 2 && passed < 1 << 31;
        }
    }

    /// All, by class.
    pub(super) fn all(&self) -> impl Iterator<Item = (u8, &Batch)> {
        self.0.iter().map(|((_, class), batch)| (*class, batch))
    }
}
