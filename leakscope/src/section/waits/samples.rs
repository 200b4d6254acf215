//! Blocked threads as samples of a profile.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::section::model::{Address, WaitSite, Waits};
use crate::section::profile::{Sample, sample, without_stack};

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
pub(super) fn waits<'a>(all: &'a Waits, wanted: impl Fn(&WaitSite) -> bool, out: &mut Vec<Sample<'a>>) {
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
