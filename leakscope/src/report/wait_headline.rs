//! The sentences that answer "what is stuck?".

use std::collections::{HashMap, HashSet};

use super::model::{Deadlock, DeadlockThread, OwnerState, WaitKind, WaitLock, WaitSite, Waits};
use crate::human::{count, counted, cut, duration};
use crate::section::label::{line_first, place_in_list};
use crate::wait::kind::Stuck;

/// Who waits so long for a lock is stuck.
const STUCK_NS: u64 = 1_000_000_000;
/// If several threads wait for a lock, so long is enough.
const CROWD_NS: u64 = 100_000_000;
/// A file or a page of memory may take that long.
const STORAGE_NS: u64 = 10_000_000_000;
/// More threads than this that wait for a condition are no pool.
const CROWD: u64 = 64;
/// Time spent in finished waits for a lock that is worth a sentence.
const CONTENTION_NS: u64 = 1_000_000_000;
/// Threads of a deadlock that a sentence names.
const NAMED: usize = 4;
/// Second-rank sentences about sites.
const MORE_SITES: usize = 3;

/// Whether a site looks stuck now.
pub fn is_notable(site: &WaitSite) -> bool {
    let longest = site.longest_blocked_ns.unwrap_or_default();
    if site.idle || site.blocked_now == 0 {
        return false;
    }
    match site.kind.row().stuck {
        Stuck::Soon => longest >= STUCK_NS || (site.blocked_now > 1 && longest >= CROWD_NS),
        Stuck::Crowded => site.blocked_now > CROWD && longest >= STUCK_NS,
        Stuck::Late => longest >= STORAGE_NS,
        Stuck::Always => true,
        Stuck::Never => false,
    }
}

/// What is stuck; `None` if nothing looks so.
pub fn waits(waits: &Waits) -> Option<String> {
    match waits.deadlocks.first() {
        Some(first) => Some(deadlock(first, waits)),
        None => waits.sites.iter().find(|site| is_notable(site)).map(|site| stuck(site, waits)),
    }
}

/// What there is to say if [`waits()`] has nothing.
pub fn waits_idle(waits: &Waits) -> String {
    if waits.threads == 0 {
        return "The process has no threads any more.".to_owned();
    }
    let others = || waits.sites.iter().filter(|site| !site.idle && site.blocked_now > 0);
    let blocked: u64 = others().map(|site| site.blocked_now).sum();
    let fine = waits.threads.saturating_sub(blocked);
    let Some(first) = others().next() else {
        return match waits.threads {
            1 => "Nothing is stuck: the only thread waits for work or runs.".to_owned(),
            n => format!("Nothing is stuck: all {} threads wait for work or run.", count(n)),
        };
    };
    // Of one stack that waits for several kinds of things this is one.
    let several = waits.sites.iter().any(|site| first.shares_stack_with(site));
    let kind = if several { format!(" ({})", first.kind) } else { String::new() };
    let there = format!("in {}{kind}{}", what(first), at(first));
    let all = counted(waits.threads, "thread");
    match (waits.threads, fine, first.blocked_now) {
        (1, ..) => return format!("Nothing looks stuck: the only thread is {there}."),
        (_, 0, 1) => return format!("Nothing looks stuck: of {all}, 1 is {there}."),
        (_, 0, here) => return format!("Nothing looks stuck: of {all}, {} are {there}.", count(here)),
        _ => {}
    }
    let waits_for_work = if fine == 1 { "waits for work or runs" } else { "wait for work or run" };
    let which = match (blocked, first.blocked_now) {
        (1, _) => format!("the other one is {there}"),
        (all, here) if all == here => format!("the other {} are {there}", count(all)),
        (all, 1) => format!("of the other {}, 1 is {there}", count(all)),
        (all, here) => format!("of the other {}, {} are {there}", count(all), count(here)),
    };
    format!("Nothing looks stuck: {} of {all} {waits_for_work}; {which}.", count(fine))
}

/// Facts of second rank, most important first; what [`waits()`] says is not repeated.
pub fn findings(waits: &Waits) -> Vec<String> {
    let mut findings = Vec::new();
    let said = usize::from(waits.deadlocks.is_empty());
    if waits.deadlocks.len() > 1 {
        findings
            .push(format!("There are {} deadlocks; the headline names the largest.", waits.deadlocks.len()));
    }
    let cycles = waits.deadlocks.iter().flat_map(|deadlock| &deadlock.cycle);
    let deadlocked: HashSet<&str> = cycles.map(|thread| thread.site_id.as_str()).collect();
    let more =
        waits.sites.iter().filter(|site| is_notable(site) && !deadlocked.contains(site.site_id.as_str()));
    // All stopped threads are told of at once.
    let mut said_stopped = false;
    let more =
        more.filter(|site| site.kind != WaitKind::Stopped || !std::mem::replace(&mut said_stopped, true));
    let more = more.skip(said);
    findings.extend(more.take(MORE_SITES).map(|site| stuck(site, waits)));
    let contended = waits
        .sites
        .iter()
        .filter(|site| {
            site.kind.is_lock() && !site.idle && site.wait_ns.is_some_and(|ns| ns >= CONTENTION_NS)
        })
        .max_by_key(|site| site.wait_ns);
    findings.extend(contended.map(|site| {
        format!(
            "{} in {}{} took {} in all, the longest {}.",
            counted(site.waits.unwrap_or_default(), "wait"),
            what(site),
            at(site),
            duration(site.wait_ns.unwrap_or_default()),
            duration(site.max_wait_ns.unwrap_or_default()),
        )
    }));
    if waits.unsettled > 0 {
        let (have, they) = if waits.unsettled == 1 { ("has", "it was") } else { ("have", "they were") };
        findings.push(format!(
            "{} kept changing while {they} looked at, and {have} no stack.",
            counted(waits.unsettled, "thread")
        ));
    }
    findings
}

/// What a site waits in, as a reader knows it.
fn what(site: &WaitSite) -> String {
    if let Some(primitive) = &site.primitive {
        return primitive.clone();
    }
    match (site.kind.row().phrase, &site.operation) {
        (Some(phrase), _) => phrase.to_owned(),
        (None, Some(operation)) => operation.clone(),
        (None, None) => format!("a wait of kind {}", site.kind),
    }
}

/// ` at pool.c:88 (take)`, or as much of it as is known.
fn at(site: &WaitSite) -> String {
    site.stack.blamed().and_then(line_first).map(|spot| format!(" at {spot}")).unwrap_or_default()
}

/// Characters of a thread's name that a sentence shows: the kernel keeps 15.
const LONGEST_THREAD_NAME: usize = 15;

fn thread(tid: u32, name: &str) -> String {
    if name.is_empty() {
        format!("thread {tid}")
    } else {
        format!("thread {tid} \"{}\"", cut(name, LONGEST_THREAD_NAME))
    }
}

fn stuck(site: &WaitSite, waits: &Waits) -> String {
    let who = match site.threads.as_slice() {
        [_] if waits.threads == 1 => "The only thread is".to_owned(),
        [only] => {
            format!("1 of {} ({})", counted(waits.threads, "thread"), thread(only.tid, &only.name))
        }
        _ => format!("{} of {}", count(site.blocked_now), counted(waits.threads, "thread")),
    };
    let place = at(site);
    if site.kind == WaitKind::Stopped {
        return stopped(waits);
    }
    let span = site.longest_blocked_ns.map(duration).unwrap_or_default();
    let span = if site.blocked_now > 1 { format!("up to {span}") } else { span };
    let held = held(&site.locks).unwrap_or_default();
    format!("{who} blocked in {}{place} for {span}{held}.", what(site))
}

/// All stopped threads, wherever they are.
fn stopped(waits: &Waits) -> String {
    let sites = waits.sites.iter().filter(|site| site.kind == WaitKind::Stopped);
    let threads = sites.fold(0u64, |sum, site| sum.saturating_add(site.blocked_now));
    let by = "stopped by a signal or a debugger";
    match (threads, waits.threads) {
        (_, 1) => format!("The only thread is {by}."),
        (n, all) if n >= all => format!("All {} threads are {by}.", count(all)),
        (n, all) => {
            format!("{} of {} {} {by}.", count(n), counted(all, "thread"), if n == 1 { "is" } else { "are" })
        }
    }
}

/// Who holds what a site waits for.
fn held(locks: &[WaitLock]) -> Option<String> {
    let most = locks.first()?;
    let one = locks.len() == 1;
    let many = if one { String::new() } else { format!(" on {} locks", count(locks.len() as u64)) };
    let Some(tid) = most.owner_tid else {
        let why = most.owner_unknown.as_deref().unwrap_or("unknown");
        return Some(if one { format!("; holder unknown: {why}") } else { many });
    };
    let held = if most.owner_inferred { "probably held by" } else { "held by" };
    let which = if one { String::new() } else { ", the most wanted".to_owned() };
    let place = most.owner_stack.as_ref().and_then(|stack| line_first(stack.blamed()?));
    let state = match (&most.owner_state, place) {
        (Some(OwnerState::Running), _) => ", which is running".to_owned(),
        (Some(OwnerState::Waits(WaitKind::Sleep)), Some(place)) => format!(", which sleeps at {place}"),
        (Some(state), Some(place)) => format!(", itself blocked at {place} ({state})"),
        (Some(state), None) => format!(", itself blocked ({state})"),
        (None, _) => String::new(),
    };
    let owner = thread(tid, most.owner_name.as_deref().unwrap_or_default());
    Some(format!("{many}{which}, {held} {owner}{state}"))
}

fn deadlock(deadlock: &Deadlock, waits: &Waits) -> String {
    let by_id: HashMap<&str, &WaitSite> =
        waits.sites.iter().map(|site| (site.site_id.as_str(), site)).collect();
    let site_of = |thread: &DeadlockThread| by_id.get(thread.site_id.as_str()).copied();
    let place_of = |thread: &DeadlockThread| place_in_list(site_of(thread)?.stack.blamed()?);
    let joins = deadlock.cycle.iter().filter_map(site_of).any(|site| site.kind == WaitKind::Join);
    let names: Vec<String> = deadlock.cycle.iter().take(NAMED).map(|t| thread(t.tid, &t.name)).collect();
    let places: Vec<String> =
        deadlock.cycle.iter().take(NAMED).filter_map(place_of).fold(Vec::new(), |mut places, place| {
            if !places.contains(&place) {
                places.push(place);
            }
            places
        });
    let places = if places.is_empty() { String::new() } else { format!(": in {}", list(&places)) };
    let more = deadlock.cycle.len().saturating_sub(NAMED);
    let who = match (deadlock.cycle.len(), more) {
        (1, _) => format!("{} waits for a lock that it holds itself", list(&names)),
        (2, _) if joins => format!("{} wait for each other", list(&names)),
        (2, _) => format!("{} wait for each other's locks", list(&names)),
        (n, 0) => format!("{n} threads wait for each other in a circle, {}", list(&names)),
        (n, more) => {
            format!("{n} threads wait for each other in a circle, {} and {more} more", names.join(", "))
        }
    };
    // It is as old as the wait that closed the circle.
    let age = deadlock.cycle.iter().filter_map(|t| t.blocked_ns).min();
    let age = age.map(|ns| format!(", for {}", duration(ns))).unwrap_or_default();
    let behind = match deadlock.also_blocked {
        0 => String::new(),
        1 => "; 1 more thread is blocked behind them".to_owned(),
        n => format!("; {} more threads are blocked behind them", count(n)),
    };
    let title = if deadlock.certain { "Deadlock" } else { "Probable deadlock (a holder is inferred)" };
    format!("{title}: {who}{places}{age}{behind}.")
}

/// `a`, `a and b`, `a, b and c`.
fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
