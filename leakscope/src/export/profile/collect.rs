//! The samples of each profile.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::{ProfileKind, Sample};
use crate::report::Report;
use crate::report::model::{Address, Frame, Goroutines, Heap, Stack, Threads, WaitSite, Waits};

/// A label's key and value.
type Label<'a> = (&'a str, Cow<'a, str>);

/// What Go's goroutine profile tells apart: the addresses of a stack, and labels.
type Group<'a> = (Vec<Option<Address>>, Option<&'a BTreeMap<String, String>>);

/// Adds the samples of a report; or tells why it has none.
pub(super) fn samples<'a>(
    report: &'a Report,
    kind: ProfileKind,
    out: &mut Vec<Sample<'a>>,
) -> Result<(), &'static str> {
    match kind {
        ProfileKind::Heap | ProfileKind::Allocs => {
            heap(report.heap.as_ref().ok_or("the heap was not traced")?, kind, out);
        }
        ProfileKind::Block => waits(report.waits.as_ref().ok_or(NO_WAITS)?, |_| true, out),
        ProfileKind::Mutex => {
            waits(report.waits.as_ref().ok_or(NO_WAITS)?, |site| site.kind.is_lock(), out);
        }
        ProfileKind::Goroutine => match (&report.goroutines, &report.waits) {
            (Some(all), _) => goroutines(all, out),
            (None, Some(waits)) => census(waits, out),
            (None, None) => return Err("it says nothing of goroutines or threads"),
        },
        ProfileKind::Threadcreate => {
            creations(report.threads.as_ref().ok_or("no thread was watched")?, out);
        }
    }
    Ok(())
}

const NO_WAITS: &str = "waits were not traced";

/// A stack, with a note where it has no frames.
fn sample(stack: &Stack) -> Sample<'_> {
    let empty = stack.frames.is_empty();
    let why = || stack.end.as_ref().map_or(Cow::Borrowed("stack not captured"), |end| end.to_string().into());
    let cut = stack.end.as_ref().filter(|end| !end.is_whole() && !empty);
    Sample { note: empty.then(why), cut, ..bare(&stack.frames) }
}

/// Frames without values.
fn bare(frames: &[Frame]) -> Sample<'_> {
    Sample {
        frames,
        note: None,
        cut: None,
        idle: false,
        values: [0; 4],
        base: [0; 4],
        weight: 0,
        labels: Vec::new(),
    }
}

/// What is counted without a stack.
fn without_stack<'a>(note: &'static str, count: u64) -> Sample<'a> {
    Sample { note: Some(Cow::Borrowed(note)), values: [count, 0, 0, 0], weight: count, ..bare(&[]) }
}

fn heap<'a>(heap: &'a Heap, kind: ProfileKind, out: &mut Vec<Sample<'a>>) {
    // Where there is but one source, it need not be told.
    let told = heap.sources.len() > 1;
    for site in &heap.sites {
        let mut sample = sample(&site.stack);
        sample.values = [site.alloc_objects, site.alloc_bytes, site.live_objects, site.live_bytes];
        sample.weight = if kind == ProfileKind::Heap { site.live_bytes } else { site.alloc_bytes };
        if told {
            sample.labels.push(("source", site.source.as_str().into()));
        }
        out.push(sample);
    }
}

/// Labels that all waits of a site have.
fn site_labels(site: &WaitSite) -> Vec<Label<'_>> {
    let mut labels: Vec<Label<'_>> = vec![("kind", site.kind.name().into())];
    labels.extend(site.operation.as_deref().map(|name| ("operation", Cow::from(name))));
    labels.extend(site.idle.then_some(("idle", Cow::from("true"))));
    labels
}

/// Waits that have ended, then those that go on by thread name and lock.
fn waits<'a>(all: &'a Waits, wanted: impl Fn(&WaitSite) -> bool, out: &mut Vec<Sample<'a>>) {
    for site in all.sites.iter().filter(|site| wanted(site)) {
        if let Some(ended @ 1..) = site.waits {
            let mut sample = sample(&site.stack);
            sample.idle = site.idle;
            sample.values = [ended, site.wait_ns.unwrap_or(0), 0, 0];
            sample.labels = site_labels(site);
            out.push(sample);
        }
        blocked(site, |sample, count, ns| sample.values = [count, ns, 0, 0], out);
    }
}

/// The threads that are blocked at a site, by their names and locks.
fn blocked<'a>(site: &'a WaitSite, set: impl Fn(&mut Sample<'a>, u64, u64), out: &mut Vec<Sample<'a>>) {
    let mut groups: BTreeMap<(&str, Option<Address>), (u64, u64)> = BTreeMap::new();
    for thread in &site.threads {
        let group = groups.entry((&thread.name, thread.lock)).or_default();
        group.0 += 1;
        group.1 = group.1.saturating_add(thread.blocked_ns.unwrap_or(0));
    }
    let unlisted = site.blocked_now.saturating_sub(site.threads.len() as u64);
    let unlisted = (unlisted > 0).then_some((None, (unlisted, 0)));
    let listed = groups.into_iter().map(|(who, sums)| (Some(who), sums));
    for (who, (count, ns)) in listed.chain(unlisted) {
        let mut sample = sample(&site.stack);
        sample.idle = site.idle;
        sample.weight = count;
        sample.labels = site_labels(site);
        if let Some((name, lock)) = who {
            sample.labels.push(("thread", name.into()));
            sample.labels.extend(lock.map(|address| ("lock", Cow::from(address.to_string()))));
        }
        set(&mut sample, count, ns);
        out.push(sample);
    }
}

/// All threads: the blocked ones by stack, the others together.
fn census<'a>(all: &'a Waits, out: &mut Vec<Sample<'a>>) {
    for site in &all.sites {
        blocked(site, |sample, count, _| sample.values[0] = count, out);
    }
    let listed = all.sites.iter().map(|site| site.blocked_now.max(site.threads.len() as u64));
    let listed = listed.fold(0, u64::saturating_add);
    let unlisted = all.blocked_now.saturating_sub(listed);
    let running = all.threads.saturating_sub(all.blocked_now.max(listed));
    let others = [("running, or about to", running), ("blocked, stack not captured", unlisted)];
    out.extend(others.into_iter().filter(|(_, n)| *n > 0).map(|(note, n)| without_stack(note, n)));
}

/// Goroutines as Go's own profile groups them: by stack and labels; the runtime's own are left out.
fn goroutines<'a>(all: &'a Goroutines, out: &mut Vec<Sample<'a>>) {
    let mut known: HashMap<Group<'_>, usize> = HashMap::new();
    let mut listed = 0_u64;
    for site in all.sites.iter().filter(|site| !site.system) {
        listed = listed.saturating_add(site.count);
        let addresses = site.stack.frames.iter().map(|frame| frame.address).collect();
        let at = *known.entry((addresses, site.labels.as_ref())).or_insert_with(|| {
            let mut sample = sample(&site.stack);
            let labels = site.labels.iter().flatten();
            sample.labels = labels.map(|(key, value)| (key.as_str(), Cow::from(value))).collect();
            sample.idle = true;
            out.push(sample);
            out.len() - 1
        });
        out[at].idle &= site.idle;
        out[at].values[0] = out[at].values[0].saturating_add(site.count);
        out[at].weight = out[at].values[0];
    }
    if let Some(unlisted @ 1..) = all.total.checked_sub(listed) {
        out.push(without_stack("stack not captured", unlisted));
    }
}

/// Threads by who created them.
fn creations<'a>(threads: &'a Threads, out: &mut Vec<Sample<'a>>) {
    let mut listed = 0_u64;
    for site in threads.sites.iter().filter(|site| site.created > 0) {
        let mut sample = sample(&site.stack);
        sample.values[0] = site.created;
        sample.weight = site.created;
        listed = listed.saturating_add(site.created);
        out.push(sample);
    }
    if let Some(unlisted @ 1..) = threads.created.checked_sub(listed) {
        out.push(without_stack("creator not known", unlisted));
    }
}
