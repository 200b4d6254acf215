//! What the heap holds by size class, from the runtime's list of spans (`runtime/mheap.go`).
//!
//! A span counts the objects that were taken from it and not swept since: right after a collection was
//! swept the sum is what lives, later garbage is among it. It is `runtime.MemStats.HeapAlloc`.

use std::collections::BTreeMap;

use crate::runtime::go::bytes::{u16_at, u32_at, u64_at};
use crate::runtime::go::code::references;
use crate::runtime::go::error::GoError;
use crate::runtime::go::heap_account::SizeClass;
use crate::runtime::go::memory::{Memory, Piece};
use crate::runtime::go::program::Program;

/// Functions that refer to the heap or to its list of spans.
const READERS: [&str; 9] = [
    "runtime.(*mheap).allocSpan",
    "runtime.recordspan",
    "runtime.sweepone",
    "runtime.bgsweep",
    "runtime.gcSweep",
    "runtime.mallocinit",
    "runtime.(*mcache).refill",
    "runtime.(*mcache).allocLarge",
    "runtime.schedinit",
];
/// Most spans that are read: 512 GiB of the smallest ones.
const MOST: u64 = 1 << 26;
/// Spans read at once.
const AT_ONCE: usize = 1 << 16;
/// How many spans are looked at before a list is believed.
const LOOKED_AT: u64 = 64;
/// `runtime.pageSize`
pub const PAGE: u64 = 8192;
/// `numSpanClasses`
pub(super) const CLASSES: u8 = 136;
/// Largest object that shares a span (`maxSmallSize`).
const LARGEST_SMALL: u64 = 32768;
/// `mSpanInUse`, `mSpanManual`
pub const IN_USE: u8 = 1;
const MANUAL: u8 = 2;
/// How often spans that do not fit the heap's own count of pages are read again.
const RETRIES: u64 = 4;
/// One in so many spans may be caught in the middle of a change.
const TOLERATED: u64 = 50;

/// Where the members lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLayout {
    /// Bytes of a span's description.
    pub size: usize,
    start: usize,
    pages: usize,
    free_index: usize,
    elements: usize,
    alloc_cache: usize,
    alloc_bits: usize,
    sweep_generation: usize,
    alloc_count: usize,
    class: usize,
    state: usize,
    element_size: usize,
    limit: usize,
    specials: usize,
    large_type: Option<usize>,
    /// Whether indexes are 64 bits wide, as until Go 1.21.
    wide: bool,
}

/// A run of pages that holds objects of one size (`mspan`), as far as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Address of its first object.
    pub start: u64,
    /// Its length in pages of 8 KiB.
    pub pages: u64,
    /// `mSpan…`
    pub state: u8,
    /// `spanClass`: size class times two, plus one for objects without pointers.
    pub class: u8,
    /// Size of an object.
    pub element_size: u64,
    /// Objects that it has room for.
    pub elements: u64,
    /// Where the search for the next free one goes on.
    pub free_index: u64,
    /// Objects that were handed out since it was swept, and those that had survived then.
    pub alloc_count: u64,
    /// Against the heap's: equal if it was swept in this cycle, 3 more if it was, and is cached by a P.
    pub sweep_generation: u32,
    /// Where the bits of the objects lie that were live as it was swept.
    pub alloc_bits: u64,
    /// One bit for each of the 64 objects from `free_index` on: whether it is free.
    pub alloc_cache: u64,
    /// The one after the last address of objects.
    pub limit: u64,
    /// What is noted of its objects, a list; 0: nothing.
    pub specials: u64,
    /// The type of its one object, where that is large and the version keeps it (from Go 1.22 on); else 0.
    pub large_type: u64,
}

impl SpanLayout {
    /// `None` where the version's layout is not known.
    pub fn new(program: &Program) -> Option<Self> {
        let span = |member| program.offsets.find("mspan", member);
        Some(Self {
            size: span("__size")?,
            start: span("startAddr")?,
            pages: span("npages")?,
            free_index: span("freeindex")?,
            elements: span("nelems")?,
            alloc_cache: span("allocCache")?,
            alloc_bits: span("allocBits")?,
            sweep_generation: span("sweepgen")?,
            alloc_count: span("allocCount")?,
            class: span("spanclass")?,
            state: span("state")?,
            element_size: span("elemsize")?,
            limit: span("limit")?,
            specials: span("specials")?,
            large_type: span("largeType"),
            wide: span("nelems")?.checked_sub(span("freeindex")?)? == 8,
        })
    }

    /// A span out of its bytes.
    pub fn span(&self, bytes: &[u8]) -> Option<Span> {
        let index = |at| if self.wide { u64_at(bytes, at) } else { u16_at(bytes, at).map(u64::from) };
        Some(Span {
            start: u64_at(bytes, self.start)?,
            pages: u64_at(bytes, self.pages)?,
            state: *bytes.get(self.state)?,
            class: *bytes.get(self.class)?,
            element_size: u64_at(bytes, self.element_size)?,
            elements: index(self.elements)?,
            free_index: index(self.free_index)?,
            alloc_count: u16_at(bytes, self.alloc_count)?.into(),
            sweep_generation: u32_at(bytes, self.sweep_generation)?,
            alloc_bits: u64_at(bytes, self.alloc_bits)?,
            alloc_cache: u64_at(bytes, self.alloc_cache)?,
            limit: u64_at(bytes, self.limit)?,
            specials: u64_at(bytes, self.specials)?,
            large_type: self.large_type.and_then(|at| u64_at(bytes, at)).unwrap_or(0),
        })
    }
}

impl Span {
    /// Bytes of all pages.
    pub fn bytes(&self) -> u64 {
        self.pages.saturating_mul(PAGE)
    }

    /// A span in use.
    #[cfg(test)]
    pub(crate) fn for_tests(
        start: u64,
        class: u8,
        element_size: u64,
        elements: u64,
        alloc_count: u64,
        pages: u64,
    ) -> Self {
        Self {
            start,
            pages,
            state: IN_USE,
            class,
            element_size,
            elements,
            free_index: alloc_count,
            alloc_count,
            sweep_generation: 0,
            alloc_bits: 0,
            alloc_cache: u64::MAX,
            limit: start + pages * PAGE,
            specials: 0,
            large_type: 0,
        }
    }

    /// The same as it is taken for an object: a large one's limit is set only later, up to Go 1.21.
    pub fn is_sound_as_taken(&self) -> bool {
        let limit = if self.class < 2 { self.start.saturating_add(1) } else { self.limit };
        self.state == IN_USE && Self { limit, ..*self }.is_sound()
    }

    /// Whether what it says of itself fits together.
    pub fn is_sound(&self) -> bool {
        if self.state > MANUAL || self.class >= CLASSES {
            return false;
        }
        if self.state == 0 {
            return true;
        }
        let placed = self.start.is_multiple_of(PAGE)
            && self.start >= PAGE
            && self.pages > 0
            && self.pages < 1 << 34
            && self.start < 1 << 47;
        let end = self.start.saturating_add(self.bytes());
        let small = self.element_size > 0 && self.element_size <= LARGEST_SMALL;
        let fits = self.state == MANUAL
            || self.elements > 0
                && self.alloc_count <= self.elements
                && self.element_size.saturating_mul(self.elements) <= self.bytes()
                && (self.class < 2 || small);
        placed && self.limit > self.start && self.limit <= end && fits
    }
}

/// Where the heap's description lies (`runtime.mheap_`), and the layout of its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Where `runtime.mheap_` lies.
    address: u64,
    layout: SpanLayout,
    generation: usize,
    spans: usize,
    pages: usize,
}

/// Finds the heap, without symbols.
pub fn find(program: &Program) -> Result<Heap, GoError> {
    let not_found = || GoError::NotFound("the heap (runtime.mheap_)");
    let layout = SpanLayout::new(program).ok_or_else(not_found)?;
    let member = |member| program.offsets.find("mheap", member);
    let (Some(generation), Some(spans), Some(pages)) =
        (member("sweepgen"), member("allspans"), member("pagesInUse"))
    else {
        return Err(not_found());
    };
    let heap = |address| Heap { address, layout, generation, spans, pages };
    let part = program.parts.first().ok_or_else(not_found)?;
    let mut tried = std::collections::HashSet::new();
    for reader in READERS {
        for found in references(program, reader).into_iter().filter(|a| part.is_variable(*a)) {
            // The heap itself, or its list, or the length of that.
            for back in [0, spans as u64, spans as u64 + 8] {
                let Some(address) = found.checked_sub(back).filter(|a| tried.insert(*a)) else { continue };
                if heap(address).is_sound(program) {
                    return Ok(heap(address));
                }
            }
        }
    }
    // The list: start, length, capacity.
    for (low, high) in part.variables() {
        let Some(bytes) = usize::try_from(high - low).ok().and_then(|n| program.memory().bytes(low, n))
        else {
            continue;
        };
        for at in (0..bytes.len().saturating_sub(24)).step_by(8) {
            let word = |i: usize| u64_at(&bytes, at + 8 * i).unwrap_or(0);
            if word(0) < PAGE || !word(0).is_multiple_of(8) || word(1) == 0 || word(1) > word(2) {
                continue;
            }
            let address = (low + at as u64).checked_sub(spans as u64);
            if let Some(address) = address.filter(|a| part.is_variable(*a) && tried.insert(*a))
                && heap(address).is_sound(program)
            {
                return Ok(heap(address));
            }
        }
    }
    Err(not_found())
}

impl Heap {
    /// Where `runtime.mheap_` lies.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Where its members lie.
    pub fn layout(&self) -> SpanLayout {
        self.layout
    }

    /// Where the sweep generation lies.
    pub fn sweep_generation_address(&self) -> u64 {
        self.address + self.generation as u64
    }

    /// Twice the number of garbage collections.
    pub fn sweep_generation(&self, program: &Program) -> Option<u32> {
        program.memory().u32(self.sweep_generation_address())
    }

    /// Addresses of the descriptions of at most `most` spans.
    fn list(&self, memory: &dyn Memory, most: u64) -> Option<Vec<u64>> {
        let at = self.address + self.spans as u64;
        // The length first: an old list that has been replaced stays as it was.
        let (length, start) = (memory.u64(at + 8)?, memory.u64(at)?);
        let sound = start >= PAGE && start.is_multiple_of(8) && length > 0 && length <= MOST;
        let list = memory.bytes(start, 8 * usize::try_from(length.min(most)).ok().filter(|_| sound)?)?;
        Some(list.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// Pages of spans in use, as the heap itself counts them.
    pub fn pages_in_use(&self, program: &Program) -> Option<u64> {
        program.memory().u64(self.address + self.pages as u64)
    }

    /// All spans that make sense, of moments close to each other.
    pub fn spans(&self, program: &Program) -> Option<Vec<Span>> {
        self.spans_in(program.memory(), MOST)
    }

    /// The same, of at most `most` spans.
    pub(super) fn spans_in(&self, memory: &dyn Memory, most: u64) -> Option<Vec<Span>> {
        let list = self.list(memory, most)?;
        Some(self.read(memory, &list).into_iter().flatten().filter(Span::is_sound).collect())
    }

    /// The same of spans in use, each with the address of its description.
    pub fn described(&self, program: &Program) -> Option<Vec<(u64, Span)>> {
        let list = self.list(program.memory(), MOST)?;
        let spans = self.read(program.memory(), &list).into_iter();
        let used = |span: &Span| span.state == IN_USE && span.is_sound();
        Some(
            list.iter().copied().zip(spans).filter_map(|(at, span)| Some((at, span.filter(used)?))).collect(),
        )
    }

    /// Spans by the addresses of their descriptions.
    pub fn read(&self, memory: &dyn Memory, addresses: &[u64]) -> Vec<Option<Span>> {
        let mut spans = Vec::with_capacity(addresses.len());
        for chunk in addresses.chunks(AT_ONCE) {
            let pieces: Vec<Piece> = chunk.iter().map(|a| (*a, self.layout.size)).collect();
            let read = memory.read_many(&pieces);
            spans.extend((0..pieces.len()).map(|i| self.layout.span(read.get(i)?)));
        }
        spans
    }

    /// Whether there is a heap at this address: spans, each other than the rest, that are as old as the
    /// heap says.
    fn is_sound(&self, program: &Program) -> bool {
        let Some(generation) = self.sweep_generation(program).filter(|g| g.is_multiple_of(2)) else {
            return false;
        };
        let Some(list) = self.list(program.memory(), LOOKED_AT) else { return false };
        let distinct: std::collections::HashSet<&u64> = list.iter().collect();
        if distinct.len() < list.len() {
            return false;
        }
        let spans = self.read(program.memory(), &list);
        let of_now = |span: &Span| {
            [-2i32, -1, 0, 1, 3].iter().any(|d| span.sweep_generation == generation.wrapping_add_signed(*d))
        };
        let sound = spans.iter().flatten().filter(|span| span.is_sound()).count();
        let (used, current) = spans
            .iter()
            .flatten()
            .filter(|span| span.state == IN_USE)
            .fold((0usize, 0usize), |(used, current), span| (used + 1, current + usize::from(of_now(span))));
        // One or two may change as they are read.
        sound + 2 >= list.len() && used > 0 && current + 2 >= used
    }

    /// Adds up the heap.
    pub fn totals(&self, program: &Program) -> Result<Totals, GoError> {
        let mut totals = self.look(program)?;
        while !totals.settled && totals.retried < RETRIES {
            let retried = totals.retried + 1;
            totals = Totals { retried, ..self.look(program)? };
        }
        if totals.odd * TOLERATED > totals.spans {
            return Err(GoError::SelfCheck {
                check: "a span holds no more than it has room for",
                failed: totals.odd,
                of: totals.spans,
            });
        }
        Ok(totals)
    }

    fn look(&self, program: &Program) -> Result<Totals, GoError> {
        let state = || {
            let pages = program.memory().u64(self.address + self.pages as u64)?;
            Some((self.sweep_generation(program)?, pages))
        };
        let before = state().ok_or(GoError::Gone)?;
        let list = self.list(program.memory(), MOST).ok_or(GoError::Gone)?;
        let mut classes: BTreeMap<(u64, bool), SizeClass> = BTreeMap::new();
        let mut totals = Totals { spans: list.len() as u64, generation: before.0, ..Totals::default() };
        let mut pages = 0u64;
        for span in self.read(program.memory(), &list) {
            let Some(span) = span.filter(Span::is_sound) else {
                totals.odd += 1;
                continue;
            };
            match span.state {
                IN_USE => {}
                MANUAL => {
                    totals.manual_bytes = totals.manual_bytes.saturating_add(span.bytes());
                    continue;
                }
                _ => continue,
            }
            pages = pages.saturating_add(span.pages);
            let size = (span.class > 1).then_some(span.element_size);
            let scan = span.class & 1 == 0;
            let class = classes.entry((size.unwrap_or(u64::MAX), scan)).or_insert(SizeClass {
                size_bytes: size,
                scan,
                spans: 0,
                objects: 0,
                bytes: 0,
            });
            let bytes = span.alloc_count.saturating_mul(span.element_size);
            class.spans += 1;
            class.objects += span.alloc_count;
            class.bytes = class.bytes.saturating_add(bytes);
            totals.in_use_bytes = totals.in_use_bytes.saturating_add(bytes);
        }
        totals.classes = classes.into_values().collect();
        totals.settled = totals.odd == 0 && state() == Some(before) && pages == before.1;
        Ok(totals)
    }
}

/// The heap at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By size, the large ones last.
    pub classes: Vec<SizeClass>,
    /// Bytes in objects that were not swept.
    pub in_use_bytes: u64,
    /// Bytes in spans that are no heap: stacks, mostly.
    pub manual_bytes: u64,
    /// Descriptions of spans, free ones included.
    pub spans: u64,
    /// The heap's sweep generation.
    pub generation: u32,
    /// How often it was read again, because it changed.
    pub retried: u64,
    /// Whether it stood still while it was read; otherwise the sum is of spans of different moments.
    pub settled: bool,
    /// Spans that were caught in the middle of a change, and are left out.
    pub odd: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::offsets::{Offsets, VERSIONS};

    const START: u64 = 0xc0_0000_0000;

    #[test]
    fn spans_that_cannot_be() {
        let span = Span::for_tests(START, 5, 16, 512, 3, 1);
        assert!(span.is_sound());
        assert!(Span { state: 0, ..Span { start: 1, limit: 0, ..span } }.is_sound(), "a free one");
        for odd in [
            Span { state: 3, ..span },
            Span { class: CLASSES, ..span },
            Span { start: span.start + 1, ..span },
            Span { pages: 0, ..span },
            Span { pages: u64::MAX, ..span },
            Span { alloc_count: 513, ..span },
            Span { elements: u64::MAX, ..span },
            Span { element_size: 0, ..span },
            Span { elements: 0, alloc_count: 0, ..span },
            Span { elements: 0, alloc_count: 0, class: 0, element_size: 1 << 62, ..span },
            Span { limit: span.start, ..span },
            Span { limit: u64::MAX, ..span },
        ] {
            assert!(!odd.is_sound(), "{odd:?}");
        }
    }

    #[test]
    fn every_version_has_what_is_needed() {
        for minor in VERSIONS {
            let offsets = Offsets::of(minor);
            for member in ["sweepgen", "allspans", "pagesInUse"] {
                assert!(offsets.find("mheap", member).is_some(), "{minor} {member}");
            }
            for member in ["startAddr", "allocCache", "allocBits", "elemsize", "limit"] {
                assert!(offsets.find("mspan", member).is_some(), "{minor} {member}");
            }
        }
    }
}
