//! Which objects lie where: the spans of the heap by their pages (`runtime/mheap.go`, `heapArena.spans`).

use super::spans::{IN_USE, PAGE, Span};

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
/// A span as it was when it was seen first.
#[derive(Clone, Copy, Debug)]
pub struct Area {
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
    pub plain: bool,
    /// Whether it is one object that is larger than those of size classes, and its type, where that is known.
    pub large: bool,
    pub large_type: u64,
}

/// An object: the index of its area, and its own there.
pub type Object = (usize, u64);

/// The spans in use, by their pages.
#[derive(Debug, Default)]
pub struct Areas {
    all: Vec<Area>,
    /// Index of the area of each page, plus one, by arena from `first_arena` on.
    arenas: Vec<Option<Box<[u32; ARENA_PAGES]>>>,
    first_arena: u64,
    /// How many of them there are.
    arenas_known: usize,
    low: u64,
    high: u64,
    objects: u64,
}

impl Areas {
    /// Adds spans that are not known. Returns how many; `None` if there are more than can be.
    pub fn add(&mut self, spans: &[Span]) -> Option<usize> {
        let mut added = 0;
        for span in spans.iter().filter(|span| span.state == IN_USE) {
            let known = self.at(span.start).map(|at| self.all[at]);
            let same = |area: Area| {
                (area.start, area.size, area.count) == (span.start, span.element_size, span.elements)
            };
            if known.is_some_and(same) {
                continue;
            }
            let first = self.objects;
            self.objects = first.checked_add(span.elements).filter(|total| *total <= MOST_OBJECTS)?;
            self.place(span, u32::try_from(self.all.len() + 1).ok()?)?;
            self.all.push(Area {
                start: span.start,
                size: span.element_size,
                count: span.elements,
                first,
                specials: span.specials,
                plain: span.class & 1 != 0,
                large: span.class < 2,
                large_type: span.large_type,
            });
            added += 1;
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

    /// All, in the order in which they were added.
    pub fn all(&self) -> &[Area] {
        &self.all
    }

    /// How many objects they have room for.
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Whether an address lies between the first and the last of them.
    pub fn is_near(&self, address: u64) -> bool {
        (self.low..self.high).contains(&address)
    }

    /// The same, with an arena of room on either side, which may have come since.
    pub fn is_close(&self, address: u64) -> bool {
        let room = 1 << ARENA_SHIFT;
        (self.low.saturating_sub(room)..self.high.saturating_add(room)).contains(&address)
    }

    /// The index of the area that an address lies in.
    pub fn at(&self, address: u64) -> Option<usize> {
        let at = (address >> ARENA_SHIFT).checked_sub(self.first_arena)?;
        let pages = self.arenas.get(usize::try_from(at).ok()?)?.as_ref()?;
        let number = pages[(address / PAGE) as usize & (ARENA_PAGES - 1)];
        (number as usize).checked_sub(1)
    }

    /// The object that holds an address.
    pub fn find(&self, address: u64) -> Option<Object> {
        if !self.is_near(address) {
            return None;
        }
        let at = self.at(address)?;
        let area = &self.all[at];
        let offset = address.checked_sub(area.start)?;
        // 32 bits are divided several times as fast.
        let index = match (u32::try_from(offset), u32::try_from(area.size)) {
            (Ok(offset), Ok(size)) => u64::from(offset / size),
            _ => offset / area.size,
        };
        (index < area.count).then_some((at, index))
    }

    /// The object of a number.
    pub fn object(&self, number: u64) -> Object {
        let at = self.all.partition_point(|area| area.first <= number).saturating_sub(1);
        (at, number - self.all.get(at).map_or(0, |area| area.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0xc0_0000_0000;

    #[test]
    fn objects_by_their_addresses_and_numbers() {
        let mut areas = Areas::default();
        let spans = [
            Span::for_tests(START, 4, 16, 512, 3, 1),
            Span::for_tests(START + PAGE, 5, 16, 512, 3, 1),
            Span::for_tests(START + (1 << 26), 0, 5 * PAGE, 1, 1, 5),
        ];
        assert_eq!(areas.add(&spans), Some(3));
        assert_eq!(areas.add(&spans), Some(0), "they are known");
        assert_eq!(areas.find(START), Some((0, 0)));
        assert_eq!(areas.find(START + 31), Some((0, 1)));
        assert_eq!(areas.find(START + 2 * PAGE - 1), Some((1, 511)));
        assert_eq!(areas.find(START + (1 << 26) + 4 * PAGE), Some((2, 0)));
        assert_eq!(
            [START - 1, START + 2 * PAGE, START + (1 << 26) + 5 * PAGE].map(|a| areas.find(a)),
            [None; 3]
        );
        assert_eq!(
            [0, 511, 512, 1023, 1024].map(|n| areas.object(n)),
            [(0, 0), (0, 511), (1, 0), (1, 511), (2, 0)]
        );
    }

    #[test]
    fn spans_that_are_a_lie() {
        let many = Span { elements: u64::MAX, ..Span::for_tests(START, 4, 16, 512, 3, 1) };
        assert_eq!(Areas::default().add(&[many]), None);
        let far = |n: u64| Span::for_tests(n << 26, 4, 16, 512, 3, 1);
        let spans: Vec<Span> = (1..=MOST_ARENAS as u64 + 1).map(far).collect();
        assert_eq!(Areas::default().add(&spans), None);
        assert_eq!(Areas::default().add(&[far(2 * WIDEST), far(1)]), None);
        let mut backwards = Areas::default();
        assert_eq!(backwards.add(&[far(9), far(3), far(12)]), Some(3));
        assert_eq!(
            [3, 9, 12, 4].map(|n| backwards.find(n << 26)),
            [Some((1, 0)), Some((0, 0)), Some((2, 0)), None]
        );
    }
}
