//! What a Go program's sites hold, and how that changes from one report to the next.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use serde::{Deserialize, Serialize};

use super::difference;
use super::text_id::TextId;
use crate::runtime::go::heap_account::{GoHeap, GoHeapSite};

/// The account at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GoHeapSnapshot {
    /// The account as it was read. Sites with equal names are one.
    pub heap: GoHeap,
    /// For each of its sites: the number made from its frames, and the change of what it holds.
    pub sites: Vec<(u64, i64)>,
    /// Change of what all sites hold.
    pub growth_bytes: i64,
    /// Whether the account is word for word the one before: no garbage collection has finished since, or
    /// the program has allocated and freed nothing.
    pub unchanged: bool,
}

/// Remembers what the growth is measured from.
#[derive(Debug, Default)]
pub struct GoHeapAggregate {
    previous: HashMap<u64, u64>,
    /// A hash of the account before, to tell whether anything has changed.
    previous_hash: Option<u64>,
}

impl GoHeapAggregate {
    /// Takes stock. Growth is since the call before; in the first one, since nothing was held. An account
    /// that counts from the start of the process is shown to the aggregate once as recording begins.
    pub fn snapshot(&mut self, account: GoHeap) -> GoHeapSnapshot {
        let hash = FixedState::default().hash_one(&account.sites);
        let unchanged = self.previous_hash.replace(hash) == Some(hash) && !account.sites.is_empty();
        let mut heap = GoHeap { sites: Vec::with_capacity(account.sites.len()), ..account };
        let mut index: HashMap<u64, usize> = HashMap::new();
        let mut sites: Vec<(u64, i64)> = Vec::new();
        for site in account.sites {
            let mut id = TextId::new();
            let id = id.frames(&site.frames).finish();
            if let Some(into) = index.get(&id).and_then(|at| heap.sites.get_mut(*at)) {
                add(into, &site);
            } else {
                index.insert(id, sites.len());
                sites.push((id, 0));
                heap.sites.push(site);
            }
        }
        let before = |id: &u64| self.previous.get(id).copied().unwrap_or(0);
        for ((id, growth), site) in sites.iter_mut().zip(&heap.sites) {
            *growth = difference(site.live_bytes, before(id));
        }
        let sum = |all: &mut dyn Iterator<Item = u64>| all.fold(0u64, u64::saturating_add);
        let growth_bytes = difference(
            sum(&mut heap.sites.iter().map(|site| site.live_bytes)),
            sum(&mut self.previous.values().copied()),
        );
        self.previous = sites.iter().zip(&heap.sites).map(|((id, _), site)| (*id, site.live_bytes)).collect();
        GoHeapSnapshot { heap, sites, growth_bytes, unchanged }
    }
}

fn add(into: &mut GoHeapSite, site: &GoHeapSite) {
    into.live_bytes = into.live_bytes.saturating_add(site.live_bytes);
    into.live_objects = into.live_objects.saturating_add(site.live_objects);
    into.alloc_bytes = into.alloc_bytes.saturating_add(site.alloc_bytes);
    into.alloc_objects = into.alloc_objects.saturating_add(site.alloc_objects);
    into.samples = into.samples.zip(site.samples).map(|(a, b)| a.saturating_add(b));
    let bounds = into.live_bytes_bounds.zip(site.live_bytes_bounds);
    into.live_bytes_bounds = bounds.map(|(a, b)| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::aggregate::goroutine_sites::tests::frame;

    fn site(function: &str, live: u64) -> GoHeapSite {
        GoHeapSite {
            live_bytes: live,
            live_objects: live / 10,
            live_bytes_bounds: Some((live / 2, live * 2)),
            frames: vec![frame(function, 7)],
            ..GoHeapSite::default()
        }
    }

    fn heap(sites: Vec<GoHeapSite>) -> GoHeap {
        GoHeap { sites, ..GoHeap::default() }
    }

    #[test]
    fn growth_is_since_the_report_before() {
        let mut aggregate = GoHeapAggregate::default();
        let first = aggregate.snapshot(heap(vec![site("main.a", 100), site("main.b", 50)]));
        assert_eq!(first.growth_bytes, 150);
        // What has ended counts in the sum alone; the order is the account's own.
        let second = aggregate.snapshot(heap(vec![site("main.c", 10), site("main.a", 130)]));
        assert_eq!(second.growth_bytes, -10);
        assert_eq!(second.sites.iter().map(|s| s.1).collect::<Vec<_>>(), [10, 30]);
        assert_eq!(second.sites[1].0, first.sites[0].0);
    }

    #[test]
    fn an_account_that_is_the_same_tells_nothing() {
        let mut aggregate = GoHeapAggregate::default();
        let mut look = |sites| aggregate.snapshot(heap(sites)).unchanged;
        assert!(!look(vec![site("main.a", 100)]), "the first");
        assert!(look(vec![site("main.a", 100)]));
        let churned = GoHeapSite { alloc_objects: 9, ..site("main.a", 100) };
        assert!(!look(vec![churned]), "a collection has finished, though as much is held");
        assert!(!look(Vec::new()));
        assert!(!look(Vec::new()), "of nothing, nothing can be told");
    }

    #[test]
    fn equal_names_are_one_site() {
        let other = GoHeapSite {
            frames: vec![crate::runtime::go::goroutine::GoFrame { address: 9, ..frame("main.a", 7) }],
            ..site("main.a", 20)
        };
        let seen = GoHeapAggregate::default().snapshot(heap(vec![site("main.a", 100), other]));
        assert_eq!((seen.sites.len(), seen.heap.sites.len()), (1, 1));
        assert_eq!((seen.heap.sites[0].live_bytes, seen.sites[0].1), (120, 120));
        assert_eq!(seen.heap.sites[0].live_bytes_bounds, Some((60, 240)));
    }

    #[test]
    fn absurd_numbers_do_not_panic() {
        let mut aggregate = GoHeapAggregate::default();
        let absurd = GoHeapSite { live_bytes: u64::MAX, alloc_objects: u64::MAX, ..GoHeapSite::default() };
        aggregate.snapshot(heap(vec![
            absurd.clone(),
            absurd.clone(),
            GoHeapSite { live_bytes: 1, ..absurd },
        ]));
        assert_eq!(aggregate.snapshot(heap(Vec::new())).sites, []);
    }
}
