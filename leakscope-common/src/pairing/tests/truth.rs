//! The model: what a program has allocated, by what its functions are documented to do.

use std::collections::{BTreeMap, HashMap};

use crate::heap::{LiveBlock, SiteTotals};

/// The account as it should be.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) live: HashMap<u64, LiveBlock>,
    pub(super) room: usize,
    pub(super) sites: HashMap<u64, SiteTotals>,
    pub(super) counted: BTreeMap<u32, u64>,
}

impl Truth {
    /// Something happened that is to be counted.
    pub(super) fn count(&mut self, what: u32) {
        *self.counted.entry(what).or_default() += 1;
    }

    /// Whether there is room for one more block.
    pub(super) fn has_room(&self) -> bool {
        self.live.len() < self.room
    }

    /// A new block, for which there is room.
    pub(super) fn allocate(&mut self, address: u64, block: LiveBlock) {
        let totals = self.sites.entry(block.site).or_default();
        totals.alloc_objects += 1;
        totals.alloc_bytes += block.size;
        assert!(self.live.insert(address, block).is_none(), "the allocator gave a block twice");
    }

    /// A block is gone.
    pub(super) fn free(&mut self, block: LiveBlock) {
        let totals = self.sites.entry(block.site).or_default();
        totals.free_objects += 1;
        totals.free_bytes += block.size;
    }

    /// A block has another size. Returns whether it is in the account.
    pub(super) fn resize(&mut self, address: u64, size: u64) -> bool {
        let Some(block) = self.live.get_mut(&address) else { return false };
        let totals = self.sites.entry(block.site).or_default();
        totals.alloc_bytes += size.saturating_sub(block.size);
        totals.free_bytes += block.size.saturating_sub(size);
        block.size = size;
        block.base = block.base.min(size);
        true
    }
}
