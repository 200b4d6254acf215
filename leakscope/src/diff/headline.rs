//! The sentences that say what changed most.

use super::model::{Diff, Stack, Summary};
use crate::human::{bytes, count, counted, signed_bytes};
use crate::section::label::function;

/// The answer in short: what grew in each section, the first of them as headline.
pub(super) fn summary(diff: &Diff) -> Summary {
    let parts = [heap(diff).or_else(|| rss(diff)), goroutines(diff), stuck(diff)];
    let mut sentences: Vec<String> = parts.into_iter().flatten().collect();
    if sentences.is_empty() {
        sentences.push(nothing(diff));
    }
    let headline = sentences.remove(0);
    Summary { headline, findings: sentences }
}

/// That nothing grew, of what is compared.
fn nothing(diff: &Diff) -> String {
    let compared = [
        (diff.heap.is_some(), "no more live memory"),
        (diff.goroutines.is_some(), "no more goroutines"),
        (diff.waits.is_some(), "no more threads that are stuck"),
    ];
    let compared: Vec<&str> = compared.iter().filter(|(there, _)| *there).map(|(_, what)| *what).collect();
    if compared.is_empty() {
        return "Nothing to compare: the reports have no section in common.".to_owned();
    }
    format!("Nothing grew: {}.", compared.join(", "))
}

fn place(stack: &Stack) -> String {
    stack.shown().map_or_else(|| "a stack that was not captured".to_owned(), function)
}

/// The part of a growth that one site has.
fn part(site: i64, all: i64) -> String {
    if site >= all {
        return "all of that or more".to_owned();
    }
    format!("{:.0} % of that", site as f64 * 100.0 / all as f64)
}

fn heap(diff: &Diff) -> Option<String> {
    let heap = diff.heap.as_ref()?;
    let totals = &heap.totals;
    let top = heap.sites.iter().max_by_key(|site| site.growth_bytes).filter(|site| site.growth_bytes > 0)?;
    let top_place = place(&top.stack);
    if totals.growth_bytes <= 0 {
        return Some(format!(
            "Live memory did not grow ({}), but that from {top_place} did: {}.",
            signed_bytes(totals.growth_bytes),
            signed_bytes(top.growth_bytes)
        ));
    }
    Some(format!(
        "Live memory grew by {}, from {} to {}; {} from {top_place}.",
        bytes(totals.growth_bytes.unsigned_abs()),
        bytes(totals.old_live_bytes),
        bytes(totals.new_live_bytes),
        part(top.growth_bytes, totals.growth_bytes),
    ))
}

/// A resident set that grew by less, or by a smaller part of it, says nothing.
const NOTABLE_RSS: (u64, u64) = (8 << 20, 100);

/// That memory grew, where no heap tells what of it.
fn rss(diff: &Diff) -> Option<String> {
    let memory = diff.memory.as_ref().filter(|_| diff.heap.is_none())?;
    let grown = u64::try_from(memory.growth_bytes).ok()?;
    let (least, part) = NOTABLE_RSS;
    (grown >= least && grown >= memory.old_rss_bytes / part).then(|| {
        format!(
            "RSS grew by {}, from {} to {}; the heap is not in both reports: `leakscope attach` records it.",
            bytes(grown),
            bytes(memory.old_rss_bytes),
            bytes(memory.new_rss_bytes)
        )
    })
}

fn goroutines(diff: &Diff) -> Option<String> {
    let all = diff.goroutines.as_ref().filter(|all| all.growth > 0)?;
    let top = all.sites.iter().filter(|site| !site.system).max_by_key(|site| site.growth)?;
    let reason = top.wait_reason.as_deref().unwrap_or(&top.state);
    Some(format!(
        "{} more, {} now; {} in {reason} at {}.",
        counted(all.growth.unsigned_abs(), "goroutine"),
        count(all.new_total),
        part(top.growth, all.growth),
        place(&top.stack)
    ))
}

fn stuck(diff: &Diff) -> Option<String> {
    let waits = diff.waits.as_ref()?;
    let deadlocks = waits.new_deadlocks.saturating_sub(waits.old_deadlocks);
    if deadlocks > 0 {
        return Some(format!("{} more than before.", counted(deadlocks, "deadlock")));
    }
    let stuck = waits.sites.iter().filter(|site| !site.idle);
    let top = stuck.max_by_key(|site| site.growth_blocked).filter(|site| site.growth_blocked > 0)?;
    Some(format!(
        "{} more blocked at {}, {} now.",
        counted(top.growth_blocked.unsigned_abs(), "thread"),
        place(&top.stack),
        count(top.new_blocked)
    ))
}
