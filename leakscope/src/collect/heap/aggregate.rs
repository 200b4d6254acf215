//! The account of live blocks, from the maps as they were read.

use std::collections::HashMap;

use leakscope_common::counter::Tally;
use leakscope_common::heap::{INFLIGHT_DEPTH, Inflight, LiveBlock, SEVERAL, SiteTotals};
use serde::{Deserialize, Serialize};

use crate::stack::StackId;

/// The maps at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// When recording began, CLOCK_MONOTONIC in ns.
    pub started_ns: u64,
    /// When they were read.
    pub at_ns: u64,
    /// Live blocks by address.
    pub live: Vec<(u64, LiveBlock)>,
    pub sites: Vec<(u64, SiteTotals)>,
    /// Pending allocator calls by thread.
    pub inflight: Vec<(u32, Inflight)>,
    /// Counters by number.
    pub counters: Vec<u64>,
}

/// What a site holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteSnapshot {
    /// Its stack; `None` for blocks whose site did not fit the map.
    pub stack: Option<StackId>,
    /// Bytes requested in live blocks; of blocks from before what they have grown by.
    pub live_bytes: u64,
    /// Live blocks; of those from before the ones that have grown.
    pub live_objects: u64,
    /// Live blocks from before that were reallocated since.
    pub older_blocks: u64,
    /// What these held before.
    pub older_bytes: u64,
    /// Bytes allocated since recording began.
    pub alloc_bytes: u64,
    /// Blocks allocated since then.
    pub alloc_objects: u64,
    /// Change of `live_bytes` since the previous snapshot (or since recording began).
    pub growth_bytes: i64,
    /// Age of the oldest live block, ns; of one from before, as far as is known.
    pub oldest_age_ns: Option<u64>,
    /// Age of the youngest live block, ns.
    pub youngest_age_ns: Option<u64>,
    /// The goroutine that called the C code there; none if several did, or no Go.
    pub goroutine: Option<u64>,
}

impl SiteSnapshot {
    /// Adds a live block, if it is old enough.
    fn add(&mut self, block: &LiveBlock, seen: &Observation, min_age_ns: u64) {
        let mut since = block.at_ns;
        if block.base > 0 {
            self.older_blocks += 1;
            self.older_bytes = self.older_bytes.saturating_add(block.base);
            if block.grown() == 0 {
                return;
            }
            // It was there as recording began, and nobody knows for how long.
            since = seen.started_ns;
        }
        let age = seen.at_ns.saturating_sub(since);
        if age < min_age_ns {
            return;
        }
        self.live_bytes = self.live_bytes.saturating_add(block.grown());
        self.live_objects += 1;
        self.oldest_age_ns = self.oldest_age_ns.max(Some(age));
        self.youngest_age_ns = Some(self.youngest_age_ns.map_or(age, |a| a.min(age)));
    }
}

/// The account at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapSnapshot {
    /// Sites, in the order asked for.
    pub sites: Vec<SiteSnapshot>,
    /// Bytes in live blocks.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_objects: u64,
    /// Live blocks from before that were reallocated since.
    pub older_blocks: u64,
    /// What these held before.
    pub older_bytes: u64,
    pub alloc_bytes: u64,
    /// Blocks allocated.
    pub alloc_objects: u64,
    /// Blocks freed that were in the account.
    pub free_objects: u64,
    /// Frees of blocks that were not.
    pub unknown_frees: u64,
    /// Change of `live_bytes` since the previous snapshot.
    pub growth_bytes: i64,
}

/// The order of sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Sort {
    /// Most live bytes first.
    #[default]
    LiveBytes,
    /// Most live blocks first.
    LiveObjects,
    /// Most growth first.
    Growth,
    /// Oldest block first.
    Age,
}

/// Remembers what the growth is measured from.
#[derive(Debug, Default)]
pub struct HeapAggregate {
    previous: HashMap<u64, u64>,
    previous_total: u64,
}

impl HeapAggregate {
    /// Takes stock. Only blocks at least `min_age_ns` old count as live.
    pub fn snapshot(&mut self, seen: &Observation, sort: Sort, min_age_ns: u64) -> HeapSnapshot {
        let mut sites: HashMap<u64, SiteSnapshot> = HashMap::new();
        let empty = |key: u64| SiteSnapshot {
            stack: (key != 0).then_some(StackId(key)),
            live_bytes: 0,
            live_objects: 0,
            older_blocks: 0,
            older_bytes: 0,
            alloc_bytes: 0,
            alloc_objects: 0,
            growth_bytes: 0,
            oldest_age_ns: None,
            youngest_age_ns: None,
            goroutine: None,
        };
        for (key, totals) in &seen.sites {
            let site = sites.entry(*key).or_insert_with(|| empty(*key));
            site.alloc_bytes = totals.alloc_bytes;
            site.alloc_objects = totals.alloc_objects;
            site.goroutine = Some(totals.goroutine).filter(|number| ![0, SEVERAL].contains(number));
        }
        let moving = seen.inflight.iter().flat_map(|(_, pending)| blocks_being_moved(pending));
        for block in seen.live.iter().map(|(_, block)| *block).chain(moving) {
            let site = sites.entry(block.site).or_insert_with(|| empty(block.site));
            site.add(&block, seen, min_age_ns);
        }
        let mut snapshot = HeapSnapshot::default();
        let counter = |t: Tally| seen.counters.get(t as usize).copied().unwrap_or(0);
        snapshot.free_objects = counter(Tally::FreedObjects);
        snapshot.unknown_frees = counter(Tally::UnknownFrees);
        let mut live_now = HashMap::with_capacity(sites.len());
        for (key, site) in &mut sites {
            site.growth_bytes = difference(site.live_bytes, self.previous.get(key).copied().unwrap_or(0));
            snapshot.live_bytes = snapshot.live_bytes.saturating_add(site.live_bytes);
            snapshot.live_objects += site.live_objects;
            snapshot.older_blocks += site.older_blocks;
            snapshot.older_bytes = snapshot.older_bytes.saturating_add(site.older_bytes);
            snapshot.alloc_bytes = snapshot.alloc_bytes.saturating_add(site.alloc_bytes);
            snapshot.alloc_objects += site.alloc_objects;
            live_now.insert(*key, site.live_bytes);
        }
        snapshot.growth_bytes = difference(snapshot.live_bytes, self.previous_total);
        self.previous = live_now;
        self.previous_total = snapshot.live_bytes;
        snapshot.sites = sites.into_values().filter(|s| s.alloc_objects > 0 || s.live_objects > 0).collect();
        snapshot.sites.sort_by(|a, b| order(sort, a, b));
        snapshot
    }
}

/// Blocks that a reallocation had taken out of the account as it was read; the call has not
/// returned, so they are still what the program holds.
fn blocks_being_moved(pending: &Inflight) -> impl Iterator<Item = LiveBlock> + '_ {
    let depth = (pending.depth as usize).min(INFLIGHT_DEPTH);
    pending.calls[..depth].iter().filter(|c| c.old.at_ns != 0).map(|c| c.old)
}

fn difference(now: u64, before: u64) -> i64 {
    now.cast_signed().wrapping_sub(before.cast_signed())
}

/// The order asked for; equals are told apart by bytes, then by stack, so that it is stable.
fn order(sort: Sort, a: &SiteSnapshot, b: &SiteSnapshot) -> std::cmp::Ordering {
    let primary = match sort {
        Sort::LiveBytes => b.live_bytes.cmp(&a.live_bytes),
        Sort::LiveObjects => b.live_objects.cmp(&a.live_objects),
        Sort::Growth => b.growth_bytes.cmp(&a.growth_bytes),
        Sort::Age => b.oldest_age_ns.cmp(&a.oldest_age_ns),
    };
    primary
        .then(b.live_bytes.cmp(&a.live_bytes))
        .then(b.live_objects.cmp(&a.live_objects))
        .then(b.alloc_bytes.cmp(&a.alloc_bytes))
        .then(a.stack.cmp(&b.stack))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(size: u64, site: u64, at_ns: u64) -> LiveBlock {
        LiveBlock { size, site, at_ns, base: 0 }
    }

    fn totals(objects: u64, bytes: u64) -> SiteTotals {
        SiteTotals { alloc_objects: objects, alloc_bytes: bytes, ..SiteTotals::ZERO }
    }

    fn seen() -> Observation {
        Observation {
            started_ns: 0,
            at_ns: 1000,
            live: vec![
                (1, block(100, 7, 100)),
                (2, block(50, 7, 900)),
                (3, block(10, 8, 1)),
                (4, block(10, 8, 2)),
            ],
            sites: vec![(0, SiteTotals::ZERO), (7, totals(5, 600)), (8, totals(2, 20)), (9, totals(1, 1))],
            inflight: Vec::new(),
            counters: vec![0; 64],
        }
    }

    #[test]
    fn sites_add_up_and_are_ordered() {
        let mut aggregate = HeapAggregate::default();
        let s = aggregate.snapshot(&seen(), Sort::LiveBytes, 0);
        assert_eq!((s.live_bytes, s.live_objects, s.alloc_bytes, s.alloc_objects), (170, 4, 621, 8));
        assert_eq!(s.sites.iter().map(|s| s.stack).collect::<Vec<_>>(), [7, 8, 9].map(|n| Some(StackId(n))));
        let first = s.sites[0];
        assert_eq!((first.live_bytes, first.live_objects, first.alloc_objects), (150, 2, 5));
        assert_eq!((first.oldest_age_ns, first.youngest_age_ns), (Some(900), Some(100)));
        let stacks = |sort| {
            let s = HeapAggregate::default().snapshot(&seen(), sort, 0);
            s.sites.iter().map(|s| s.stack.map_or(0, |s| s.0)).collect::<Vec<_>>()
        };
        assert_eq!(stacks(Sort::LiveObjects), [7, 8, 9]);
        assert_eq!(stacks(Sort::Age), [8, 7, 9]);
    }

    #[test]
    fn growth_is_since_the_snapshot_before() {
        let mut aggregate = HeapAggregate::default();
        assert_eq!(aggregate.snapshot(&seen(), Sort::Growth, 0).growth_bytes, 170);
        let mut later = seen();
        later.live.remove(0);
        later.live.push((9, block(5, 8, 999)));
        let s = aggregate.snapshot(&later, Sort::Growth, 0);
        assert_eq!(s.growth_bytes, -95);
        assert_eq!((s.sites[0].stack, s.sites[0].growth_bytes), (Some(StackId(8)), 5));
    }

    #[test]
    fn young_blocks_can_be_left_out() {
        let s = HeapAggregate::default().snapshot(&seen(), Sort::LiveBytes, 500);
        assert_eq!((s.live_objects, s.live_bytes), (3, 120));
    }

    #[test]
    fn a_block_under_reallocation_is_live() {
        let mut o = seen();
        let mut pending = Inflight { depth: 1, ..Inflight::ZERO };
        pending.calls[0].old = block(4000, 9, 5);
        pending.calls[1].old = block(9999, 9, 5);
        o.inflight.push((1, pending));
        let s = HeapAggregate::default().snapshot(&o, Sort::LiveBytes, 0);
        assert_eq!((s.sites[0].stack, s.sites[0].live_bytes), (Some(StackId(9)), 4000));
    }

    /// What it holds from before is apart; it is as old as the window at least.
    #[test]
    fn a_block_from_before_counts_with_its_growth() {
        let mut o = seen();
        o.started_ns = 50;
        let older = |base, size, site| LiveBlock { base, ..block(size, site, 990) };
        o.live.extend([(10, older(4000, 4600, 7)), (11, older(300, 300, 7)), (12, older(5000, 5000, 9))]);
        let s = HeapAggregate::default().snapshot(&o, Sort::LiveBytes, 0);
        assert_eq!((s.live_bytes, s.live_objects, s.older_bytes, s.older_blocks), (770, 5, 9300, 3));
        let first = s.sites[0];
        assert_eq!((first.live_bytes, first.live_objects), (750, 3));
        assert_eq!((first.older_bytes, first.older_blocks), (4300, 2));
        assert_eq!((first.oldest_age_ns, first.youngest_age_ns), (Some(950), Some(100)));
        let old = HeapAggregate::default().snapshot(&o, Sort::LiveBytes, 940);
        assert_eq!((old.live_bytes, old.older_blocks), (620, 3), "the age of the growth is not known");
    }

    #[test]
    fn hostile_depth_and_sizes_do_not_panic() {
        let mut o = seen();
        o.inflight.push((1, Inflight { depth: u64::MAX, ..Inflight::ZERO }));
        o.live.push((10, block(u64::MAX, 7, u64::MAX)));
        let s = HeapAggregate::default().snapshot(&o, Sort::LiveBytes, 0);
        assert_eq!(s.live_bytes, u64::MAX);
    }
}
