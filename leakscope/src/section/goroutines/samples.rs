//! Goroutines as samples of a profile.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::section::model::{Address, GoroutineSite, Goroutines};
use crate::section::profile::{Sample, sample, without_stack};

/// What the label `state` says of goroutines that wait still.
const STILL_WAITING: &str = "still waiting";

/// What Go's goroutine profile tells apart: the addresses of a stack, and labels.
type Group<'a> = (Vec<Option<Address>>, Option<&'a BTreeMap<String, String>>);

/// Goroutines as Go's own profile groups them: by stack and labels; the runtime's own are left out.
pub(super) fn samples<'a>(all: &'a Goroutines, out: &mut Vec<Sample<'a>>) {
    let listed = add(all, |site| site.count, out);
    if let Some(unlisted @ 1..) = all.total.checked_sub(listed) {
        out.push(without_stack("stack not captured", unlisted));
    }
}

/// Those that can never run again.
pub(super) fn leaked<'a>(all: &'a Goroutines, out: &mut Vec<Sample<'a>>) {
    add(all, |site| site.leaked, out);
}

/// Wait reasons of what Go's block profile counts once it has ended (`waitReasonStrings` in `runtime/runtime2.go`, Go 1.19
/// to 1.27).
const BLOCK: [&str; 12] = [
    "chan receive",
    "chan receive (nil chan)",
    "chan send",
    "chan send (nil chan)",
    "select",
    "select (no cases)",
    "semacquire",
    "sync.Cond.Wait",
    "sync.Mutex.Lock",
    "sync.RWMutex.Lock",
    "sync.RWMutex.RLock",
    "sync.WaitGroup.Wait",
];

/// Goroutines that wait for what the block profile counts.
pub(super) fn still_waiting<'a>(all: &'a Goroutines, out: &mut Vec<Sample<'a>>) {
    let waits = |site: &&GoroutineSite| {
        !site.system && site.wait_reason.as_deref().is_some_and(|reason| BLOCK.contains(&reason))
    };
    for site in all.sites.iter().filter(waits) {
        let mut sample = sample(&site.stack);
        sample.idle = site.idle;
        sample.weight = site.count;
        sample.values = [site.count, site.longest_blocked_ns.unwrap_or(0), 0, 0];
        sample.labels = vec![("state", STILL_WAITING.into())];
        sample.labels.extend(site.wait_reason.as_deref().map(|reason| ("kind", Cow::from(reason))));
        out.push(sample);
    }
}

/// Adds those of each site that `counted` counts. Returns how many they are.
fn add<'a>(all: &'a Goroutines, counted: fn(&GoroutineSite) -> u64, out: &mut Vec<Sample<'a>>) -> u64 {
    let mut known: HashMap<Group<'_>, usize> = HashMap::new();
    let mut listed = 0_u64;
    for site in all.sites.iter().filter(|site| !site.system && counted(site) > 0) {
        listed = listed.saturating_add(counted(site));
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
        out[at].values[0] = out[at].values[0].saturating_add(counted(site));
        out[at].weight = out[at].values[0];
    }
    listed
}
