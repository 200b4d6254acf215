//! A part of the stacks that created threads.

use crate::section::focus::Focus;
use crate::section::model::{ThreadSite, Threads};
use crate::section::site::rank;

/// Leaves the asked-for sites; sums are those of what is left.
pub(crate) fn select(threads: &mut Threads, focus: &Focus) {
    threads.sites.retain(|site| focus.keeps(&site.stack));
    rank(&mut threads.sites);
    let sum = |of: fn(&ThreadSite) -> u64| threads.sites.iter().map(of).fold(0, u64::saturating_add);
    (threads.created, threads.exited) = (sum(|site| site.created), sum(|site| site.exited));
    threads.growth = threads.sites.iter().map(|site| site.growth).fold(0, i64::saturating_add);
}
