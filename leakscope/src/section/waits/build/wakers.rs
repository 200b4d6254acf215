//! Who ended waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use super::book::Book;
use super::sites::Sites;
use crate::collect::waits::aggregate::{WakerId, Wakes};
use crate::section::model::{Waker, WakerKind};
use crate::section::site::{rank, site_id};
use crate::section::stack::Stack;

#[derive(Default)]
struct Sum {
    wait_ns: u64,
    idle_ns: u64,
    wakes: u64,
    sites: BTreeMap<String, u64>,
}

/// The wakers, ranked by the time that they ended at sites that are not idle.
pub(super) fn wakers(wakes: &[Wakes], sites: &Sites, book: &mut Book<'_, '_>) -> Vec<Waker> {
    let idle: HashSet<&str> = sites.sites.iter().filter(|s| s.idle).map(|s| s.site_id.as_str()).collect();
    let mut sums: BTreeMap<&WakerId, Sum> = BTreeMap::new();
    // Who only held is told elsewhere.
    for pair in wakes.iter().filter(|pair| pair.wakes > 0) {
        let sum = sums.entry(&pair.waker).or_default();
        let site = sites.id(pair.site);
        sum.wait_ns = sum.wait_ns.saturating_add(pair.wait_ns);
        sum.wakes = sum.wakes.saturating_add(pair.wakes);
        if idle.contains(site.as_str()) {
            sum.idle_ns = sum.idle_ns.saturating_add(pair.wait_ns);
        }
        let of_site = sum.sites.entry(site).or_default();
        *of_site = of_site.saturating_add(pair.wait_ns);
    }
    let mut wakers: Vec<Waker> = sums.into_iter().map(|(id, sum)| waker(id, sum, book)).collect();
    // Stable: what is equal stays in the order of its ID.
    wakers.sort_by_key(|w| (Reverse(w.wait_ns.saturating_sub(w.idle_wait_ns)), Reverse(w.wait_ns)));
    rank(&mut wakers);
    wakers
}

/// A waker as a report tells it.
pub(super) struct Told {
    pub(super) id: String,
    pub(super) by: WakerKind,
    pub(super) comm: Option<String>,
    pub(super) stack: Stack,
}

pub(super) fn told(id: &WakerId, book: &mut Book<'_, '_>) -> Told {
    let (id, by, comm, stack) = match id {
        WakerId::Thread(stack) => (site_id(*stack), WakerKind::Thread, None, *stack),
        WakerId::OtherProcess(comm) => {
            (format!("process {comm}"), WakerKind::OtherProcess, Some(comm.clone()), None)
        }
        WakerId::TimerOrInterrupt => {
            ("timer or interrupt".to_owned(), WakerKind::TimerOrInterrupt, None, None)
        }
    };
    Told { id, by, comm, stack: book.get(stack).stack.clone() }
}

fn waker(id: &WakerId, sum: Sum, book: &mut Book<'_, '_>) -> Waker {
    let Told { id: waker_id, by, comm, stack } = told(id, book);
    let mut sites: Vec<(String, u64)> = sum.sites.into_iter().collect();
    sites.sort_by_key(|&(_, wait_ns)| Reverse(wait_ns));
    Waker {
        waker_id,
        rank: 0,
        wait_ns: sum.wait_ns,
        idle_wait_ns: sum.idle_ns,
        wakes: sum.wakes,
        by,
        comm,
        sites: sites.into_iter().map(|(site, _)| site).collect(),
        stack,
    }
}
