//! All goroutines, with as much of each as tells whether it can run.

use std::collections::HashMap;

use crate::runtime::go::allgs::MOST;
use crate::runtime::go::bytes::u64_at;
use crate::runtime::go::memory::Piece;
use crate::runtime::go::program::Program;
use crate::runtime::go::scheduling::Scheduling;

/// Goroutines read at once.
const AT_ONCE: usize = 1 << 16;
/// `_Gidle`, `_Gdead`, `_Gdeadextra` (`runtime/runtime2.go`).
const DEAD: [u32; 3] = [0, 6, 11];
/// `_Gwaiting`, `_Gleaked`
const PARKED: [u32; 2] = [4, 10];

/// A goroutine at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Seen {
    /// Where its `g` lies.
    pub address: u64,
    pub scheduling: Scheduling,
    /// Number of the reason to wait.
    pub reason: u8,
    /// `g.waiting`: the first of the notes of what it waits for.
    pub waiting: u64,
}

impl Seen {
    fn read(program: &Program, address: u64, g: &[u8]) -> Option<Self> {
        let layout = &program.layout;
        Some(Self {
            address,
            scheduling: Scheduling::read(layout, g)?,
            reason: *g.get(layout.wait_reason)?,
            waiting: u64_at(g, layout.waiting?)?,
        })
    }

    pub(in super::super) fn is_dead(&self) -> bool {
        DEAD.contains(&self.scheduling.status())
    }

    /// Whether it waits in the runtime, not in a system call.
    pub(in super::super) fn is_parked(&self) -> bool {
        PARKED.contains(&self.scheduling.status())
    }
}

/// The goroutines, by index and by address, and where the runtime's list of them lies.
#[derive(Debug, Default)]
pub(in super::super) struct Goroutines {
    pub all: Vec<Seen>,
    by_address: HashMap<u64, usize>,
    /// Stacks by their first address: that, the one after the last, and whose it is.
    stacks: Vec<(u64, u64, usize)>,
    pub list: u64,
}

impl Goroutines {
    /// `None` if they cannot be read.
    pub(in super::super) fn read(program: &Program) -> Option<Self> {
        let memory = program.memory();
        let (start, length) = program.all_goroutines().ok()?;
        // The length first: the list only grows, and what it was before stays valid.
        let length = memory.u64(length)?;
        let list = memory.u64(start)?;
        if length > MOST {
            return None;
        }
        let words = memory.bytes(list, 8 * usize::try_from(length).ok()?)?;
        let mut goroutines = Self { list, ..Self::default() };
        for chunk in words.as_chunks().0.chunks(AT_ONCE) {
            let piece = |word: &[u8; 8]| (u64::from_le_bytes(*word), program.layout.size);
            let pieces: Vec<Piece> = chunk.iter().map(piece).collect();
            let read = memory.read_many(&pieces);
            for (at, (address, _)) in pieces.iter().enumerate() {
                // Of one that cannot be read it is not known what it reaches.
                goroutines.push(Seen::read(program, *address, read.get(at)?)?);
            }
        }
        goroutines.stacks.sort_unstable();
        Some(goroutines)
    }

    fn push(&mut self, seen: Seen) {
        let index = self.all.len();
        self.by_address.insert(seen.address, index);
        let (low, high) = seen.scheduling.stack();
        if low < high && !seen.is_dead() {
            self.stacks.push((low, high, index));
        }
        self.all.push(seen);
    }

    /// The index of the goroutine at an address.
    pub(super) fn at(&self, address: u64) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    /// The goroutine on whose stack an address lies.
    pub(super) fn owner(&self, address: u64) -> Option<usize> {
        let after = self.stacks.partition_point(|(low, ..)| *low <= address);
        let (_, high, index) = self.stacks[after.checked_sub(1)?];
        (address < high).then_some(index)
    }
}
