//! What changed on the heap.

use std::cmp::Reverse;
use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{Heap, Site, Totals};
use super::words::{Growth, HeapSaid};
use crate::human::{bytes, count, counted, signed_bytes, signed_count};
use crate::layout::grid::{Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::finding::{Finding, Said as _};
use crate::section::growth::{Change, draw, growth, paint, place, told};
use crate::section::json::with_stack;
use crate::section::key::Keys;
use crate::section::label::name;
use crate::section::model::{Stack, StackEnd};
use crate::section::pairs::{Pair, matched, name as site_name, shares};
use crate::section::shared::SharedFrames;
use crate::section::site::{rank, ranked};
use crate::section::{Changed, Compared, Part, Retold, Sides};

/// The heap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapDiff {
    /// Whether both accounts are exact.
    pub exact: bool,
    /// Sums over all sites.
    pub totals: HeapTotals,
    /// Sites, most growth first.
    pub sites: Vec<HeapSite>,
}

/// Sums over all sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeapTotals {
    /// Live bytes in the old report.
    pub old_live_bytes: u64,
    /// Live bytes in the new report.
    pub new_live_bytes: u64,
    /// Change of live bytes.
    pub growth_bytes: i64,
    /// Live blocks in the old report.
    pub old_live_objects: u64,
    /// Live blocks in the new report.
    pub new_live_objects: u64,
    /// Change of live blocks.
    pub growth_objects: i64,
    /// Bytes allocated in the old report's window.
    pub old_alloc_bytes: u64,
    /// Bytes allocated in the new report's window.
    pub new_alloc_bytes: u64,
    /// Blocks allocated in the old report's window.
    pub old_alloc_objects: u64,
    /// Blocks allocated in the new report's window.
    pub new_alloc_objects: u64,
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
        /// Change of live bytes.
        pub growth_bytes: i64,
        /// Live blocks in the old report.
        pub old_live_objects: u64,
        /// Live blocks in the new report.
        pub new_live_objects: u64,
        /// Change of live blocks.
        pub growth_objects: i64,
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
        let mut sites: Vec<HeapSite> = matched(&old.sites, &new.sites, key).iter().map(heap_site).collect();
        if sides.by_objects {
            sites.sort_by_key(|site| Reverse((site.growth_objects, site.growth_bytes)));
        } else {
            sites.sort_by_key(|site| Reverse((site.growth_bytes, site.growth_objects)));
        }
        rank(&mut sites);
        Some(HeapDiff { exact: old.exact && new.exact, totals: totals(&old.totals, &new.totals), sites })
    }

    fn before<'a>(sides: &Sides<'_>, first: &'a Self, last: &'a Self, keys: &mut Keys<'a>) -> Vec<u64> {
        let key = |site: &'a Site, which| {
            site_name(sides.one_account, &site.site_id, || (&site.source, keys.stack(&site.stack, which)))
        };
        shares(&first.sites, &last.sites, key, |site| site.live_bytes)
    }

    fn grow(&mut self, first: &Self, before: &[u64], _: Option<u64>) -> Option<Retold> {
        for (site, old) in self.sites.iter_mut().zip(before) {
            site.growth_bytes = growth(*old, site.live_bytes);
        }
        self.totals.growth_bytes = growth(first.totals.live_bytes, self.totals.live_bytes);
        None
    }
}

impl Changed for HeapDiff {
    fn order(&self, part: Part) -> u8 {
        super::order(part)
    }

    fn print(&self, part: Part, page: &mut Page<'_>) -> io::Result<()> {
        let totals = &self.totals;
        match part {
            Part::Totals => page.sentences(
                Paint::Plain,
                &format!(
                    "Heap: {} → {} live ({}), {} → {} ({})",
                    bytes(totals.old_live_bytes),
                    bytes(totals.new_live_bytes),
                    signed_bytes(totals.growth_bytes),
                    count(totals.old_live_objects),
                    counted(totals.new_live_objects, "block"),
                    signed_count(totals.growth_objects)
                ),
            ),
            Part::Tables => table(self, page),
            Part::Urgent | Part::Stacks => Ok(()),
        }
    }

    fn finding(&self) -> Option<Finding> {
        let totals = &self.totals;
        let top = self.sites.iter().max_by_key(|site| site.growth_bytes)?;
        if top.growth_bytes <= 0 {
            return None;
        }
        let most = Growth { bytes: top.growth_bytes, place: place(&top.stack) };
        let growth_bytes = totals.growth_bytes;
        if growth_bytes <= 0 {
            return Some(HeapSaid::SiteGrew { growth_bytes, most }.into());
        }
        let (old_bytes, new_bytes) = (totals.old_live_bytes, totals.new_live_bytes);
        Some(HeapSaid::Grew { growth_bytes, old_bytes, new_bytes, most }.into())
    }

    fn nothing(&self) -> Option<&'static str> {
        Some("no more live memory")
    }
}

fn totals(old: &Totals, new: &Totals) -> HeapTotals {
    HeapTotals {
        old_live_bytes: old.live_bytes,
        new_live_bytes: new.live_bytes,
        growth_bytes: growth(old.live_bytes, new.live_bytes),
        old_live_objects: old.live_objects,
        new_live_objects: new.live_objects,
        growth_objects: growth(old.live_objects, new.live_objects),
        old_alloc_bytes: old.alloc_bytes,
        new_alloc_bytes: new.alloc_bytes,
        old_alloc_objects: old.alloc_objects,
        new_alloc_objects: new.alloc_objects,
    }
}

fn heap_site(pair: &Pair<'_, Site>) -> HeapSite {
    let shown = pair.shown();
    let (old_live_bytes, new_live_bytes) = pair.sums(|site| site.live_bytes);
    let (old_live_objects, new_live_objects) = pair.sums(|site| site.live_objects);
    let (old_alloc_bytes, new_alloc_bytes) = pair.sums(|site| site.alloc_bytes);
    let (old_alloc_objects, new_alloc_objects) = pair.sums(|site| site.alloc_objects);
    let growth_bytes = growth(old_live_bytes, new_live_bytes);
    HeapSite {
        rank: 0,
        change: pair.change(growth_bytes),
        source: shown.source.clone(),
        old_live_bytes,
        new_live_bytes,
        growth_bytes,
        old_live_objects,
        new_live_objects,
        growth_objects: growth(old_live_objects, new_live_objects),
        old_alloc_bytes,
        new_alloc_bytes,
        old_alloc_objects,
        new_alloc_objects,
        old_stacks: pair.old.len() as u64,
        new_stacks: pair.new.len() as u64,
        stack: shown.stack.clone(),
    }
}

fn table(heap: &HeapDiff, page: &mut Page<'_>) -> io::Result<()> {
    let changed: Vec<_> =
        heap.sites.iter().filter(|site| (site.growth_bytes, site.growth_objects) != (0, 0)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let shown = &changed[..changed.len().min(page.style.top)];
    let columns = vec![
        number("#", 0),
        number("growth", 0),
        number("objects", 1),
        number("was", 2),
        number("is", 0),
        text("", 1),
        text("site", 0),
    ];
    let rows = shown.iter().map(|site| Row {
        cells: vec![
            site.rank.to_string(),
            signed_bytes(site.growth_bytes),
            signed_count(site.growth_objects),
            bytes(site.old_live_bytes),
            bytes(site.new_live_bytes),
            told(site.change).to_owned(),
            site.stack.told(name),
        ],
        paint: paint(site.change, site.growth_bytes),
    });
    draw(columns, rows.collect(), changed.len(), page)?;
    for site in shown.iter().filter(|site| site.growth_bytes > 0 || site.growth_objects > 0) {
        page.blank()?;
        let (growth, objects) = (signed_bytes(site.growth_bytes), signed_count(site.growth_objects));
        page.line(Paint::Bold, &format!("#{} {growth}, {objects} blocks", site.rank))?;
        page.stack(&site.stack, 2, Paint::Plain)?;
    }
    Ok(())
}
