//! What to think of a wait: that it is stuck, that it waits for work, or that nobody can tell.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::WaitKind;
use super::idle::{self, IdleRule, Site};
use super::kind::Stuck;

/// What to think of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There is evidence that it can't go on, or that somebody keeps it from going on: a lock that is held, a
    /// circle, a signal that stopped it.
    Stuck,
    /// It waits for work, by a rule that is named.
    Idle,
    /// It waits, and what is seen of it does not tell whether it should.
    Unknown,
}

impl Verdict {
    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Idle => "idle",
            Self::Unknown => "unknown",
        }
    }
}

/// A verdict, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The evidence, the rule, or what is missing.
    pub why: &'static str,
}

/// A page of memory, or a disk, may take that long.
pub const STORAGE_NS: u64 = 10_000_000_000;

const DEADLOCKED: &str = "in a circle of threads that wait for each other";
const MUTUAL: &str = "in a circle of threads that wait for each other, until a time limit";
const WANTS_LOCK: &str = "wants a lock that is held";
const WANTS_FILE_LOCK: &str = "wants a lock on a file that is held";
const STOPPED: &str = "a signal or a debugger has stopped it";
const NO_PAGE: &str = "a page of memory does not come";
const MAY_BE_CONDITION: &str = "Python's conditions, events and queues wait in this way, too";
/// Of a queue of workers that take turns to receive: each holds the lock while it waits for the next job.
const BEHIND_RECEIVER: &str =
    "who holds the lock waits to receive from a channel, as workers that share one take turns to do";
const HOLDS: &str = "others want a lock that is held here";
const NOT_VISIBLE: &str = "what for is not visible";

/// Whether threads are in a circle, and whether that one has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circle {
    /// They are in none.
    None,
    /// All of it waits until a time limit at most, or some of it.
    Timed,
    /// None of it ends by itself.
    Endless,
}

/// What to think of the threads of a site, of which the one that waits longest has waited for `longest_ns`.
pub fn judge(site: &Site<'_>, circle: Circle, longest_ns: u64, workers: &[IdleRule]) -> Judgement {
    let judgement = |verdict, why| Judgement { verdict, why };
    match circle {
        Circle::Endless => return judgement(Verdict::Stuck, DEADLOCKED),
        Circle::Timed => return judgement(Verdict::Stuck, MUTUAL),
        Circle::None => {}
    }
    if let Some(rule) = idle::rule(site, workers) {
        return judgement(Verdict::Idle, rule);
    }
    match site.kind.row().stuck {
        Stuck::Soon if may_be_condition(site) => judgement(Verdict::Unknown, MAY_BE_CONDITION),
        Stuck::Soon if site.holder_receives => judgement(Verdict::Unknown, BEHIND_RECEIVER),
        Stuck::Soon => judgement(Verdict::Stuck, WANTS_LOCK),
        Stuck::Always => judgement(Verdict::Stuck, STOPPED),
        Stuck::Late if longest_ns >= STORAGE_NS => judgement(Verdict::Stuck, NO_PAGE),
        Stuck::Late | Stuck::Never if wants_file_lock(site) => judgement(Verdict::Stuck, WANTS_FILE_LOCK),
        Stuck::Late | Stuck::Never if site.holds_wanted_lock => judgement(Verdict::Unknown, HOLDS),
        Stuck::Late | Stuck::Never => judgement(Verdict::Unknown, missing(site.kind)),
    }
}

/// Whether threads wait for a lock on a file: of the calls that block in fcntl(2), only F_SETLKW and F_OFD_SETLKW
/// do so for long.
pub fn wants_file_lock(site: &Site<'_>) -> bool {
    site.kind == WaitKind::File && matches!(site.operation, Some("flock" | "fcntl"))
}

fn may_be_condition(site: &Site<'_>) -> bool {
    let row = site.primitive.and_then(|at| site.frames.get(at)?.row);
    row.is_some_and(|(_, row)| row.may_be_condition)
}

/// What would have to be known of a wait.
const fn missing(kind: WaitKind) -> &'static str {
    match kind {
        WaitKind::Condvar | WaitKind::Semaphore => "nothing shows who is to end the wait",
        WaitKind::Barrier => "nothing shows which threads have yet to arrive",
        WaitKind::Pipe | WaitKind::Socket => "the other end decides",
        WaitKind::Child => "what the child does tells more",
        WaitKind::Join => "nothing shows for which thread",
        _ => NOT_VISIBLE,
    }
}

#[cfg(test)]
mod tests;
