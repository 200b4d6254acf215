//! What collectors give, as the report takes it.

use crate::collect::Collected;
use crate::collect::threads::Creation;
use crate::report::headline::Visibility;
use crate::report::heap::HeapInputs;
use crate::report::model::Threads;
use crate::report::waits::WaitInputs;

pub(super) fn heap_inputs<'a>(collected: &Collected<'a>) -> Option<HeapInputs<'a>> {
    collected.heap.map(|account| HeapInputs {
        snapshot: &account.snapshot,
        min_age_ns: account.min_age_ns,
        slow_probes: account.coverage.slow,
        visibility: Visibility {
            probes: account.coverage.probes,
            hits: 0,
            files_searched: account.coverage.files_searched,
            reason: account.coverage.reason.as_deref(),
        },
    })
}

pub(super) fn wait_inputs<'a>(collected: &Collected<'a>) -> Option<WaitInputs<'a>> {
    collected.waits.map(|account| WaitInputs {
        census: account.threads.as_ref(),
        window: account.window.as_ref(),
        started_ns: account.started_ns,
        at_ns: account.at_ns,
        nothing_lost: account.ended,
        processors: account.processors,
    })
}

pub(super) fn threads<'a>(collected: &Collected<'a>) -> (Option<Threads>, &'a [Creation]) {
    let Some(account) = collected.threads else { return (None, &[]) };
    let threads = Threads {
        created: account.created,
        exited: account.exited,
        alive: account.alive,
        growth: account.created.cast_signed() - account.exited.cast_signed(),
        sites: Vec::new(),
    };
    (Some(threads), &account.creations)
}
