//! An estimate of what lives in a heap that keeps no profile of itself: a plain state machine.
//!
//! Go hands out small objects from spans that a P takes from the heap, one for each size class. The
//! first object of such a *batch* is sampled with its stack; it stands for all objects of the batch
//! ([`Sampler::take`]). How many those are is known as the P takes its next span, or is read while the
//! batch is open ([`Sampler::open`], [`Sampler::seen_open`]). Large objects are batches of their own.
//!
//! After a collection the bits of the span say whether the object was live ([`Sampler::due`],
//! [`Sampler::checked`]): what was not is forgotten. Its place can only serve another object once its
//! span has been taken again, and then the bits come with that event: so a collection may go unseen, and
//! yet no other object is ever taken for the one that was sampled, unless an event was lost. An object
//! that was allocated while a collection marked was taken for live by it; only the next one tells.
//!
//! Of more samples than are kept, those of few bytes are drawn, and count for those that are not: no
//! sample that is kept stands for less than others do by far, and a large object is never given up for a
//! small one (`Sampler::draw`).
//!
//! What each site holds is made of them in `estimate`.

mod estimate;

use std::collections::HashMap;

use super::spans::{IN_USE, Span};
pub use estimate::{Estimate, Estimates};

/// Most samples that are kept.
pub const MOST: usize = 1 << 16;
/// Most objects of a span.
const MOST_ELEMENTS: u64 = 1024;
/// Span classes below are those of large objects.
const FIRST_SMALL: u8 = 2;

/// A span that is about to serve its first object since it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenSpan {
    /// Address of its description.
    pub span: u64,
    /// The P that took it; 0: not known.
    pub p: u64,
    /// The stack; `None` where it could not be taken.
    pub stack: Option<u32>,
    /// The heap's sweep generation.
    pub generation: u32,
    /// Whether a collection marked.
    pub marking: bool,
    pub description: Span,
    /// The bits of its objects: whether they were live as it was swept. Empty if they are not known.
    pub bits: Vec<u8>,
}

impl TakenSpan {
    /// Whether an object's place is taken.
    fn is_taken(&self, index: u64) -> Option<bool> {
        if index < self.description.free_index {
            return Some(true);
        }
        let byte = self.bits.get(usize::try_from(index / 8).ok()?)?;
        Some(byte >> (index % 8) & 1 != 0)
    }

    /// The object that comes next (`nextFreeIndex`).
    fn next(&self) -> Option<u64> {
        let span = &self.description;
        if span.alloc_cache != 0 {
            let next = span.free_index.checked_add(u64::from(span.alloc_cache.trailing_zeros()))?;
            return Some(next).filter(|next| *next < span.elements);
        }
        let from = span.free_index.checked_add(64)? & !63;
        (from..span.elements.min(MOST_ELEMENTS)).find(|index| self.is_taken(*index) == Some(false))
    }
}

/// What became of a sampled object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The span was not swept since the last collection.
    Pending,
    /// The span serves other objects now, or none.
    Gone,
    /// It was swept, and the object was live or not.
    Swept(bool),
}

#[derive(Clone, Debug)]
struct Sample {
    number: u64,
    stack: Option<u32>,
    span: u64,
    start: u64,
    class: u8,
    size: u64,
    index: u64,
    /// Objects in the span as it was taken.
    before: u64,
    /// Objects that it had room for beside those.
    room: u64,
    /// Objects that were taken from it since.
    used: u64,
    closed: bool,
    born: u32,
    marking: bool,
    /// Generation of the last collection that it was looked at for.
    checked: u32,
    survived: u32,
    dead: bool,
    /// Batches that it stands for: it was kept with a chance of one in so many.
    factor: u64,
}

impl Sample {
    /// The most bytes that it can stand for.
    fn capacity(&self) -> u64 {
        self.room.saturating_mul(self.size)
    }

    /// Objects of its batch.
    fn objects(&self) -> u64 {
        // Never seen before it was closed: it was open for a moment, and half of it is as good a guess
        // as any.
        if self.used > 0 { self.used } else { self.room.div_ceil(2) }
    }

    /// Objects and bytes that it stands for.
    fn weight(&self) -> (u64, u64) {
        let objects = self.objects().saturating_mul(self.factor);
        (objects, objects.saturating_mul(self.size))
    }

    /// It was live in the collection that led to this generation.
    fn survives(&mut self, generation: u32) {
        let passed = generation.wrapping_sub(self.checked);
        if passed > 0 && passed < 1 << 31 {
            self.checked = generation;
            self.closed = true;
            self.survived = self.survived.saturating_add(passed.div_ceil(2));
        }
    }

    fn is_live(&self) -> bool {
        self.survived > u32::from(self.marking)
    }
}

/// Samples and what is known of them.
#[derive(Debug, Default)]
pub struct Sampler {
    samples: Vec<Sample>,
    /// The open batch of a P and a span class.
    open: HashMap<(u64, u8), u64>,
    /// Samples by the description of their span.
    in_span: HashMap<u64, Vec<u64>>,
    /// Batches of a class since recording began.
    classes: HashMap<u8, u64>,
    /// Bytes and objects allocated in batches that are forgotten.
    allocated: HashMap<Option<u32>, (u64, u64)>,
    next: u64,
    /// Bytes that a sample stands for at least half of, if it stands for several batches.
    share: u64,
    random: u64,
    /// Samples that are dead, and not yet taken out.
    dead: usize,
    generation: Option<u32>,
    batches: u64,
    collections: u64,
    odd: u64,
}

impl Sampler {
    /// A span was taken. Events of one P come in order.
    pub fn take(&mut self, taken: &TakenSpan) {
        self.batches += 1;
        self.look_at_those_before(taken);
        let span = &taken.description;
        let room = span.elements.saturating_sub(span.alloc_count);
        let large = span.class < FIRST_SMALL;
        // A large object's span is counted as it is made.
        let (before, room) = if large { (0, 1) } else { (span.alloc_count, room) };
        let index = if large { Some(0) } else { taken.next() };
        let (Some(index), true) = (index, span.is_sound_as_taken() && room > 0) else {
            self.odd += 1;
            return;
        };
        let number = self.next;
        self.next += 1;
        if !large && let Some(previous) = self.open.insert((taken.p, span.class), number) {
            self.close(previous, taken.generation);
        }
        *self.classes.entry(span.class).or_insert(0) += 1;
        let mut sample = Sample {
            number,
            stack: taken.stack,
            span: taken.span,
            start: span.start,
            class: span.class,
            size: span.element_size,
            index,
            before,
            room,
            used: u64::from(large),
            closed: large,
            born: taken.generation,
            marking: taken.marking,
            checked: taken.generation,
            survived: 0,
            dead: false,
            factor: 1,
        };
        if !self.draw(&mut sample) {
            return;
        }
        self.samples.push(sample);
        self.in_span.entry(taken.span).or_default().push(number);
        if self.samples.len() > MOST {
            self.thin();
        }
    }

    /// What the bits of a span that is taken again say of the samples in it.
    fn look_at_those_before(&mut self, taken: &TakenSpan) {
        let Some(numbers) = self.in_span.get(&taken.span) else { return };
        let mut dead = Vec::new();
        for number in numbers.clone() {
            let span = &taken.description;
            let Some(sample) = self.find(number) else { continue };
            if sample.class < FIRST_SMALL || sample.start != span.start || sample.size != span.element_size {
                dead.push(number);
                continue;
            }
            match taken.is_taken(sample.index) {
                Some(true) => sample.survives(taken.generation),
                Some(false) => dead.push(number),
                None => {}
            }
        }
        self.forget(&dead);
    }

    /// Forgets samples that have died.
    fn forget(&mut self, dead: &[u64]) {
        if dead.is_empty() {
            return;
        }
        for number in dead {
            let Some(sample) = self.find(*number) else { continue };
            sample.dead = true;
            let (span, stack, (objects, bytes)) = (sample.span, sample.stack, sample.weight());
            let allocated = self.allocated.entry(stack).or_default();
            *allocated = (allocated.0.saturating_add(bytes), allocated.1.saturating_add(objects));
            if let Some(numbers) = self.in_span.get_mut(&span) {
                numbers.retain(|other| other != number);
                if numbers.is_empty() {
                    self.in_span.remove(&span);
                }
            }
        }
        self.dead += dead.len();
        // Not each time: all are moved.
        if self.dead > self.samples.len() / 8 {
            self.samples.retain(|sample| !sample.dead);
            self.dead = 0;
        }
    }

    /// The P has taken another span of the class: within one generation only because this one is full.
    fn close(&mut self, number: u64, generation: u32) {
        if let Some(sample) = self.find(number) {
            if sample.born == generation && !sample.closed {
                sample.used = sample.room;
            }
            sample.closed = true;
        }
    }

    /// Samples are in the order of their numbers.
    fn find(&mut self, number: u64) -> Option<&mut Sample> {
        let at = self.samples.binary_search_by_key(&number, |s| s.number).ok()?;
        self.samples.get_mut(at).filter(|sample| !sample.dead)
    }

    /// Drops samples until there is room again.
    fn thin(&mut self) {
        let mut samples = std::mem::take(&mut self.samples);
        samples.retain(|sample| !sample.dead);
        self.dead = 0;
        // The half with fewer bytes is drawn from at first.
        let mut bytes: Vec<u64> = samples.iter().map(|s| s.capacity().saturating_mul(s.factor)).collect();
        bytes.sort_unstable();
        self.share = self.share.max(bytes.get(bytes.len() / 2).copied().unwrap_or(1));
        while samples.len() > MOST / 4 * 3 && self.share < 1 << 62 {
            self.share *= 2;
            samples.retain_mut(|sample| self.draw(sample));
        }
        // So large that no share is: lies.
        if samples.len() > MOST {
            self.odd += (samples.len() - MOST) as u64;
            samples.truncate(MOST);
        }
        self.samples = samples;
        self.in_span.clear();
        for sample in &self.samples {
            self.in_span.entry(sample.span).or_default().push(sample.number);
        }
    }

    /// Whether a sample is kept: it is drawn until it stands for its share of bytes.
    fn draw(&mut self, sample: &mut Sample) -> bool {
        while sample.capacity().saturating_mul(sample.factor).saturating_mul(2) <= self.share {
            if self.random() & 1 != 0 {
                return false;
            }
            sample.factor *= 2;
        }
        true
    }

    /// Random bits (xorshift64*).
    fn random(&mut self) -> u64 {
        let mut x = if self.random == 0 { 0x9e37_79b9_7f4a_7c15 } else { self.random };
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// Batches that may still serve objects: number, and address of the span's description.
    pub fn open(&self) -> Vec<(u64, u64)> {
        let known = |number: &u64| {
            let at = self.samples.binary_search_by_key(number, |s| s.number).ok()?;
            self.samples.get(at).filter(|s| !s.closed && !s.dead).map(|s| (s.number, s.span))
        };
        self.open.values().filter_map(known).collect()
    }

    /// How the span of an open batch looks now.
    pub fn seen_open(&mut self, number: u64, span: &Span) {
        let Some(sample) = self.find(number) else { return };
        // Cached: 3 more than the generation, or 1 more if another has begun since.
        let cached = span.sweep_generation == sample.born.wrapping_add(3);
        if cached && span.start == sample.start && span.alloc_count >= sample.before {
            sample.used = (span.alloc_count - sample.before).clamp(1, sample.room);
        }
    }

    /// The heap's sweep generation is this now.
    pub fn at_generation(&mut self, generation: u32) {
        if let Some(before) = self.generation.replace(generation) {
            self.collections += u64::from(generation.wrapping_sub(before) / 2);
        }
    }

    /// Samples that the last collection has not been asked about: number, and address of the span's
    /// description.
    pub fn due(&self) -> Vec<(u64, u64)> {
        let Some(generation) = self.generation else { return Vec::new() };
        let due =
            |s: &&Sample| !s.dead && s.checked != generation && generation.wrapping_sub(s.checked) < 1 << 31;
        self.samples.iter().filter(due).map(|s| (s.number, s.span)).collect()
    }

    /// Which bit of a span's `allocBits` tells of a sample, if the span is swept: `Err` with the fate
    /// otherwise.
    pub fn bit(&mut self, number: u64, span: &Span) -> Result<u64, Fate> {
        let generation = self.generation.unwrap_or(0);
        let Some(sample) = self.find(number) else { return Err(Fate::Gone) };
        if span.state != IN_USE || span.start != sample.start || span.element_size != sample.size {
            return Err(Fate::Gone);
        }
        let swept = [generation, generation.wrapping_add(3)].contains(&span.sweep_generation);
        if swept { Ok(sample.index) } else { Err(Fate::Pending) }
    }

    /// What the collections up to this generation have made of a sample.
    pub fn checked(&mut self, fates: &[(u64, Fate)]) {
        let Some(generation) = self.generation else { return };
        let mut dead = Vec::new();
        for (number, fate) in fates {
            match fate {
                Fate::Pending => {}
                Fate::Gone | Fate::Swept(false) => dead.push(*number),
                Fate::Swept(true) => {
                    if let Some(sample) = self.find(*number) {
                        sample.survives(generation);
                    }
                }
            }
        }
        self.forget(&dead);
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
