//! What answers "which locks do goroutines wait for?".

use super::model::GoroutineWaits;
use super::words::GoroutineWaitsSaid;
use crate::section::label::place_in_list;

/// Time waited for locks that is worth a word: so many goroutines on average, in percent.
const NOTABLE_PERCENT: u64 = 5;

/// That goroutines wait for locks; `None` if they hardly do.
pub(crate) fn contention(all: &GoroutineWaits) -> Option<GoroutineWaitsSaid> {
    let watched_ns = all.counted_ns.saturating_add(all.sampled_ns);
    let notable = all.contention_ns > watched_ns / 100 * NOTABLE_PERCENT;
    let most = all.releases.first().filter(|_| notable)?;
    Some(GoroutineWaitsSaid::Contention {
        contentions: all.contentions,
        wait_ns: all.contention_ns,
        exact: all.exact,
        place: most.stack.blamed().and_then(place_in_list),
        place_ns: most.wait_ns,
    })
}
