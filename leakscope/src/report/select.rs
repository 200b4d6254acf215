//! The part of a report whose stacks are asked for.

use regex::Regex;

use super::model::{Goroutines, Heap, Stack, Threads, Waits};
use super::{Report, rank};
use crate::human::{bytes, count};

/// Which stacks.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    focus: Option<Regex>,
    ignore: Option<Regex>,
}

/// An expression that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--{option}: {why}")]
pub struct BadExpression {
    option: &'static str,
    why: String,
}

impl Selection {
    /// Stacks that match `focus`, and do not match `ignore`.
    pub fn new(focus: Option<&str>, ignore: Option<&str>) -> Result<Self, BadExpression> {
        let compile = |option, text: Option<&str>| {
            let compiled = text.map(Regex::new).transpose();
            compiled.map_err(|e| BadExpression { option, why: e.to_string() })
        };
        Ok(Self { focus: compile("focus", focus)?, ignore: compile("ignore", ignore)? })
    }

    fn keeps(&self, stack: &Stack) -> bool {
        let matches = |regex: &Regex| {
            let texts = stack.frames.iter().flat_map(|frame| [&frame.function, &frame.file, &frame.module]);
            texts.flatten().any(|text| regex.is_match(text))
        };
        self.focus.as_ref().is_none_or(matches) && !self.ignore.as_ref().is_some_and(matches)
    }

    /// Leaves the asked-for sites in `report`; sums are those of what is left.
    pub fn apply(&self, report: &mut Report) {
        if self.focus.is_none() && self.ignore.is_none() {
            return;
        }
        let parts = [
            report.heap.as_mut().map(|heap| self.heap(heap)),
            report.waits.as_mut().map(|waits| self.waits(waits)),
            report.goroutines.as_mut().map(|all| self.goroutines(all)),
        ];
        if let Some(threads) = &mut report.threads {
            self.threads(threads);
        }
        let whole = std::mem::take(&mut report.summary.headline);
        let told: Vec<String> = parts.into_iter().flatten().collect();
        report.summary.headline = format!("Of stacks {}: {}.", self.told(), told.join(", "));
        report.summary.findings = vec![format!("Of the whole process: {whole}")];
    }

    fn told(&self) -> String {
        let focus = self.focus.as_ref().map(|regex| format!("that match `{regex}`"));
        let ignore = self.ignore.as_ref().map(|regex| format!("that do not match `{regex}`"));
        focus.into_iter().chain(ignore).collect::<Vec<_>>().join(" and ")
    }

    fn heap(&self, heap: &mut Heap) -> String {
        let before = heap.totals.live_bytes;
        heap.sites.retain(|site| self.keeps(&site.stack));
        rank(&mut heap.sites, |site, rank| site.rank = rank);
        let totals = &mut heap.totals;
        let sum = |of: fn(&super::model::Site) -> u64| heap.sites.iter().map(of).fold(0, u64::saturating_add);
        totals.live_bytes = sum(|site| site.live_bytes);
        totals.live_objects = sum(|site| site.live_objects);
        totals.alloc_bytes = sum(|site| site.alloc_bytes);
        totals.alloc_objects = sum(|site| site.alloc_objects);
        totals.free_objects = totals.alloc_objects.saturating_sub(totals.live_objects);
        totals.unknown_frees = 0;
        totals.growth_bytes = heap.sites.iter().map(|site| site.growth_bytes).fold(0, i64::saturating_add);
        format!("{} of {} live", bytes(totals.live_bytes), bytes(before))
    }

    fn waits(&self, waits: &mut Waits) -> String {
        let before = waits.blocked_now;
        waits.sites.retain(|site| self.keeps(&site.stack));
        rank(&mut waits.sites, |site, rank| site.rank = rank);
        waits.blocked_now = waits.sites.iter().map(|site| site.blocked_now).fold(0, u64::saturating_add);
        waits.threads = waits.blocked_now;
        waits.count_stuck();
        (waits.unsettled, waits.vanished) = (0, 0);
        let kept = |id: &String| waits.sites.iter().any(|site| site.site_id == *id);
        waits.deadlocks.retain(|deadlock| deadlock.cycle.iter().all(|thread| kept(&thread.site_id)));
        waits.long_waits.retain(|wait| kept(&wait.site_id));
        waits.wakers.retain(|waker| waker.sites.iter().any(kept));
        format!("{} of {} blocked threads", count(waits.blocked_now), count(before))
    }

    fn goroutines(&self, all: &mut Goroutines) -> String {
        let before = all.total;
        all.sites.retain(|site| self.keeps(&site.stack));
        rank(&mut all.sites, |site, rank| site.rank = rank);
        let sum = |system: bool| {
            let sites = all.sites.iter().filter(|site| site.system == system);
            sites.map(|site| site.count).fold(0, u64::saturating_add)
        };
        (all.total, all.system) = (sum(false), sum(true));
        let growth = |of: fn(&super::model::GoroutineSite) -> Option<i64>| {
            all.sites.iter().filter(|site| !site.system).filter_map(of).fold(0, i64::saturating_add)
        };
        all.growth = all.growth.map(|_| growth(|site| site.growth));
        all.growth_since_first = all.growth_since_first.map(|_| growth(|site| site.growth_since_first));
        format!("{} of {} goroutines", count(all.total), count(before))
    }

    fn threads(&self, threads: &mut Threads) {
        threads.sites.retain(|site| self.keeps(&site.stack));
        rank(&mut threads.sites, |site, rank| site.rank = rank);
        let sum = |of: fn(&super::model::ThreadSite) -> u64| {
            threads.sites.iter().map(of).fold(0, u64::saturating_add)
        };
        (threads.created, threads.exited) = (sum(|site| site.created), sum(|site| site.exited));
        threads.growth = threads.sites.iter().map(|site| site.growth).fold(0, i64::saturating_add);
    }
}

#[cfg(test)]
mod tests;
