//! What changed on the heap.
//!
//! Two windows of one process are no difference: each counts what was allocated in it alone. Of these, what was kept a
//! second is compared, and nothing is told as growth.

mod places;
mod table;

use std::cmp::Reverse;
use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::places::places;
use super::answer::unseen;
use super::callers::is_notable;
use super::model::{Heap, Site, Totals};
use super::place::{place, sort_of};
use super::words::{Growth, HeapSaid, Rate};
use crate::layout::page::Page;
use crate::section::finding::{Finding, Said as _};
use crate::section::growth::{Change, growth, place as place_of};
use crate::section::json::with_stack;
use crate::section::key::Keys;
use crate::section::model::{Stack, StackEnd};
use crate::section::pairs::{Pair, matched, name as site_name, shares};
use crate::section::shared::SharedFrames;
use crate::section::site::{rank, ranked};
use crate::section::{Between, Changed, Compared, Part, Retold, Sides};

pub use self::places::HeapPlace;

/// The heap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapDiff {
    /// Whether both accounts are exact.
    pub exact: bool,
    /// Whether the reports are of two windows of one process. Then nothing is told as growth.
    #[serde(default)]
    pub separate_windows: bool,
    /// Whether the windows differ by more than a tenth, so that less may be of a shorter time.
    #[serde(skip)]
    pub uneven_windows: bool,
    /// Sums over all sites.
    pub totals: HeapTotals,
    /// Places, most growth first; by what was kept a second where nothing is told as growth.
    #[serde(default)]
    pub places: Vec<HeapPlace>,
    /// Sites, in the same order.
    pub sites: Vec<HeapSite>,
}

/// Sums over all sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeapTotals {
    /// Live bytes in the old report.
    pub old_live_bytes: u64,
    /// Live bytes in the new report.
    pub new_live_bytes: u64,
    /// Change of live bytes; null of two windows of one process.
    pub growth_bytes: Option<i64>,
    /// Live blocks in the old report.
    pub old_live_objects: u64,
    /// Live blocks in the new report.
    pub new_live_objects: u64,
    /// Change of live blocks; null of two windows of one process.
    pub growth_objects: Option<i64>,
    /// Live blocks that are older than the recording, and were reallocated since, in the old report.
    #[serde(default)]
    pub old_older_blocks: u64,
    /// Live blocks that are older than the recording, and were reallocated since, in the new report.
    #[serde(default)]
    pub new_older_blocks: u64,
    /// What these held as they were first seen, or the least since, in the old report.
    #[serde(default)]
    pub old_older_bytes: u64,
    /// What these held as they were first seen, or the least since, in the new report.
    #[serde(default)]
    pub new_older_bytes: u64,
    /// What was allocated and kept a second of the old window; null of a moment.
    #[serde(default)]
    pub old_bytes_per_s: Option<u64>,
    /// What was allocated and kept a second of the new window; null of a moment.
    #[serde(default)]
    pub new_bytes_per_s: Option<u64>,
    /// Bytes allocated in the old report's window.
    pub old_alloc_bytes: u64,
    /// Bytes allocated in the new report's window.
    pub new_alloc_bytes: u64,
    /// Blocks allocated in the old report's window.
    pub old_alloc_objects: u64,
    /// Blocks allocated in the new report's window.
    pub new_alloc_objects: u64,
    /// Frees since the old report of blocks that leakscope did not see allocated; null unless both reports are of
    /// one observation.
    #[serde(default)]
    pub unknown_frees: Option<u64>,
}

with_stack! {
    /// A stack that allocated, in both reports or in one.
    pub struct HeapSite {
        /// Place, from 1: by growth.
        pub rank: u64,
        /// What happened to it.
        pub change: Change,
        /// Name of the source.
        pub source: String,
        /// Live bytes in the old report.
        pub old_live_bytes: u64,
        /// Live bytes in the new report.
        pub new_live_bytes: u64,
        /// Change of live bytes; null of two windows of one process.
        pub growth_bytes: Option<i64>,
        /// Live blocks in the old report.
        pub old_live_objects: u64,
        /// Live blocks in the new report.
        pub new_live_objects: u64,
        /// Change of live blocks; null of two windows of one process.
        pub growth_objects: Option<i64>,
        /// Live blocks that are older than the recording, and were reallocated since, in the old report.
        #[serde(default)]
        pub old_older_blocks: u64,
        /// Live blocks that are older than the recording, and were reallocated since, in the new report.
        #[serde(default)]
        pub new_older_blocks: u64,
        /// What these held as they were first seen, or the least since, in the old report.
        #[serde(default)]
        pub old_older_bytes: u64,
        /// What these held as they were first seen, or the least since, in the new report.
        #[serde(default)]
        pub new_older_bytes: u64,
        /// Bytes allocated in the old report's window.
        pub old_alloc_bytes: u64,
        /// Bytes allocated in the new report's window.
        pub new_alloc_bytes: u64,
        /// Blocks allocated in the old report's window.
        pub old_alloc_objects: u64,
        /// Blocks allocated in the new report's window.
        pub new_alloc_objects: u64,
        /// Stacks of the old report that are this one in another build or run.
        pub old_stacks: u64,
        /// The same of the new report.
        pub new_stacks: u64,
        @
        /// The stack.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own; null if there is none.
            blame: Option<u64>,
            /// Frames of the new report, or of the old one if it is gone, innermost first.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Why the stack ended: `root`, or what cut it short.
            stack_end: Option<StackEnd>,
        },
    }
}

ranked!(HeapSite);

impl Compared for Heap {
    type Diff = HeapDiff;
    const CALLED: Option<&'static str> = Some("the heap");
    const CODES: &'static [&'static str] = HeapSaid::CODES;

    fn compare<'a>(
        sides: &Sides<'_>,
        old: Option<&'a Self>,
        new: Option<&'a Self>,
        keys: &mut Keys<'a>,
    ) -> Option<HeapDiff> {
        let (old, new) = (old?, new?);
        let key = |site: &'a Site, which| (site.source.as_str(), keys.stack(&site.stack, which));
        let rates = Rates::of_sides(sides);
        let mut sites: Vec<HeapSite> =
            matched(&old.sites, &new.sites, key).iter().map(|pair| heap_site(pair, rates)).collect();
        if !rates.are_growth() {
            sites.sort_by_key(|site| {
                let (old, new) = rates.of(site.old_live_bytes, site.new_live_bytes);
                Reverse((new, old))
            });
        } else if sides.by_objects {
            sites.sort_by_key(|site| Reverse((site.growth_objects, site.growth_bytes)));
        } else {
            sites.sort_by_key(|site| Reverse((site.growth_bytes, site.growth_objects)));
        }
        rank(&mut sites);
        Some(HeapDiff {
            exact: old.exact && new.exact,
            separate_windows: !rates.are_growth(),
            uneven_windows: !sides.one_account && rates.are_uneven(),
            totals: totals(&old.totals, &new.totals, rates, sides.one_account),
            places: places(&sites, sides, rates),
            sites,
        })
    }

    fn before<'a>(sides: &Sides<'_>, first: &'a Self, last: &'a Self, keys: &mut Keys<'a>) -> Vec<u64> {
        let key = |site: &'a Site, which| {
            site_name(sides.one_account, &site.site_id, || (&site.source, keys.stack(&site.stack, which)))
        };
        if sides.separate_windows {
            // What grew in its own window stays what is told.
            let kept = |site: &Site| i128::from(site.live_bytes) - i128::from(site.growth_bytes);
            return last.sites.iter().map(|site| u64::try_from(kept(site)).unwrap_or(0)).collect();
        }
        shares(&first.sites, &last.sites, key, |site| site.live_bytes)
    }

    fn grow(&mut self, first: &Self, before: &[u64], between: Between) -> Option<Retold> {
        if between.separate_windows {
            return None;
        }
        for (site, old) in self.sites.iter_mut().zip(before) {
            site.growth_bytes = growth(*old, site.live_bytes);
        }
        self.totals.growth_bytes = growth(first.totals.live_bytes, self.totals.live_bytes);
        place(self, sort_of(&self.sites));
        None
    }
}

/// What a place gains by is told from here on, also where the rest shrank.
const NOTABLE_GROWTH: u64 = 1 << 20;

/// How long two windows are, and whether what differs between them is growth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    windows_ns: (u64, u64),
    separate: bool,
}

impl Rates {
    fn of_sides(sides: &Sides<'_>) -> Self {
        Self { windows_ns: sides.windows_ns, separate: sides.separate_windows }
    }

    const fn are_growth(self) -> bool {
        !self.separate
    }

    /// Whether the windows differ by more than a tenth. Of less than a second no rate is worth to be told.
    fn are_uneven(self) -> bool {
        let (old, new) = self.windows_ns;
        old.min(new) >= 1_000_000_000 && old.abs_diff(new) > old.max(new) / 10
    }

    /// Bytes a second of each window; none of a moment.
    fn of(self, old: u64, new: u64) -> (Option<u64>, Option<u64>) {
        let rate = |bytes: u64, window_ns: u64| {
            let rate = (u128::from(bytes) * 1_000_000_000).checked_div(u128::from(window_ns))?;
            Some(u64::try_from(rate).unwrap_or(u64::MAX))
        };
        (rate(old, self.windows_ns.0), rate(new, self.windows_ns.1))
    }
}

impl Changed for HeapDiff {
    fn order(&self, part: Part) -> u8 {
        super::order(part)
    }

    fn print(&self, part: Part, page: &mut Page<'_>) -> io::Result<()> {
        match part {
            Part::Totals => table::totals(&self.totals, page),
            Part::Tables => table::table(self, page),
            Part::Urgent | Part::Stacks => Ok(()),
        }
    }

    fn finding(&self) -> Option<Finding> {
        let totals = &self.totals;
        if self.separate_windows || self.uneven_windows && totals.growth_bytes <= Some(0) {
            return Some(self.rates().into());
        }
        let top = self.places.iter().max_by_key(|place| place.growth_bytes)?;
        let grown = top.growth_bytes.filter(|grown| *grown > 0)?;
        let most = Growth { bytes: grown, place: self.place(top) };
        let growth_bytes = totals.growth_bytes?;
        if growth_bytes <= 0 {
            // A place gains a little what another loses.
            let grown = grown.unsigned_abs();
            let notable = grown >= NOTABLE_GROWTH || is_notable(grown, totals.new_live_bytes);
            return notable.then(|| HeapSaid::SiteGrew { growth_bytes, most }.into());
        }
        let (old_bytes, new_bytes) = (totals.old_live_bytes, totals.new_live_bytes);
        let traced = self.sites.iter().all(|site| site.source == super::MALLOC);
        let grown_objects = totals.growth_objects.map_or(0, i64::unsigned_abs);
        let unseen_frees = unseen(totals.unknown_frees.unwrap_or(0), grown_objects);
        Some(HeapSaid::Grew { growth_bytes, old_bytes, new_bytes, most, traced, unseen_frees }.into())
    }

    fn nothing(&self) -> Option<&'static str> {
        (!self.separate_windows).then_some("no more live memory")
    }
}

impl HeapDiff {
    /// What is said of two windows that are not to be compared by their sums.
    fn rates(&self) -> HeapSaid {
        let totals = &self.totals;
        let most = self.places.iter().rev().max_by_key(|place| place.new_bytes_per_s);
        let most = most.filter(|place| place.new_bytes_per_s > Some(0));
        HeapSaid::Rates {
            old_bytes_per_s: totals.old_bytes_per_s.unwrap_or(0),
            new_bytes_per_s: totals.new_bytes_per_s.unwrap_or(0),
            most: most.map(|place| Rate {
                place: self.place(place),
                old_bytes_per_s: place.old_bytes_per_s.unwrap_or(0),
                new_bytes_per_s: place.new_bytes_per_s.unwrap_or(0),
            }),
        }
    }

    /// The site of a place that says most.
    fn most(&self, of: &HeapPlace) -> Option<&HeapSite> {
        self.sites.get(usize::try_from(of.site).ok()?.checked_sub(1)?)
    }

    /// A place in a sentence.
    fn place(&self, of: &HeapPlace) -> String {
        self.most(of).map_or_else(|| of.label.clone(), |site| place_of(&site.stack))
    }
}

fn totals(old: &Totals, new: &Totals, rates: Rates, one_account: bool) -> HeapTotals {
    let (old_bytes_per_s, new_bytes_per_s) = rates.of(old.live_bytes, new.live_bytes);
    HeapTotals {
        old_live_bytes: old.live_bytes,
        new_live_bytes: new.live_bytes,
        growth_bytes: rates.are_growth().then(|| growth(old.live_bytes, new.live_bytes)),
        old_live_objects: old.live_objects,
        new_live_objects: new.live_objects,
        growth_objects: rates.are_growth().then(|| growth(old.live_objects, new.live_objects)),
        old_older_blocks: old.older_blocks,
        new_older_blocks: new.older_blocks,
        old_older_bytes: old.older_bytes,
        new_older_bytes: new.older_bytes,
        old_bytes_per_s,
        new_bytes_per_s,
        old_alloc_bytes: old.alloc_bytes,
        new_alloc_bytes: new.alloc_bytes,
        old_alloc_objects: old.alloc_objects,
        new_alloc_objects: new.alloc_objects,
        unknown_frees: one_account.then(|| new.unknown_frees.saturating_sub(old.unknown_frees)),
    }
}

fn heap_site(pair: &Pair<'_, Site>, rates: Rates) -> HeapSite {
    let shown = pair.shown();
    let (old_live_bytes, new_live_bytes) = pair.sums(|site| site.live_bytes);
    let (old_live_objects, new_live_objects) = pair.sums(|site| site.live_objects);
    let (old_older_blocks, new_older_blocks) = pair.sums(|site| site.older_blocks);
    let (old_older_bytes, new_older_bytes) = pair.sums(|site| site.older_bytes);
    let (old_alloc_bytes, new_alloc_bytes) = pair.sums(|site| site.alloc_bytes);
    let (old_alloc_objects, new_alloc_objects) = pair.sums(|site| site.alloc_objects);
    let growth_bytes = growth(old_live_bytes, new_live_bytes);
    HeapSite {
        rank: 0,
        change: pair.change(growth_bytes),
        source: shown.source.clone(),
        old_live_bytes,
        new_live_bytes,
        growth_bytes: rates.are_growth().then_some(growth_bytes),
        old_live_objects,
        new_live_objects,
        growth_objects: rates.are_growth().then(|| growth(old_live_objects, new_live_objects)),
        old_older_blocks,
        new_older_blocks,
        old_older_bytes,
        new_older_bytes,
        old_alloc_bytes,
        new_alloc_bytes,
        old_alloc_objects,
        new_alloc_objects,
        old_stacks: pair.old.len() as u64,
        new_stacks: pair.new.len() as u64,
        stack: shown.stack.clone(),
    }
}
