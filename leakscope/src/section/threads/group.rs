//! Sites that created threads added up.

use std::cmp::Reverse;

use crate::section::by::By;
use crate::section::group::{add, add_signed, add_up};
use crate::section::model::{ThreadSite, Threads};
use crate::section::site::rank;

/// Adds up the sites.
pub(crate) fn group(threads: &mut Threads, by: By) {
    add_up(&mut threads.sites, by, |_| (), add_sites);
    threads.sites.sort_by_key(|site| Reverse(site.alive));
    rank(&mut threads.sites);
}

fn add_sites(sum: &mut ThreadSite, site: ThreadSite) {
    add(&mut sum.created, site.created);
    add(&mut sum.exited, site.exited);
    add(&mut sum.alive, site.alive);
    add_signed(&mut sum.growth, site.growth);
}
