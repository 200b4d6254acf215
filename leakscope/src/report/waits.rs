//! Blocked threads, as the report shows them.

use super::model::Frame;
use crate::ledger::waits::WaitsSnapshot;
use crate::stack::StackId;
use crate::wait::Census;

/// What the section on waits is made from.
#[derive(Clone, Copy, Debug)]
pub struct WaitInputs<'a> {
    /// The threads at the end of the window; `None` if the target is gone.
    pub census: Option<&'a Census>,
    /// What happened in the window; `None` where nothing was traced (`dump`).
    pub window: Option<&'a WaitsSnapshot>,
    /// When the window began, CLOCK_MONOTONIC in ns.
    pub started_ns: u64,
    /// When the snapshot was taken.
    pub at_ns: u64,
    /// Whether nothing was lost that would make the numbers wrong.
    pub nothing_lost: bool,
    /// Processors of the machine: pools of workers are about as large.
    pub processors: usize,
}

/// A stack with names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedStack {
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
    /// Index of the first frame that is the user's own.
    pub blame: Option<u64>,
    /// Why there are no more: `root`, or what cut it short.
    pub end: String,
}

/// Finds the names of a stack; `None` if its frames never arrived.
pub type NameStack<'a> = dyn FnMut(StackId) -> Option<NamedStack> + 'a;

/// The section.
pub fn waits(inputs: &WaitInputs<'_>, name: &mut NameStack<'_>) -> super::model::Waits {
    use super::model::*;
    let census = inputs.census.cloned().unwrap_or_default();
    let mut groups: std::collections::BTreeMap<Option<StackId>, Vec<&crate::wait::Thread>> =
        Default::default();
    for thread in census.threads.iter().filter(|t| t.blocked_ns.is_some()) {
        groups.entry(thread.stack).or_default().push(thread);
    }
    for site in inputs.window.iter().flat_map(|w| &w.sites) {
        groups.entry(site.stack).or_default();
    }
    let mut sites: Vec<WaitSite> = Vec::new();
    for (stack, threads) in groups {
        let named = stack.and_then(&mut *name).unwrap_or_default();
        let live = inputs.window.and_then(|w| w.sites.iter().find(|s| s.stack == stack));
        sites.push(WaitSite {
            site_id: super::site_id(stack),
            rank: 0,
            kind: WaitKind::Unknown,
            operation: threads
                .first()
                .and_then(|t| t.syscall)
                .or(live.and_then(|l| l.syscall))
                .map(|s| s.number.to_string()),
            primitive: None,
            idle: false,
            idle_rule: None,
            blocked_now: threads.len() as u64,
            longest_blocked_ns: threads.iter().filter_map(|t| t.blocked_ns).max(),
            waits: live.map(|l| l.waits),
            wait_ns: live.map(|l| l.wait_ns),
            max_wait_ns: live.map(|l| l.max_ns),
            histogram: live.map(|l| l.histogram.clone()).unwrap_or_default(),
            blame: named.blame,
            frames: named.frames,
            stack_end: Some(named.end),
            threads: threads
                .iter()
                .map(|t| WaitThread {
                    tid: t.tid,
                    name: t.name.clone(),
                    blocked_ns: t.blocked_ns,
                    at_least: false,
                    since: Since::BeforeAttach,
                    lock: None,
                })
                .collect(),
            locks: vec![],
        });
    }
    sites.sort_by_key(|s| std::cmp::Reverse(s.blocked_now));
    for (site, rank) in sites.iter_mut().zip(1..) {
        site.rank = rank;
    }
    Waits {
        exact: false,
        method: String::new(),
        threads: census.threads.len() as u64,
        blocked_now: sites.iter().map(|s| s.blocked_now).sum(),
        unsettled: census.unsettled,
        sites,
        deadlocks: vec![],
        wakers: vec![],
        long_waits: vec![],
    }
}

/// Threads by creating stack.
pub fn thread_sites(
    _creations: &[crate::ledger::waits::Creation],
    _name: &mut NameStack<'_>,
) -> Vec<super::model::ThreadSite> {
    Vec::new()
}
