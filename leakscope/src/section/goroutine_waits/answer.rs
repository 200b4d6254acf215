//! What answers "which locks do goroutines wait for?", and "do they go on?".

use std::sync::Arc;

use super::model::{GoroutineRelease, GoroutineWaitKind, GoroutineWaitSite, GoroutineWaits};
use super::words::{BehindReaders, GoroutineWaitsSaid};
use crate::section::goroutines::answer::crowd;
use crate::section::label::{place_in_list, short};
use crate::section::model::{Frame, Goroutines, Stack};

/// Time waited for locks that is worth a word: so many goroutines on average, in percent.
const NOTABLE_PERCENT: u64 = 5;
/// Where a writer waits for readers, and where a reader lets it go on, as stacks begin in Go's own profiles.
const WRITER: &str = "sync.(*RWMutex).Lock";
const READER: &str = "sync.(*RWMutex).RUnlock";
/// Part of a writer's charge, in one of so many, that makes its own wait worth a word: others wait at most as long
/// as it does and holds.
const PART: u64 = 2;

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
        readers: readers(all, most),
    })
}

/// Whether goroutines that were told to be many in one place go on from there, as far as waits tell.
pub(crate) fn turnover(all: &GoroutineWaits, goroutines: &Goroutines) -> Option<GoroutineWaitsSaid> {
    let at = crowd(goroutines)?;
    let is_here = |site: &&GoroutineWaitSite| site.stack.blamed().is_some_and(|frame| same_place(frame, &at));
    let here = || all.sites.iter().filter(is_here);
    let sum = |of: fn(&GoroutineWaitSite) -> u64| here().map(of).fold(0, u64::saturating_add);
    let place = place_in_list(&short(&at))?;
    match (sum(|site| site.waits), sum(|site| site.waiting.unwrap_or(0))) {
        (0, 0) => None,
        (0, came) => all.exact.then_some(GoroutineWaitsSaid::NoneGoesOn { place, came }),
        (waits, _) => Some(GoroutineWaitsSaid::GoOn {
            place,
            waits,
            mean_ns: sum(|site| site.wait_ns) / waits,
            exact: all.exact,
        }),
    }
}

/// The same line of the same function.
fn same_place(one: &Frame, other: &Frame) -> bool {
    one.function == other.function && one.line == other.line && one.file == other.file
}

fn innermost(stack: &Stack) -> Option<&str> {
    stack.frames.first().map(Arc::as_ref).and_then(|frame: &Frame| frame.function.as_deref())
}

/// For whom those had to wait that are charged most, if that is a good part of the charge: a writer that is kept
/// waiting keeps all others waiting.
fn readers(all: &GoroutineWaits, most: &GoroutineRelease) -> Option<BehindReaders> {
    let function = most.stack.blamed()?.function.as_deref()?;
    let waited = all.sites.iter().filter(|site| {
        site.kind == GoroutineWaitKind::Semaphore
            && innermost(&site.stack) == Some(WRITER)
            && site.stack.blamed().and_then(|frame| frame.function.as_deref()) == Some(function)
    });
    let (waits, wait_ns) = waited.fold((0_u64, 0_u64), |(waits, ns), site| {
        (waits.saturating_add(site.waits), ns.saturating_add(site.wait_ns))
    });
    let longest = all.sites.iter().map(|site| site.max_wait_ns).max().unwrap_or(0);
    let mean_ns = wait_ns.checked_div(waits)?;
    let reader = all.releases.iter().find(|release| innermost(&release.stack) == Some(READER));
    (mean_ns > longest / PART).then(|| BehindReaders {
        mean_ns,
        place: reader.and_then(|reader| reader.stack.blamed()).and_then(place_in_list),
    })
}
