//! Where the heap's objects lie, and which of them were reached.

use std::collections::{HashSet, VecDeque};

use crate::runtime::go::heap::spans::{IN_USE, PAGE, Span};

/// Bytes of an arena, as the runtime calls the pieces that its heap grows by (`heapArenaBytes`).
const ARENA_SHIFT: u32 = 26;
/// Pages of one.
const ARENA_PAGES: usize = 1 << 13;
/// Most of them, 512 GiB of heap: the table has 32 KiB for each.
const MOST_ARENAS: usize = 1 << 13;
/// Most arenas between the first and the last one: 256 TiB, all that a process has.
const WIDEST: u64 = 1 << 22;
/// Most objects that spans have room for: two bits for each.
const MOST_OBJECTS: u64 = 1 << 30;
/// Most addresses that lie in no span and are kept until spans are looked at again.
const MOST_UNPLACED: usize = 1 << 20;

/// A span as it was when it was seen first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    /// Address of its first object.
    pub start: u64,
    /// Size of an object.
    pub size: u64,
    /// How many it has room for.
    pub count: u64,
    /// Number of its first object among all.
    pub first: u64,
    /// The list of what is noted of its objects; 0: nothing.
    pub specials: u64,
    /// Whether its objects hold no pointers.
    plain: bool,
    /// Whether it waits for being read.
    queued: bool,
}

/// An object: the index of its area, and its own there.
pub(super) type Object = (usize, u64);

/// The heap: what lies where, what was reached, and what of that was read.
#[derive(Debug, Default)]
pub(super) struct Objects {
    areas: Vec<Area>,
    /// Index of the area of each page, plus one, by arena from `first_arena` on.
    arenas: Vec<Option<Box<[u32; ARENA_PAGES]>>>,
    first_arena: u64,
    /// How many of them there are.
    arenas_known: usize,
    low: u64,
    high: u64,
    total: u64,
    reached: Vec<u64>,
    read: Vec<u64>,
    reached_bytes: u64,
    queue: VecDeque<usize>,
    unplaced: HashSet<u64>,
}

impl Objects {
    /// Adds spans that are not known. Returns how many; `None` if there are more than can be.
    pub(super) fn add(&mut self, spans: &[Span]) -> Option<usize> {
        let mut added = 0;
        for span in spans.iter().filter(|span| span.state == IN_USE) {
            let known = self.area_at(span.start).map(|at| self.areas[at]);
            let same = |area: Area| {
                (area.start, area.size, area.count) == (span.start, span.element_size, span.elements)
            };
            if known.is_some_and(same) {
                continue;
            }
            let at = self.areas.len();
            let first = self.total;
            self.total = first.checked_add(span.elements).filter(|total| *total <= MOST_OBJECTS)?;
            self.place(span, u32::try_from(at + 1).ok()?)?;
            self.areas.push(Area {
                start: span.start,
                size: span.element_size,
                count: span.elements,
                first,
                specials: span.specials,
                plain: span.class & 1 != 0,
                queued: false,
            });
            added += 1;
        }
        let words = usize::try_from(self.total.div_ceil(64)).ok()?;
        for bits in [&mut self.reached, &mut self.read] {
            // Memory that comes zeroed is not touched.
            if bits.is_empty() { *bits = vec![0; words] } else { bits.resize(words, 0) }
        }
        Some(added)
    }

    fn place(&mut self, span: &Span, number: u32) -> Option<()> {
        let (mut page, end) = (span.start / PAGE, (span.start + span.bytes()) / PAGE);
        while page < end {
            let at = self.room_for(page / ARENA_PAGES as u64)?;
            if self.arenas[at].is_none() {
                self.arenas_known += 1;
                if self.arenas_known > MOST_ARENAS {
                    return None;
                }
            }
            let pages = self.arenas[at].get_or_insert_with(|| Box::new([0; ARENA_PAGES]));
            let first = (page % ARENA_PAGES as u64) as usize;
            let last = ARENA_PAGES.min(first + usize::try_from(end - page).unwrap_or(ARENA_PAGES));
            pages[first..last].fill(number);
            page += (last - first) as u64;
        }
        self.low = if self.low == 0 { span.start } else { self.low.min(span.start) };
        self.high = self.high.max(span.start + span.bytes());
        Some(())
    }

    /// The index of an arena, for which there is room from now on.
    fn room_for(&mut self, arena: u64) -> Option<usize> {
        if self.arenas.is_empty() {
            self.first_arena = arena;
        }
        if let before @ 1.. = self.first_arena.saturating_sub(arena) {
            let room = usize::try_from(before.checked_add(self.arenas.len() as u64)?).ok()?;
            if room as u64 > WIDEST {
                return None;
            }
            let before = room - self.arenas.len();
            self.arenas.splice(0..0, std::iter::repeat_with(|| None).take(before));
            self.first_arena = arena;
        }
        let at = arena - self.first_arena;
        if at >= WIDEST {
            return None;
        }
        let at = usize::try_from(at).ok()?;
        if at >= self.arenas.len() {
            self.arenas.resize_with(at + 1, || None);
        }
        Some(at)
    }

    pub(super) fn areas(&self) -> &[Area] {
        &self.areas
    }

    fn area_at(&self, address: u64) -> Option<usize> {
        let at = (address >> ARENA_SHIFT).checked_sub(self.first_arena)?;
        let pages = self.arenas.get(usize::try_from(at).ok()?)?.as_ref()?;
        let number = pages[(address / PAGE) as usize & (ARENA_PAGES - 1)];
        (number as usize).checked_sub(1)
    }

    /// The object that holds an address.
    pub(super) fn find(&self, address: u64) -> Option<Object> {
        if !(self.low..self.high).contains(&address) {
            return None;
        }
        let at = self.area_at(address)?;
        let area = &self.areas[at];
        let index = address.checked_sub(area.start)? / area.size;
        (index < area.count).then_some((at, index))
    }

    /// The size of the object that holds an address.
    pub(super) fn size_of(&self, address: u64) -> Option<u64> {
        self.find(address).map(|(area, _)| self.areas[area].size)
    }

    fn number(&self, (area, index): Object) -> (usize, u64) {
        let number = self.areas[area].first + index;
        ((number >> 6) as usize, 1 << (number & 63))
    }

    /// Whether an object was reached.
    pub(super) fn is_reached(&self, object: Object) -> bool {
        let (word, bit) = self.number(object);
        self.reached[word] & bit != 0
    }

    /// Reaches what a word points to, if it points to an object.
    pub(super) fn reach(&mut self, word: u64) {
        if !(self.low..self.high).contains(&word) {
            return;
        }
        let Some(object) = self.find(word) else {
            if self.area_at(word).is_none() && self.unplaced.len() < MOST_UNPLACED {
                self.unplaced.insert(word);
            }
            return;
        };
        let (at, bit) = self.number(object);
        if self.reached[at] & bit != 0 {
            return;
        }
        self.reached[at] |= bit;
        let area = &mut self.areas[object.0];
        self.reached_bytes = self.reached_bytes.saturating_add(area.size);
        if !area.plain && !area.queued {
            area.queued = true;
            self.queue.push_back(object.0);
        }
    }

    /// Reaches what any word of these points to.
    pub(super) fn reach_all(&mut self, bytes: &[u8]) {
        for word in bytes.as_chunks().0 {
            self.reach(u64::from_le_bytes(*word));
        }
    }

    /// Tries again what lay in no span.
    pub(super) fn retry(&mut self) {
        for word in std::mem::take(&mut self.unplaced) {
            self.reach(word);
        }
    }

    /// Whether nothing waits for being read.
    pub(super) fn is_settled(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next area with objects that were reached and not read: it, the first one of them and the one after the
    /// last.
    pub(super) fn next(&mut self) -> Option<(usize, u64, u64)> {
        while let Some(at) = self.queue.pop_front() {
            self.areas[at].queued = false;
            if let Some((first, last)) = self.waiting(at) {
                return Some((at, first, last + 1));
            }
        }
        None
    }

    /// The first and the last object of an area that were reached and not read.
    fn waiting(&self, at: usize) -> Option<(u64, u64)> {
        let Area { first, count, .. } = self.areas[at];
        let (low, high) = (first >> 6, (first + count - 1) >> 6);
        let waiting = |word: &u64| {
            let mut bits = self.reached[*word as usize] & !self.read[*word as usize];
            if *word == low {
                bits &= u64::MAX << (first & 63);
            }
            if *word == high {
                bits &= u64::MAX >> (63 - ((first + count - 1) & 63));
            }
            bits
        };
        let start = (low..=high).find(|word| waiting(word) != 0)?;
        let end = (low..=high).rfind(|word| waiting(word) != 0)?;
        let index = |word: u64, bit: u32| (word << 6) + u64::from(bit) - first;
        Some((index(start, waiting(&start).trailing_zeros()), index(end, 63 - waiting(&end).leading_zeros())))
    }

    /// Whether an object was reached and not read.
    pub(super) fn waits(&self, object: Object) -> bool {
        let (word, bit) = self.number(object);
        self.reached[word] & !self.read[word] & bit != 0
    }

    /// An object is read now.
    pub(super) fn done(&mut self, object: Object) {
        let (word, bit) = self.number(object);
        self.read[word] |= bit;
    }

    /// Bytes of all objects that were reached.
    pub(super) fn reached_bytes(&self) -> u64 {
        self.reached_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0xc0_0000_0000;

    fn objects() -> Objects {
        let mut objects = Objects::default();
        let spans = [
            Span::for_tests(START, 4, 16, 512, 3, 1),
            Span::for_tests(START + PAGE, 5, 16, 512, 3, 1),
            Span::for_tests(START + (1 << 26), 0, 5 * PAGE, 1, 1, 5),
        ];
        assert_eq!(objects.add(&spans), Some(3));
        assert_eq!(objects.add(&spans), Some(0), "they are known");
        objects
    }

    #[test]
    fn objects_by_their_addresses() {
        let objects = objects();
        assert_eq!(objects.find(START), Some((0, 0)));
        assert_eq!(objects.find(START + 31), Some((0, 1)));
        assert_eq!(objects.find(START + 2 * PAGE - 1), Some((1, 511)));
        assert_eq!(objects.find(START + (1 << 26) + 4 * PAGE), Some((2, 0)));
        assert_eq!(
            [START - 1, START + 2 * PAGE, START + (1 << 26) + 5 * PAGE].map(|a| objects.find(a)),
            [None; 3]
        );
    }

    #[test]
    fn what_was_reached_is_read_once() {
        let mut objects = objects();
        objects.reach_all(&[(START + 40).to_le_bytes(), (START + 168).to_le_bytes(), [0xff; 8]].concat());
        objects.reach(START + PAGE);
        assert!(objects.is_reached((0, 2)) && objects.is_reached((1, 0)));
        assert_eq!(objects.next(), Some((0, 2, 11)));
        objects.done((0, 2));
        objects.done((0, 10));
        assert_eq!(objects.next(), None, "the other area has no pointers");
        objects.reach(START + 170);
        assert!(objects.is_settled(), "it was reached before");
        assert_eq!(objects.reached_bytes(), 48);
    }

    #[test]
    fn spans_that_come_later() {
        let mut objects = objects();
        objects.reach(START + 3 * PAGE);
        assert_eq!(objects.add(&[Span::for_tests(START + 3 * PAGE, 4, 16, 512, 3, 1)]), Some(1));
        objects.retry();
        assert!(objects.is_reached((3, 0)));
    }

    #[test]
    fn spans_that_are_a_lie() {
        let many = Span { elements: u64::MAX, ..Span::for_tests(START, 4, 16, 512, 3, 1) };
        assert_eq!(Objects::default().add(&[many]), None);
        let far = |n: u64| Span::for_tests(n << 26, 4, 16, 512, 3, 1);
        let spans: Vec<Span> = (1..=MOST_ARENAS as u64 + 1).map(far).collect();
        assert_eq!(Objects::default().add(&spans), None);
        assert_eq!(Objects::default().add(&[far(2 * WIDEST), far(1)]), None);
        let mut backwards = Objects::default();
        assert_eq!(backwards.add(&[far(9), far(3), far(12)]), Some(3));
        assert_eq!(
            [3, 9, 12, 4].map(|n| backwards.find(n << 26)),
            [Some((1, 0)), Some((0, 0)), Some((2, 0)), None]
        );
    }
}
