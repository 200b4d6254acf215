//! Waits of goroutines as samples of a profile.

use super::model::GoroutineWaits;
use crate::section::profile::{Sample, sample};

/// Those that have ended, by who waited.
pub(super) fn waits<'a>(all: &'a GoroutineWaits, out: &mut Vec<Sample<'a>>) {
    for site in all.sites.iter().filter(|site| site.waits > 0 || site.wait_ns > 0) {
        let mut sample = sample(&site.stack);
        sample.values = [site.waits, site.wait_ns, 0, 0];
        sample.labels = vec![("kind", site.kind.shown().into())];
        out.push(sample);
    }
}

/// The same by who released the lock.
pub(super) fn contention<'a>(all: &'a GoroutineWaits, out: &mut Vec<Sample<'a>>) {
    for release in &all.releases {
        let mut sample = sample(&release.stack);
        sample.values = [release.contentions, release.wait_ns, 0, 0];
        out.push(sample);
    }
}
