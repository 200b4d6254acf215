//! Waits of goroutines, as the report shows them.

use std::cmp::Reverse;
use std::sync::Arc;

use leakscope_common::go_wait::kind;

use crate::human::{counted, duration};
use crate::runtime::go::waits::{GoWaitSite, GoWaits};
use crate::section::made::{Facts, Made};
use crate::section::model::{GoroutineRelease, GoroutineWaitKind, GoroutineWaitSite, GoroutineWaits, Stack};
use crate::section::site::{NameStack, rank, site_id};
use crate::stack::StackId;

/// Frames that Go's own profiles leave out at the inner end of a stack (the `skip` of `blockevent` and `mutexevent` in
/// `runtime/chan.go`, `select.go` and `sema.go`; `skipframes` of `sync`).
const INNER: [&str; 13] = [
    "runtime.gopark",
    "runtime.goparkunlock",
    "runtime.chanrecv",
    "runtime.chansend",
    "runtime.semacquire1",
    "runtime.systemstack",
    "runtime.systemstack_switch",
    "runtime.goready",
    "runtime.readyWithTime",
    "runtime.semrelease1",
    "sync.(*RWMutex).rUnlockSlow",
    "sync.(*Mutex).lockSlow",
    "sync.(*Mutex).unlockSlow",
];
/// All functions of which they leave out.
const INNER_PREFIXES: [&str; 4] =
    ["sync.runtime_", "internal/sync.runtime_", "internal/poll.runtime_", "internal/sync.(*Mutex)."];

impl Made for GoroutineWaits {
    fn make(facts: &mut Facts<'_, '_>) -> Option<Self> {
        let waits = facts.runtime.go.and_then(|go| go.waits)?;
        Some(build(waits, facts.whole("goroutine_waits"), facts.name))
    }

    fn missing_stacks(&self) -> u64 {
        self.sites.iter().filter(|site| site.stack.end.is_none()).count() as u64
    }
}

/// Makes the section. `whole`: nothing was lost that would make it inexact.
pub(super) fn build(all: &GoWaits, whole: bool, name: &mut NameStack<'_>) -> GoroutineWaits {
    let counted = all.sampled_ns == 0;
    let mut sites: Vec<GoroutineWaitSite> = all.waits.iter().map(|one| site(one, counted, name)).collect();
    sites.sort_by(|a, b| (b.wait_ns, b.waits).cmp(&(a.wait_ns, a.waits)).then(a.site_id.cmp(&b.site_id)));
    rank(&mut sites);
    let mut releases: Vec<GoroutineRelease> = all.releases.iter().map(|one| release(one, name)).collect();
    releases.sort_by(|a, b| {
        let key = |release: &GoroutineRelease| Reverse((release.wait_ns, release.contentions));
        key(a).cmp(&key(b)).then_with(|| a.site_id.cmp(&b.site_id))
    });
    rank(&mut releases);
    GoroutineWaits {
        exact: counted && whole,
        method: method(all, whole),
        counted_ns: all.counted_ns,
        sampled_ns: all.sampled_ns,
        windows: all.windows,
        window_ns: all.window_ns,
        long_waits: all.long_waits,
        waits: all.all_waits.waits,
        waits_error: all.all_waits.waits_error,
        wait_ns: all.all_waits.wait_ns,
        wait_ns_error: all.all_waits.wait_ns_error,
        contentions: all.all_releases.waits,
        contentions_error: all.all_releases.waits_error,
        contention_ns: all.all_releases.wait_ns,
        contention_ns_error: all.all_releases.wait_ns_error,
        sites,
        releases,
    }
}

fn site(one: &GoWaitSite, counted: bool, name: &mut NameStack<'_>) -> GoroutineWaitSite {
    let stack = (one.stack != 0).then_some(StackId(one.stack));
    GoroutineWaitSite {
        site_id: site_id(stack),
        rank: 0,
        kind: kind_of(one.kind),
        waits: one.waits,
        waits_error: one.waits_error,
        wait_ns: one.wait_ns,
        wait_ns_error: one.wait_ns_error,
        max_wait_ns: one.max_ns,
        waiting: counted.then_some(one.waiting),
        longest_waiting_ns: (one.waiting > 0).then_some(one.longest_waiting_ns),
        stack: without_inner(stack.and_then(name).unwrap_or_default()),
    }
}

fn release(one: &GoWaitSite, name: &mut NameStack<'_>) -> GoroutineRelease {
    let stack = (one.stack != 0).then_some(StackId(one.stack));
    GoroutineRelease {
        site_id: site_id(stack),
        rank: 0,
        contentions: one.waits,
        contentions_error: one.waits_error,
        wait_ns: one.wait_ns,
        wait_ns_error: one.wait_ns_error,
        stack: without_inner(stack.and_then(name).unwrap_or_default()),
    }
}

fn kind_of(number: u64) -> GoroutineWaitKind {
    match number {
        kind::RECEIVE => GoroutineWaitKind::ChanReceive,
        kind::SEND => GoroutineWaitKind::ChanSend,
        kind::SELECT => GoroutineWaitKind::Select,
        kind::SEMAPHORE => GoroutineWaitKind::Semaphore,
        kind::CONDITION => GoroutineWaitKind::Cond,
        _ => GoroutineWaitKind::Other,
    }
}

/// The stack as Go's own profiles have it: from the function on that the program, or the compiler for it, has called.
fn without_inner(stack: Stack) -> Stack {
    let is_inner =
        |name: &str| INNER.contains(&name) || INNER_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let inner = stack.frames.iter().take_while(|frame| frame.function.as_deref().is_some_and(is_inner));
    let inner = inner.count();
    if inner == stack.frames.len() {
        return stack;
    }
    let frames: Vec<_> = stack.frames.iter().skip(inner).map(Arc::clone).collect();
    let blame = stack.blame.and_then(|blame| blame.checked_sub(inner as u64));
    Stack { frames: frames.into(), blame, ..stack }
}

fn method(all: &GoWaits, whole: bool) -> String {
    let lost = if whole { "" } else { "; some were lost: see the losses" };
    if all.sampled_ns == 0 {
        let counted = if whole { "every wait that began and ended" } else { "waits that began and ended" };
        return format!("{counted} while leakscope watched, counted as Go's own profiles count{lost}");
    }
    let mut text = format!(
        "an estimate from {} of {} over {}; waits of more than {} are not in it",
        counted(all.windows, "window"),
        duration(all.window_ns),
        duration(all.sampled_ns),
        duration(leakscope_common::go_wait::longest(all.window_ns)),
    );
    if all.counted_ns > 0 {
        text.push_str(&format!("; the rest, {}, was counted", duration(all.counted_ns)));
    }
    text + lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::model::{Frame, StackEnd};

    fn stack(functions: &[&str], blame: Option<u64>) -> Stack {
        let frame = |name: &&str| Frame { function: Some((*name).into()), ..Frame::default() };
        let frames: Vec<Frame> = functions.iter().map(frame).collect();
        Stack { frames: frames.into(), blame, end: Some(StackEnd::Root), ..Stack::default() }
    }

    fn functions(stack: &Stack) -> Vec<&str> {
        stack.frames.iter().filter_map(|frame| frame.function.as_deref()).collect()
    }

    #[test]
    fn stacks_begin_where_those_of_go_do() {
        let lock = ["runtime.semacquire1", "internal/sync.runtime_SemacquireMutex"];
        let lock = [&lock[..], &["internal/sync.(*Mutex).lockSlow", "internal/sync.(*Mutex).Lock"]].concat();
        let lock = [&lock[..], &["sync.(*Mutex).Lock", "main.read"]].concat();
        let cut = without_inner(stack(&lock, Some(5)));
        assert_eq!(functions(&cut), ["sync.(*Mutex).Lock", "main.read"]);
        assert_eq!(cut.blame, Some(1));
        let receive = without_inner(stack(&["runtime.chanrecv", "runtime.chanrecv1", "main.work"], Some(2)));
        assert_eq!(functions(&receive), ["runtime.chanrecv1", "main.work"]);
        let select = without_inner(stack(&["runtime.selectgo", "main.work"], None));
        assert_eq!((functions(&select).len(), select.blame), (2, None));
        // Nothing else is left.
        assert_eq!(without_inner(stack(&["runtime.semrelease1"], None)).frames.len(), 1);
    }

    #[test]
    fn sites_are_ranked_by_time() {
        let one = |stack, wait_ns| GoWaitSite {
            stack,
            kind: kind::SELECT,
            waits: 1,
            wait_ns,
            ..GoWaitSite::default()
        };
        let all = GoWaits { counted_ns: 5, waits: vec![one(1, 10), one(2, 30)], ..GoWaits::default() };
        let made = build(&all, true, &mut |_| Some(stack(&["main.work"], Some(0))));
        let ranked: Vec<(u64, u64)> = made.sites.iter().map(|site| (site.rank, site.wait_ns)).collect();
        assert_eq!(ranked, [(1, 30), (2, 10)]);
        assert!(made.exact && made.method.starts_with("every wait"), "{}", made.method);
        let windows = GoWaits { sampled_ns: 10_000_000_000, windows: 3, window_ns: 100_000_000, ..all };
        let made = build(&windows, true, &mut |_| None);
        assert!(!made.exact && made.method.contains("3 windows of 100 ms over 10.0 s"), "{}", made.method);
        assert_eq!(made.sites[0].waiting, None, "windows do not tell");
    }
}
