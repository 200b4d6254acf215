//! Sites added up by something shorter than their stacks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

pub use crate::section::by::By;

use super::model::{Address, Frame, GoroutineSite, Site, Stack, StackEnd, ThreadSite, WaitSite};
use super::{Report, rank};

impl By {
    /// The frame that stands for a stack.
    fn frame(self, stack: &Stack) -> Option<Frame> {
        let frame = stack.shown()?;
        let whole = Frame { inlined: false, ..frame.clone() };
        Some(match self {
            Self::Site => whole,
            // Of a line there can be several instructions.
            Self::Blame if frame.line.is_some() => {
                Frame { address: None, offset: None, function_offset: None, ..whole }
            }
            Self::Blame => Frame { address: None, ..whole },
            Self::Function if frame.function.is_some() => {
                let line = frame.function.as_deref().filter(|name| is_closure(name));
                let line = line.and(frame.function_line.or(frame.line));
                Frame { address: None, offset: None, function_offset: None, line, ..whole }
            }
            Self::Function | Self::Module => Frame {
                address: None,
                module: None,
                offset: None,
                function: Some(frame.module.as_deref().map_or("no module", name).to_owned()),
                function_offset: None,
                file: None,
                line: None,
                function_line: None,
                why_unknown: None,
                ..whole
            },
        })
    }
}

/// Whether a function has only the name that all closures have: inlined ones have no other in debug info.
fn is_closure(name: &str) -> bool {
    name == "operator()" || name.starts_with('{')
}

fn name(module: &str) -> &str {
    module.rsplit('/').next().unwrap_or(module)
}

/// Adds up the sites of all sections.
pub fn by(report: &mut Report, by: By) {
    if by == By::Site {
        return;
    }
    if let Some(heap) = &mut report.heap {
        add_up(&mut heap.sites, by, |site| site.source.clone(), heap_site);
        heap.sites.sort_by_key(|site| Reverse(site.live_bytes));
        rank(&mut heap.sites, |site, rank| site.rank = rank);
    }
    if let Some(waits) = &mut report.waits {
        let ids = add_up(&mut waits.sites, by, |site| (site.kind, site.idle), wait_site);
        waits.sites.sort_by_key(|site| (site.idle, Reverse(site.blocked_now), Reverse(site.wait_ns)));
        rank(&mut waits.sites, |site, rank| site.rank = rank);
        let renamed = |id: &mut String| {
            if let Some(new) = ids.get(id) {
                id.clone_from(new);
            }
        };
        waits.deadlocks.iter_mut().flat_map(|d| &mut d.cycle).for_each(|t| renamed(&mut t.site_id));
        waits.long_waits.iter_mut().for_each(|wait| renamed(&mut wait.site_id));
        for waker in &mut waits.wakers {
            waker.sites.iter_mut().for_each(renamed);
            let mut seen = Vec::new();
            waker.sites.retain(|id| {
                !seen.contains(id) && {
                    seen.push(id.clone());
                    true
                }
            });
        }
    }
    if let Some(all) = &mut report.goroutines {
        let state =
            |site: &GoroutineSite| (site.state.clone(), site.wait_reason.clone(), site.idle, site.system);
        add_up(&mut all.sites, by, state, goroutine_site);
        all.sites.sort_by_key(|site| (site.system, site.idle, Reverse(site.piling_up), Reverse(site.count)));
        rank(&mut all.sites, |site, rank| site.rank = rank);
    }
    if let Some(threads) = &mut report.threads {
        add_up(&mut threads.sites, by, |_| (), thread_site);
        threads.sites.sort_by_key(|site| Reverse(site.alive));
        rank(&mut threads.sites, |site, rank| site.rank = rank);
    }
}

/// A site of some section.
trait Grouped {
    fn parts(&mut self) -> (&mut String, &mut Stack);
}

macro_rules! stacks {
    ($($site:ty;)*) => {
        $(impl Grouped for $site {
            fn parts(&mut self) -> (&mut String, &mut Stack) {
                (&mut self.site_id, &mut self.stack)
            }
        })*
    };
}
stacks! {
    Site;
    WaitSite;
    ThreadSite;
    GoroutineSite;
}

/// What tells frames apart.
type FrameKey = (Option<String>, Option<String>, Option<String>, Option<u32>, Option<Address>);

fn key(frame: &Frame) -> FrameKey {
    let Frame { module, function, file, line, offset, .. } = frame.clone();
    (module, function, file, line, offset)
}

/// Adds up what has the same frame and the same `also`; returns which site became part of which.
fn add_up<S: Grouped, K: Hash + Eq>(
    sites: &mut Vec<S>,
    by: By,
    also: impl Fn(&S) -> K,
    add: impl Fn(&mut S, S),
) -> HashMap<String, String> {
    let mut known: HashMap<(Option<FrameKey>, K), usize> = HashMap::new();
    let mut sums: Vec<(S, u64)> = Vec::new();
    let mut ids = HashMap::new();
    for mut site in std::mem::take(sites) {
        let also = also(&site);
        let (id, stack) = site.parts();
        let (id, frame) = (id.clone(), by.frame(stack));
        stack.blame = frame.is_some().then_some(0);
        stack.frames = frame.into_iter().collect();
        let at = *known.entry((stack.frames.first().map(key), also)).or_insert(sums.len());
        match sums.get_mut(at) {
            Some((sum, stacks)) => {
                add(sum, site);
                *stacks += 1;
            }
            None => sums.push((site, 1)),
        }
        ids.insert(id, sums[at].0.parts().0.clone());
    }
    for (site, n) in &mut sums {
        site.parts().1.end = Some(StackEnd::Grouped { stacks: *n, by });
    }
    sites.extend(sums.into_iter().map(|(site, _)| site));
    ids
}

fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

fn add_signed(sum: &mut i64, n: i64) {
    *sum = sum.saturating_add(n);
}

/// The sum of what is known.
fn add_known(sum: &mut Option<u64>, n: Option<u64>) {
    *sum = match (*sum, n) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
}

fn add_change(sum: &mut Option<i64>, n: Option<i64>) {
    *sum = match (*sum, n) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
}

fn heap_site(sum: &mut Site, site: Site) {
    add(&mut sum.live_bytes, site.live_bytes);
    add(&mut sum.live_objects, site.live_objects);
    add(&mut sum.alloc_bytes, site.alloc_bytes);
    add(&mut sum.alloc_objects, site.alloc_objects);
    add_signed(&mut sum.growth_bytes, site.growth_bytes);
    sum.oldest_age_ns = sum.oldest_age_ns.max(site.oldest_age_ns);
    sum.youngest_age_ns = [sum.youngest_age_ns, site.youngest_age_ns].into_iter().flatten().min();
    // The interval of a sum is not the sum of intervals.
    (sum.live_bytes_low, sum.live_bytes_high) = (None, None);
    add_known(&mut sum.samples, site.samples);
}

fn wait_site(sum: &mut WaitSite, site: WaitSite) {
    add(&mut sum.blocked_now, site.blocked_now);
    add_known(&mut sum.waits, site.waits);
    add_known(&mut sum.wait_ns, site.wait_ns);
    sum.longest_blocked_ns = sum.longest_blocked_ns.max(site.longest_blocked_ns);
    sum.max_wait_ns = sum.max_wait_ns.max(site.max_wait_ns);
    let mut histogram: BTreeMap<u64, u64> = sum.histogram.drain(..).collect();
    for (bound, n) in site.histogram {
        add(histogram.entry(bound).or_default(), n);
    }
    sum.histogram = histogram.into_iter().collect();
    sum.threads.extend(site.threads);
    sum.threads.sort_by_key(|thread| Reverse(thread.blocked_ns));
    for lock in site.locks {
        match sum.locks.iter_mut().find(|known| known.address == lock.address) {
            Some(known) => add(&mut known.waiters, lock.waiters),
            None => sum.locks.push(lock),
        }
    }
    if sum.operation != site.operation {
        sum.operation = None;
    }
    if sum.primitive != site.primitive {
        sum.primitive = None;
    }
    if sum.idle_rule != site.idle_rule {
        sum.idle_rule = None;
    }
}

pub(super) fn goroutine_site(sum: &mut GoroutineSite, site: GoroutineSite) {
    add(&mut sum.count, site.count);
    add_change(&mut sum.growth, site.growth);
    add_change(&mut sum.growth_since_first, site.growth_since_first);
    if sum.place_id != site.place_id {
        sum.place_id.clear();
        add_change(&mut sum.place_growth_since_first, site.place_growth_since_first);
    }
    sum.piling_up |= site.piling_up;
    if site.longest_blocked_ns > sum.longest_blocked_ns {
        sum.longest_blocked_ns = site.longest_blocked_ns;
        sum.blocked_at_least = site.blocked_at_least;
    }
    sum.since_last_gc &= site.since_last_gc;
    if sum.labels != site.labels {
        sum.labels = None;
    }
    add(&mut sum.label_sets, site.label_sets);
    add(&mut sum.locked_to_thread, site.locked_to_thread);
    sum.goroutine_ids.extend(site.goroutine_ids);
    sum.goroutine_ids.sort_unstable();
    sum.goroutine_ids.truncate(5);
    sum.tids.extend(site.tids);
    sum.tids.truncate(5);
    if sum.created_by != site.created_by {
        sum.created_by = None;
    }
    if sum.start_function != site.start_function {
        sum.start_function = None;
    }
    if sum.idle_rule != site.idle_rule {
        sum.idle_rule = None;
    }
}

fn thread_site(sum: &mut ThreadSite, site: ThreadSite) {
    add(&mut sum.created, site.created);
    add(&mut sum.exited, site.exited);
    add(&mut sum.alive, site.alive);
    add_signed(&mut sum.growth, site.growth);
}

#[cfg(test)]
mod tests;
