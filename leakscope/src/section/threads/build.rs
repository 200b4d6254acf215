//! Where threads are created.

use std::cmp::Reverse;

use crate::collect::threads::{Creation, ThreadAccount};
use crate::section::made::{Facts, Made};
use crate::section::model::{ThreadSite, Threads};
use crate::section::site::{NameStack, rank, site_id};

impl Made for Threads {
    fn make(facts: &mut Facts<'_, '_>) -> Option<Self> {
        Some(threads(facts.collected.threads?, facts.name))
    }
}

/// The section.
fn threads(account: &ThreadAccount, name: &mut NameStack<'_>) -> Threads {
    Threads {
        created: account.created,
        exited: account.exited,
        alive: account.alive,
        growth: account.created.cast_signed() - account.exited.cast_signed(),
        sites: thread_sites(&account.creations, name),
    }
}

/// The stacks that created threads, most living ones first.
pub fn thread_sites(creations: &[Creation], name: &mut NameStack<'_>) -> Vec<ThreadSite> {
    let mut sites: Vec<ThreadSite> = creations
        .iter()
        .map(|creation| ThreadSite {
            site_id: site_id(creation.stack),
            rank: 0,
            created: creation.created,
            exited: creation.exited,
            alive: creation.created.saturating_sub(creation.exited),
            growth: creation.growth,
            stack: creation.stack.and_then(&mut *name).unwrap_or_default(),
        })
        .collect();
    sites.sort_by(|a, b| {
        let key = |s: &ThreadSite| (Reverse(s.alive), Reverse(s.created));
        key(a).cmp(&key(b)).then_with(|| a.site_id.cmp(&b.site_id))
    });
    rank(&mut sites);
    sites
}
