//! The section on goroutines.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::{growth, leaked, locks, places, stuck};
use crate::runtime::go::aggregate::goroutine_sites::{GoSite, GoroutineSites};
use crate::runtime::go::blame::{self, blame, blame_goroutine};
use crate::runtime::go::creations::GoCreation;
use crate::runtime::go::goroutine::{GoStackEnd, GoState};
use crate::runtime::go::idle::{self, IdleSite};
use crate::runtime::go::named::{GoCode, frame};
use crate::section::made::{Facts, Made};
use crate::section::model::{Cut, Frame, GoroutineCreation, GoroutineSite, Goroutines, Stack, StackEnd};
use crate::section::site::rank;
use crate::symbol::name;

impl Made for Goroutines {
    fn make(facts: &mut Facts<'_, '_>) -> Option<Self> {
        let go = facts.runtime.go?;
        let mut all = goroutines(go.snapshot?, go.creations, go.code);
        leaked::tell(&mut all, go.leaks);
        Some(all)
    }

    fn losses(facts: &Facts<'_, '_>) -> Vec<(String, u64)> {
        let snapshot = facts.runtime.go.and_then(|go| go.snapshot);
        snapshot.iter().flat_map(|read| &read.losses).map(|(name, n)| ((*name).to_owned(), *n)).collect()
    }
}

/// Makes the section. `creations` is `None` where they were not traced.
pub(crate) fn goroutines(
    snapshot: &GoroutineSites,
    creations: Option<&[GoCreation]>,
    code: GoCode<'_>,
) -> Goroutines {
    let sites = snapshot.sites.iter().map(|seen| site(seen, code)).collect();
    let nothing_lost = snapshot.losses.is_empty() && snapshot.unread == 0;
    let mut all = Goroutines {
        exact: nothing_lost,
        method: method(nothing_lost).to_owned(),
        total: snapshot.total,
        system: snapshot.system,
        growth: snapshot.growth,
        growth_since_first: snapshot.growth_since_first,
        since_first_ns: snapshot.since_first_ns,
        since_previous_ns: snapshot.since_previous_ns,
        retried: snapshot.retried,
        places: Vec::new(),
        sites,
        creations: creations.map(|all| self::creations(all, code)),
        stuck: 0,
        leaked: None,
        leaked_heap_bytes: None,
        leaked_unknown: None,
        locks: snapshot.locks.iter().map(locks::lock).collect(),
        deadlocks: snapshot.circles.iter().map(locks::deadlock).collect(),
    };
    all.stuck = all.sites.iter().fold(0, |sum, site| sum.saturating_add(site.stuck));
    bound_by_creations(&mut all);
    judge(&mut all);
    all
}

/// Where beginnings and ends were traced, nothing has grown by more than these tell.
fn bound_by_creations(all: &mut Goroutines) {
    let Some(creations) = &all.creations else { return };
    let key = |frame: &Frame| (frame.function.clone(), frame.file.clone(), frame.line);
    let mut growth: HashMap<_, i64> = HashMap::new();
    for creation in creations {
        if let Some(frame) = creation.stack.frames.first() {
            let sum = growth.entry(key(frame)).or_default();
            *sum = sum.saturating_add(creation.growth);
        }
    }
    for site in &mut all.sites {
        let Some(created_by) = &site.created_by else { continue };
        let traced = growth.get(&key(created_by)).copied().unwrap_or(0);
        site.creator_growth_since_first = site.creator_growth_since_first.map(|grown| grown.min(traced));
    }
}

/// Tells from the growth of sites which ones pile up and which are idle, and ranks them.
pub(crate) fn judge(all: &mut Goroutines) {
    let total = all.growth_since_first;
    let grown = |site: &GoroutineSite| growth::of(site, total).unwrap_or(0).max(0);
    let growth = growth::total(all);
    for site in &mut all.sites {
        site.piling_up = !site.system && growth::is_pile(grown(site), site.count, growth);
        let rule = idle::rule(&idle_site(site), all.total, site.piling_up).filter(|_| site.stuck == 0);
        site.idle = rule.is_some();
        site.idle_rule = rule.map(ToOwned::to_owned);
    }
    // Within a group those with most goroutines come first, and of equally many those that are stuck, then the user's
    // own.
    let ties = |site: &GoroutineSite| (site.stuck == 0, !is_users(site));
    all.sites.sort_by_cached_key(|site| (order(site, grown(site)), Reverse(site.count), ties(site)));
    rank(&mut all.sites);
    all.places = places::places(all);
}

/// Whether the frame to blame is the user's own code.
fn is_users(site: &GoroutineSite) -> bool {
    site.stack.blamed().and_then(|frame| frame.function.as_deref()).is_some_and(blame::is_users)
}

fn creations(all: &[GoCreation], code: GoCode<'_>) -> Vec<GoroutineCreation> {
    let growth = |seen: &GoCreation| seen.created.cast_signed().saturating_sub(seen.exited.cast_signed());
    let mut all: Vec<&GoCreation> = all.iter().collect();
    // Stable: those that created most come first.
    all.sort_by_key(|seen| Reverse(growth(seen)));
    let ranked = all.into_iter().zip(1..);
    ranked
        .map(|(seen, rank)| GoroutineCreation {
            rank,
            created: seen.created,
            exited: seen.exited,
            growth: growth(seen),
            stack: Stack {
                blame: blame(&seen.frames, code.main_module),
                frames: seen.frames.iter().map(|go| frame(go, code).into()).collect(),
                end: None,
                ..Stack::default()
            },
        })
        .collect()
}

/// A site as the idle rules look at it.
fn idle_site(site: &GoroutineSite) -> IdleSite<'_, impl Iterator<Item = &str> + Clone> {
    IdleSite {
        state: GoState::named(&site.state),
        wait_reason: site.wait_reason.as_deref(),
        functions: site.stack.frames.iter().filter_map(|frame| frame.function.as_deref()),
        start_function: site.start_function.as_deref(),
        woken_by: site.woken_by.as_deref(),
        count: site.count,
        system: site.system,
    }
}

const fn method(nothing_lost: bool) -> &'static str {
    if nothing_lost {
        "every goroutine was read without stopping the target; those that began or ended meanwhile may be missing"
    } else {
        "some could not be read while the target went on: see the losses and where stacks end"
    }
}

/// What ranks sites: group, then growth; the rest stays as it is, by count.
fn order(site: &GoroutineSite, grown: i64) -> (u8, Reverse<i64>) {
    let grown = Reverse(if site.piling_up { grown } else { 0 });
    match site {
        GoroutineSite { system: true, .. } => (4, grown),
        GoroutineSite { idle: true, .. } => (3, grown),
        _ if stuck::in_deadlock(site) || site.leaked > site.count / 2 => (0, grown),
        GoroutineSite { piling_up: true, .. } => (1, grown),
        _ => (2, grown),
    }
}

/// A site; [`judge`] says the rest of it.
fn site(seen: &GoSite, code: GoCode<'_>) -> GoroutineSite {
    let (stuck, stuck_rule) = stuck::stuck(seen);
    GoroutineSite {
        site_id: format!("{:016x}", seen.id),
        place_id: format!("{:016x}", seen.place),
        rank: 0,
        count: seen.count,
        growth: seen.growth,
        growth_since_first: seen.growth_since_first,
        place_growth_since_first: seen.place_growth,
        spot_growth_since_first: seen.spot_growth,
        creator_growth_since_first: seen.creator_growth,
        piling_up: false,
        state: seen.state.name().to_owned(),
        wait_reason: seen.wait_reason.as_deref().map(ToOwned::to_owned),
        longest_blocked_ns: seen.longest_blocked_ns,
        blocked_at_least: seen.longest_blocked_ns.is_some(),
        since_last_gc: seen.since_last_gc,
        stuck,
        leaked: if seen.state == GoState::Leaked { seen.count } else { seen.leaked },
        stuck_rule: stuck_rule.map(ToOwned::to_owned),
        woken_by: seen.wakes.name().map(ToOwned::to_owned),
        idle: false,
        idle_rule: None,
        system: seen.system,
        stack: Stack {
            blame: blame_goroutine(&seen.frames, code.main_module),
            frames: seen.frames.iter().map(|go| frame(go, code).into()).collect(),
            end: Some(end(seen.end)),
            ..Stack::default()
        },
        created_by: seen.created_by.as_ref().map(|go| frame(go, code).into()),
        start_function: seen.start_function.as_deref().map(|name| name::bounded(name).into_owned()),
        labels: (!seen.labels.is_empty()).then(|| seen.labels.clone()),
        label_sets: seen.label_sets,
        goroutine_ids: seen.ids.clone(),
        locked_to_thread: seen.locked_to_thread,
        tids: seen.tids.clone(),
    }
}

const fn end(end: GoStackEnd) -> StackEnd {
    StackEnd::Cut(match end {
        GoStackEnd::Root => return StackEnd::Root,
        GoStackEnd::TooDeep => Cut::NotKept,
        GoStackEnd::UnknownCode => Cut::NoGoFunction,
        GoStackEnd::Unreadable => Cut::Unreadable,
        GoStackEnd::Running => Cut::Running,
    })
}

#[cfg(test)]
pub(crate) mod tests;
