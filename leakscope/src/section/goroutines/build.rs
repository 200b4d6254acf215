//! The section on goroutines.

use std::cmp::Reverse;

use crate::runtime::go::aggregate::goroutine_sites::{GoSite, GoroutineSites};
use crate::runtime::go::blame::{blame, blame_goroutine};
use crate::runtime::go::creations::GoCreation;
use crate::runtime::go::goroutine::{GoStackEnd, GoState};
use crate::runtime::go::idle::{self, IdleSite};
use crate::runtime::go::named::{GoCode, frame};
use crate::section::made::{Facts, Made};
use crate::section::model::{Cut, GoroutineCreation, GoroutineSite, Goroutines, Stack, StackEnd};
use crate::section::site::rank;
use crate::symbol::name;

/// Fewer new goroutines than this are no pile.
const PILE: i64 = 10;

impl Made for Goroutines {
    fn make(facts: &mut Facts<'_, '_>) -> Option<Self> {
        let go = facts.runtime.go?;
        Some(goroutines(go.snapshot?, go.creations, go.code))
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
        sites,
        creations: creations.map(|all| self::creations(all, code)),
    };
    judge(&mut all);
    all
}

/// Tells from the growth of sites which ones pile up and which are idle, and ranks them.
pub(crate) fn judge(all: &mut Goroutines) {
    let growth = all.sites.iter().filter(|site| !site.system).map(grown).fold(0, i64::saturating_add);
    for site in &mut all.sites {
        site.piling_up = piles_up(site, growth);
        let rule = idle::rule(&idle_site(site), all.total, site.piling_up);
        site.idle = rule.is_some();
        site.idle_rule = rule.map(ToOwned::to_owned);
    }
    // Stable: within a group those with most goroutines come first.
    all.sites.sort_by_key(|site| (order(site), Reverse(site.count)));
    rank(&mut all.sites);
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

/// By how much a site grew while leakscope watched. Labels that come while others go are no growth.
fn grown(site: &GoroutineSite) -> i64 {
    let place = site.place_growth_since_first.unwrap_or(i64::MAX);
    site.growth_since_first.unwrap_or(0).min(place).max(0)
}

/// Whether a site grows so much that it is no chance: notable, at least a hundredth of what is there and
/// a tenth of all growth.
fn piles_up(site: &GoroutineSite, all_growth: i64) -> bool {
    let grown = grown(site);
    let count = i64::try_from(site.count).unwrap_or(i64::MAX);
    !site.system && grown >= PILE && grown >= count / 100 && grown >= all_growth / 10
}

/// What ranks sites: group, then growth; the rest stays as it is, by count.
fn order(site: &GoroutineSite) -> (u8, Reverse<i64>) {
    let grown = Reverse(site.growth_since_first.filter(|_| site.piling_up).unwrap_or(0));
    match site {
        GoroutineSite { system: true, .. } => (4, grown),
        GoroutineSite { idle: true, .. } => (3, grown),
        _ if site.state == GoState::Leaked.name() => (0, grown),
        GoroutineSite { piling_up: true, .. } => (1, grown),
        _ => (2, grown),
    }
}

/// A site; [`judge`] says the rest of it.
fn site(seen: &GoSite, code: GoCode<'_>) -> GoroutineSite {
    GoroutineSite {
        site_id: format!("{:016x}", seen.id),
        place_id: format!("{:016x}", seen.place),
        rank: 0,
        count: seen.count,
        growth: seen.growth,
        growth_since_first: seen.growth_since_first,
        place_growth_since_first: seen.place_growth,
        piling_up: false,
        state: seen.state.name().to_owned(),
        wait_reason: seen.wait_reason.as_deref().map(ToOwned::to_owned),
        longest_blocked_ns: seen.longest_blocked_ns,
        blocked_at_least: seen.longest_blocked_ns.is_some(),
        since_last_gc: seen.since_last_gc,
        idle: false,
        idle_rule: None,
        system: seen.system,
        stack: Stack {
            blame: blame_goroutine(&seen.frames, code.main_module),
            frames: seen.frames.iter().map(|go| frame(go, code).into()).collect(),
            end: Some(end(seen.end)),
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
