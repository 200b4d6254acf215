//! Created threads as samples of a profile.

use crate::section::model::Threads;
use crate::section::profile::{Sample, sample, without_stack};

/// Threads by who created them.
pub(super) fn samples<'a>(threads: &'a Threads, out: &mut Vec<Sample<'a>>) {
    let mut listed = 0_u64;
    for site in threads.sites.iter().filter(|site| site.created > 0) {
        let mut sample = sample(&site.stack);
        sample.values[0] = site.created;
        sample.weight = site.created;
        listed = listed.saturating_add(site.created);
        out.push(sample);
    }
    if let Some(unlisted @ 1..) = threads.created.checked_sub(listed) {
        out.push(without_stack("creator not known", unlisted));
    }
}
