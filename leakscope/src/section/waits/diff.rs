//! What changed of blocked threads.

use std::cmp::Reverse;
use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{WaitSite, Waits};
use super::table::kind;
use super::words::WaitsSaid;
use crate::human::{count, counted, duration, signed_count};
use crate::layout::grid::{Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::finding::{Finding, Said as _};
use crate::section::growth::{Change, draw, growth, paint, place, told};
use crate::section::json::with_stack;
use crate::section::key::Keys;
use crate::section::label::name;
use crate::section::model::{Stack, StackEnd, WaitKind};
use crate::section::pairs::{Pair, matched};
use crate::section::shared::SharedFrames;
use crate::section::site::{rank, ranked};
use crate::section::{Between, Changed, Compared, Part, Retold, Sides};

/// Blocked threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitsDiff {
    /// Whether both accounts are exact.
    pub exact: bool,
    /// Blocked threads in the old report.
    pub old_blocked: u64,
    /// Blocked threads in the new report.
    pub new_blocked: u64,
    /// Change of the number of blocked threads.
    pub growth_blocked: i64,
    /// Change of the number of blocked threads that are not idle.
    pub growth_stuck: i64,
    /// Deadlocks in the old report.
    pub old_deadlocks: u64,
    /// Deadlocks in the new report.
    pub new_deadlocks: u64,
    /// Sites, most growth first, idle ones last.
    pub sites: Vec<WaitSiteDiff>,
}

with_stack! {
    /// A stack that blocked, in both reports or in one.
    pub struct WaitSiteDiff {
        /// Place, from 1.
        pub rank: u64,
        /// What happened to it.
        pub change: Change,
        /// What is waited for.
        pub kind: WaitKind,
        /// The function of a library or runtime that tells the kind.
        pub primitive: Option<String>,
        /// Whether this looks like waiting for work, not like being stuck.
        pub idle: bool,
        /// Threads blocked here in the old report.
        pub old_blocked: u64,
        /// Threads blocked here in the new report.
        pub new_blocked: u64,
        /// Change of their number.
        pub growth_blocked: i64,
        /// Waits that ended in the old report's window; null of a `dump`.
        pub old_waits: Option<u64>,
        /// Waits that ended in the new report's window; null of a `dump`.
        pub new_waits: Option<u64>,
        /// Time of the old report's waits.
        pub old_wait_ns: Option<u64>,
        /// Time of the new report's waits.
        pub new_wait_ns: Option<u64>,
        /// Change of that time, from or to 0 where a report lacks the site; null unless both reports know times.
        pub growth_wait_ns: Option<i64>,
        /// How long the one that waits longest has been blocked in the new report.
        pub longest_blocked_ns: Option<u64>,
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

ranked!(WaitSiteDiff);

impl Compared for Waits {
    type Diff = WaitsDiff;
    const CALLED: Option<&'static str> = Some("waits");
    const CODES: &'static [&'static str] = WaitsSaid::CODES;

    fn compare<'a>(
        _: &Sides<'_>,
        old: Option<&'a Self>,
        new: Option<&'a Self>,
        keys: &mut Keys<'a>,
    ) -> Option<WaitsDiff> {
        let (old, new) = (old?, new?);
        let key = |site: &'a WaitSite, which| (site.kind, keys.stack(&site.stack, which));
        // A `dump` knows no times of waits that ended.
        let counted =
            |sites: &[WaitSite]| sites.is_empty() || sites.iter().any(|site| site.wait_ns.is_some());
        let counted = counted(&old.sites) && counted(&new.sites);
        let pairs = matched(&old.sites, &new.sites, key);
        let mut sites: Vec<WaitSiteDiff> = pairs.iter().map(|pair| wait_site(pair, counted)).collect();
        sites.sort_by_key(|site| (site.idle, Reverse(site.growth_blocked), Reverse(site.growth_wait_ns)));
        rank(&mut sites);
        let stuck = |sites: &[WaitSite]| {
            sites.iter().filter(|site| !site.idle).map(|site| site.blocked_now).fold(0, u64::saturating_add)
        };
        Some(WaitsDiff {
            exact: old.exact && new.exact,
            old_blocked: old.blocked_now,
            new_blocked: new.blocked_now,
            growth_blocked: growth(old.blocked_now, new.blocked_now),
            growth_stuck: growth(stuck(&old.sites), stuck(&new.sites)),
            old_deadlocks: old.deadlocks.len() as u64,
            new_deadlocks: new.deadlocks.len() as u64,
            sites,
        })
    }

    fn before<'a>(_: &Sides<'_>, _: &'a Self, _: &'a Self, _: &mut Keys<'a>) -> Vec<u64> {
        // Nothing of it grows: it tells of one moment, and of times that add up by themselves.
        Vec::new()
    }

    fn grow(&mut self, _: &Self, _: &[u64], _: Between) -> Option<Retold> {
        None
    }
}

impl Changed for WaitsDiff {
    fn order(&self, part: Part) -> u8 {
        super::order(part)
    }

    fn print(&self, part: Part, page: &mut Page<'_>) -> io::Result<()> {
        match part {
            Part::Totals => {
                let (old, new) = (count(self.old_blocked), counted(self.new_blocked, "thread"));
                let (growth, stuck) = (signed_count(self.growth_blocked), signed_count(self.growth_stuck));
                page.sentences(Paint::Plain, &format!("Blocked: {old} → {new} ({growth}), not idle {stuck}"))
            }
            Part::Tables => table(self, page),
            Part::Urgent | Part::Stacks => Ok(()),
        }
    }

    fn finding(&self) -> Option<Finding> {
        let deadlocks = self.new_deadlocks.saturating_sub(self.old_deadlocks);
        if deadlocks > 0 {
            return Some(WaitsSaid::MoreDeadlocks { deadlocks }.into());
        }
        let stuck = self.sites.iter().filter(|site| !site.idle);
        let top = stuck.max_by_key(|site| site.growth_blocked).filter(|site| site.growth_blocked > 0)?;
        let (growth, blocked) = (top.growth_blocked, top.new_blocked);
        Some(WaitsSaid::MoreBlocked { growth, blocked, place: place(&top.stack) }.into())
    }

    fn nothing(&self) -> Option<&'static str> {
        Some("no more threads that are stuck")
    }
}

/// `counted` tells whether both reports know the times of waits that ended; a side without the site has
/// waited for no time then.
fn wait_site(pair: &Pair<'_, WaitSite>, counted: bool) -> WaitSiteDiff {
    let shown = pair.shown();
    let (old_blocked, new_blocked) = pair.sums(|site| site.blocked_now);
    let (old_waits, new_waits) = pair.known(|site| site.waits);
    let (old_wait_ns, new_wait_ns) = pair.known(|site| site.wait_ns);
    let growth_blocked = growth(old_blocked, new_blocked);
    let known = |ns: Option<u64>, side: &[_]| ns.or((counted && side.is_empty()).then_some(0));
    WaitSiteDiff {
        rank: 0,
        change: pair.change(growth_blocked),
        kind: shown.kind,
        primitive: shown.primitive.clone(),
        idle: shown.idle,
        old_blocked,
        new_blocked,
        growth_blocked,
        old_waits,
        new_waits,
        old_wait_ns,
        new_wait_ns,
        growth_wait_ns: known(old_wait_ns, &pair.old)
            .zip(known(new_wait_ns, &pair.new))
            .map(|(old, new)| growth(old, new)),
        longest_blocked_ns: pair.new.iter().filter_map(|site| site.longest_blocked_ns).max(),
        stack: shown.stack.clone(),
    }
}

fn table(all: &WaitsDiff, page: &mut Page<'_>) -> io::Result<()> {
    let changed: Vec<&WaitSiteDiff> = all.sites.iter().filter(|site| site.growth_blocked != 0).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let shown = &changed[..changed.len().min(page.style.top)];
    let columns = vec![
        number("#", 0),
        number("growth", 0),
        number("was", 2),
        number("is", 0),
        number("longest", 2),
        text("", 1),
        text("for", 1),
        text("blocked at", 0),
    ];
    let rows = shown.iter().map(|site| Row {
        cells: vec![
            site.rank.to_string(),
            signed_count(site.growth_blocked),
            count(site.old_blocked),
            count(site.new_blocked),
            site.longest_blocked_ns.map_or("-".to_owned(), duration),
            told(site.change).to_owned(),
            format!("{}{}", kind(site.kind), if site.idle { " (idle)" } else { "" }),
            site.stack.told(name),
        ],
        paint: if site.idle { Paint::Dim } else { paint(site.change, site.growth_blocked) },
    });
    draw(columns, rows.collect(), changed.len(), page)?;
    for site in shown.iter().filter(|site| site.growth_blocked > 0 && !site.idle) {
        let growth = signed_count(site.growth_blocked);
        page.title(Paint::Bold, site.rank, &format!("{}: {growth} threads", kind(site.kind)))?;
        page.stack(&site.stack, 2, Paint::Plain)?;
    }
    Ok(())
}
