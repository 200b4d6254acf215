//! Children that a thread waits for.

use super::Target;
use super::budget::{Budget, SPENT};
use super::descriptor;
use super::model::{Peer, PeerProcess, What};
use super::proc;

/// Which children, as the process numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    Any,
    Process(u32),
    /// Those of a process group; `None`: of its own.
    Group(Option<u32>),
    /// The process of a pidfd.
    Descriptor(i32),
}

/// Children that are listed.
const MOST_LISTED: usize = 8;
/// Children that are looked at.
const MOST_CHILDREN: usize = 1 << 12;

/// A child, with the numbers that the target knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Child {
    pid: u32,
    name: String,
    own_pid: Option<u32>,
    own_group: Option<u32>,
}

impl Child {
    /// `level`: how many PID namespaces the target is in.
    fn parse(pid: u32, status: &str, level: usize) -> Option<Self> {
        let own = |name| proc::field_numbers(status, name).get(level.checked_sub(1)?).copied();
        let name = proc::name(pid)?;
        Some(Self { pid, name, own_pid: own("NSpid"), own_group: own("NSpgid") })
    }
}

/// The children that a thread of the target waits for.
pub(super) fn children(target: Target, which: Which, budget: &Budget) -> Option<Peer> {
    if let Which::Descriptor(fd) = which {
        let peer = descriptor::process(target, u32::try_from(fd).ok()?);
        return Some(Peer { what: if peer.unknown.is_none() { What::Child } else { What::Process }, ..peer });
    }
    let status = proc::read(&format!("{}/status", target.through))?;
    let level = proc::field_numbers(&status, "NSpid").len();
    let own_group = proc::field_numbers(&status, "NSpgid").last().copied();
    let is_waited = |child: &Child| match which {
        Which::Process(pid) => child.own_pid == Some(pid),
        Which::Group(group) => child.own_group.is_some() && child.own_group == group.or(own_group),
        Which::Any | Which::Descriptor(_) => true,
    };
    let (pids, mut why) = pids(target, budget);
    let mut found = Vec::new();
    for pid in pids {
        if budget.is_spent() {
            why = Some(SPENT);
            break;
        }
        let child = proc::read(&format!("{pid}/status")).and_then(|status| Child::parse(pid, &status, level));
        found.extend(child.filter(is_waited));
        if !found.is_empty() && matches!(which, Which::Process(_)) {
            why = None;
            break;
        }
    }
    let more = found.len().saturating_sub(MOST_LISTED) as u64;
    let holder = |child: Child| PeerProcess { pid: child.pid, name: child.name, itself: false };
    let holders: Vec<PeerProcess> = found.into_iter().take(MOST_LISTED).map(holder).collect();
    if holders.is_empty() {
        why = why.or(Some("it has no such child now; a debugger waits so for what it traces"));
    }
    Some(Peer { holders, more, unknown: why.map(str::to_owned), ..Peer::new(What::Child) })
}

/// The PIDs of the children of all threads, and why some may be missing.
fn pids(target: Target, budget: &Budget) -> (Vec<u32>, Option<&'static str>) {
    let mut pids = Vec::new();
    let Ok(threads) = proc::numbers(&format!("{}/task", target.pid)) else {
        return (pids, Some("its threads cannot be listed"));
    };
    for tid in threads {
        if budget.is_spent() {
            return (pids, Some(SPENT));
        }
        let Some(list) = proc::read(&format!("{}/task/{tid}/children", target.pid)) else {
            // The thread has just ended, or the kernel lacks the list.
            if proc::read(&format!("{}/task/{tid}/comm", target.pid)).is_none() {
                continue;
            }
            return (pids, Some("this kernel does not list children (CONFIG_PROC_CHILDREN)"));
        };
        pids.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        if pids.len() > MOST_CHILDREN {
            pids.truncate(MOST_CHILDREN);
            return (pids, Some("it has too many children to look at all"));
        }
    }
    (pids, None)
}
