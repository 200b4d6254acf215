//! The runtime's list of buckets, followed through its memory, and their counts.

use std::collections::{HashMap, HashSet};

use super::{CYCLES, Places};
use crate::runtime::go::bytes::u64_at;
use crate::runtime::go::error::GoError;
use crate::runtime::go::memory::Piece;
use crate::runtime::go::program::Program;

/// Most buckets.
const MOST: usize = 1 << 20;
/// Most addresses of a stack (`maxProfStackDepth`).
const DEEPEST: u64 = 1024;
/// `memProfile`, a bucket type.
const MEMORY: u64 = 1;
/// Largest object.
const LARGEST: u64 = 1 << 46;
/// Bytes that are read at once: no page is touched that the runtime has not written.
pub(super) const PAGE: u64 = 4096;

/// Where the members lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    header: usize,
    all_next: usize,
    kind: usize,
    hash: usize,
    size: usize,
    depth: usize,
    record: usize,
    active: usize,
    future: usize,
    cycle: usize,
    allocs: usize,
    frees: usize,
}

impl Layout {
    fn new(program: &Program) -> Option<Self> {
        let bucket = |member| program.offsets.find("bucket", member);
        let record = |member| program.offsets.find("memRecord", member);
        let cycle = |member| program.offsets.find("memRecordCycle", member);
        Some(Self {
            header: bucket("__size")?,
            all_next: bucket("allnext")?,
            kind: bucket("typ")?,
            hash: bucket("hash")?,
            size: bucket("size")?,
            depth: bucket("nstk")?,
            record: record("__size")?,
            active: record("active")?,
            future: record("future")?,
            cycle: cycle("__size")?,
            allocs: cycle("allocs")?,
            frees: cycle("frees")?,
        })
    }
}

/// A bucket without its counts: nothing of it changes.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Where its counts lie.
    counts: u64,
    pub(super) size: u64,
    pub(super) stack: Vec<u64>,
}

/// A walk along the list.
pub(super) struct Walk<'a> {
    program: &'a Program,
    pub(super) layout: Layout,
    pub(super) buckets: Vec<Bucket>,
    pages: HashMap<u64, Vec<u8>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(program: &'a Program) -> Result<Self, GoError> {
        let layout = Layout::new(program).ok_or(GoError::NotFound("the layout of the memory profile"))?;
        Ok(Self { program, layout, buckets: Vec::new(), pages: HashMap::new() })
    }

    /// Follows the list to its end.
    pub(super) fn follow(&mut self, first: u64) -> Result<(), GoError> {
        let (mut next, mut seen) = (first, HashSet::new());
        while next != 0 {
            let unsound = |of: usize| GoError::SelfCheck {
                check: "a bucket of the memory profile has the hash of its stack",
                failed: 1,
                of: of as u64 + 1,
            };
            if seen.len() >= MOST {
                return Err(GoError::TooMany(seen.len() as u64, MOST as u64));
            }
            if !seen.insert(next) {
                return Err(unsound(seen.len()));
            }
            let (bucket, after) = self.bucket(next).ok_or_else(|| unsound(seen.len()))?;
            self.buckets.push(bucket);
            next = after;
        }
        self.pages = HashMap::new();
        Ok(())
    }

    pub(super) fn is_sound(&self, address: u64) -> bool {
        let mut walk =
            Self { program: self.program, layout: self.layout, buckets: Vec::new(), pages: HashMap::new() };
        walk.bucket(address).is_some()
    }

    /// A bucket and the next one's address, if the bucket's hash is that of its stack and size.
    fn bucket(&mut self, address: u64) -> Option<(Bucket, u64)> {
        let layout = self.layout;
        let header = self.bytes(address, layout.header)?;
        let depth = u64_at(&header, layout.depth).filter(|depth| *depth > 0 && *depth <= DEEPEST)?;
        let size = u64_at(&header, layout.size).filter(|size| *size <= LARGEST)?;
        if u64_at(&header, layout.kind)? != MEMORY {
            return None;
        }
        let at = address.checked_add(layout.header as u64)?;
        let words = self.bytes(at, 8 * depth as usize)?;
        let stack: Vec<u64> = words.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        if hash(&stack, size) != u64_at(&header, layout.hash)? {
            return None;
        }
        let counts = at.checked_add(8 * depth)?;
        Some((Bucket { counts, size, stack }, u64_at(&header, layout.all_next)?))
    }

    /// Bytes of the list, page by page.
    fn bytes(&mut self, address: u64, length: usize) -> Option<Vec<u8>> {
        let page = address & !(PAGE - 1);
        let within = (address - page) as usize;
        if within + length > PAGE as usize {
            return self.program.memory().bytes(address, length);
        }
        let bytes = match self.pages.entry(page) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(self.program.memory().bytes(page, PAGE as usize)?)
            }
        };
        Some(bytes.get(within..within + length)?.to_vec())
    }

    /// The cycle and all counts as they are now.
    pub(super) fn counts(&self, places: Places) -> Result<Counts, GoError> {
        let memory = self.program.memory();
        let cycle = memory.u32(places.cycle).ok_or(GoError::Gone)?;
        let pieces: Vec<Piece> = self.buckets.iter().map(|b| (b.counts, self.layout.record)).collect();
        let read = memory.read_many(&pieces);
        let records: Option<Vec<Vec<u8>>> =
            (0..pieces.len()).map(|i| read.get(i).map(<[u8]>::to_vec)).collect();
        let records = records.ok_or(GoError::Gone)?;
        if memory.u32(places.cycle) != Some(cycle) {
            // A collection has ended meanwhile: it differs from any other look.
            return Ok(Counts { cycle: None, records });
        }
        Ok(Counts { cycle: Some(cycle), records })
    }
}

/// Allocated and freed objects.
pub(super) type Pair = (u64, u64);

/// Counts as they were read.
pub(super) struct Counts {
    /// `None`: it changed meanwhile.
    cycle: Option<u32>,
    records: Vec<Vec<u8>>,
}

impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        self.cycle.is_some() && self.cycle == other.cycle && self.records == other.records
    }
}

impl Counts {
    /// What `runtime.MemProfile` would give, and what it would if no collection had ended yet.
    pub(super) fn values(&self, layout: Layout) -> (Vec<Pair>, Vec<Pair>) {
        let word = self.cycle.unwrap_or(1);
        let (cycle, flushed) = (word >> 1, word & 1 != 0);
        let pending = (!flushed).then_some((cycle % CYCLES) as usize);
        let at = |record: &[u8], at: usize| {
            let word = |member| u64_at(record, at + member).unwrap_or(0);
            (word(layout.allocs), word(layout.frees))
        };
        let future = |record: &[u8], index: usize| at(record, layout.future + index * layout.cycle);
        let add = |a: Pair, b: Pair| (a.0.saturating_add(b.0), a.1.saturating_add(b.1));
        let published = |record: &Vec<u8>| {
            let active = at(record, layout.active);
            pending.map_or(active, |index| add(active, future(record, index)))
        };
        let all = |record: &Vec<u8>| {
            (0..CYCLES as usize).fold(at(record, layout.active), |sum, index| add(sum, future(record, index)))
        };
        (self.records.iter().map(published).collect(), self.records.iter().map(all).collect())
    }
}

/// The hash of a bucket (`stkbucket`).
pub(crate) fn hash(stack: &[u64], size: u64) -> u64 {
    let mix = |hash: u64, word: u64| {
        let hash = hash.wrapping_add(word);
        let hash = hash.wrapping_add(hash << 10);
        hash ^ hash >> 6
    };
    let hash = mix(stack.iter().fold(0, |hash, pc| mix(hash, *pc)), size);
    let hash = hash.wrapping_add(hash << 3);
    hash ^ hash >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_runtimes() {
        // stkbucket of Go 1.24, of `[]uintptr{0x401000, 0x402000}` and 64.
        let by_hand = |words: &[u64]| {
            let mut h = 0u64;
            for word in words {
                h = h.wrapping_add(*word);
                h = h.wrapping_add(h << 10);
                h ^= h >> 6;
            }
            h = h.wrapping_add(h << 3);
            h ^ (h >> 11)
        };
        assert_eq!(hash(&[0x401000, 0x402000], 64), by_hand(&[0x401000, 0x402000, 64]));
        assert_ne!(hash(&[0x401000], 64), hash(&[0x401000], 65));
    }

    fn layout() -> Layout {
        Layout {
            header: 48,
            all_next: 8,
            kind: 16,
            hash: 24,
            size: 32,
            depth: 40,
            record: 64,
            active: 0,
            future: 16,
            cycle: 16,
            allocs: 0,
            frees: 8,
        }
    }

    #[test]
    fn counts_are_those_of_the_last_collection() {
        let record: Vec<u8> = [10u64, 4, 1, 2, 3, 0, 5, 1].into_iter().flat_map(u64::to_le_bytes).collect();
        let values = |cycle: u32, flushed: u32| {
            let counts = Counts { cycle: Some(cycle << 1 | flushed), records: vec![record.clone()] };
            counts.values(layout())
        };
        assert_eq!(values(4, 1).0, [(10, 4)]);
        assert_eq!(values(4, 0).0, [(13, 4)], "the pending cycle is the second");
        assert_eq!(values(3, 0), (vec![(11, 6)], vec![(19, 7)]));
    }
}
