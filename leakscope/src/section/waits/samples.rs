//! Blocked threads as samples of a profile.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::section::model::{Address, LockHolder, WaitKind, WaitSite, Waits, WakerKind};
use crate::section::profile::{Sample, sample, without_stack};

/// What waits hang below that nobody has ended yet: their stacks are those of who waits.
const STILL_WAITING: &str = "still waiting";
/// Who held a lock until a wait for it ended without it.
const TIMED_OUT: &str = "holder not known: a timer or an interrupt ended the wait";
/// Who held a lock whose release was not seen.
const UNTOLD: &str = "holder not known: its release was not seen";

/// A label's key and value.
type Label<'a> = (&'a str, Cow<'a, str>);

/// Labels that all waits of a site have.
fn site_labels(site: &WaitSite) -> Vec<Label<'_>> {
    let mut labels: Vec<Label<'_>> = vec![("kind", site.kind.name().into())];
    labels.extend(site.operation.as_deref().map(|name| ("operation", Cow::from(name))));
    labels.extend(site.idle.then_some(("idle", Cow::from("true"))));
    labels
}

/// Waits that have ended, then those that go on by thread name and lock.
pub(super) fn waits<'a>(all: &'a Waits, out: &mut Vec<Sample<'a>>) {
    for site in &all.sites {
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

/// Waits for locks: those that have ended by who held the lock, and those that go on, which nobody has ended yet,
/// by who waits.
pub(super) fn contention<'a>(all: &'a Waits, out: &mut Vec<Sample<'a>>) {
    let mut told: HashMap<&str, (u64, u64)> = HashMap::new();
    for holder in &all.lock_holders {
        out.push(held(holder));
        for part in &holder.waiters {
            let sum = told.entry(&part.site_id).or_default();
            *sum = (sum.0.saturating_add(part.contentions), sum.1.saturating_add(part.wait_ns));
        }
    }
    let locks = || all.sites.iter().filter(|site| site.kind.is_lock());
    let mut untold: BTreeMap<WaitKind, (u64, u64)> = BTreeMap::new();
    for site in locks() {
        let (waits, ns) = told.get(site.site_id.as_str()).copied().unwrap_or_default();
        let sum = untold.entry(site.kind).or_default();
        sum.0 = sum.0.saturating_add(site.waits.unwrap_or(0).saturating_sub(waits));
        sum.1 = sum.1.saturating_add(site.wait_ns.unwrap_or(0).saturating_sub(ns));
    }
    for (kind, (waits, ns)) in untold.into_iter().filter(|(_, sum)| *sum != (0, 0)) {
        let mut sample = without_stack(UNTOLD, 0);
        sample.values = [waits, ns, 0, 0];
        sample.labels = vec![("kind", kind.name().into())];
        out.push(sample);
    }
    for site in locks() {
        let traced = site.waits.is_some();
        let set = |sample: &mut Sample<'a>, count, ns| {
            sample.values = [count, ns, 0, 0];
            if traced && sample.note.is_none() {
                sample.note = Some(STILL_WAITING.into());
            }
        };
        blocked(site, set, out);
    }
}

fn held(holder: &LockHolder) -> Sample<'_> {
    let mut sample = match (holder.by, &holder.comm) {
        (WakerKind::Thread, _) => sample(&holder.stack),
        (WakerKind::OtherProcess, Some(comm)) => {
            Sample { note: Some(format!("another process: {comm}").into()), ..without_stack("", 0) }
        }
        (WakerKind::OtherProcess, None) => without_stack("another process", 0),
        (WakerKind::TimerOrInterrupt, _) => without_stack(TIMED_OUT, 0),
    };
    sample.values = [holder.contentions, holder.wait_ns, 0, 0];
    sample.labels = vec![("kind", holder.kind.name().into())];
    sample
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
pub(super) fn all_threads<'a>(all: &'a Waits, out: &mut Vec<Sample<'a>>) {
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
