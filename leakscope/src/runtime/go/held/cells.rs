//! What is known of each object: whether there is one, how it was reached, and what it is taken for.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use super::kind::Kind;
use super::paths::PathId;
use crate::runtime::go::heap::areas::Areas;
use crate::runtime::go::heap::spans::{Heap, Span};
use crate::runtime::go::memory::Piece;
use crate::runtime::go::program::Program;

/// Most objects that there is room for: 8 bytes each.
const MOST: u64 = 1 << 27;
/// So many pages may have come meanwhile.
const FEW_PAGES: u64 = 1 << 14;
/// How often spans are read again whose bits changed meanwhile.
const RETRIES: u32 = 3;
/// Spans whose bits are read at once.
const AT_ONCE: usize = 1 << 14;
/// There is no object; there is one that was not reached; the same of one that has come since; numbers of ways, from the
/// first one on; it is not to be reached yet.
const FREE: u32 = 0;
const UNREACHED: u32 = 1;
const LATE: u32 = 2;
const REACHED: u32 = 3;
const HIDDEN: u32 = u32::MAX;

/// What is kept of an object.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    place: u32,
    kind: Kind,
}

/// An object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// How it was reached, if it was.
    pub path: Option<PathId>,
    pub kind: Kind,
}

#[derive(Debug, Default)]
pub(super) struct Cells {
    all: Vec<Kept>,
}

/// Why objects cannot be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoCells {
    Unreadable,
    TooMany,
    /// They have far more pages than the heap counts.
    Unsound,
}

impl Cells {
    /// Finds the objects of the heap.
    pub(super) fn read(program: &Program, heap: &Heap, areas: &mut Areas) -> Result<Self, NoCells> {
        let mut spans = heap.described(program).ok_or(NoCells::Unreadable)?;
        let known: Vec<Span> = spans.iter().map(|(_, span)| *span).collect();
        let counted = heap.pages_in_use(program).ok_or(NoCells::Unreadable)?;
        let pages = known.iter().fold(0_u64, |sum, span| sum.saturating_add(span.pages));
        if pages / 2 > counted.saturating_add(FEW_PAGES) {
            return Err(NoCells::Unsound);
        }
        areas.add(&known).ok_or(NoCells::TooMany)?;
        if areas.objects() > MOST {
            return Err(NoCells::TooMany);
        }
        let mut cells = Self { all: vec![Kept::default(); areas.objects() as usize] };
        for _ in 0..RETRIES {
            spans = cells.mark(program, heap, areas, (&spans, UNREACHED));
            if spans.is_empty() {
                break;
            }
        }
        // Of a span that is swept all the time all may be objects.
        for (_, span) in spans {
            cells.mark_span(areas, (&span, UNREACHED), &[]);
        }
        Ok(cells)
    }

    /// Finds the objects that have come since. Returns whether there is room for them.
    pub(super) fn renew(&mut self, program: &Program, heap: &Heap, areas: &mut Areas) -> bool {
        let Some(spans) = heap.described(program) else { return false };
        let known: Vec<Span> = spans.iter().map(|(_, span)| *span).collect();
        if areas.add(&known).is_none() || areas.objects() > MOST {
            return false;
        }
        self.all.resize(areas.objects() as usize, Kept::default());
        self.mark(program, heap, areas, (&spans, LATE));
        true
    }

    /// Whether it has come since the objects were counted, and nobody has reached it: what it was before may be among
    /// them.
    pub(super) fn is_late(&self, number: u64) -> bool {
        self.all.get(number as usize).is_some_and(|kept| kept.place == LATE)
    }

    /// Marks the objects of spans. Returns those whose bits were replaced meanwhile, as they are now.
    fn mark(
        &mut self,
        program: &Program,
        heap: &Heap,
        areas: &Areas,
        (spans, place): (&[(u64, Span)], u32),
    ) -> Vec<(u64, Span)> {
        let mut changed = Vec::new();
        for chunk in spans.chunks(AT_ONCE) {
            let bits = |(_, span): &(u64, Span)| (span.alloc_bits, span.elements.div_ceil(8) as usize);
            let pieces: Vec<Piece> = chunk.iter().map(bits).collect();
            let read = program.memory().read_many(&pieces);
            let addresses: Vec<u64> = chunk.iter().map(|(at, _)| *at).collect();
            let now = heap.read(program.memory(), &addresses);
            for (n, ((at, span), now)) in chunk.iter().zip(now).enumerate() {
                let Some(now) = now else { continue };
                let same = (now.start, now.element_size, now.elements)
                    == (span.start, span.element_size, span.elements);
                match read.get(n) {
                    Some(bits) if same && now.alloc_bits == span.alloc_bits => {
                        self.mark_span(areas, (&now, place), bits)
                    }
                    _ if same => changed.push((*at, now)),
                    // It is another one now, which was not known.
                    _ => {}
                }
            }
        }
        changed
    }

    /// Objects are those before the next free one, and those whose bit is set. Without bits, all are.
    fn mark_span(&mut self, areas: &Areas, (span, place): (&Span, u32), bits: &[u8]) {
        let Some(area) = areas.at(span.start).map(|at| areas.all()[at]) else { return };
        if (area.start, area.count) != (span.start, span.elements) {
            return;
        }
        for index in 0..area.count {
            let bit = bits.get((index / 8) as usize).is_none_or(|byte| byte >> (index % 8) & 1 != 0);
            if (index < span.free_index || bit)
                && let Some(kept) = self.all.get_mut((area.first + index) as usize)
                && kept.place == FREE
            {
                kept.place = place;
            }
        }
    }

    /// An object by its number.
    pub(super) fn get(&self, number: u64) -> Option<Cell> {
        let kept = self.all.get(usize::try_from(number).ok()?)?;
        (![FREE, HIDDEN].contains(&kept.place))
            .then(|| Cell { path: kept.place.checked_sub(REACHED), kind: kept.kind })
    }

    /// Whether there was no object yet.
    pub(super) fn is_free(&self, number: u64) -> bool {
        self.all.get(number as usize).is_none_or(|kept| kept.place == FREE)
    }

    /// Hides an object that nobody has reached; whether it was there.
    pub(super) fn hide(&mut self, number: u64) -> bool {
        match self.all.get_mut(number as usize) {
            Some(kept) if kept.place == UNREACHED => {
                kept.place = HIDDEN;
                true
            }
            _ => false,
        }
    }

    /// Shows it again.
    pub(super) fn show(&mut self, number: u64) {
        if let Some(kept) = self.all.get_mut(number as usize).filter(|kept| kept.place == HIDDEN) {
            kept.place = UNREACHED;
        }
    }

    /// An object will be asked for soon: there are too many for the processor to have them at hand.
    pub(super) fn fetch(&self, number: u64) {
        if let Some(kept) = self.all.get(number as usize) {
            // SAFETY: it is a hint about an address that is valid; nothing is read or written.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(kept).cast()) };
        }
    }

    /// Notes how an object was reached.
    pub(super) fn reach(&mut self, number: u64, path: PathId) {
        if let Some(kept) = self.all.get_mut(number as usize) {
            kept.place = path.saturating_add(REACHED);
        }
    }

    /// Notes what an object is.
    pub(super) fn describe(&mut self, number: u64, kind: Kind) -> Option<Cell> {
        self.all.get_mut(number as usize)?.kind = kind;
        self.get(number)
    }
}
