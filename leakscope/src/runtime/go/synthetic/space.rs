//! Memory that is not a process's: counted, and changed while it is read if a test wants that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::runtime::go::memory::{Batch, Memory, Piece};

/// What happens at a read.
type Change = (u64, u64, Vec<u8>);

/// Memory at made-up addresses, read as a target's is.
#[derive(Debug, Default)]
pub struct Space {
    regions: RefCell<BTreeMap<u64, Vec<u8>>>,
    /// When (after so many reads of `watched`), where, what.
    changes: RefCell<Vec<Change>>,
    watched: Cell<u64>,
    seen: Cell<u64>,
    reads: Cell<u64>,
    bytes: Cell<u64>,
    largest: Cell<u64>,
}

impl Space {
    /// Maps bytes.
    pub fn map(&self, at: u64, bytes: Vec<u8>) {
        self.regions.borrow_mut().insert(at, bytes);
    }

    /// Overwrites bytes; what is not mapped stays so.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let mut regions = self.regions.borrow_mut();
        let Some((start, region)) = regions.range_mut(..=address).next_back() else { return };
        let room = region.iter_mut().skip((address - start) as usize);
        for (to, from) in room.zip(bytes) {
            *to = *from;
        }
    }

    /// Plans a change: after the `nth` read that begins at `watched`.
    pub fn change_after(&self, watched: u64, nth: u64, address: u64, bytes: &[u8]) {
        self.watched.set(watched);
        self.changes.borrow_mut().push((nth, address, bytes.to_vec()));
    }

    /// How many pieces were read, how many bytes they had, and the most of one.
    pub fn cost(&self) -> (u64, u64, u64) {
        (self.reads.get(), self.bytes.get(), self.largest.get())
    }

    fn copy(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + buffer.len() as u64);
        self.largest.set(self.largest.get().max(buffer.len() as u64));
        let read = {
            let regions = self.regions.borrow();
            let found = regions.range(..=address).next_back().and_then(|(start, region)| {
                let at = usize::try_from(address - start).ok()?;
                region.get(at..at.checked_add(buffer.len())?)
            });
            found.map(|bytes| buffer.copy_from_slice(bytes)).is_some()
        };
        if address == self.watched.get() {
            self.seen.set(self.seen.get() + 1);
            let due: Vec<Change> =
                self.changes.borrow_mut().extract_if(.., |(nth, ..)| *nth == self.seen.get()).collect();
            for (_, at, bytes) in due {
                self.write(at, &bytes);
            }
        }
        read
    }
}

impl Memory for Rc<Space> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.copy(address, buffer)
    }

    fn read_many(&self, pieces: &[Piece]) -> Batch {
        let mut batch = Batch::new(pieces);
        for (i, (address, length)) in pieces.iter().enumerate() {
            let mut buffer = vec![0; *length];
            if self.copy(*address, &mut buffer)
                && let Some(room) = batch.fill(i)
            {
                room.copy_from_slice(&buffer);
            }
        }
        batch
    }
}
