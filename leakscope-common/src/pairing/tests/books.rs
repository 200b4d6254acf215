//! The account on the host, and the steps of the BPF programs around the state machine.

use std::collections::HashMap;

use super::super::{
    Account, Call, Charge, Frame, Free, Inserted, LastFree, Removed, Resized, Walk, admit, again, begin,
    ended, freed, look_out, returned,
};
use crate::counter::{COUNTERS, Loss, Tally};
use crate::heap::{INFLIGHT_DEPTH, Inflight, LiveBlock, SiteTotals};
use crate::probe::Cookie;

/// Maps, counters and the target's memory.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) live: HashMap<u64, LiveBlock>,
    /// Most blocks that `live` holds.
    pub(super) room: usize,
    pub(super) sites: HashMap<u64, SiteTotals>,
    pub(super) counters: [u64; COUNTERS as usize],
    /// Words of the target that can be read.
    pub(super) memory: HashMap<u64, u64>,
    /// Where the dynamic linker's code lies.
    pub(super) linker: std::ops::Range<u64>,
    /// The thread that calls.
    tid: u32,
    /// How many of its calls are pending.
    pending: u64,
    frees: HashMap<u32, LastFree>,
}

impl Account for Books {
    fn block(&mut self, address: u64) -> Option<LiveBlock> {
        self.live.get(&address).copied()
    }

    fn remove(&mut self, address: u64) -> Removed {
        if self.live.remove(&address).is_some() { Removed::Done } else { Removed::Gone }
    }

    fn insert(&mut self, address: u64, block: &LiveBlock) -> Inserted {
        if self.live.contains_key(&address) {
            Inserted::Occupied
        } else if self.live.len() >= self.room {
            Inserted::Full
        } else {
            self.live.insert(address, *block);
            Inserted::Done
        }
    }

    fn resize(&mut self, address: u64, size: u64) -> Option<Resized> {
        let block = self.live.get_mut(&address)?;
        let before = std::mem::replace(&mut block.size, size);
        block.base = block.base.min(size);
        Some(Resized { before, site: block.site })
    }

    fn charge(&mut self, site: u64, charge: Charge) {
        let totals = self.sites.entry(site).or_default();
        match charge {
            Charge::Allocated(bytes) => {
                totals.alloc_objects += 1;
                totals.alloc_bytes += bytes;
            }
            Charge::Freed(bytes) => {
                totals.free_objects += 1;
                totals.free_bytes += bytes;
            }
            Charge::Grown(bytes) => totals.alloc_bytes += bytes,
            Charge::Shrunk(bytes) => totals.free_bytes += bytes,
        }
    }

    fn pending(&mut self) -> u64 {
        self.pending
    }

    fn free_before(&mut self, free: LastFree) -> LastFree {
        self.frees.insert(self.tid, free).unwrap_or_default()
    }

    fn word(&mut self, address: u64) -> Option<u64> {
        self.memory.get(&address).copied()
    }

    fn in_linker(&mut self, address: u64) -> bool {
        self.linker.contains(&address)
    }

    fn lose(&mut self, loss: Loss) {
        self.counters[loss as usize] += 1;
    }

    fn tally(&mut self, tally: Tally) {
        self.counters[tally as usize] += 1;
    }
}

/// The account, and the pending calls of each thread.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) books: Books,
    pub(super) calls: HashMap<u32, Inflight>,
    clock: u64,
}

impl Machine {
    /// With room for so many blocks.
    pub(super) fn new(room: usize) -> Self {
        let books = Books {
            live: HashMap::new(),
            room,
            sites: HashMap::new(),
            counters: [0; COUNTERS as usize],
            memory: HashMap::new(),
            linker: 0..0,
            tid: 0,
            pending: 0,
            frees: HashMap::new(),
        };
        Self { books, calls: HashMap::new(), clock: 0 }
    }

    /// A function is entered; `walk` walks the stack and looks out for so many of the frames. Returns when.
    pub(super) fn enter(
        &mut self,
        tid: u32,
        cookie: Cookie,
        frame: Frame,
        site: u64,
        registers: &[u64; 16],
        walk: impl FnOnce(&[Frame; INFLIGHT_DEPTH], u64) -> Walk,
    ) -> u64 {
        let (books, calls) = (&mut self.books, self.calls.entry(tid).or_default());
        again(books, calls, cookie.function(), frame.cfa);
        let mut frames = [Frame::default(); INFLIGHT_DEPTH];
        let count = look_out(calls, &mut frames);
        self.clock += 1;
        if admit(books, calls, &walk(&frames, count)) {
            let call = Call { cookie, frame, site, at_ns: self.clock };
            begin(books, calls, call, registers);
        }
        self.clock
    }

    /// A function returns.
    pub(super) fn leave(&mut self, tid: u32, cookie: Cookie, cfa: u64, result: u64) {
        returned(&mut self.books, self.calls.get_mut(&tid), cookie.function(), cfa, result);
    }

    /// A block is freed.
    pub(super) fn free(&mut self, tid: u32, free: Free) {
        self.books.tid = tid;
        self.books.pending = self.calls.get(&tid).map_or(0, |calls| calls.depth);
        freed(&mut self.books, free);
    }

    /// A thread ends.
    pub(super) fn end(&mut self, tid: u32) {
        if let Some(mut calls) = self.calls.remove(&tid) {
            ended(&mut self.books, &mut calls);
        }
    }

    /// How often it was counted.
    pub(super) fn lost(&self, loss: Loss) -> u64 {
        self.books.counters[loss as usize]
    }

    /// How often it was counted.
    pub(super) fn seen(&self, tally: Tally) -> u64 {
        self.books.counters[tally as usize]
    }
}
