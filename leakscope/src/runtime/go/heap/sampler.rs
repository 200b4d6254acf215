//! An estimate of what lives in a heap that keeps no profile of itself: a plain state machine.
//!
//! Go hands out small objects from spans that a P takes from the heap, one for each size class. How many objects
//! are handed out is known from these *batches* (`batches`): as the P takes its next span, or by a look at one that is
//! open. Which sites they are of is known from windows, in which each object is sampled as it is taken (`mix`).
//! Where no window has seen a class, the first object of each batch is a sample, which is a poor one: of two sites
//! by turns it may always be of the same. Such samples also tell whose a burst was that windows have missed. Large objects have a span of their own, and each is seen.
//!
//! After a collection the bits of the span say whether an object was live ([`Sampler::due`],
//! [`Sampler::checked`]): what was not is forgotten. Its place can only serve another object once its
//! span has been taken again, and then the bits come with that event: so a collection may go unseen, and
//! yet no other object is ever taken for the one that was sampled, unless an event was lost. An object
//! that was allocated while a collection marked was taken for live by it; only the next one tells.
//!
//! Of more samples than are kept, some are drawn, and count for those that are not: small ones with one chance for all,
//! large ones so that none that is kept stands for less than others do by far (`Sampler::thin`).
//!
//! What each site holds is made of them in `estimate`, and fitted to what the spans themselves say in `known`.

mod batches;
mod estimate;
mod known;
mod mix;
mod sample;
mod taken;

use std::collections::HashMap;

use super::counts::Counts;
use super::spans::{CLASSES, IN_USE, Span};
use crate::runtime::go::windowed::Random;
use batches::Batches;
pub use estimate::{Estimate, Estimates};
use known::Known;
use mix::Mix;
pub use mix::{Site, Stack};
pub use sample::Fate;
use sample::{Kind, Sample};
pub use taken::TakenSpan;

/// Most samples that are kept of small objects, and as many of large ones.
pub const MOST: usize = 1 << 15;
/// Most Ps and classes for which an object waits for its span.
const MOST_AWAITED: usize = 1 << 16;
/// Span classes below are those of large objects.
const FIRST_SMALL: u8 = 2;

/// An object that was taken in a window, from the span that the P takes next.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    site: Site,
    phase: u64,
    marking: bool,
}

/// Samples and what is known of them.
#[derive(Debug, Default)]
pub struct Sampler {
    samples: Vec<Sample>,
    batches: Batches,
    /// By class.
    mixes: HashMap<u8, Mix>,
    /// Size of the objects of a class.
    sizes: HashMap<u8, u64>,
    /// By P and class.
    awaited: HashMap<(u64, u8), Awaited>,
    /// Samples by the description of their span.
    in_span: HashMap<u64, Vec<u64>>,
    /// Bytes and objects allocated as large objects that are forgotten.
    allocated: HashMap<Site, (u64, u64)>,
    next: u64,
    /// One in 2 to the power of so many samples of small objects is kept.
    halved: u32,
    /// Bytes that a sample of a large object stands for at least half of, if it stands for several.
    share: u64,
    random: Random,
    /// Samples of small and of large objects, those that died since the last count included.
    kept: [usize; 2],
    /// Samples that are dead, and not yet taken out.
    dead: usize,
    generation: Option<u32>,
    known: Known,
    taken: u64,
    room_taken: u64,
    /// Classes whose spans have one object, a bit each.
    alone: [u64; 3],
    /// Objects seen in windows, and the windows.
    seen: u64,
    windows: u64,
    last_window: u64,
    collections: u64,
    odd: u64,
}

impl Sampler {
    /// A span was taken, or an object. Events of one P come in order.
    pub fn take(&mut self, taken: &TakenSpan) {
        match taken.object {
            Some(class) => self.see(taken, class),
            None => self.take_span(taken),
        }
    }

    fn take_span(&mut self, taken: &TakenSpan) {
        self.taken += 1;
        self.look_at_those_before(taken);
        let span = &taken.description;
        let large = span.class < FIRST_SMALL;
        let index = if large { Some(0) } else { taken.next() };
        let room = span.elements.saturating_sub(span.alloc_count);
        let (Some(index), true) = (index, span.is_sound_as_taken() && (large || room > 0)) else {
            self.odd += 1;
            return;
        };
        // A span of one object hides none, whatever its class.
        if large || span.elements == 1 {
            if !large {
                self.sizes.insert(span.class, span.element_size);
                self.alone[usize::from(span.class >> 6)] |= 1 << (span.class & 63);
                self.awaited.remove(&(taken.p, span.class));
            }
            self.follow(taken, taken.site, Kind::Large, index);
            return;
        }
        self.room_taken = self.room_taken.saturating_add(room);
        self.sizes.insert(span.class, span.element_size);
        let mix = self.mixes.entry(span.class).or_default();
        if let Some(closed) = self.batches.take(taken) {
            mix.add(closed.phase, closed.objects(), closed.first);
        }
        // Of a site that windows know, no more is learnt.
        let first = !mix.is_covered() || taken.site.is_some() && !mix.knows(taken.site);
        if !mix.is_seen() {
            mix.see_first(taken.site, room);
        }
        if let Some(awaited) = self.awaited.remove(&(taken.p, span.class))
            && taken.phase <= awaited.phase.saturating_add(1)
        {
            let taken = TakenSpan { marking: awaited.marking, ..taken.clone() };
            self.follow(&taken, awaited.site, Kind::Seen { phase: awaited.phase }, index);
        } else if first {
            mix.follow_first(taken.site);
            self.follow(taken, taken.site, Kind::First, index);
        }
    }

    /// An object was taken in a window.
    fn see(&mut self, taken: &TakenSpan, class: u8) {
        if !(FIRST_SMALL..CLASSES).contains(&class) {
            self.odd += 1;
            return;
        }
        if self.is_alone(class) {
            return;
        }
        self.seen += 1;
        if self.last_window != taken.phase {
            self.last_window = taken.phase;
            self.windows += 1;
        }
        self.mixes.entry(class).or_default().see(taken.phase, taken.site);
        let span = &taken.description;
        let known = span.class == class && span.is_sound_as_taken();
        if known {
            self.sizes.insert(class, span.element_size);
        }
        match taken.next().filter(|_| known) {
            Some(index) => self.follow(taken, taken.site, Kind::Seen { phase: taken.phase }, index),
            None => {
                if self.awaited.len() >= MOST_AWAITED {
                    self.awaited.clear();
                }
                let awaited = Awaited { site: taken.site, phase: taken.phase, marking: taken.marking };
                self.awaited.insert((taken.p, class), awaited);
            }
        }
    }

    /// Whether spans of a class have one object.
    fn is_alone(&self, class: u8) -> bool {
        self.alone.get(usize::from(class >> 6)).is_some_and(|bits| bits >> (class & 63) & 1 != 0)
    }

    /// Keeps a sample, unless others are drawn that stand for it.
    fn follow(&mut self, taken: &TakenSpan, site: Site, kind: Kind, index: u64) {
        self.displace(taken, index);
        let number = self.next;
        self.next += 1;
        let span = &taken.description;
        let mut sample = Sample {
            number,
            site,
            kind,
            span: taken.span,
            start: span.start,
            class: span.class,
            size: span.element_size,
            index,
            marking: taken.marking,
            checked: taken.generation,
            survived: 0,
            dead: false,
            factor: 1,
        };
        let kept = match kind {
            Kind::Large => self.draw(&mut sample),
            Kind::Seen { .. } | Kind::First => (0..self.halved).all(|_| self.draw_half(&mut sample)),
        };
        if !kept {
            return;
        }
        self.samples.push(sample);
        self.in_span.entry(taken.span).or_default().push(number);
        self.kept[usize::from(kind == Kind::Large)] += 1;
        if self.kept.iter().any(|kept| *kept > MOST) {
            self.thin();
        }
    }

    /// An object is taken in the place of another one that is followed: then it was not taken there, because its
    /// goroutine went on elsewhere before it was, or has died.
    fn displace(&mut self, taken: &TakenSpan, index: u64) {
        let Some(numbers) = self.in_span.get(&taken.span) else { return };
        let numbers = numbers.clone();
        let found = numbers.into_iter().find(|number| self.find(*number).is_some_and(|s| s.index == index));
        let Some(number) = found else { return };
        if let Some(Sample { kind: Kind::Seen { .. }, class, site, checked, factor, .. }) =
            self.find(number).cloned()
            && checked == taken.generation
        {
            *self.mixes.entry(class).or_default().unfollowed.entry(site).or_insert(0) += factor;
        }
        self.forget(&[number]);
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
            let (span, site, bytes, factor) = (sample.span, sample.site, sample.bytes(), sample.factor);
            if sample.kind == Kind::Large {
                let allocated = self.allocated.entry(site).or_default();
                *allocated = (allocated.0.saturating_add(bytes), allocated.1.saturating_add(factor));
            }
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
            let large = self.samples.iter().filter(|sample| sample.kind == Kind::Large).count();
            self.kept = [self.samples.len() - large, large];
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
        let count = |samples: &[Sample], large: bool| {
            samples.iter().filter(|s| (s.kind == Kind::Large) == large).count()
        };
        while count(&samples, false) > MOST / 4 * 3 {
            self.halved += 1;
            samples.retain_mut(|sample| sample.kind == Kind::Large || self.draw_half(sample));
        }
        // The half with fewer bytes is drawn from at first.
        let large = samples.iter().filter(|s| s.kind == Kind::Large);
        let mut bytes: Vec<u64> = large.map(Sample::bytes).collect();
        bytes.sort_unstable();
        if bytes.len() > MOST / 4 * 3 {
            self.share = self.share.max(bytes.get(bytes.len() / 2).copied().unwrap_or(1));
        }
        while count(&samples, true) > MOST / 4 * 3 && self.share < 1 << 62 {
            self.share = (self.share * 2).max(1);
            samples.retain_mut(|sample| sample.kind != Kind::Large || self.draw(sample));
        }
        // So large that no share is: lies.
        if samples.len() > 2 * MOST {
            self.odd += (samples.len() - 2 * MOST) as u64;
            samples.truncate(2 * MOST);
        }
        self.kept = [count(&samples, false), count(&samples, true)];
        self.samples = samples;
        self.in_span.clear();
        for sample in &self.samples {
            self.in_span.entry(sample.span).or_default().push(sample.number);
        }
    }

    /// Whether the sample of a large object is kept: it is drawn until it stands for its share of bytes.
    fn draw(&mut self, sample: &mut Sample) -> bool {
        while sample.bytes().saturating_mul(2) <= self.share {
            if !self.draw_half(sample) {
                return false;
            }
        }
        true
    }

    /// Keeps one of two.
    fn draw_half(&mut self, sample: &mut Sample) -> bool {
        sample.factor = sample.factor.saturating_mul(2);
        self.random.bits() & 1 == 0
    }

    /// Room for objects in all spans that were taken.
    pub fn room_taken(&self) -> u64 {
        self.room_taken
    }

    /// Whether some batches were taken of a class that no window has seen.
    pub fn lacks_windows(&self) -> bool {
        self.mixes.values().any(Mix::is_unseen)
    }

    /// The span classes that windows have seen enough of, a bit each.
    pub fn classes_seen(&self) -> [u64; 3] {
        let mut seen = [0u64; 3];
        for (class, _) in self.mixes.iter().filter(|(_, mix)| mix.is_covered()) {
            if let Some(bits) = seen.get_mut(usize::from(class >> 6)) {
                *bits |= 1 << (class & 63);
            }
        }
        // Of these each span is wanted with its stack.
        std::array::from_fn(|i| seen[i] & !self.alone[i])
    }

    /// Batches that may still serve objects, and addresses of their spans' descriptions.
    pub fn open(&self) -> Vec<((u64, u8), u64)> {
        self.batches.open()
    }

    /// How the span of an open batch looks now.
    pub fn seen_open(&mut self, batch: (u64, u8), span: &Span) {
        self.batches.seen_open(batch, span);
    }

    /// The heap's sweep generation is this now.
    pub fn at_generation(&mut self, generation: u32) {
        self.batches.at_generation(generation);
        if let Some(before) = self.generation.replace(generation) {
            self.collections += u64::from(generation.wrapping_sub(before) / 2);
        }
    }

    /// What was there as it began, if that could be counted.
    pub(super) fn began_with(&mut self, counts: Option<Counts>) {
        self.known.began_with(counts);
    }

    /// Whether it is known what the collection has left that led to a generation.
    pub(super) fn is_counted(&self, generation: u32) -> bool {
        self.known.is_of(generation)
    }

    /// What the collection has left that led to a generation.
    pub(super) fn counted(&mut self, generation: u32, counts: Counts) {
        self.known.counted(generation, counts);
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
