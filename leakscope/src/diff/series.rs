//! Reports of one series taken as one: the last, with its growth since the first.

use std::collections::HashMap;
use std::hash::Hash;

use super::key::{Frames, Keys};
use super::pairs::matched;
use super::program;
use super::sections;
use crate::report::Report;
use crate::report::model::{GoroutineSite, Site, Summary, ThreadSite};
use crate::report::words::ReportSaid;
use crate::section::finding::{Code, Finding, Said};
use crate::section::goroutines::answer;
use crate::section::goroutines::build::judge;
use crate::section::goroutines::words::{GoroutinesSaid, Since};
use crate::section::growth::growth;

/// Puts what `last` has more than `first` into the growth of its totals and sites. Says in its findings
/// since when; or why there is no such growth.
pub fn grow_since(first: &Report, last: &mut Report) {
    if !program::same(first, last) {
        last.summary.last(ReportSaid::OtherProgram {});
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
        let told = answer::all(all, Since::FirstLook).iter().map(Said::text).collect::<Vec<_>>();
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
        judge(all);
        let stuck = answer::goroutines(all, Since::FirstReport);
        let more = answer::findings(all, Since::FirstReport);
        say(&mut last.summary, &told, stuck, answer::calm(all, Since::FirstReport), more);
    }
    if let (Some(was), Some(is)) = (&first.threads, &mut last.threads) {
        for (site, old) in is.sites.iter_mut().zip(threads) {
            site.growth = growth(old, site.alive);
        }
        if let (Some(old), Some(new)) = (was.alive, is.alive) {
            is.growth = growth(old, new);
        }
    }
    last.summary.last(ReportSaid::GrowthSince {
        pid: first.target.pid,
        started_at: first.window.started_at.clone(),
        duration_ns: first.window.duration_ns,
    });
}

/// Puts new findings on goroutines in the place of those that are there: `stuck` comes before all else,
/// that all is `calm` where something was told before, `more` behind the headline.
///
/// Those that are there are known by their codes. Sentences of reports that have no codes are only compared with
/// what would be `told` today.
fn say(
    summary: &mut Summary,
    told: &[String],
    stuck: Option<GoroutinesSaid>,
    calm: GoroutinesSaid,
    more: Vec<GoroutinesSaid>,
) {
    let replaced = |said: &Finding| match &said.code {
        code if *code == Code::UNNAMED => told.iter().any(|text| alike(text, &said.text)),
        // That they could not be read again stays true.
        code => {
            code.is_of::<GoroutinesSaid>() && *code != (GoroutinesSaid::Old { why: String::new() }).code()
        }
    };
    let was_answer = summary.answer.as_ref().is_some_and(replaced);
    let first = summary.details.iter().position(replaced);
    summary.details.retain(|said| !replaced(said));
    match stuck {
        Some(stuck) => {
            let second = summary.answer.replace(stuck.into()).filter(|_| !was_answer);
            summary.first(more.into_iter().map(Finding::from).chain(second));
        }
        None if was_answer => summary.answer = Some(calm.into()),
        None => {
            if let Some(at) = first {
                summary.details.insert(at.min(summary.details.len()), calm.into());
            }
        }
    }
}

/// Whether two sentences say the same but for a word or a number in five, as versions of leakscope differ.
fn alike(a: &str, b: &str) -> bool {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split(' ').collect(), b.split(' ').collect());
    let mut left = b.clone();
    let common = a.iter().filter(|word| {
        let at = left.iter().position(|other| other == *word);
        at.map(|at| left.swap_remove(at)).is_some()
    });
    common.count() * 5 >= a.len().max(b.len()) * 4
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
