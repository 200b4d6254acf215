//! A part of the waits of goroutines.

use super::model::{GoroutineRelease, GoroutineWaitSite, GoroutineWaits};
use crate::section::focus::Focus;
use crate::section::site::rank;

/// Leaves the asked-for sites; sums are those of what is left, whose errors are not known unless all was counted.
pub(crate) fn select(all: &mut GoroutineWaits, focus: &Focus) {
    all.sites.retain(|site| focus.keeps(&site.stack));
    all.releases.retain(|release| focus.keeps(&release.stack));
    rank(&mut all.sites);
    rank(&mut all.releases);
    let sum = |of: fn(&GoroutineWaitSite) -> u64| all.sites.iter().map(of).fold(0, u64::saturating_add);
    (all.waits, all.wait_ns) = (sum(|site| site.waits), sum(|site| site.wait_ns));
    let sum = |of: fn(&GoroutineRelease) -> u64| all.releases.iter().map(of).fold(0, u64::saturating_add);
    (all.contentions, all.contention_ns) = (sum(|site| site.contentions), sum(|site| site.wait_ns));
    let errors = [
        &mut all.waits_error,
        &mut all.wait_ns_error,
        &mut all.contentions_error,
        &mut all.contention_ns_error,
    ];
    errors.into_iter().for_each(|error| *error = error.filter(|error| *error == 0));
}
