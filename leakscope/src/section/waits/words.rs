//! What is said of blocked threads, and in what words.

use serde::Serialize;

use crate::human::{count, counted, cut, duration};
use crate::section::finding::findings;
use crate::section::model::{OwnerState, WaitKind};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadName {
    /// Thread ID.
    pub tid: u32,
    pub name: String,
}

/// Where threads wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spot {
    /// What they wait in, as a reader knows it.
    pub what: String,
    /// The frame to blame.
    pub place: Option<String>,
}

/// Who holds what threads wait for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Held {
    /// Locks that are waited for.
    pub locks: u64,
    /// The holder of the one that most wait for.
    pub owner: Option<Owner>,
    /// Why that is not known.
    pub owner_unknown: Option<String>,
}

/// The holder of a lock.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Owner {
    pub thread: ThreadName,
    /// Whether it was inferred.
    pub inferred: bool,
    /// What it does.
    pub state: Option<OwnerState>,
    /// Where, if it is blocked itself.
    pub place: Option<String>,
}

findings! {
    /// What is said of blocked threads.
    pub enum WaitsSaid, in the words of text {
        /// Threads that wait for each other; only the first are named.
        Alarm Deadlock = "deadlock" {
            threads: u64,
            named: Vec<ThreadName>,
            places: Vec<String>,
            certain: bool,
            joins: bool,
            blocked_ns: Option<u64>,
            also_blocked: u64,
        },
        /// Threads that look stuck.
        Warning Stuck = "threads_stuck" {
            blocked: u64,
            threads: u64,
            only: Option<ThreadName>,
            spot: Spot,
            longest_blocked_ns: Option<u64>,
            held: Option<Held>,
        },
        /// Threads that a signal or a debugger stopped.
        Warning Stopped = "threads_stopped" { stopped: u64, threads: u64, },
        /// The process has none.
        Note NoThreads = "no_threads" {},
        /// All wait for work or run.
        Note Calm = "threads_calm" { threads: u64, },
        /// Some wait for something else, but look well.
        Note CalmBut = "threads_calm_but" {
            threads: u64,
            blocked: u64,
            here: u64,
            spot: Spot,
            kind: Option<WaitKind>,
        },
        /// There is more than one deadlock.
        Alarm Deadlocks = "deadlocks" { deadlocks: u64, },
        /// Waits for a lock that took long in all.
        Warning Contended = "lock_contended" {
            waits: u64,
            spot: Spot,
            wait_ns: u64,
            max_wait_ns: u64,
        },
        /// Threads without a stack.
        Warning Unsettled = "threads_unsettled" { threads: u64, },
        /// What a part of the stacks holds.
        Note Selected = "waits_selected" { blocked: u64, of: u64, },
        /// There are deadlocks that were not there before.
        Alarm MoreDeadlocks = "more_deadlocks" { deadlocks: u64, },
        /// More threads are blocked somewhere than before.
        Warning MoreBlocked = "more_threads_blocked" { growth: i64, blocked: u64, place: String, },
    }
}

fn text(said: &WaitsSaid) -> String {
    match said {
        WaitsSaid::Deadlock { .. } => deadlock(said),
        WaitsSaid::Stuck { .. } => stuck(said),
        WaitsSaid::Stopped { stopped, threads } => stopped_threads(*stopped, *threads),
        WaitsSaid::NoThreads {} => "The process has no threads any more.".to_owned(),
        WaitsSaid::Calm { threads: 1 } => {
            "Nothing is stuck: the only thread waits for work or runs.".to_owned()
        }
        WaitsSaid::Calm { threads } => {
            format!("Nothing is stuck: all {} threads wait for work or run.", count(*threads))
        }
        WaitsSaid::CalmBut { .. } => calm_but(said),
        WaitsSaid::Deadlocks { deadlocks } => {
            format!("There are {deadlocks} deadlocks; the headline names the largest.")
        }
        WaitsSaid::Contended { waits, spot, wait_ns, max_wait_ns } => format!(
            "{} in {}{} took {} in all, the longest {}.",
            counted(*waits, "wait"),
            spot.what,
            at(spot),
            duration(*wait_ns),
            duration(*max_wait_ns),
        ),
        WaitsSaid::Unsettled { threads } => {
            let (have, they) = if *threads == 1 { ("has", "it was") } else { ("have", "they were") };
            format!(
                "{} kept changing while {they} looked at, and {have} no stack.",
                counted(*threads, "thread")
            )
        }
        WaitsSaid::Selected { blocked, of } => {
            format!("{} of {} blocked threads", count(*blocked), count(*of))
        }
        WaitsSaid::MoreDeadlocks { deadlocks } => {
            format!("{} more than before.", counted(*deadlocks, "deadlock"))
        }
        WaitsSaid::MoreBlocked { growth, blocked, place } => format!(
            "{} more blocked at {place}, {} now.",
            counted(growth.unsigned_abs(), "thread"),
            count(*blocked)
        ),
    }
}

/// ` at pool.c:88 (take)`, or as much of it as is known.
fn at(spot: &Spot) -> String {
    spot.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default()
}

/// Characters of a thread's name that a sentence shows: the kernel keeps 15.
const LONGEST_THREAD_NAME: usize = 15;

fn told(thread: &ThreadName) -> String {
    let ThreadName { tid, name } = thread;
    if name.is_empty() {
        format!("thread {tid}")
    } else {
        format!("thread {tid} \"{}\"", cut(name, LONGEST_THREAD_NAME))
    }
}

fn calm_but(said: &WaitsSaid) -> String {
    let WaitsSaid::CalmBut { threads, blocked, here, spot, kind } = said else { return String::new() };
    let fine = threads.saturating_sub(*blocked);
    let kind = kind.map(|kind| format!(" ({kind})")).unwrap_or_default();
    let there = format!("in {}{kind}{}", spot.what, at(spot));
    let all = counted(*threads, "thread");
    match (*threads, fine, *here) {
        (1, ..) => return format!("Nothing looks stuck: the only thread is {there}."),
        (_, 0, 1) => return format!("Nothing looks stuck: of {all}, 1 is {there}."),
        (_, 0, here) => return format!("Nothing looks stuck: of {all}, {} are {there}.", count(here)),
        _ => {}
    }
    let waits_for_work = if fine == 1 { "waits for work or runs" } else { "wait for work or run" };
    let which = match (*blocked, *here) {
        (1, _) => format!("the other one is {there}"),
        (all, here) if all == here => format!("the other {} are {there}", count(all)),
        (all, 1) => format!("of the other {}, 1 is {there}", count(all)),
        (all, here) => format!("of the other {}, {} are {there}", count(all), count(here)),
    };
    format!("Nothing looks stuck: {} of {all} {waits_for_work}; {which}.", count(fine))
}

fn stuck(said: &WaitsSaid) -> String {
    let WaitsSaid::Stuck { blocked, threads, only, spot, longest_blocked_ns, held } = said else {
        return String::new();
    };
    let who = match only {
        Some(_) if *threads == 1 => "The only thread is".to_owned(),
        Some(only) => format!("1 of {} ({})", counted(*threads, "thread"), told(only)),
        None => format!("{} of {}", count(*blocked), counted(*threads, "thread")),
    };
    let span = longest_blocked_ns.map(duration).unwrap_or_default();
    let span = if *blocked > 1 { format!("up to {span}") } else { span };
    let held = held.as_ref().map(held_by).unwrap_or_default();
    format!("{who} blocked in {}{} for {span}{held}.", spot.what, at(spot))
}

/// All stopped threads, wherever they are.
fn stopped_threads(stopped: u64, threads: u64) -> String {
    let by = "stopped by a signal or a debugger";
    match (stopped, threads) {
        (_, 1) => format!("The only thread is {by}."),
        (n, all) if n >= all => format!("All {} threads are {by}.", count(all)),
        (n, all) => {
            format!("{} of {} {} {by}.", count(n), counted(all, "thread"), if n == 1 { "is" } else { "are" })
        }
    }
}

/// Who holds what a site waits for.
fn held_by(held: &Held) -> String {
    let one = held.locks == 1;
    let many = if one { String::new() } else { format!(" on {} locks", count(held.locks)) };
    let Some(owner) = &held.owner else {
        let why = held.owner_unknown.as_deref().unwrap_or("unknown");
        return if one { format!("; holder unknown: {why}") } else { many };
    };
    let by = if owner.inferred { "probably held by" } else { "held by" };
    let which = if one { "" } else { ", the most wanted" };
    let state = match (&owner.state, &owner.place) {
        (Some(OwnerState::Running), _) => ", which is running".to_owned(),
        (Some(OwnerState::Waits(WaitKind::Sleep)), Some(place)) => format!(", which sleeps at {place}"),
        (Some(state), Some(place)) => format!(", itself blocked at {place} ({state})"),
        (Some(state), None) => format!(", itself blocked ({state})"),
        (None, _) => String::new(),
    };
    format!("{many}{which}, {by} {}{state}", told(&owner.thread))
}

fn deadlock(said: &WaitsSaid) -> String {
    let WaitsSaid::Deadlock { threads, named, places, certain, joins, blocked_ns, also_blocked } = said
    else {
        return String::new();
    };
    let names: Vec<String> = named.iter().map(told).collect();
    let places = if places.is_empty() { String::new() } else { format!(": in {}", list(places)) };
    let who = match (*threads, threads.saturating_sub(named.len() as u64)) {
        (1, _) => format!("{} waits for a lock that it holds itself", list(&names)),
        (2, _) if *joins => format!("{} wait for each other", list(&names)),
        (2, _) => format!("{} wait for each other's locks", list(&names)),
        (n, 0) => format!("{n} threads wait for each other in a circle, {}", list(&names)),
        (n, more) => {
            format!("{n} threads wait for each other in a circle, {} and {more} more", names.join(", "))
        }
    };
    let age = blocked_ns.map(|ns| format!(", for {}", duration(ns))).unwrap_or_default();
    let behind = match also_blocked {
        0 => String::new(),
        1 => "; 1 more thread is blocked behind them".to_owned(),
        n => format!("; {} more threads are blocked behind them", count(*n)),
    };
    let title = if *certain { "Deadlock" } else { "Probable deadlock (a holder is inferred)" };
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
