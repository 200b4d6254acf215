//! Goroutines that cannot go on, and what shows it.

use crate::runtime::go::aggregate::goroutine_sites::GoSite;
use crate::runtime::go::goroutine::{GoState, Wakes};
use crate::section::model::GoroutineSite;

const LEAKED: &str = "the program's own garbage collector found that nothing can wake them";
const NIL: &str = "nothing is ever sent to a nil channel or received from it";
const NO_CASES: &str = "a select without cases never ends";
const ALL_NIL: &str = "all channels of the select are nil";
const CIRCLE: &str = "they wait in a circle of locks, or behind one";

const UNREACHED: &str = "nothing that can still run reaches what they wait for";

/// Whether it is a deadlock that shows that these are stuck.
pub(super) fn in_deadlock(site: &GoroutineSite) -> bool {
    site.stuck > 0 && site.stuck_rule.as_deref() == Some(CIRCLE)
}

/// How many of a site are stuck, and what shows that (`runtime/chan.go`, `runtime/select.go`: `block`, `selectgo`).
pub(super) fn stuck(site: &GoSite) -> (u64, Option<&'static str>) {
    let main = site.start_function.as_deref() == Some("runtime.main");
    let rule = match (site.state, site.wait_reason.as_deref()) {
        _ if site.system => None,
        (GoState::Leaked, _) => Some(LEAKED),
        (GoState::Waiting, Some("chan receive (nil chan)" | "chan send (nil chan)")) => Some(NIL),
        // Servers' main goroutines wait so.
        _ if main => None,
        (GoState::Waiting, Some("select (no cases)")) => Some(NO_CASES),
        (GoState::Waiting, Some("select")) if site.wakes == Wakes::Nothing => Some(ALL_NIL),
        _ => None,
    };
    match rule {
        Some(rule) => (site.count, Some(rule)),
        None if site.deadlocked > 0 => (site.deadlocked, Some(CIRCLE)),
        None => (site.leaked, (site.leaked > 0 && !site.system).then_some(UNREACHED)),
    }
}
