//! Reports of one series taken as one: the last, with its growth since the first.

use std::collections::HashMap;

use super::key::{Frames, Keys};
use super::program;
use crate::human::{duration, moment};
use crate::report::model::{Goroutines, Site};
use crate::report::{Report, goroutine_headline};

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
    let between = program::between(first, last);
    if let (Some(was), Some(all)) = (&first.goroutines, &mut last.goroutines) {
        let told = goroutine_headline::sentences(all);
        goroutines(was, all, between);
        let mut summary: Vec<&mut String> = last.summary.findings.iter_mut().collect();
        summary.push(&mut last.summary.headline);
        for (old, new) in told.iter().zip(goroutine_headline::sentences(all)) {
            if let Some(at) = summary.iter().position(|said| *said == old) {
                *summary.swap_remove(at) = new.replace(" since leakscope came", " since the first report");
            }
        }
    }
    if let (Some(was), Some(threads)) = (&first.threads, &mut last.threads)
        && let (Some(old), Some(new)) = (was.alive, threads.alive)
    {
        threads.growth = signed(new).saturating_sub(signed(old));
    }
    last.summary.findings.push(format!(
        "Growth is told since the first report of the series: PID {}, window from {}, {} long.",
        first.target.pid,
        moment(&first.window.started_at),
        duration(first.window.duration_ns)
    ));
}

/// Puts in what there are more than in `was`, so long before.
fn goroutines(was: &Goroutines, all: &mut Goroutines, between_ns: Option<u64>) {
    all.growth = Some(signed(all.total).saturating_sub(signed(was.total)));
    all.growth_since_first = all.growth;
    (all.since_first_ns, all.since_previous_ns) = (between_ns, between_ns);
    // Sites of goroutines have names that are the same in other runs.
    let before: HashMap<&str, u64> =
        was.sites.iter().map(|site| (site.site_id.as_str(), site.count)).collect();
    for site in &mut all.sites {
        let old = before.get(site.site_id.as_str()).copied().unwrap_or(0);
        site.growth = Some(signed(site.count).saturating_sub(signed(old)));
        site.growth_since_first = site.growth;
    }
}

/// What each site of the last report's heap held in the first one. In one account sites have names; in
/// others, sites that go through the same functions share what such sites held.
fn sites_before<'a>(first: &'a Report, last: &'a Report) -> Vec<u64> {
    let (Some(was), Some(is)) = (&first.heap, &last.heap) else { return Vec::new() };
    if program::one_account(first, last) {
        let before: HashMap<&str, u64> =
            was.sites.iter().map(|site| (site.site_id.as_str(), site.live_bytes)).collect();
        let old = is.sites.iter().map(|site| before.get(site.site_id.as_str()).copied().unwrap_or(0));
        return old.collect();
    }
    let mut keys = Keys::new(first, last);
    let mut key = |site: &'a Site| {
        (site.source.as_str(), keys.stack(&site.frames, site.stack_end.as_deref(), Frames::All))
    };
    let mut before: HashMap<_, u64> = HashMap::new();
    for site in &was.sites {
        let sum = before.entry(key(site)).or_default();
        *sum = sum.saturating_add(site.live_bytes);
    }
    let of_last: Vec<_> = is.sites.iter().map(key).collect();
    let ends: HashMap<_, usize> = of_last.iter().zip(0..).collect();
    let shares = is.sites.iter().zip(&of_last).enumerate().map(|(i, (site, key))| {
        let Some(left) = before.get_mut(key) else { return 0 };
        let share = if ends.get(key) == Some(&i) { *left } else { site.live_bytes.min(*left) };
        *left -= share;
        share
    });
    shares.collect()
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
