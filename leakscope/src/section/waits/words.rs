//! What is said of blocked threads, and in what words.

use serde::Serialize;

use crate::human::{count, counted, cut, duration};
use crate::section::finding::findings;
use crate::section::model::{OwnerProcess, OwnerState, WaitKind};

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
    /// The process that it is of, where that is another one.
    pub process: Option<OwnerProcess>,
    /// Whether it was inferred.
    pub inferred: bool,
    /// What it does.
    pub state: Option<OwnerState>,
    /// Where, if it is blocked itself.
    pub place: Option<String>,
}

/// Who waits for locks, where nobody has done so for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LockWaits {
    /// Nobody: every blocked thread waits for something else.
    None,
    /// Nobody of whom it is known.
    NoneKnown,
    /// Some, for a short time.
    Some { threads: u64, longest_ns: u64, at_least: bool },
}

/// Threads of which nobody can tell whether they should wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// All of them.
    pub threads: u64,
    /// Those in the place where most are.
    pub here: u64,
    pub spot: Spot,
    /// What they wait for, where others wait for something else at the same stack.
    pub kind: Option<WaitKind>,
    pub longest_blocked_ns: u64,
    /// What is not known.
    pub why: String,
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
            at_least: bool,
            waits_for: Option<String>,
            hidden: bool,
            held: Option<Held>,
        },
        /// Threads that wait for each other, until one of them gives up.
        Warning MutualWait = "mutual_wait" {
            threads: u64,
            named: Vec<ThreadName>,
            places: Vec<String>,
            certain: bool,
            limit_ns: Option<u64>,
            blocked_ns: Option<u64>,
        },
        /// Threads that a signal or a debugger stopped.
        Warning Stopped = "threads_stopped" { stopped: u64, threads: u64, },
        /// The process has none.
        Note NoThreads = "no_threads" {},
        /// There is no evidence that anything is stuck.
        Note Calm = "threads_calm" {
            threads: u64,
            idle: u64,
            running: u64,
            locks: LockWaits,
            unknown: Option<Unknown>,
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
        WaitsSaid::Calm { .. } => calm(said),
        WaitsSaid::MutualWait { .. } => mutual_wait(said),
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

fn calm(said: &WaitsSaid) -> String {
    let WaitsSaid::Calm { threads, idle, running, locks, unknown } = said else { return String::new() };
    let head = match *locks {
        LockWaits::None => "No thread waits for a lock".to_owned(),
        LockWaits::NoneKnown => "No thread is known to wait for a lock".to_owned(),
        LockWaits::Some { threads, longest_ns, at_least } => {
            let bound = match (at_least, threads) {
                (true, _) => "at least ",
                (false, 1) => "",
                (false, _) => "up to ",
            };
            let who = match threads {
                1 => "1 thread waits for a lock".to_owned(),
                n => format!("{} threads wait for locks", count(n)),
            };
            format!("{who}, for {bound}{}", duration(longest_ns))
        }
    };
    let rest = others(*threads, *idle, *running);
    match (unknown, rest) {
        (None, Some(rest)) if matches!(locks, LockWaits::Some { .. }) => format!("{head}; {rest}."),
        (None, Some(rest)) => format!("{head}: {rest}."),
        (None, None) => format!("{head}."),
        (Some(unknown), rest) => {
            let rest = rest.map(|rest| format!("; {rest}")).unwrap_or_default();
            format!("{head}. {}{rest}.", unknown_ones(unknown, *threads))
        }
    }
}

/// Threads that are idle or run: `11 are idle, and 1 runs`.
fn others(threads: u64, idle: u64, running: u64) -> Option<String> {
    let runs = if running == 1 { "runs" } else { "run" };
    let are = if idle == 1 { "is" } else { "are" };
    let all = |n: u64| match n {
        1 => "the only one".to_owned(),
        2 => "both".to_owned(),
        n => format!("all {}", count(n)),
    };
    Some(match (idle, running) {
        (0, 0) => return None,
        (n, 0) if n == threads => format!("{} {are} idle", all(n)),
        (0, n) if n == threads => format!("{} {runs}", all(n)),
        (idle, 0) => format!("{} {are} idle", count(idle)),
        (0, running) => format!("{} {runs}", count(running)),
        (idle, running) => format!("{} {are} idle, and {} {runs}", count(idle), count(running)),
    })
}

/// `3 of 12 threads wait in std::future::get at a.cpp:3 for up to 2 m (who is to wake it is not visible)`.
fn unknown_ones(unknown: &Unknown, threads: u64) -> String {
    let Unknown { threads: all, here, spot, kind, longest_blocked_ns, why } = unknown;
    let kind = kind.map(|kind| format!(" ({kind})")).unwrap_or_default();
    let (wait, up_to) = if *here == 1 { ("waits", "") } else { ("wait", "up to ") };
    let who = match (*here, threads) {
        (1, 1) => "The only thread".to_owned(),
        (here, threads) => format!("{} of {}", count(here), counted(threads, "thread")),
    };
    let more = match all.saturating_sub(*here) {
        0 => String::new(),
        1 => "; 1 more waits elsewhere, which may be right or not, too".to_owned(),
        n => format!("; {} more wait elsewhere, which may be right or not, too", count(n)),
    };
    let time = duration(*longest_blocked_ns);
    // `a wait for a page of memory`
    let what = match spot.what.strip_prefix("a wait ") {
        Some(what) => what.to_owned(),
        None => format!("in {}", spot.what),
    };
    format!("{who} {wait} {what}{kind}{} for {up_to}{time} ({why}){more}", at(spot))
}

fn mutual_wait(said: &WaitsSaid) -> String {
    let WaitsSaid::MutualWait { threads, named, places, certain, limit_ns, blocked_ns } = said else {
        return String::new();
    };
    let names: Vec<String> = named.iter().map(told).collect();
    let places = if places.is_empty() { String::new() } else { format!(": in {}", list(places)) };
    let limit = limit_ns.map(|ns| format!(" ({})", duration(ns))).unwrap_or_default();
    let age = blocked_ns.map(|ns| format!(", for {} so far", duration(ns))).unwrap_or_default();
    let guess = if *certain { "" } else { " (a holder is inferred)" };
    let more = threads.saturating_sub(named.len() as u64);
    let names = if more > 0 { format!("{} and {more} more", names.join(", ")) } else { list(&names) };
    match threads {
        1 => format!(
            "Mutual wait: {names} waits for a lock that it holds itself until a timeout{limit}{guess}{places}{age}."
        ),
        _ => format!(
            "Mutual wait: {names}, each waits for the other until a timeout{limit}{guess}{places}{age}."
        ),
    }
}

fn stuck(said: &WaitsSaid) -> String {
    let WaitsSaid::Stuck {
        blocked,
        threads,
        only,
        spot,
        longest_blocked_ns,
        at_least,
        waits_for,
        hidden,
        held,
    } = said
    else {
        return String::new();
    };
    let who = match only {
        Some(_) if *threads == 1 => "The only thread is".to_owned(),
        Some(only) => format!("1 of {} ({})", counted(*threads, "thread"), told(only)),
        None => format!("{} of {}", count(*blocked), counted(*threads, "thread")),
    };
    let span = longest_blocked_ns.map(duration).unwrap_or_default();
    let span = match (*blocked > 1, *at_least) {
        (_, true) => format!("at least {span}"),
        (true, false) => format!("up to {span}"),
        (false, false) => span,
    };
    let waits_for = waits_for.as_ref().map(|what| format!(", for {what}")).unwrap_or_default();
    let nothing = if *hidden { "; who holds it is not visible" } else { "" };
    let held = held.as_ref().map_or(nothing.to_owned(), held_by);
    format!("{who} blocked in {}{} for {span}{waits_for}{held}.", spot.what, at(spot))
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
    let by = if owner.inferred { "perhaps held by" } else { "held by" };
    let which = if one { "" } else { ", the most wanted" };
    let state = match (&owner.state, &owner.place) {
        (Some(OwnerState::Running), Some(place)) => format!(", which runs at {place} (sampled)"),
        (Some(OwnerState::Running), None) => ", which is running".to_owned(),
        (Some(OwnerState::Waits(WaitKind::Sleep)), Some(place)) => format!(", which sleeps at {place}"),
        (Some(state), Some(place)) => format!(", itself blocked at {place} ({state})"),
        (Some(state), None) => format!(", itself blocked ({state})"),
        (None, _) => String::new(),
    };
    let process = owner.process.as_ref().map(|process| format!(" {process}")).unwrap_or_default();
    let guess = if owner.inferred { " (a guess from the stacks)" } else { "" };
    format!("{many}{which}, {by} {}{guess}{process}{state}", told(&owner.thread))
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
    let them = if *threads == 1 { "it" } else { "them" };
    let behind = match also_blocked {
        0 => String::new(),
        1 => format!("; 1 more thread is blocked behind {them}"),
        n => format!("; {} more threads are blocked behind {them}", count(*n)),
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
