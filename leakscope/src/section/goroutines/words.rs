//! What is said of goroutines, and in what words.

use serde::Serialize;

use super::{leaked, lock_words, place_words};
use crate::human::{count, counted, cut, duration};
use crate::section::finding::findings;

/// Characters of a wait reason.
const LONGEST_REASON: usize = 40;
/// Wait reasons that tell the means and not the end (`runtime/runtime2.go`, `waitReasonStrings`).
const HIDDEN_ENDS: [&str; 5] =
    ["chan receive", "chan send", "select", "sync.Cond.Wait", "sync.WaitGroup.Wait"];

/// What goroutines do, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Doing {
    /// Their state, in Go's words.
    pub state: String,
    /// Why they wait, in the program's.
    pub wait_reason: Option<String>,
    /// What can wake them, where that is known.
    pub woken_by: Option<String>,
    /// The frame to blame, or their first function.
    pub place: Option<String>,
}

/// Since when something is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// Since leakscope came.
    FirstLook,
    /// Since the first report of a series.
    FirstReport,
}

/// How many are more than at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Grown {
    /// So many; fewer if it is negative.
    pub goroutines: i64,
    /// In so long.
    pub in_ns: u64,
    /// What was first.
    pub since: Since,
}

/// Goroutines that do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// How many.
    pub count: u64,
    /// What.
    pub doing: Doing,
}

/// A goroutine that waits for a lock of another one, or of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deadlocked {
    /// Its number.
    pub goroutine_id: u64,
    /// What it waits in, and where.
    pub doing: Option<Doing>,
    /// The function of the next one that unlocks what it waits for.
    pub unlocked_by: Option<String>,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldBy {
    /// Its number.
    pub goroutine_id: u64,
    /// What it does.
    pub doing: Option<Doing>,
    /// The function that unlocks as it returns.
    pub unlocks_in: String,
}

/// The place that has grown most, which is no pile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grew {
    /// So many more.
    pub more: i64,
    /// What they do, and where.
    pub doing: Doing,
    /// Goroutines of their `go` statement that began and that ended meanwhile, where that was traced.
    pub began_and_ended: Option<(u64, u64)>,
    /// Whether chance alone can make as many.
    pub few: bool,
}

findings! {
    /// What is said of goroutines.
    pub enum GoroutinesSaid, in the words of text {
        /// Goroutines that wait for each other's locks, or for their own; `count` such deadlocks are alike, and `stuck`
        /// goroutines are in deadlocks of all kinds, or behind them.
        Alarm Deadlocked = "goroutines_deadlocked" {
            circle: Vec<Deadlocked>,
            count: u64,
            stuck: u64,
            total: u64,
        },
        /// Goroutines that can never run again, in `places` places; `most` are in one, and of `others` that is not known. `heap_bytes` of the Go heap are
        /// reached by them alone.
        Warning Leaked = "goroutines_leaked" {
            count: u64,
            total: u64,
            places: u64,
            most: Option<Group>,
            created_by: Option<String>,
            others: u64,
            heap_bytes: Option<u64>,
        },
        /// None was found that can never run again.
        Note NoneLeaked = "no_goroutines_leaked" { beside_deadlocks: bool, },
        /// Goroutines that nothing can wake.
        Warning Stuck = "goroutines_stuck" {
            count: u64,
            total: u64,
            doing: Doing,
            created_by: Option<String>,
            longest_blocked_ns: Option<u64>,
            growth: Option<Grown>,
            why: Option<String>,
        },
        /// Goroutines that become more and more.
        Warning PilingUp = "goroutines_piling_up" {
            count: u64,
            total: u64,
            doing: Doing,
            created_by: Option<String>,
            longest_blocked_ns: Option<u64>,
            growth: Option<Grown>,
        },
        /// Goroutines of one place become more and more, and do this and that there.
        Warning Spread = "goroutines_piling_up_in_place" {
            count: u64,
            total: u64,
            function: String,
            created_by: Option<String>,
            growth: Option<Grown>,
            created: Option<u64>,
            exited: Option<u64>,
            doing: Vec<Group>,
        },
        /// Many goroutines in one place; what they wait for does not show.
        Note Crowded = "goroutines_crowded" {
            count: u64,
            total: u64,
            doing: Doing,
            created_by: Option<String>,
            longest_blocked_ns: Option<u64>,
            growth: Option<Grown>,
        },
        /// Goroutines wait for a lock, and `elsewhere` for others.
        Note WantLock = "goroutines_want_lock" {
            count: u64,
            total: u64,
            lock: String,
            places: u64,
            most: Option<Group>,
            holder: Option<HeldBy>,
            elsewhere: u64,
            other_locks: u64,
        },
        /// There are none but the runtime's own.
        Note Nothing = "no_goroutines" {},
        /// There are many more than before, each somewhere else.
        Warning Scattered = "goroutines_scattered" { total: u64, growth: Option<Grown>, },
        /// All is well.
        Note Calm = "goroutines_calm" {
            total: u64,
            idle: u64,
            largest: Option<Group>,
            watched: bool,
            grown: Option<Grew>,
            want_locks: u64,
        },
        /// They could not be read.
        Warning Refused = "goroutines_refused" { why: String, },
        /// They could not be read again.
        Warning Old = "goroutines_old" { why: String, },
        /// What a part of the stacks holds.
        Note Selected = "goroutines_selected" { count: u64, of: u64, },
        /// There are more than in another report.
        Warning More = "more_goroutines" { growth: i64, total: u64, most: i64, doing: String, place: String, },
    }
}

fn text(said: &GoroutinesSaid) -> String {
    match said {
        GoroutinesSaid::Deadlocked { circle, count, stuck, total } => {
            lock_words::deadlocked(circle, *count, *stuck, *total)
        }
        GoroutinesSaid::Stuck { .. } | GoroutinesSaid::PilingUp { .. } | GoroutinesSaid::Crowded { .. } => {
            many(said)
        }
        GoroutinesSaid::Leaked { .. } => leaked::text(said),
        GoroutinesSaid::NoneLeaked { beside_deadlocks } => {
            let other = if *beside_deadlocks { "other " } else { "" };
            format!("Of no {other}goroutine was it shown that it can never run again.")
        }
        GoroutinesSaid::Spread { .. } => place_words::spread(said),
        GoroutinesSaid::WantLock { .. } => lock_words::want_lock(said),
        GoroutinesSaid::Nothing {} => "The program has no goroutines of its own.".to_owned(),
        GoroutinesSaid::Scattered { total, growth } => format!(
            "{} are there{}, but they pile up in no single place.",
            counted(*total, "goroutine"),
            grown(*growth)
        ),
        GoroutinesSaid::Calm { total, idle, largest, watched, grown, want_locks } => {
            let locks = match *want_locks {
                0 => String::new(),
                1 => " 1 goroutine waits for a lock.".to_owned(),
                n => format!(" {} goroutines wait for locks.", count(n)),
            };
            // One look tells of no trend.
            let trend = match grown {
                Some(grown) => grew(grown),
                None if *watched => " No place has more of them than when leakscope came.".to_owned(),
                None => String::new(),
            };
            let what = who_does_what(*total, *idle, largest.as_ref());
            // What they did meanwhile may be something else.
            let what = if *watched { format!("At the last look, {}", lower_first(&what)) } else { what };
            format!("{what}.{locks}{trend}")
        }
        GoroutinesSaid::Refused { why } => format!("The goroutines could not be read: {why}."),
        GoroutinesSaid::Old { why } => format!("The goroutines could not be looked at again: {why}."),
        GoroutinesSaid::Selected { count: n, of } => format!("{} of {} goroutines", count(*n), count(*of)),
        GoroutinesSaid::More { growth, total, most, doing, place } => format!(
            "{} more, {} now; {} in {doing} at {place}.",
            counted(growth.unsigned_abs(), "goroutine"),
            count(*total),
            crate::section::growth::part(*most, *growth)
        ),
    }
}

/// Goroutines that do the same.
fn many(said: &GoroutinesSaid) -> String {
    let (GoroutinesSaid::Stuck {
        count: n, total, doing: what, created_by, longest_blocked_ns, growth, ..
    }
    | GoroutinesSaid::PilingUp { count: n, total, doing: what, created_by, longest_blocked_ns, growth }
    | GoroutinesSaid::Crowded { count: n, total, doing: what, created_by, longest_blocked_ns, growth }) =
        said
    else {
        return String::new();
    };
    let created = created_by.as_ref().map(|place| format!(", created by {place}")).unwrap_or_default();
    let blocked = match (*longest_blocked_ns, *n) {
        (None, _) => String::new(),
        (Some(ns), 1) => format!(", for at least {}", duration(ns)),
        (Some(ns), _) => format!(", the longest for at least {}", duration(ns)),
    };
    let (what, why) = match said {
        GoroutinesSaid::Stuck { why, .. } => (
            doing(what).replacen("blocked in", "stuck in", 1),
            why.as_ref().map(|why| format!(": {why}")).unwrap_or_default(),
        ),
        _ => (doing(what), String::new()),
    };
    format!("{} {what}{created}{blocked}{}{why}.", who(*n, *total, ["is", "are"]), grown(*growth))
}

/// The place that has grown most.
fn grew(grown: &Grew) -> String {
    let place = grown.doing.place.as_ref().map_or_else(|| doing(&grown.doing), ToString::to_string);
    let of = match grown.began_and_ended {
        Some((began, ended)) => format!(
            ", whose `go` statement created {} while {} of its goroutines ended",
            count(began),
            count(ended)
        ),
        None => String::new(),
    };
    let few = if grown.few { "; too few to tell a trend" } else { "" };
    format!(" Most have come at {place}: {} more{of}{few}.", count(grown.more.unsigned_abs()))
}

/// So many of all: `2 of 7 goroutines are`.
pub(super) fn who(n: u64, total: u64, [one, more]: [&str; 2]) -> String {
    match (n, total) {
        (1, 1) => format!("The only goroutine {one}"),
        (n, total) if n == total => format!("All {} goroutines {more}", count(n)),
        (1, total) => format!("1 of {} {one}", counted(total, "goroutine")),
        (n, total) => format!("{} of {} {more}", count(n), counted(total, "goroutine")),
    }
}

/// What most of them do, `idle` of which wait for work.
fn who_does_what(total: u64, idle: u64, largest: Option<&Group>) -> String {
    let others = total.saturating_sub(idle);
    let (Some(Group { count: most, doing: what }), 1..) = (largest, others) else {
        return match idle {
            1 => "The only goroutine is idle".to_owned(),
            n => format!("All {} goroutines are idle", count(n)),
        };
    };
    let does = || format!("{}{}", doing(what), what_for(what));
    let most = match (*most, others) {
        (1, 1) if idle == 0 => format!("The only goroutine is {}", does()),
        (1, 1) => format!("the other one is {}", does()),
        (1, n) if idle == 0 => format!("Each of the {} goroutines is in a place of its own", count(n)),
        (1, n) => format!("each of the other {} is in a place of its own", count(n)),
        (most, n) if most == n && idle == 0 => format!("All {} goroutines are {}", count(n), does()),
        (most, n) if most == n => format!("the other {} are {}", count(n), does()),
        (most, n) if idle == 0 => {
            format!("{} of {} goroutines are {}, the most in one place", count(most), count(n), does())
        }
        (most, n) => {
            format!("{} of the other {} are {}, the most in one place", count(most), count(n), does())
        }
    };
    match idle {
        0 => most,
        1 => format!("1 of {} goroutines is idle; {most}", count(total)),
        n => format!("{} of {} goroutines are idle; {most}", count(n), count(total)),
    }
}

/// For the middle of a sentence.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}", first.to_lowercase(), letters.as_str()))
}

/// What ends the wait, where that is a matter of the program's, which its memory does not tell.
fn what_for(doing: &Doing) -> &'static str {
    let reason = doing.wait_reason.as_deref().unwrap_or_default();
    let hidden = HIDDEN_ENDS.contains(&reason) || reason.starts_with("semacquire");
    match doing.woken_by.as_deref() {
        Some("timer" | "ticker") => " (until a timer fires at the latest)",
        _ if doing.state == "waiting" && hidden => " (what for is not visible)",
        _ => "",
    }
}

/// What goroutines do, and where: `blocked in chan receive at main.work at pool.go:12`.
pub(super) fn doing(doing: &Doing) -> String {
    let place = doing.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
    let reason = doing.wait_reason.as_deref().map(|reason| cut(reason, LONGEST_REASON));
    let what = match (doing.state.as_str(), reason) {
        ("leaked", Some(reason)) => format!("blocked for ever in {reason}"),
        ("leaked", None) => "blocked for ever".to_owned(),
        ("waiting", Some(reason)) => format!("blocked in {reason}"),
        ("waiting", None) => "blocked".to_owned(),
        ("syscall", _) => "in a system call or C code".to_owned(),
        ("runnable" | "preempted", _) => "ready to run".to_owned(),
        (state, _) => state.to_owned(),
    };
    format!("{what}{place}")
}

/// `, 940 more since leakscope came (47 a second)`.
pub(super) fn grown(growth: Option<Grown>) -> String {
    let Some(Grown { goroutines, in_ns: ns, since }) = growth else { return String::new() };
    let since = match since {
        Since::FirstLook => "since leakscope came",
        Since::FirstReport => "since the first report",
    };
    let n = goroutines.unsigned_abs();
    if goroutines < 0 {
        return format!(", {} fewer {since}", count(n));
    }
    let rate = |unit: f64| (n as f64 * unit * 1e9 / ns.max(1) as f64).round() as u64;
    let rate = match (rate(1.0), rate(60.0), rate(3600.0)) {
        _ if ns < 1_000_000 => String::new(),
        (second @ 2.., ..) => format!(" ({} a second)", count(second)),
        (_, minute @ 2.., _) => format!(" ({} a minute)", count(minute)),
        (.., hour) => format!(" ({} an hour)", count(hour)),
    };
    format!(", {} more {since}{rate}", count(n))
}
