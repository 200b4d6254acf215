//! What each source of a heap knows: exact counts and estimates are never added up in what people read.

use super::model::Heap;
use super::{GO, MALLOC};
use crate::runtime::go::heap_account::is_since_attach;
use crate::section::group::add;

/// Sums over the sites of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) live_bytes: u64,
    pub(crate) live_objects: u64,
    pub(crate) alloc_bytes: u64,
    pub(crate) alloc_objects: u64,
}

impl Heap {
    /// What the sites of a source hold together.
    pub(crate) fn sums(&self, source: &str) -> Sums {
        if source == MALLOC && !self.has(GO) {
            let all = &self.totals;
            return Sums {
                live_bytes: all.live_bytes,
                live_objects: all.live_objects,
                alloc_bytes: all.alloc_bytes,
                alloc_objects: all.alloc_objects,
            };
        }
        let mut sums = Sums::default();
        for site in self.sites.iter().filter(|site| site.source == source) {
            add(&mut sums.live_bytes, site.live_bytes);
            add(&mut sums.live_objects, site.live_objects);
            add(&mut sums.alloc_bytes, site.alloc_bytes);
            add(&mut sums.alloc_objects, site.alloc_objects);
        }
        sums
    }

    /// Live bytes of each source, by name.
    pub(crate) fn live_of(&self) -> impl Fn(&str) -> u64 + use<> {
        let (malloc, go) = (self.sums(MALLOC).live_bytes, self.sums(GO).live_bytes);
        move |source| if source == GO { go } else { malloc }
    }

    /// Whether a source is there.
    pub(crate) fn has(&self, source: &str) -> bool {
        self.sources.iter().any(|known| known.name == source)
    }

    /// Whether what is known of a Go heap is of the window alone.
    pub(crate) fn go_since_attach(&self) -> bool {
        self.sources.iter().any(|source| source.name == GO && is_since_attach(&source.method))
    }
}
