//! Names of address ranges, of which what was told last counts.

use std::collections::BTreeMap;

use super::super::SymbolFrame;
use super::v8;

/// The most ranges that are kept.
const MOST: usize = 2_000_000;
/// The most bytes of names.
const MOST_NAMES: usize = 256 << 20;
/// Bytes of a name.
const LONGEST_NAME: usize = 1024;
/// User addresses end here.
const END: u64 = 1 << 47;

/// A range without its start.
#[derive(Debug)]
struct Range {
    end: u64,
    /// When its code was made, where that is told.
    at_ns: u64,
    name: Box<str>,
}

/// Names by start address. Ranges do not overlap.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    all: BTreeMap<u64, Range>,
    name_bytes: usize,
}

impl Ranges {
    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Names a range; those that it overlaps are gone. Returns whether it was taken.
    pub(super) fn insert(&mut self, (start, size): (u64, u64), at_ns: u64, name: &[u8]) -> bool {
        let Some(end) = start.checked_add(size).filter(|end| size > 0 && *end <= END) else { return false };
        while let Some((&before, range)) = self.all.range(..end).next_back() {
            if range.end <= start {
                break;
            }
            self.name_bytes -= range.name.len();
            self.all.remove(&before);
        }
        let name =
            String::from_utf8_lossy(&name[..name.len().min(LONGEST_NAME)]).into_owned().into_boxed_str();
        if self.all.len() >= MOST || self.name_bytes + name.len() > MOST_NAMES {
            return false;
        }
        self.name_bytes += name.len();
        self.all.insert(start, Range { end, at_ns, name });
        true
    }

    /// Takes out the range that begins at `start`; returns its name.
    pub(super) fn remove(&mut self, start: u64) -> Option<Box<str>> {
        let range = self.all.remove(&start)?;
        self.name_bytes -= range.name.len();
        Some(range.name)
    }

    /// What an address is called, and since when.
    pub(super) fn at(&self, address: u64) -> Option<(SymbolFrame, u64)> {
        let (start, range) =
            self.all.range(..=address).next_back().filter(|(_, range)| address < range.end)?;
        let frame = SymbolFrame { offset_in_function: Some(address - start), ..v8::named(&range.name) };
        Some((frame, range.at_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(ranges: &Ranges, address: u64) -> Option<String> {
        ranges.at(address).and_then(|(frame, _)| frame.function)
    }

    #[test]
    fn what_was_told_last_counts() {
        let mut ranges = Ranges::default();
        assert!(ranges.insert((0x1000, 0x100), 0, b"a") && ranges.insert((0x1100, 0x100), 0, b"b"));
        assert_eq!((name(&ranges, 0xfff), name(&ranges, 0x10ff).as_deref()), (None, Some("a")));
        assert_eq!((name(&ranges, 0x1100).as_deref(), name(&ranges, 0x1200)), (Some("b"), None));
        // It lies over both.
        assert!(ranges.insert((0x1080, 0x100), 0, b"c"));
        assert_eq!((name(&ranges, 0x1000), name(&ranges, 0x11f0)), (None, None));
        assert_eq!(ranges.at(0x1090).and_then(|(frame, _)| frame.offset_in_function), Some(0x10));
        assert_eq!(ranges.name_bytes, 1);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut ranges = Ranges::default();
        for (start, size) in [(0x1000, 0), (u64::MAX, 2), (END, 1), (0, END + 1), (1, u64::MAX)] {
            assert!(!ranges.insert((start, size), 0, b"x"), "{start:x} {size:x}");
        }
        assert!(ranges.insert((0x1000, 1), 0, &[0xff; 5000]));
        assert!(name(&ranges, 0x1000).is_some_and(|name| name.len() <= 3 * LONGEST_NAME));
    }
}
