//! Reports of one series taken as one: the last, with its growth since the first.

use std::collections::HashMap;
use std::hash::Hash;

use super::key::{Frames, Keys};
use super::pairs::matched;
use super::program;
use super::sections::{self, growth};
use crate::human::{duration, moment};
use crate::report::model::{GoroutineSite, Site, Summary, ThreadSite};
use crate::report::{Report, goroutine_headline, goroutines};

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
    let Before { heap, goroutines, threads } = before(first, last);
    if let (Some(was), Some(is)) = (&first.heap, &mut last.heap) {
        for (site, old) in is.sites.iter_mut().zip(heap) {
            site.growth_bytes = growth(old, site.live_bytes);
        }
        is.totals.growth_bytes = growth(was.totals.live_bytes, is.totals.live_bytes);
    }
    let between = program::between(first, last);
    if let (Some(was), Some(all)) = (&first.goroutines, &mut last.goroutines) {
        let told = goroutine_headline::sentences(all);
        all.growth = Some(growth(was.total, all.total));
        all.growth_since_first = all.growth;
        (all.since_first_ns, all.since_previous_ns) = (between, between);
        for (site, old) in all.sites.iter_mut().zip(goroutines) {
            site.growth = Some(growth(old, site.count));
            site.growth_since_first = site.growth;
        }
        let mut places: HashMap<String, i64> = HashMap::new();
        for site in &all.sites {
            let sum = places.entry(site.place_id.clone()).or_default();
            *sum = sum.saturating_add(site.growth.unwrap_or(0));
        }
        for site in &mut all.sites {
            let named = !site.place_id.is_empty();
            site.place_growth_since_first =
                if named { places.get(&site.place_id).copied() } else { site.growth };
        }
        goroutines::judge(all);
        let since_first = |text: String| text.replace(" since leakscope came", " since the first report");
        let stuck = goroutine_headline::goroutines(all).map(since_first);
        let more = goroutine_headline::findings(all).into_iter().map(since_first).collect();
        say(&mut last.summary, &told, stuck, since_first(goroutine_headline::calm(all)), more);
    }
    if let (Some(was), Some(is)) = (&first.threads, &mut last.threads) {
        for (site, old) in is.sites.iter_mut().zip(threads) {
            site.growth = growth(old, site.alive);
        }
        if let (Some(old), Some(new)) = (was.alive, is.alive) {
            is.growth = growth(old, new);
        }
    }
    last.summary.findings.push(format!(
        "Growth is told since the first report of the series: PID {}, window from {}, {} long.",
        first.target.pid,
        moment(&first.window.started_at),
        duration(first.window.duration_ns)
    ));
}

/// Puts new sentences on goroutines in the place of those that were `told`: `stuck` comes before all else,
/// that all is `calm` where something was told before, `more` behind the headline.
fn say(summary: &mut Summary, told: &[String], stuck: Option<String>, calm: String, more: Vec<String>) {
    let was_headline = told.contains(&summary.headline);
    let first = summary.findings.iter().position(|said| told.contains(said));
    summary.findings.retain(|said| !told.contains(said));
    match stuck {
        Some(stuck) => {
            let second = std::mem::replace(&mut summary.headline, stuck);
            summary.findings.splice(0..0, (!was_headline).then_some(second));
            summary.findings.splice(0..0, more);
        }
        None if was_headline => summary.headline = calm,
        None => {
            if let Some(at) = first {
                summary.findings.insert(at.min(summary.findings.len()), calm);
            }
        }
    }
}

/// What each site of the last report had in the first one: bytes, goroutines, threads.
struct Before {
    heap: Vec<u64>,
    goroutines: Vec<u64>,
    threads: Vec<u64>,
}

fn before<'a>(first: &'a Report, last: &'a Report) -> Before {
    let mut keys = Keys::new(first, last);
    let named = program::one_account(first, last);
    let heap = first.heap.as_ref().zip(last.heap.as_ref()).map(|(was, is)| {
        let key = |site: &'a Site, which| {
            name(named, &site.site_id, || (&site.source, keys.stack(&site.stack, which)))
        };
        shares(&was.sites, &is.sites, key, |site| site.live_bytes)
    });
    let threads = first.threads.as_ref().zip(last.threads.as_ref()).map(|(was, is)| {
        let key = |site: &'a ThreadSite, which| name(named, &site.site_id, || keys.stack(&site.stack, which));
        shares(&was.sites, &is.sites, key, |site| site.alive)
    });
    // Their labels are not compared: those of requests are new in each report.
    let lines = program::one_build(first, last);
    let goroutines = first.goroutines.as_ref().zip(last.goroutines.as_ref()).map(|(was, is)| {
        let key = |site: &'a GoroutineSite, which| {
            let lines = lines.then(|| site.stack.frames.iter().map(|frame| frame.line).collect::<Vec<_>>());
            (sections::goroutine_key(site, &mut keys, which), lines)
        };
        shares(&was.sites, &is.sites, key, |site| site.count)
    });
    Before {
        heap: heap.unwrap_or_default(),
        goroutines: goroutines.unwrap_or_default(),
        threads: threads.unwrap_or_default(),
    }
}

/// What tells sites apart.
#[derive(PartialEq, Eq, Hash)]
enum Name<'a, K> {
    /// In one account.
    Id(&'a str),
    /// In others.
    Functions(K),
}

fn name<K>(named: bool, id: &str, functions: impl FnOnce() -> K) -> Name<'_, K> {
    if named { Name::Id(id) } else { Name::Functions(functions()) }
}

/// What each site of `is` had in `was`; sites that match the same ones share what these had.
fn shares<'a, S, K: Eq + Hash>(
    was: &'a [S],
    is: &'a [S],
    mut key: impl FnMut(&'a S, Frames) -> K,
    value: impl Fn(&S) -> u64,
) -> Vec<u64> {
    let numbered = |sites: &'a [S]| sites.iter().enumerate().collect::<Vec<(usize, &'a S)>>();
    let (was, is) = (numbered(was), numbered(is));
    let mut shares = vec![0; is.len()];
    for pair in matched(&was, &is, |(_, site), which| key(site, which)) {
        let (mut left, _) = pair.sums(|(_, site)| value(site));
        let Some((last, others)) = pair.new.split_last() else { continue };
        for (at, site) in others {
            shares[*at] = value(site).min(left);
            left -= shares[*at];
        }
        shares[last.0] = left;
    }
    shares
}
