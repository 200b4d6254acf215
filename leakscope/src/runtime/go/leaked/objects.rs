//! Where the heap's objects lie, and which of them were reached.

use std::collections::{HashSet, VecDeque};

use crate::runtime::go::heap::areas::Areas;
pub(super) use crate::runtime::go::heap::areas::{Area, Object};
use crate::runtime::go::heap::spans::Span;

/// Most addresses that lie in no span and are kept until spans are looked at again.
const MOST_UNPLACED: usize = 1 << 20;

/// The heap: what lies where, what was reached, and what of that was read.
#[derive(Debug, Default)]
pub(super) struct Objects {
    areas: Areas,
    /// Areas that wait for being read.
    queued: Vec<bool>,
    reached: Vec<u64>,
    read: Vec<u64>,
    reached_bytes: u64,
    queue: VecDeque<usize>,
    unplaced: HashSet<u64>,
}

impl Objects {
    /// Adds spans that are not known. Returns how many; `None` if there are more than can be.
    pub(super) fn add(&mut self, spans: &[Span]) -> Option<usize> {
        let added = self.areas.add(spans)?;
        self.queued.resize(self.areas.all().len(), false);
        let words = usize::try_from(self.areas.objects().div_ceil(64)).ok()?;
        for bits in [&mut self.reached, &mut self.read] {
            // Memory that comes zeroed is not touched.
            if bits.is_empty() { *bits = vec![0; words] } else { bits.resize(words, 0) }
        }
        Some(added)
    }

    pub(super) fn areas(&self) -> &[Area] {
        self.areas.all()
    }

    /// The object that holds an address.
    pub(super) fn find(&self, address: u64) -> Option<Object> {
        self.areas.find(address)
    }

    /// The size of the object that holds an address.
    pub(super) fn size_of(&self, address: u64) -> Option<u64> {
        self.find(address).map(|(area, _)| self.areas()[area].size)
    }

    fn number(&self, (area, index): Object) -> (usize, u64) {
        let number = self.areas()[area].first + index;
        ((number >> 6) as usize, 1 << (number & 63))
    }

    /// Whether an object was reached.
    pub(super) fn is_reached(&self, object: Object) -> bool {
        let (word, bit) = self.number(object);
        self.reached[word] & bit != 0
    }

    /// Reaches what a word points to, if it points to an object.
    pub(super) fn reach(&mut self, word: u64) {
        if !self.areas.is_near(word) {
            return;
        }
        let Some(object) = self.find(word) else {
            if self.areas.at(word).is_none() && self.unplaced.len() < MOST_UNPLACED {
                self.unplaced.insert(word);
            }
            return;
        };
        let (at, bit) = self.number(object);
        if self.reached[at] & bit != 0 {
            return;
        }
        self.reached[at] |= bit;
        let area = &self.areas.all()[object.0];
        self.reached_bytes = self.reached_bytes.saturating_add(area.size);
        if !area.plain && !self.queued[object.0] {
            self.queued[object.0] = true;
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
            self.queued[at] = false;
            if let Some((first, last)) = self.waiting(at) {
                return Some((at, first, last + 1));
            }
        }
        None
    }

    /// The first and the last object of an area that were reached and not read.
    fn waiting(&self, at: usize) -> Option<(u64, u64)> {
        let Area { first, count, .. } = self.areas()[at];
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
    use crate::runtime::go::heap::spans::PAGE;

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
}
