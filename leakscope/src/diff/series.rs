//! Reports of one series taken as one: the last, with its growth since the first.

use std::collections::HashMap;

use super::key::{Frames, Keys};
use super::program;
use crate::human::{duration, moment};
use crate::report::Report;

/// Puts what `last` has more than `first` into the growth of its totals and sites. Says in its findings
/// since when; or why there is no such growth.
pub fn grow_since(first: &Report, last: &mut Report) {
    if !program::same(first, last) {
        last.summary.findings.push(
            "The series begins with a report of another program, so nothing is told of growth since then."
                .to_owned(),
        );
        return;
    }
    let before = sites_before(first, last);
    if let (Some(was), Some(heap)) = (&first.heap, &mut last.heap) {
        for (site, old) in heap.sites.iter_mut().zip(before) {
            site.growth_bytes = signed(site.live_bytes).saturating_sub(signed(old));
        }
        heap.totals.growth_bytes =
            signed(heap.totals.live_bytes).saturating_sub(signed(was.totals.live_bytes));
    }
    if let (Some(was), Some(all)) = (&first.goroutines, &mut last.goroutines) {
        all.growth = Some(signed(all.total).saturating_sub(signed(was.total)));
        all.growth_since_first = all.growth;
        // Sites of goroutines have names that are the same in other runs.
        let before: HashMap<&str, u64> =
            was.sites.iter().map(|site| (site.site_id.as_str(), site.count)).collect();
        for site in &mut all.sites {
            let old = before.get(site.site_id.as_str()).copied().unwrap_or(0);
            site.growth = Some(signed(site.count).saturating_sub(signed(old)));
            site.growth_since_first = site.growth;
        }
    }
    last.summary.findings.push(format!(
        "Growth is told since the first report of the series: PID {}, window from {}, {} long.",
        first.target.pid,
        moment(&first.window.started_at),
        duration(first.window.duration_ns)
    ));
}

/// What each site of the last report's heap held in the first one.
fn sites_before(first: &Report, last: &Report) -> Vec<u64> {
    let (Some(was), Some(is)) = (&first.heap, &last.heap) else { return Vec::new() };
    let mut keys = Keys::new(first, last);
    let mut before: HashMap<_, u64> = HashMap::new();
    for site in &was.sites {
        let key = (site.source.as_str(), keys.stack(&site.frames, site.stack_end.as_deref(), Frames::All));
        let sum = before.entry(key).or_default();
        *sum = sum.saturating_add(site.live_bytes);
    }
    // What several sites share is taken off the first.
    let old = is.sites.iter().map(|site| {
        before
            .remove(&(site.source.as_str(), keys.stack(&site.frames, site.stack_end.as_deref(), Frames::All)))
    });
    old.map(|bytes| bytes.unwrap_or(0)).collect()
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
