//! What changed most.

use super::model::{Diff, Stack, Summary};
use super::words::DiffSaid;
use crate::section::finding::Finding;
use crate::section::goroutines::words::GoroutinesSaid;
use crate::section::heap::words::{Growth, HeapSaid};
use crate::section::label::function;
use crate::section::waits::words::WaitsSaid;

/// The answer in short: what grew in each section, the first of them as headline.
pub(super) fn summary(diff: &Diff) -> Summary {
    let parts: [Option<Finding>; 3] = [
        heap(diff).map(Finding::from).or_else(|| rss(diff).map(Finding::from)),
        goroutines(diff).map(Finding::from),
        stuck(diff).map(Finding::from),
    ];
    let mut told = parts.into_iter().flatten();
    let answer = told.next().unwrap_or_else(|| nothing(diff).into());
    Summary { answer: Some(answer), details: told.collect() }
}

/// That nothing grew, of what is compared.
fn nothing(diff: &Diff) -> DiffSaid {
    let compared = [
        (diff.heap.is_some(), "no more live memory"),
        (diff.goroutines.is_some(), "no more goroutines"),
        (diff.waits.is_some(), "no more threads that are stuck"),
    ];
    let compared: Vec<String> =
        compared.iter().filter(|(there, _)| *there).map(|(_, what)| (*what).to_owned()).collect();
    if compared.is_empty() { DiffSaid::NothingInCommon {} } else { DiffSaid::NothingGrew { compared } }
}

fn place(stack: &Stack) -> String {
    stack.shown().map_or_else(|| "a stack that was not captured".to_owned(), function)
}

fn heap(diff: &Diff) -> Option<HeapSaid> {
    let heap = diff.heap.as_ref()?;
    let totals = &heap.totals;
    let top = heap.sites.iter().max_by_key(|site| site.growth_bytes).filter(|site| site.growth_bytes > 0)?;
    let most = Growth { bytes: top.growth_bytes, place: place(&top.stack) };
    let growth_bytes = totals.growth_bytes;
    if growth_bytes <= 0 {
        return Some(HeapSaid::SiteGrew { growth_bytes, most });
    }
    let (old_bytes, new_bytes) = (totals.old_live_bytes, totals.new_live_bytes);
    Some(HeapSaid::Grew { growth_bytes, old_bytes, new_bytes, most })
}

/// A resident set that grew by less, or by a smaller part of it, says nothing.
const NOTABLE_RSS: (u64, u64) = (8 << 20, 100);

/// That memory grew, where no heap tells what of it.
fn rss(diff: &Diff) -> Option<DiffSaid> {
    let memory = diff.memory.as_ref().filter(|_| diff.heap.is_none())?;
    let growth_bytes = u64::try_from(memory.growth_bytes).ok()?;
    let (least, part) = NOTABLE_RSS;
    let (old_bytes, new_bytes) = (memory.old_rss_bytes, memory.new_rss_bytes);
    let notable = growth_bytes >= least && growth_bytes >= old_bytes / part;
    notable.then_some(DiffSaid::RssGrew { growth_bytes, old_bytes, new_bytes })
}

fn goroutines(diff: &Diff) -> Option<GoroutinesSaid> {
    let all = diff.goroutines.as_ref().filter(|all| all.growth > 0)?;
    let top = all.sites.iter().filter(|site| !site.system).max_by_key(|site| site.growth)?;
    Some(GoroutinesSaid::More {
        growth: all.growth,
        total: all.new_total,
        most: top.growth,
        doing: top.wait_reason.clone().unwrap_or_else(|| top.state.clone()),
        place: place(&top.stack),
    })
}

fn stuck(diff: &Diff) -> Option<WaitsSaid> {
    let waits = diff.waits.as_ref()?;
    let deadlocks = waits.new_deadlocks.saturating_sub(waits.old_deadlocks);
    if deadlocks > 0 {
        return Some(WaitsSaid::MoreDeadlocks { deadlocks });
    }
    let stuck = waits.sites.iter().filter(|site| !site.idle);
    let top = stuck.max_by_key(|site| site.growth_blocked).filter(|site| site.growth_blocked > 0)?;
    Some(WaitsSaid::MoreBlocked {
        growth: top.growth_blocked,
        blocked: top.new_blocked,
        place: place(&top.stack),
    })
}
