//! Who held the locks that others waited for.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::book::Book;
use super::sites::Sites;
use super::wakers::told;
use crate::collect::waits::aggregate::{WakerId, Wakes};
use crate::section::model::{HeldUp, LockHolder, WaitKind};
use crate::section::site::rank;

/// Waits that were ended, and time that was waited, by site.
type BySite = BTreeMap<String, (u64, u64)>;

/// The holders of each kind of lock, ranked by the time that others waited.
pub(super) fn lock_holders(wakes: &[Wakes], sites: &Sites, book: &mut Book<'_, '_>) -> Vec<LockHolder> {
    let locks: HashMap<&str, WaitKind> = sites
        .sites
        .iter()
        .filter(|site| site.kind.is_lock())
        .map(|site| (site.site_id.as_str(), site.kind))
        .collect();
    let mut sums: BTreeMap<(&WakerId, WaitKind), BySite> = BTreeMap::new();
    for pair in wakes {
        let site = sites.id(pair.site);
        let Some(kind) = locks.get(site.as_str()) else { continue };
        let sum = sums.entry((&pair.waker, *kind)).or_default().entry(site).or_default();
        *sum = (sum.0.saturating_add(pair.wakes), sum.1.saturating_add(pair.held_ns));
    }
    let mut holders: Vec<LockHolder> =
        sums.into_iter().map(|((id, kind), sites)| holder(id, kind, sites, book)).collect();
    // Stable: what is equal stays in the order of its ID.
    holders.sort_by_key(|holder| Reverse(holder.wait_ns));
    rank(&mut holders);
    holders
}

fn holder(id: &WakerId, kind: WaitKind, sites: BySite, book: &mut Book<'_, '_>) -> LockHolder {
    let who = told(id, book);
    let held_up = |(site_id, (contentions, wait_ns))| HeldUp { site_id, contentions, wait_ns };
    let mut waiters: Vec<HeldUp> = sites.into_iter().map(held_up).collect();
    waiters.sort_by_key(|site| Reverse(site.wait_ns));
    let mut holder = LockHolder {
        holder_id: format!("{} {}", who.id, kind.name()),
        rank: 0,
        kind,
        wait_ns: 0,
        contentions: 0,
        by: who.by,
        comm: who.comm,
        waiters,
        stack: who.stack,
    };
    holder.add_up();
    holder
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::tests::waits;
    use crate::collect::waits::aggregate::{SiteWaits, WaitsSnapshot, WakerId, Wakes};
    use crate::section::by::By;
    use crate::section::model::{WaitKind, WakerKind};
    use crate::section::waits::group::group;
    use crate::stack::StackId;
    use crate::wait::{Syscall, WaitSiteId};

    fn finished(id: u64, stack: u64, waits: u64, wait_ns: u64) -> SiteWaits {
        SiteWaits {
            id: Some(WaitSiteId(id)),
            stack: Some(StackId(stack)),
            syscall: Some(Syscall {
                number: 202,
                args: [0x1000, if stack == 4 { 0x189 } else { 0x80 }, 2, 0, 0, 0],
            }),
            fd: None,
            several: false,
            waits,
            wait_ns,
            max_ns: wait_ns,
            histogram: Vec::new(),
        }
    }

    fn wakes(waker: WakerId, site: u64, wakes: u64, wait_ns: u64, held_ns: u64) -> Wakes {
        Wakes { waker, site: Some(WaitSiteId(site)), wakes, wait_ns, held_ns }
    }

    /// Sites of a group are one, and the holders' parts of them, too.
    #[test]
    fn holders_of_a_group() {
        let slow = WakerId::Thread(Some(StackId(6)));
        let window = WaitsSnapshot {
            sites: vec![finished(1, 1, 4, 80), finished(2, 2, 1, 20)],
            wakes: vec![wakes(slow.clone(), 1, 4, 80, 80), wakes(slow, 2, 1, 20, 20)],
            ..WaitsSnapshot::default()
        };
        let mut waits = waits(Vec::new(), Some(&window));
        assert_eq!(waits.lock_holders[0].waiters.len(), 2);
        group(&mut waits, By::Module);
        let [holder] = waits.lock_holders.as_slice() else { panic!("{:?}", waits.lock_holders) };
        let [site] = holder.waiters.as_slice() else { panic!("{holder:?}") };
        assert_eq!((site.contentions, site.wait_ns, &site.site_id), (5, 100, &waits.sites[0].site_id));
        assert_eq!((holder.contentions, holder.wait_ns), (5, 100));
    }

    /// Two sites of a mutex, and a condition variable, which nobody holds.
    #[test]
    fn holders_have_their_part_and_wakers_the_whole() {
        let (slow, quick) = (WakerId::Thread(Some(StackId(6))), WakerId::Thread(Some(StackId(3))));
        let window = WaitsSnapshot {
            sites: vec![finished(1, 1, 4, 80), finished(2, 2, 1, 20), finished(3, 4, 1, 50)],
            wakes: vec![
                wakes(slow.clone(), 1, 1, 20, 77),
                wakes(quick.clone(), 1, 3, 60, 3),
                // It only held: the wait was ended by a timer.
                wakes(slow.clone(), 2, 0, 0, 15),
                wakes(WakerId::TimerOrInterrupt, 2, 1, 20, 5),
                wakes(quick, 3, 1, 50, 50),
            ],
            ..WaitsSnapshot::default()
        };
        let waits = waits(Vec::new(), Some(&window));
        let told: Vec<_> =
            waits.lock_holders.iter().map(|h| (h.rank, h.by, h.kind, h.contentions, h.wait_ns)).collect();
        let (thread, timer) = (WakerKind::Thread, WakerKind::TimerOrInterrupt);
        let mutex = WaitKind::Mutex;
        assert_eq!(told, [(1, thread, mutex, 1, 92), (2, timer, mutex, 1, 5), (3, thread, mutex, 3, 3)]);
        assert_eq!(waits.lock_holders[0].stack.frames[1].function.as_deref(), Some("release"));
        let mut sums: HashMap<&str, (u64, u64)> = HashMap::new();
        for one in waits.lock_holders.iter().flat_map(|holder| &holder.waiters) {
            let sum = sums.entry(&one.site_id).or_default();
            *sum = (sum.0 + one.contentions, sum.1 + one.wait_ns);
        }
        for site in waits.sites.iter().filter(|site| site.kind == mutex) {
            let sum = sums[site.site_id.as_str()];
            assert_eq!((Some(sum.0), Some(sum.1)), (site.waits, site.wait_ns), "{}", site.site_id);
        }
        let ended: Vec<_> = waits.wakers.iter().map(|w| (w.by, w.wakes, w.wait_ns, w.sites.len())).collect();
        assert_eq!(ended.iter().find(|w| w.2 == 20 && w.0 == thread), Some(&(thread, 1, 20, 1)), "{ended:?}");
        assert_eq!(ended.iter().map(|w| w.2).sum::<u64>(), 150);
    }
}
